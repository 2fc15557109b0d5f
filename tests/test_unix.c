/* SPDX-License-Identifier: MIT */
/* Unix sockets: the same contract on "unix:/path" (G1, G5). */
#include "support/descriptors.h"
#include "support/lines.h"
#include "support/place.h"
#include "support/support.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

enum {
	NOBODY = 65534 /* passwd(5) of Debian */
};

static void unix_server_answers_and_removes_its_file(void **state)
{
	struct place *place = *state;
	struct probe *probe = probe_new();
	sttcp_server *server = probe_server(probe, place->host, 4711, NULL);

	probe->data = echo_data;
	for (int i = 1; i <= 3; i++) {
		assert_int_equal(sttcp_server_start(server), 0);
		assert_int_equal(sttcp_server_port(server), 0);
		int peer = peer_connect_unix(place->path);
		assert_true(peer >= 0);
		assert_true(peer_say(peer, "hello"));
		peer_shutdown(peer);
		assert_true(peer_expect(peer, "hello"));
		assert_int_equal(peer_end(peer), 0);
		peer_close(peer);
		assert_true(probe_wait(probe, STTCP_DISCONNECTION, i));
		assert_int_equal(probe_reason(probe), 0);
		assert_string_equal(probe_address(probe), "unix:"); /* the peer has no name */
		assert_int_equal(sttcp_server_stop(server), 0);
		assert_false(exists(place->path));
	}
	sttcp_server_free(server);
	probe_free(probe);
}

static void unix_client_and_server_talk(void **state)
{
	struct place *place = *state;
	struct probe *serving = probe_new();
	struct probe *calling = probe_new();
	sttcp_server *server = probe_server(serving, place->host, 0, NULL);

	serving->data = echo_data;
	assert_int_equal(sttcp_server_start(server), 0);
	sttcp_client *client = probe_client(calling, place->host, 0, NULL);
	assert_int_equal(sttcp_client_start(client), 0);
	assert_true(probe_wait(calling, STTCP_CONNECTION, 1));
	assert_string_equal(sttcp_client_address(client), place->host);
	sttcp_conn *conn = client_conn(client);
	assert_string_equal(sttcp_conn_address(conn), place->host);
	assert_string_equal(sttcp_conn_host(conn), place->host);
	assert_int_equal(sttcp_conn_port(conn), 0);
	assert_int_equal(sttcp_conn_send(conn, "meow", 4), 0);
	assert_true(probe_wait_bytes(calling, 4));
	assert_string_equal(probe_text(calling), "meow");
	assert_int_equal(sttcp_conn_abort(conn), 0);
	sttcp_conn_unref(conn);
	assert_true(probe_wait(calling, STTCP_DISCONNECTION, 1));
	assert_true(probe_wait(serving, STTCP_DISCONNECTION, 1));
	sttcp_client_free(client);
	sttcp_server_free(server);
	probe_free(calling);
	probe_free(serving);
}

/* Somebody listens there; the file stays when that is closed. */
static int listen_there(const struct place *place)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", place->path);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(fd, 1), 0);
	return fd;
}

static void unix_file_without_a_listener_is_replaced(void **state)
{
	struct place *place = *state;
	struct probe *probe = probe_new();
	sttcp_server *server = probe_server(probe, place->host, 0, NULL);
	int stale = listen_there(place);

	assert_int_equal(sttcp_server_start(server), -EADDRINUSE);
	assert_non_null(strstr(sttcp_server_error(server), place->host));
	assert_true(exists(place->path));
	peer_close(stale);
	assert_true(exists(place->path)); /* now it is stale */
	assert_int_equal(sttcp_server_start(server), 0);
	int peer = peer_connect_unix(place->path);
	assert_true(peer >= 0);
	peer_close(peer);
	sttcp_server_free(server);
	assert_false(exists(place->path));
	probe_free(probe);
}

static sttcp_server *rival; /* starts when the file of another start is about to go */
static int rival_result;

int unlink(const char *path)
{
	sttcp_server *starts = rival;

	rival = NULL;
	if (starts)
		rival_result = sttcp_server_start(starts);
	return unlinkat(AT_FDCWD, path, 0);
}

