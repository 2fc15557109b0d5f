/* SPDX-License-Identifier: MIT */
/* Option unix_mode: the permissions of a socket file, which are there before anybody can connect.
 */
#include "support/faults.h"
#include "support/support.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum {
	NOBODY = 65534
};

struct place {
	char dir[64];
	char path[80];
	char host[96];
	mode_t umask;
};

/* Everybody may enter it. */
static int make_place(void **state)
{
	struct place *place = calloc(1, sizeof(*place));

	if (!place)
		return -1;
	snprintf(place->dir, sizeof(place->dir), "/tmp/sttcp-XXXXXX");
	if (!mkdtemp(place->dir) || chmod(place->dir, 0755) < 0)
		return -1;
	snprintf(place->path, sizeof(place->path), "%s/socket", place->dir);
	snprintf(place->host, sizeof(place->host), "unix:%s", place->path);
	place->umask = umask(022);
	*state = place;
	return 0;
}

static int remove_place(void **state)
{
	struct place *place = *state;

	fault_clear();
	umask(place->umask);
	unlink(place->path);
	rmdir(place->dir);
	free(place);
	return 0;
}

/* -1: there is no file. */
static int mode_of(const char *path)
{
	struct stat status;

	return lstat(path, &status) == 0 ? (int)(status.st_mode & 07777) : -1;
}

static void file_has_the_mode_whatever_the_umask(void **state)
{
	const mode_t masks[] = {0, 022, 077, 0777};
	const int modes[] = {0777, 0666, 0660, 0600, 0400, 01, 0711};
	struct place *place = *state;

	for (size_t i = 0; i < sizeof(masks) / sizeof(masks[0]); i++) {
		for (size_t j = 0; j < sizeof(modes) / sizeof(modes[0]); j++) {
			sttcp_server *server = sttcp_server_new(
				place->host, 0, STTCP_OPTIONS(.unix_mode = modes[j]));

			umask(masks[i]);
			assert_int_equal(sttcp_server_start(server), 0);
			assert_int_equal(mode_of(place->path), modes[j]);
			assert_int_equal(umask(022), masks[i]); /* it is as it was */
			sttcp_server_free(server);
			assert_int_equal(mode_of(place->path), -1);
		}
	}
}

static void file_is_as_the_umask_leaves_it_without(void **state)
{
	const mode_t masks[] = {0, 022, 077};
	struct place *place = *state;

	for (size_t i = 0; i < sizeof(masks) / sizeof(masks[0]); i++) {
		sttcp_server *server = sttcp_server_new(place->host, 0, NULL);

		umask(masks[i]);
		assert_int_equal(sttcp_server_start(server), 0);
		assert_int_equal(mode_of(place->path), 0777 & ~masks[i]);
		sttcp_server_free(server);
	}
}

static void mode_is_the_same_after_each_restart(void **state)
{
	struct place *place = *state;
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, STTCP_OPTIONS(.unix_mode = 0666));
	char second[sizeof(place->path) + 1];
	char host[sizeof(second) + 5];

	snprintf(second, sizeof(second), "%s2", place->path);
	snprintf(host, sizeof(host), "unix:%s", second);
	assert_int_equal(sttcp_server_add_address(server, place->host, 0), 0);
	assert_int_equal(sttcp_server_add_address(server, host, 0), 0);
	for (int i = 0; i < 3; i++) {
		umask(077);
		assert_int_equal(sttcp_server_start(server), 0);
		umask(022);
		assert_int_equal(mode_of(place->path), 0666);
		assert_int_equal(mode_of(second), 0666);
		assert_int_equal(sttcp_server_stop(server), 0);
		assert_int_equal(mode_of(second), -1);
	}
	sttcp_server_free(server);
}

/* The mode of a file that a server has left behind counts for nothing. */
static void file_that_is_replaced_gets_the_mode(void **state)
{
	struct place *place = *state;
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int stale = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", place->path);
	umask(0);
	assert_int_equal(bind(stale, (struct sockaddr *)&addr, sizeof(addr)), 0);
	close(stale);
	assert_int_equal(mode_of(place->path), 0777);
	sttcp_server *server = sttcp_server_new(place->host, 0, STTCP_OPTIONS(.unix_mode = 0600));
	assert_int_equal(sttcp_server_start(server), 0);
	assert_int_equal(mode_of(place->path), 0600);
	sttcp_server_free(server);
}

