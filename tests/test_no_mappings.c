/* SPDX-License-Identifier: MIT */
/* G8, G18: where no mapping is left for a stack, a handler runs on its thread's; where no thread is
 * left either, it waits in the queue. Nothing is lost, and stacks are used again when there are
 * mappings again. */
#include "base/fiber.h"
#include "support/support.h"

#include <poll.h>
#include <sys/mman.h>
#include <sys/syscall.h>

enum {
	STACKS = 128, /* two blocks */
	THREADS = 8,
	MORE = 4,    /* that owners and heirs may add */
	TALKS = 180, /* more than stacks and threads */
	MOST_MAPPINGS = 200000
};

/* ------------------------------------------------- a kernel that runs out of mappings */

/* madvise and mprotect are this program's own, in front of the C library's: as many guards as this
 * are mappings of their own, as before Linux 6.13, and then there are no more. */
static atomic_bool is_old;
static atomic_int guards_left;

int madvise(void *start, size_t size, int advice)
{
	if (atomic_load(&is_old) && advice == 102) { /* MADV_GUARD_INSTALL */
		errno = EINVAL;
		return -1;
	}
	return (int)syscall(SYS_madvise, start, size, advice);
}

int mprotect(void *start, size_t size, int protection)
{
	if (protection == PROT_NONE && atomic_load(&is_old) &&
	    atomic_fetch_sub(&guards_left, 1) <= 0) {
		errno = ENOMEM;
		return -1;
	}
	return (int)syscall(SYS_mprotect, start, size, protection);
}

/* ------------------------------------------------------------------ dialogues */

static int gate[2]; /* a pipe: its end lets them go on */
static atomic_int greeted;
static atomic_int finished;
static atomic_int failed;

/* By a descriptor of its own: who waits for another's holds a thread. */
static void wait_at_gate(void)
{
	int fd = dup(gate[0]);

	ignore(sttcp_poll(fd, POLLIN, -1));
	close(fd);
}

/* A handler of the first of two lines, which come together: so none waits for its peer on a thread
 * that others want, for which its connection would be ended. */
static void talk(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	char word[32];

	(void)context;
	sttcp_conn_sendf(conn, "hello %.*s\n", (int)size, (const char *)data);
	atomic_fetch_add(&greeted, 1);
	wait_at_gate();

	ssize_t got = sttcp_conn_recv_message(conn, word, sizeof(word), -1);

	if (got >= 0)
		sttcp_conn_sendf(conn, "%.*s\n", (int)got, word);
	sttcp_conn_close(conn);
}

/* Its memory is there when there is none any more. */
static bool get_ready(sttcp_conn *conn, void *context)
{
	return sttcp_conn_on_message(conn, talk, context) == 0 &&
	       sttcp_conn_send(conn, "ready\n", 6) == 0;
}

static void note_end(sttcp_conn *conn, int reason, void *context)
{
	(void)conn;
	(void)context;
	if (reason != STTCP_ECLOSED)
		fprintf(stderr, "a talk has ended: %s\n", sttcp_strerror(reason));
	atomic_fetch_add(reason == STTCP_ECLOSED ? &finished : &failed, 1);
}

static sttcp_server *listen_for_talks(void)
{
	sttcp_server *server = sttcp_server_new(
		"127.0.0.1", 0,
		STTCP_OPTIONS(.fibers = true, .framing = STTCP_FRAMING_LINE, .backlog = TALKS));

	CHECK(server);
	CHECK(sttcp_server_on_connection(server, get_ready) == 0);
	CHECK(sttcp_server_on_disconnection(server, note_end) == 0);
	CHECK(sttcp_server_start(server) == 0);
	return server;
}

static sttcp_stats stats_of(sttcp_server *server)
{
	sttcp_stats stats;

	CHECK(sttcp_server_stats(server, &stats, sizeof(stats)) == 0);
	return stats;
}

static void shut_gate(void)
{
	CHECK(pipe(gate) == 0);
	atomic_store(&greeted, 0);
	atomic_store(&finished, 0);
}

static void join(int port, int *peers)
{
	for (int i = 0; i < TALKS; i++) {
		peers[i] = peer_connect(port);
		CHECK(peers[i] >= 0);
		CHECK(peer_expect(peers[i], "ready\n"));
	}
}

static void begin_talk(int peer, int number)
{
	char text[64];

	snprintf(text, sizeof(text), "%d\nbye %d\n", number, number);
	CHECK(peer_say(peer, text));
}

static void expect_talk(int peer, int number)
{
	char text[64];

	snprintf(text, sizeof(text), "hello %d\nbye %d\n", number, number);
	CHECK(peer_expect(peer, text));
	CHECK(peer_end(peer) == 0);
	peer_close(peer);
}