/* Both have found that nobody is there. */
static void unix_file_is_replaced_by_one_of_two_starts(void **state)
{
	struct place *place = *state;
	sttcp_server *server = sttcp_server_new(place->host, 0, NULL);
	sttcp_server *second = sttcp_server_new(place->host, 0, NULL);

	peer_close(listen_there(place));
	rival = second;
	assert_int_equal(sttcp_server_start(server), 0);
	assert_null(rival);
	assert_int_equal(rival_result, -EADDRINUSE);
	assert_non_null(strstr(sttcp_server_error(second), place->host));
	sttcp_server_free(second);
	sttcp_server_free(server);
	assert_false(exists(place->path));
}

/* G1: a start that fails leaves nothing, on the living server neither: no handler, no place. */
static void unix_start_that_is_refused_is_not_seen_by_the_living_server(void **state)
{
	struct place *place = *state;
	struct probe *probe = probe_new();
	sttcp_server *server =
		probe_server(probe, place->host, 0, STTCP_OPTIONS(.max_connections = 1));
	sttcp_server *second = sttcp_server_new(place->host, 0, NULL);
	sttcp_stats stats;

	probe->data = echo_data;
	assert_int_equal(sttcp_server_start(server), 0);
	for (int i = 0; i < 10; i++)
		assert_int_equal(sttcp_server_start(second), -EADDRINUSE);
	/* Whoever comes now has come first. */
	int peer = peer_connect_unix(place->path);
	assert_true(peer_say(peer, "hello"));
	assert_true(peer_expect(peer, "hello"));
	assert_int_equal(probe_count(probe, STTCP_CONNECTION), 1);
	assert_int_equal(sttcp_server_stats(server, &stats, sizeof(stats)), 0);
	assert_int_equal(stats.total, 1);
	peer_close(peer);
	sttcp_server_free(second);
	sttcp_server_free(server);
	probe_free(probe);
}

static void unix_file_that_is_no_socket_stays(void **state)
{
	struct place *place = *state;
	sttcp_server *server = sttcp_server_new(place->host, 0, NULL);
	FILE *file = fopen(place->path, "we");

	assert_non_null(file);
	fclose(file);
	assert_true(sttcp_server_start(server) < 0);
	sttcp_server_free(server);
	assert_true(exists(place->path));
}

static void unix_path_that_cannot_be_fails(void **state)
{
	char host[300];
	const char *hosts[] = {"unix:", host, "unix:/no/such/directory/socket"};

	(void)state;
	memset(host, 'x', sizeof(host));
	memcpy(host, "unix:/", 6);
	host[sizeof(host) - 1] = '\0';
	for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
		sttcp_server *server = sttcp_server_new(hosts[i], 0, NULL);

		assert_non_null(server);
		assert_true(sttcp_server_start(server) < 0);
		assert_non_null(strstr(sttcp_server_error(server), "unix:"));
		sttcp_server_free(server);
	}
}

static void unix_client_without_a_server_is_refused(void **state)
{
	struct place *place = *state;
	struct probe *probe = probe_new();
	sttcp_client *client = probe_client(probe, place->host, 0, NULL);

	assert_int_equal(sttcp_client_start(client), 0);
	assert_int_equal(sttcp_client_wait(client, DEADLINE_MS), -ENOENT);
	assert_string_equal(probe_order(probe), "uU");
	assert_int_equal(probe_reason(probe), -ENOENT);
	assert_string_equal(probe_address(probe), place->host);
	sttcp_client_free(client);
	probe_free(probe);
}

/* ----------------------------------------------------------- where the file is */

/* The program goes elsewhere, where a file of the same name is somebody else's. */
static void unix_file_of_a_relative_path_is_removed(void **state)
{
	struct place *place = *state;
	char *home = getcwd(NULL, 0);
	char other[80];
	sttcp_server *server = sttcp_server_new("unix:socket", 0, NULL);

	assert_non_null(home);
	snprintf(other, sizeof(other), "%s/other", place->dir);
	assert_int_equal(mkdir(other, 0700), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(chdir(place->dir), 0);
		assert_int_equal(sttcp_server_start(server), 0);
		assert_true(exists(place->path));
		assert_int_equal(chdir(other), 0);
		fclose(fopen("socket", "we"));
		if (i == 0)
			assert_int_equal(sttcp_server_stop(server), 0);
		else
			sttcp_server_free(server);
		assert_false(exists(place->path));
		assert_int_equal(unlink("socket"), 0);
	}
	assert_int_equal(chdir(home), 0);
	assert_int_equal(rmdir(other), 0);
	free(home);
}