/* --------------------------------------------------------------------- races */

struct watch {
	pthread_t thread;
	const char *path;
	int most; /* no other permissions may be seen */
	atomic_bool over;
	atomic_int seen;
	atomic_int wrong;
};

static void *watch_mode(void *argument)
{
	struct watch *watch = argument;

	while (!watch->over) {
		int mode = mode_of(watch->path);

		if (mode >= 0)
			watch->seen++;
		if (mode >= 0 && mode & ~watch->most)
			watch->wrong = mode;
	}
	return NULL;
}

/* At no moment has it more than it is to have. */
static void file_never_has_a_wider_mode(void **state)
{
	struct place *place = *state;
	struct watch watch = {.path = place->path, .most = 0600};
	sttcp_server *server = sttcp_server_new(place->host, 0, STTCP_OPTIONS(.unix_mode = 0600));

	umask(0);
	assert_int_equal(pthread_create(&watch.thread, NULL, watch_mode, &watch), 0);
	for (int i = 0; i < 200 || !watch.seen; i++) {
		assert_int_equal(sttcp_server_start(server), 0);
		assert_int_equal(sttcp_server_stop(server), 0);
	}
	watch.over = true;
	assert_int_equal(pthread_join(watch.thread, NULL), 0);
	assert_int_equal(watch.wrong, 0);
	sttcp_server_free(server);
}

/* As somebody else: connects until it is told to end; tells what came of it at first, and how often
 * it was let in. */
static int connect_as_nobody(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	bool told = false;
	int connected = 0;

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", getenv("STTCP_TEST_PATH"));
	CHECK(setgid(NOBODY) == 0 && setuid(NOBODY) == 0);
	tell("ready");
	while (access(getenv("STTCP_TEST_END"), F_OK) < 0) {
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		bool let_in = connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0;

		if (!told && (let_in || errno == EACCES)) {
			tell("let in %d", let_in);
			told = true;
		}
		connected += let_in;
		close(fd);
	}
	tell("connected %d", connected);
	return 0;
}

struct somebody {
	struct process process;
	char end[96];
};

static void start_somebody(struct somebody *somebody, const struct place *place)
{
	char line[32];

	snprintf(somebody->end, sizeof(somebody->end), "%s/end", place->dir);
	assert_int_equal(setenv("STTCP_TEST_PATH", place->path, 1), 0);
	assert_int_equal(setenv("STTCP_TEST_END", somebody->end, 1), 0);
	assert_true(process_start(&somebody->process, "connect_as_nobody"));
	assert_true(process_line(&somebody->process, line, sizeof(line)));
	assert_string_equal(line, "ready");
}

/* How often somebody was let in. */
static int end_somebody(struct somebody *somebody)
{
	assert_int_equal(mkdir(somebody->end, 0700), 0);

	int connected = process_number(&somebody->process, "connected");

	assert_int_equal(process_wait(&somebody->process), 0);
	assert_int_equal(rmdir(somebody->end), 0);
	return connected;
}

static void nobody_else_can_connect_at_any_moment(void **state)
{
	struct place *place = *state;
	struct somebody somebody;
	sttcp_stats stats;

	if (geteuid() != 0)
		skip(); /* nobody else can be had */
	sttcp_server *server = sttcp_server_new(place->host, 0, STTCP_OPTIONS(.unix_mode = 0600));
	start_somebody(&somebody, place);
	umask(0);
	for (int i = 0; i < 300; i++) {
		assert_int_equal(sttcp_server_start(server), 0);
		assert_int_equal(sttcp_server_stop(server), 0);
	}
	assert_int_equal(sttcp_server_start(server), 0);
	assert_int_equal(process_number(&somebody.process, "let in"), 0);
	assert_int_equal(end_somebody(&somebody), 0);
	assert_int_equal(sttcp_server_stats(server, &stats, sizeof(stats)), 0);
	assert_int_equal(stats.total, 0);
	sttcp_server_free(server);
}