static void finish_talks(const int *peers, int count)
{
	close(gate[1]);
	for (int i = 0; i < count; i++)
		expect_talk(peers[i], i);
	COMES(atomic_load(&finished) == count);
	CHECK(atomic_load(&failed) == 0);
	close(gate[0]);
}

static int run_out_of_guards(void)
{
	int peers[TALKS];

	CHECK(sttcp_engine_configure(1, THREADS, 0) == 0);
	atomic_store(&guards_left, STACKS);
	atomic_store(&is_old, true);
	sttcp_server *server = listen_for_talks();
	int port = sttcp_server_port(server);

	shut_gate();
	join(port, peers);
	for (int i = 0; i < TALKS; i++)
		begin_talk(peers[i], i);
	COMES(atomic_load(&greeted) >= STACKS + THREADS);
	COMES(stats_of(server).fibers_waiting == STACKS);
	COMES(stats_of(server).thread_cap_hits > 0);
	CHECK(stats_of(server).fibers == STACKS);
	CHECK(atomic_load(&greeted) <= STACKS + THREADS + MORE);
	CHECK(stats_of(server).threads <= THREADS + MORE);
	finish_talks(peers, TALKS);

	/* With mappings again. */
	atomic_store(&is_old, false);
	shut_gate();
	join(port, peers);
	for (int i = 0; i < TALKS; i++)
		begin_talk(peers[i], i);
	COMES(atomic_load(&greeted) == TALKS);
	COMES(stats_of(server).fibers_waiting == TALKS);
	finish_talks(peers, TALKS);
	sttcp_server_free(server);
	return 0;
}

static void need_fibers(void)
{
	if (!stt_fibers_are_there())
		skip();
}

static void talks_go_on_where_guards_run_out(void **state)
{
	(void)state;
	need_fibers();
	assert_int_equal(process_run("run_out_of_guards"), 0);
}

/* ------------------------------------------------------------ really none left */

static long most_mappings(void)
{
	FILE *file = fopen("/proc/sys/vm/max_map_count", "re");
	long count = -1;

	if (file && fscanf(file, "%ld", &count) != 1)
		count = -1;
	if (file)
		fclose(file);
	return count;
}

struct hoard {
	char *pages;
	size_t size;
};

/* Pages of one mapping, every second one with another protection, until there is no mapping left
 * in the process. */
static void take_all_mappings(struct hoard *hoard)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t count = (size_t)most_mappings() + 2;
	size_t at = 1;

	hoard->size = count * page;
	hoard->pages = mmap(NULL, hoard->size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(hoard->pages != MAP_FAILED);
	while (at < count && syscall(SYS_mprotect, hoard->pages + at * page, page, PROT_NONE) == 0)
		at += 2;
	CHECK(at < count && errno == ENOMEM);
	/* Up to two may be left. */
	while (mmap(NULL, page, PROT_READ | (at & 1 ? PROT_EXEC : PROT_WRITE),
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0) != MAP_FAILED)
		at++;
}

static int run_out_of_mappings(void)
{
	int peers[TALKS];
	struct hoard hoard;

	CHECK(sttcp_engine_configure(1, THREADS, 0) == 0);
	sttcp_server *server = listen_for_talks();
	int port = sttcp_server_port(server);

	shut_gate();
	join(port, peers);
	begin_talk(peers[0], 0);
	COMES(stats_of(server).fibers_waiting == 1);
	take_all_mappings(&hoard);
	for (int i = 1; i < TALKS; i++)
		begin_talk(peers[i], i);
	/* There is one block, and no thread can be made: those that there are block, and the others
	 * wait. */
	COMES(stats_of(server).threads_blocked > 0);
	CHECK(stats_of(server).fibers <= STACKS / 2);
	CHECK(atomic_load(&greeted) <= STACKS / 2 + THREADS + MORE);
	CHECK(munmap(hoard.pages, hoard.size) == 0);
	COMES(atomic_load(&greeted) == TALKS);
	CHECK(stats_of(server).fibers > TALKS - THREADS - MORE);
	finish_talks(peers, TALKS);
	sttcp_server_free(server);
	return 0;
}

static void talks_go_on_where_no_mapping_is_left(void **state)
{
	long most = most_mappings();

	(void)state;
	need_fibers();
	if (UNDER_ASAN || UNDER_TSAN || over_tls() || most < 0 || most > MOST_MAPPINGS) {
		print_message("what else needs mappings, or there are %ld of them: left out\n",
			      most);
		skip();
	}
	assert_int_equal(process_run("run_out_of_mappings"), 0);
}

int main(int argc, char **argv)
{
	static const struct child children[] = {
		{"run_out_of_guards", run_out_of_guards},
		{"run_out_of_mappings", run_out_of_mappings},
		{NULL, NULL},
	};
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(talks_go_on_where_guards_run_out),
		cmocka_unit_test(talks_go_on_where_no_mapping_is_left),
	};

	if (argc == 2)
		return child_main(children, argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