/* Its directory moves, and somebody else takes its place. */
static void unix_file_is_removed_where_it_has_moved_to(void **state)
{
	struct place *place = *state;
	char moved[80];
	char path[96];
	sttcp_server *server = sttcp_server_new(place->host, 0, NULL);

	snprintf(moved, sizeof(moved), "%s.moved", place->dir);
	snprintf(path, sizeof(path), "%s/socket", moved);
	assert_int_equal(sttcp_server_start(server), 0);
	assert_int_equal(rename(place->dir, moved), 0);
	assert_int_equal(mkdir(place->dir, 0700), 0);
	fclose(fopen(place->path, "we"));
	assert_true(exists(path));
	sttcp_server_free(server);
	assert_false(exists(path));
	assert_true(exists(place->path));
	assert_int_equal(rmdir(moved), 0);
}

/* One that was replaced by hand is not the server's. */
static void unix_file_that_was_replaced_stays(void **state)
{
	struct place *place = *state;
	sttcp_server *server = sttcp_server_new(place->host, 0, NULL);
	sttcp_server *next = sttcp_server_new(place->host, 0, NULL);

	assert_int_equal(sttcp_server_start(server), 0);
	assert_int_equal(unlink(place->path), 0);
	assert_int_equal(sttcp_server_start(next), 0);
	sttcp_server_free(server);
	assert_true(exists(place->path));
	sttcp_server_free(next);
	assert_false(exists(place->path));
}

/* As when a program has given up the rights that it began with: nobody else would remove it. */
static void unix_file_that_may_not_be_removed_is_told_of(void **state)
{
	struct place *place = *state;
	sttcp_server *server = sttcp_server_new(place->host, 0, NULL);
	bool is_root = geteuid() == 0;

	lines_open(NULL);
	assert_int_equal(sttcp_server_start(server), 0);
	assert_int_equal(chmod(place->dir, 0555), 0);
	if (is_root)
		assert_int_equal(seteuid(NOBODY), 0);
	assert_int_equal(sttcp_server_stop(server), 0);
	if (is_root)
		assert_int_equal(seteuid(0), 0);
	assert_int_equal(chmod(place->dir, 0755), 0);
	assert_true(exists(place->path));
	assert_int_equal(lines_with(2, place->host), 1);
	assert_int_equal(lines_with(2, "the socket's file stays: Permission denied"), 1);
	/* It is a stale one as any other. */
	assert_int_equal(sttcp_server_start(server), 0);
	assert_int_equal(sttcp_server_stop(server), 0);
	assert_false(exists(place->path));
	lines_close(NULL);
	sttcp_server_free(server);
}

/* So deep that no address could say the whole of it. */
static void unix_path_below_a_long_directory_works(void **state)
{
	struct place *place = *state;
	char *home = getcwd(NULL, 0);
	char part[61];
	struct probe *serving = probe_new();
	struct probe *calling = probe_new();
	sttcp_server *server = probe_server(serving, "unix:socket", 0, NULL);
	sttcp_client *client = probe_client(calling, "unix:socket", 0, NULL);

	assert_non_null(home);
	memset(part, 'x', sizeof(part) - 1);
	part[sizeof(part) - 1] = '\0';
	assert_int_equal(chdir(place->dir), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(mkdir(part, 0700), 0);
		assert_int_equal(chdir(part), 0);
	}
	assert_int_equal(sttcp_server_start(server), 0);
	assert_int_equal(sttcp_client_start(client), 0);
	assert_true(probe_wait(calling, STTCP_CONNECTION, 1));
	sttcp_client_free(client);
	assert_int_equal(chdir("/"), 0);
	sttcp_server_free(server);
	assert_int_equal(chdir(place->dir), 0);
	assert_int_equal(chdir(part), 0);
	assert_int_equal(rmdir(part), 0); /* it is empty */
	assert_int_equal(chdir(place->dir), 0);
	assert_int_equal(rmdir(part), 0);
	assert_int_equal(chdir(home), 0);
	free(home);
	probe_free(calling);
	probe_free(serving);
}