/* And with a mode that lets them, under a umask that does not. */
static void somebody_else_can_connect_where_the_mode_says_so(void **state)
{
	struct place *place = *state;
	struct somebody somebody;

	if (geteuid() != 0)
		skip(); /* nobody else can be had */
	struct probe *probe = probe_new();
	sttcp_server *server =
		probe_server(probe, place->host, 0, STTCP_OPTIONS(.unix_mode = 0666));
	umask(077);
	assert_int_equal(sttcp_server_start(server), 0);
	umask(022);
	start_somebody(&somebody, place);
	assert_int_equal(process_number(&somebody.process, "let in"), 1);
	assert_true(probe_wait(probe, STTCP_CONNECTION, 1));
	assert_true(end_somebody(&somebody) > 0);
	sttcp_server_free(server);
	probe_free(probe);
}

/* ------------------------------------------------------------------- refusing */

static void refuse(const char *host, int port, int mode, const char *word)
{
	sttcp_server *server = sttcp_server_new(host, port, STTCP_OPTIONS(.unix_mode = mode));

	assert_int_equal(sttcp_server_start(server), -EINVAL);
	assert_non_null(strstr(sttcp_server_error(server), "unix_mode"));
	assert_non_null(strstr(sttcp_server_error(server), word));
	sttcp_server_free(server);
}

static void mode_that_cannot_be_is_refused(void **state)
{
	const int modes[] = {-1, -2, 01000, 04755, INT32_MAX, INT32_MIN};
	struct place *place = *state;

	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		refuse(place->host, 0, modes[i], "0777");
		assert_int_equal(mode_of(place->path), -1);
	}
}

/* Options without effect are mistakes. */
static void mode_without_a_file_is_refused(void **state)
{
	sttcp_client *client = sttcp_client_new("127.0.0.1", 1, STTCP_OPTIONS(.unix_mode = 0600));

	(void)state;
	refuse("127.0.0.1", 0, 0600, "unix:/path");
	refuse("unix:@sttcp-mode", 0, 0600, "unix:/path");
	refuse(NULL, -1, 0600, "unix:/path");
	assert_int_equal(sttcp_client_start(client), -EINVAL);
	assert_non_null(strstr(sttcp_client_error(client), "unix_mode"));
	sttcp_client_free(client);
}

/* One that has a file is enough. */
static void mode_counts_where_there_is_a_file(void **state)
{
	struct place *place = *state;
	sttcp_server *server = sttcp_server_new(NULL, -1, STTCP_OPTIONS(.unix_mode = 0640));
	char host[64];

	snprintf(host, sizeof(host), "unix:@sttcp-mode-%ld", (long)getpid());
	assert_int_equal(sttcp_server_add_address(server, host, 0), 0);
	assert_int_equal(sttcp_server_start(server), -EINVAL);
	assert_int_equal(sttcp_server_add_address(server, place->host, 0), 0);
	assert_int_equal(sttcp_server_start(server), 0);
	assert_int_equal(mode_of(place->path), 0640);
	sttcp_server_free(server);
}

/* G1: nothing is left of a socket that was bound and could not listen. */
static void socket_that_cannot_listen_leaves_no_file(void **state)
{
	const int modes[] = {0, 0600, 0666};
	struct place *place = *state;

	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		sttcp_server *server =
			sttcp_server_new(place->host, 0, STTCP_OPTIONS(.unix_mode = modes[i]));

		fault_instead(SYS_listen, ENOBUFS, 1);
		assert_int_equal(sttcp_server_start(server), -ENOBUFS);
		fault_clear();
		assert_int_equal(mode_of(place->path), -1);
		assert_int_equal(sttcp_server_start(server), 0);
		sttcp_server_free(server);
	}
}

#define place_test(function) cmocka_unit_test_setup_teardown(function, make_place, remove_place)

int main(int argc, char **argv)
{
	const struct child children[] = {{"connect_as_nobody", connect_as_nobody}, {NULL, NULL}};
	const struct CMUnitTest tests[] = {
		place_test(file_has_the_mode_whatever_the_umask),
		place_test(file_is_as_the_umask_leaves_it_without),
		place_test(mode_is_the_same_after_each_restart),
		place_test(file_that_is_replaced_gets_the_mode),
		place_test(file_never_has_a_wider_mode),
		place_test(nobody_else_can_connect_at_any_moment),
		place_test(somebody_else_can_connect_where_the_mode_says_so),
		place_test(mode_that_cannot_be_is_refused),
		place_test(mode_without_a_file_is_refused),
		place_test(mode_counts_where_there_is_a_file),
		place_test(socket_that_cannot_listen_leaves_no_file),
	};

	if (argc > 1)
		return child_main(children, argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
