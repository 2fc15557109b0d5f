/* SPDX-License-Identifier: MIT */
/* Accepting (G15, G16, G18): errors that come for ever, and a queue that does not end. This
 * program's own accept4 and epoll_wait stand in front of the C library's. */
#include "support/faults.h"
#include "support/support.h"

#include <limits.h>
#include <sys/epoll.h>
#include <sys/socket.h>

/* ------------------------------------------------------------------ accepting */

/* How many accepts may still bring a newcomer along, which is gone at once. */
static atomic_int newcomers;

/* And for how long: without a time limit this program would not end where the queue does not. */
static _Atomic int64_t newcomers_until_ms = INT64_MAX;

static void bring_newcomer(int listener)
{
	const struct linger reset = {.l_onoff = 1};
	struct sockaddr_storage addr;
	socklen_t len = sizeof(addr);
	int left = atomic_load(&newcomers);

	while (left > 0)
		if (atomic_compare_exchange_weak(&newcomers, &left, left - 1))
			break;
	if (left <= 0 || now_ms() >= atomic_load(&newcomers_until_ms) ||
	    getsockname(listener, (struct sockaddr *)&addr, &len) < 0)
		return;
	int fd = socket(addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	connect(fd, (struct sockaddr *)&addr, len);
	close(fd);
}

/* Accepts between two waits of the loop: the most that there were, and now; when they began, and
 * how often there were more than the time since those before gives them a right to. */
static atomic_long longest;
static long accepts;
static int64_t began_ms, began_before_ms;
static atomic_long excesses;

static int accept_and_count(int fd, any_address addr, socklen_t *restrict len, int flags)
{
	bring_newcomer(fd);
	if (!accepts) {
		began_before_ms = began_ms;
		began_ms = now_ms();
	}
	if (++accepts > atomic_load(&longest))
		atomic_store(&longest, accepts);
	if (accepts > 1 + 2 * (began_ms - began_before_ms + 1))
		atomic_fetch_add(&excesses, 1);
	return real_accept4(fd, addr, len, flags);
}

static int wait_and_count(int poller, struct epoll_event *events, int max, int timeout)
{
	int result = real_epoll_wait(poller, events, max, timeout);

	accepts = 0;
	return result;
}

/* ------------------------------------------------------------------------ log */

static struct {
	pthread_mutex_t lock;
	int count;
	char text[256];
} said = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void note(int level, const char *text, void *context)
{
	(void)level;
	(void)context;
	pthread_mutex_lock(&said.lock);
	said.count++;
	snprintf(said.text, sizeof(said.text), "%s", text);
	pthread_mutex_unlock(&said.lock);
}

/* --------------------------------------------------------------------- errors */

static int64_t pauses_of(sttcp_server *server)
{
	sttcp_stats stats;

	assert_int_equal(sttcp_server_stats(server, &stats, sizeof(stats)), 0);
	return stats.accept_pauses;
}

/* What no list knows, and what a list knows but comes for ever: no loop goes round for it, and when
 * it has passed, who waits is served. */
static void accept_that_is_denied_backs_off_and_heals(void **state)
{
	/* A filter of system calls gives EPERM or ENOSYS, or what it likes: 523 is nobody's. */
	const int errnums[] = {EPERM, ENOSYS, EOPNOTSUPP, ECONNABORTED, EINVAL, EMFILE, 523};

	(void)state;
	for (size_t i = 0; i < sizeof(errnums) / sizeof(errnums[0]); i++) {
		struct probe *probe = probe_new();
		sttcp_server *server = probe_listen(probe, NULL);

		probe->data = echo_data;
		fault_instead(SYS_accept4, errnums[i], -1);
		int peer = peer_connect(sttcp_server_port(server));
		assert_true(peer_say(peer, "hello"));
		EVENTUALLY(pauses_of(server) >= 3);
		/* One run of those that are passed over for each pause. */
		long count = fault_calls();
		assert_true(count <= 65 * (pauses_of(server) + 1));
		assert_true(peer_quiet(peer, 0));
		fault_clear();
		assert_true(peer_expect(peer, "hello"));
		peer_close(peer);
		sttcp_server_free(server);
		probe_free(probe);
	}
}

/* A connection that is gone before it is accepted is nothing to wait for. */
static void accept_passes_over_what_concerns_one_connection(void **state)
{
	struct probe *probe = probe_new();
	sttcp_server *server = probe_listen(probe, NULL);

	(void)state;
	probe->data = echo_data;
	for (int round = 0; round < 30; round++) {
		fault_instead(SYS_accept4, round % 2 ? ECONNABORTED : EPERM, 10);
		int peer = peer_connect(sttcp_server_port(server));
		assert_true(peer_say(peer, "hello"));
		assert_true(peer_expect(peer, "hello"));
		assert_true(fault_calls() >= 10);
		peer_close(peer);
	}
	assert_int_equal(pauses_of(server), 0);
	sttcp_server_free(server);
	probe_free(probe);
}

static void warning_of_a_pause_names_the_address_once(void **state)
{
	struct probe *probe = probe_new();
	sttcp_server *server = probe_server(probe, "", 0, NULL);
	char address[32];

	(void)state;
	assert_int_equal(sttcp_server_start(server), 0);
	snprintf(address, sizeof(address), "%s:%d: ", have_ipv6() ? "[::]" : "0.0.0.0",
		 sttcp_server_port(server));
	sttcp_set_log(note, NULL);
	fault_instead(SYS_accept4, EMFILE, -1);
	int peer = peer_connect(sttcp_server_port(server));
	/* These take more than a second. */
	EVENTUALLY(pauses_of(server) >= 9);
	fault_clear();
	pthread_mutex_lock(&said.lock);
	assert_int_equal(said.count, 1);
	assert_memory_equal(said.text, address, strlen(address));
	assert_non_null(strstr(said.text, "accepting pauses"));
	pthread_mutex_unlock(&said.lock);
	assert_true(probe_wait(probe, STTCP_CONNECTION, 1));
	sttcp_set_log(NULL, NULL);
	peer_close(peer);
	sttcp_server_free(server);
	probe_free(probe);
}

/* ------------------------------------------------------------------- fairness */

/* However many stand in the queue, those who are in have their turns between them. */
static void queue_is_taken_between_the_others(void **state)
{
	struct probe *probe = probe_new();
	sttcp_server *server = probe_listen(probe, NULL);

	(void)state;
	probe->data = echo_data;
	int peer = peer_connect(sttcp_server_port(server));

	assert_true(probe_wait(probe, STTCP_CONNECTION, 1));
	atomic_store(&excesses, 0);
	atomic_store(&newcomers, 300);
	int last = peer_connect(sttcp_server_port(server));

	assert_true(peer_say(peer, "x") && peer_expect(peer, "x"));
	assert_true(peer_say(last, "y") && peer_expect(last, "y"));
	EVENTUALLY(atomic_load(&newcomers) == 0);
	assert_int_equal(atomic_load(&excesses), 0);
	peer_close(last);
	peer_close(peer);
	sttcp_server_free(server);
	probe_free(probe);
}

/* ----------------------------------------------------------------------- stop */

/* G16: who stands in the queue when a graceful stop begins is served, and the others on the loop
 * have their turns meanwhile. */
static void stop_empties_the_queue_in_turns(void **state)
{
	enum {
		PEERS = 300
	};
	struct probe *probe = probe_new();
	sttcp_server *server = probe_listen(probe, STTCP_OPTIONS(.backlog = -1));
	int peers[PEERS];

	(void)state;
	probe->data = echo_data;
	fault_instead(SYS_accept4, EMFILE, -1);
	for (int i = 0; i < PEERS; i++) {
		peers[i] = peer_connect(sttcp_server_port(server));
		assert_true(peer_say(peers[i], "x"));
		peer_shutdown(peers[i]);
	}
	atomic_store(&longest, 0);
	fault_clear();
	assert_int_equal(sttcp_server_stop(server), 0);
	for (int i = 0; i < PEERS; i++) {
		assert_true(peer_expect(peers[i], "x"));
		peer_close(peers[i]);
	}
	assert_int_equal(probe_count(probe, STTCP_CONNECTION), PEERS);
	assert_true(atomic_load(&longest) > 0);
	/* 64 at a time; twice as many where the pause ends in the turn in which the stop begins. */
	assert_true(atomic_load(&longest) <= 2 * 64);
	sttcp_server_free(server);
	probe_free(probe);
}

/* The queue has an end, though new ones come as fast as they are accepted. */
static void expect_stop_among_newcomers(const char *host)
{
	struct probe *probe = probe_new();
	sttcp_server *server = probe_server(probe, host, 0, STTCP_OPTIONS(.backlog = -1));

	assert_int_equal(sttcp_server_start(server), 0);
	fault_instead(SYS_accept4, EMFILE, -1);
	int peer = *host == 'u' ? peer_connect_unix(host + strlen("unix:"))
				: peer_connect(sttcp_server_port(server));
	assert_true(peer >= 0);
	EVENTUALLY(pauses_of(server) >= 8); /* the next look is far */
	int64_t until = now_ms() + DEADLINE_MS;

	atomic_store(&newcomers_until_ms, until);
	atomic_store(&newcomers, INT_MAX);
	fault_clear();
	peer_shutdown(peer);
	assert_int_equal(sttcp_server_stop(server), 0);
	assert_true(now_ms() < until);
	atomic_store(&newcomers, 0);
	atomic_store(&newcomers_until_ms, INT64_MAX);
	assert_true(probe_count(probe, STTCP_CONNECTION) > 0);
	peer_close(peer);
	sttcp_server_free(server);
	probe_free(probe);
}

static void stop_among_newcomers_comes_to_its_end(void **state)
{
	char dir[] = "/tmp/sttcp-XXXXXX";
	char host[64];

	(void)state;
	expect_stop_among_newcomers("127.0.0.1");
	assert_non_null(mkdtemp(dir));
	snprintf(host, sizeof(host), "unix:%s/socket", dir);
	expect_stop_among_newcomers(host);
	assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(accept_that_is_denied_backs_off_and_heals),
		cmocka_unit_test(accept_passes_over_what_concerns_one_connection),
		cmocka_unit_test(warning_of_a_pause_names_the_address_once),
		cmocka_unit_test(queue_is_taken_between_the_others),
		cmocka_unit_test(stop_empties_the_queue_in_turns),
		cmocka_unit_test(stop_among_newcomers_comes_to_its_end),
	};

	atomic_store(&stand_in_accept4, accept_and_count);
	atomic_store(&stand_in_epoll_wait, wait_and_count);
	if (sttcp_engine_configure(1, 0, 0) < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