/* G1: nothing is left, whichever descriptor it was that could not be had. */
static void start_without_descriptors(const struct place *place, bool stale)
{
	sttcp_server *server = sttcp_server_new(place->host, 0, NULL);
	int result = -1;
	int tries = 0;

	while (result < 0 && tries < 10) {
		result = start_with_fds(server, tries++);
		if (result < 0) {
			assert_int_equal(result, -EMFILE);
			assert_non_null(strstr(sttcp_server_error(server), place->host));
			assert_int_equal(exists(place->path), stale);
		}
	}
	assert_int_equal(result, 0);
	assert_true(tries > 1);
	sttcp_server_free(server);
	assert_false(exists(place->path));
}

static void unix_start_without_descriptors_leaves_no_file(void **state)
{
	start_without_descriptors(*state, false);
}

/* Whether the file is stale cannot be found out then: that is the error, and nobody else's server.
 */
static void unix_start_without_descriptors_blames_no_file(void **state)
{
	struct place *place = *state;

	peer_close(listen_there(place));
	start_without_descriptors(place, true);
}

static bool pause_first(struct probe *probe, sttcp_conn *conn)
{
	(void)probe;
	return sttcp_conn_pause(conn) == 0;
}

/* A read ends behind bytes that came with descriptors, though there are more (unix(7)): on the path
 * of the server itself, and on one that was added. */
static void unix_bytes_behind_a_descriptor_are_read(void **state)
{
	struct place *place = *state;

	for (int i = 0; i < 4; i++) {
		bool framed = i % 2, added = i / 2;
		struct probe *probe = probe_new();
		sttcp_server *server = probe_server(
			probe, added ? "127.0.0.1" : place->host, 0,
			STTCP_OPTIONS(.framing = framed ? STTCP_FRAMING_LINE : STTCP_FRAMING_RAW));
		union {
			struct cmsghdr header;
			char room[CMSG_SPACE(sizeof(int))];
		} control = {0};
		char one[] = "one\n";
		struct iovec part = {.iov_base = one, .iov_len = 4};
		struct msghdr message = {.msg_iov = &part,
					 .msg_iovlen = 1,
					 .msg_control = &control,
					 .msg_controllen = sizeof(control)};
		struct cmsghdr *header = CMSG_FIRSTHDR(&message);

		probe->connection = pause_first;
		if (added)
			assert_int_equal(sttcp_server_add_address(server, place->host, 0), 0);
		assert_int_equal(sttcp_server_start(server), 0);
		int peer = peer_connect_unix(place->path);
		assert_true(peer >= 0);
		EVENTUALLY(sttcp_server_count(server) == 1);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(header), &peer, sizeof(int));
		assert_int_equal(sendmsg(peer, &message, 0), 4);
		assert_true(peer_say(peer, "two\n"));
		sttcp_conn *conn = sttcp_server_find(server, probe_last_id(probe));
		sttcp_conn_resume(conn);
		sttcp_conn_unref(conn);
		assert_true(probe_wait_bytes(probe, framed ? 6 : 8));
		peer_close(peer);
		sttcp_server_free(server);
		probe_free(probe);
	}
}

#define PLACED(test) cmocka_unit_test_setup_teardown(test, make_place, remove_place)

int main(void)
{
	const struct CMUnitTest tests[] = {
		PLACED(unix_server_answers_and_removes_its_file),
		PLACED(unix_client_and_server_talk),
		PLACED(unix_file_without_a_listener_is_replaced),
		PLACED(unix_file_is_replaced_by_one_of_two_starts),
		PLACED(unix_start_that_is_refused_is_not_seen_by_the_living_server),
		PLACED(unix_file_that_is_no_socket_stays),
		cmocka_unit_test(unix_path_that_cannot_be_fails),
		PLACED(unix_client_without_a_server_is_refused),
		PLACED(unix_file_of_a_relative_path_is_removed),
		PLACED(unix_file_is_removed_where_it_has_moved_to),
		PLACED(unix_file_that_was_replaced_stays),
		PLACED(unix_file_that_may_not_be_removed_is_told_of),
		PLACED(unix_path_below_a_long_directory_works),
		PLACED(unix_start_without_descriptors_leaves_no_file),
		PLACED(unix_start_without_descriptors_blames_no_file),
		PLACED(unix_bytes_behind_a_descriptor_are_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
