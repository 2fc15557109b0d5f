/* SPDX-License-Identifier: MIT */
/* G17, a handler that forks: the child that goes away leaves the parent as it was, and one that
 * returns from the handler, which is an error of the user's, is parked by the library and does the
 * parent no harm. Each case runs in a process of its own. */
#include "support/support.h"

#include <signal.h>
#include <sys/wait.h>

/* The children of the handlers come out of a process with threads. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
	return "die_after_fork=0";
}

enum {
	CHILDREN = 4,
	/* A child that nobody came to kill ends by itself. */
	CHILD_LIFE_S = 100
};

/* Where the handler forks. */
enum place {
	IN_RECEIVE,
	IN_RECEIVE_OF_THE_POOL,
	IN_UNIVERSAL,
	IN_CONNECTION,
	IN_DISCONNECTION,
	IN_DATA_FREE,
	IN_LOG,
	IN_TASK,
	IN_FRAME,
	IN_FRAME_OF_RECV, /* the frame_fn, while a handler waits in recv_message */
	IN_FREE_AFTER_TASK,
	IN_FREE_AT_THE_END,
	PLACES
};

struct scene {
	enum place place;
	bool returns; /* the child does, else it calls execl */
	pid_t parent; /* whose handlers alone may run */
	sttcp_server *server;
	atomic_int armed; /* so many forks are to come */
	int back[2];	  /* what a child finds before it returns: one byte */
	struct event forked;
	atomic_int pids[CHILDREN];
	atomic_int npids;
};

static struct scene scene;

/* In the child: the signals are those of a thread of the library; and who reads what the test has
 * to say is not to wait for a child that is left over. */
static void limit_life(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	signal(SIGALRM, SIG_DFL);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	alarm(CHILD_LIFE_S);
	close(STDOUT_FILENO);
	close(STDERR_FILENO);
}

/* True in the child that is to return from its handler. */
static bool fork_here(sttcp_conn *conn)
{
	if (atomic_fetch_sub(&scene.armed, 1) <= 0) {
		atomic_fetch_add(&scene.armed, 1);
		return false;
	}
	pid_t pid = process_fork();
	if (pid == 0) {
		limit_life();
		if (!scene.returns) {
			execl("/nonexistent/program", "program", (char *)NULL);
			_exit(127);
		}
		/* The parent's objects answer it with a code. */
		char right = (conn ? sttcp_conn_send(conn, "bad", 3)
				   : sttcp_server_port(scene.server)) == STTCP_EFORK;
		if (write(scene.back[1], &right, 1) != 1)
			_exit(1);
		return true;
	}
	CHECK(pid > 0);
	if (scene.returns)
		atomic_store(&scene.pids[atomic_fetch_add(&scene.npids, 1)], pid);
	else
		CHECK(process_wait_pid(pid) == 127);
	event_raise(&scene.forked);
	return false;
}

static _Thread_local bool receives;

/* All that there is; or two bytes each, the first of them for the handler and the others for
 * recv_message in it. */
static int find_message(sttcp_conn *conn, const void *data, size_t size, sttcp_frame *frame,
			void *context)
{
	(void)data;
	(void)context;
	bool parts = scene.place == IN_FRAME_OF_RECV;

	if (parts && size < 2)
		return 0;
	if (scene.place == IN_FRAME || receives)
		fork_here(conn);
	frame->size = frame->total = parts ? 2 : size;
	return 1;
}

static void receive_rest(sttcp_conn *conn)
{
	char rest[8];

	receives = true;
	CHECK(sttcp_conn_recv_message(conn, rest, sizeof(rest), DEADLINE_MS) == 2);
	receives = false;
}

/* Tells who answers: no child may do so. */
static void answer(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	(void)data;
	(void)size;
	(void)context;
	if (scene.place == IN_FRAME_OF_RECV)
		receive_rest(conn);
	/* Slow ones run in the pool, or their loop goes to another thread. */
	if (scene.place == IN_RECEIVE_OF_THE_POOL)
		nap_ms(20);
	if ((scene.place == IN_RECEIVE || scene.place == IN_RECEIVE_OF_THE_POOL) && fork_here(conn))
		return;
	sttcp_conn_sendf(conn, "%d;", (int)getpid());
}

static bool see_all(sttcp_event event, sttcp_conn *conn, const void *data, size_t size,
		    void *context)
{
	(void)data;
	(void)size;
	(void)context;
	if (scene.place == IN_UNIVERSAL && event == STTCP_RECEIVE)
		fork_here(conn);
	return true;
}

static void free_data(void *data)
{
	fork_here(data);
}

/* Of a loop, when it accepts. */
static void hear(int level, const char *text, void *context)
{
	(void)level;
	(void)context;
	if (scene.place == IN_LOG && strstr(text, "accept on"))
		fork_here(NULL);
}

static void run_task(sttcp_conn *conn, void *argument)
{
	(void)argument;
	if (scene.place == IN_TASK)
		fork_here(conn);
}

static void give_task(sttcp_conn *conn)
{
	if (scene.place == IN_TASK)
		CHECK(sttcp_conn_run(conn, run_task, NULL, NULL) == 0);
	if (scene.place == IN_FREE_AFTER_TASK)
		CHECK(sttcp_conn_run(conn, run_task, conn, free_data) == 0);
	if (scene.place == IN_FREE_AT_THE_END)
		CHECK(sttcp_conn_every(conn, 3600000, run_task, conn, free_data) == 1);
}

static bool open_up(sttcp_conn *conn, void *context)
{
	(void)context;
	if (scene.place == IN_DATA_FREE)
		sttcp_conn_set_data(conn, conn, free_data);
	if (scene.place == IN_CONNECTION)
		fork_here(conn);
	give_task(conn);
	return true;
}

static void end(sttcp_conn *conn, int reason, void *context)
{
	(void)reason;
	(void)context;
	if (scene.place == IN_DISCONNECTION)
		fork_here(conn);
}

static sttcp_server *serve(enum place place, bool returns)
{
	scene.place = place;
	scene.returns = returns;
	scene.parent = getpid();
	struct event fresh = EVENT_INIT;
	scene.forked = fresh;
	CHECK(pipe(scene.back) == 0);

	bool frames = place == IN_FRAME || place == IN_FRAME_OF_RECV;
	sttcp_options options;

	sttcp_options_init(&options, sizeof(options));
	options.framing = frames ? STTCP_FRAMING_CUSTOM : STTCP_FRAMING_RAW;
	options.frame_fn = frames ? find_message : NULL;
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, &options);
	CHECK(server);
	CHECK(sttcp_server_on_receive(server, answer) == 0);
	CHECK(sttcp_server_on_connection(server, open_up) == 0);
	CHECK(sttcp_server_on_disconnection(server, end) == 0);
	CHECK(sttcp_server_on_universal(server, see_all) == 0);
	scene.server = server;
	if (place == IN_LOG) {
		sttcp_log_level(4);
		sttcp_set_log(hear, NULL);
	}
	CHECK(sttcp_server_start(server) == 0);
	return server;
}

static void check_answer(int peer)
{
	char own[32];

	snprintf(own, sizeof(own), "%d;", (int)scene.parent);
	CHECK(peer >= 0);
	CHECK(peer_say(peer, "who?"));
	CHECK(peer_expect(peer, own));
}

/* New connections, and many at a time. */
static void check_serves(int port)
{
	int peers[32];

	for (int i = 0; i < 32; i++)
		peers[i] = peer_connect(port);
	for (int i = 0; i < 32; i++)
		check_answer(peers[i]);
	for (int i = 0; i < 32; i++) {
		/* A child may hold the other end of the peer, so that close alone says nothing. */
		peer_shutdown(peers[i]);
		CHECK(peer_end(peers[i]) == 0);
		peer_close(peers[i]);
	}
}

static bool is_end(enum place place)
{
	return place == IN_DISCONNECTION || place == IN_DATA_FREE || place == IN_FREE_AT_THE_END;
}

static bool is_begin(enum place place)
{
	return place == IN_CONNECTION || place == IN_LOG || place == IN_TASK ||
	       place == IN_FREE_AFTER_TASK;
}

/* Makes handlers fork, one after the other, over a connection each. */
static void make_them_fork(int port, int *peers)
{
	for (int i = 0; i < CHILDREN; i++) {
		if (!is_begin(scene.place))
			check_answer(peers[i] = peer_connect(port));
		atomic_store(&scene.armed, 1);
		if (is_begin(scene.place))
			peers[i] = peer_connect(port);
		if (is_end(scene.place))
			peer_shutdown(peers[i]);
		else
			check_answer(peers[i]); /* of the very connection whose handler forked */
		CHECK(event_wait(&scene.forked, i + 1));
	}
}

static int exec_fails(void)
{
	for (enum place place = 0; place < PLACES; place++) {
		int peers[CHILDREN];
		sttcp_server *server = serve(place, false);
		int port = sttcp_server_port(server);

		make_them_fork(port, peers);
		for (int i = 0; i < CHILDREN; i++) {
			if (!is_end(place))
				check_answer(peers[i]);
			peer_shutdown(peers[i]);
			CHECK(peer_end(peers[i]) == 0);
			peer_close(peers[i]);
		}
		check_serves(port);
		CHECK(sttcp_server_stop(server) == 0);
		sttcp_server_free(server);
	}
	return 0;
}

/* G17 */
static void handler_that_forks_goes_on_when_exec_fails(void **state)
{
	(void)state;
	assert_int_equal(process_run("exec_fails"), 0);
}

/* Its number of switches is that of a process that runs or wakes up; -1 when it is gone. */
static long switches_of(pid_t pid)
{
	char path[64];
	char line[128];
	long sum = -1;
	long number;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	FILE *file = fopen(path, "re");
	if (!file)
		return -1;
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "voluntary_ctxt_switches: %ld", &number) == 1)
			sum = sum < 0 ? number : sum + number;
	}
	fclose(file);
	return sum;
}

/* It is parked: what the parent serves does not wake it. */
static void check_parked(pid_t pid, int port)
{
	long before;
	int64_t until = now_ms() + DEADLINE_MS;

	do { /* on its way there it may still be running */
		CHECK(now_ms() < until);
		before = switches_of(pid);
		check_serves(port);
	} while (switches_of(pid) != before);
	CHECK(before >= 0);
	CHECK(waitpid(pid, NULL, WNOHANG) == 0);
}

static int child_returns_from(enum place place)
{
	int peers[CHILDREN];
	sttcp_server *server = serve(place, true);
	int port = sttcp_server_port(server);

	make_them_fork(port, peers);
	for (int i = 0; i < CHILDREN; i++) {
		char right = 0;

		CHECK(read(scene.back[0], &right, 1) == 1);
		CHECK(right == 1);
	}
	for (int i = 0; i < CHILDREN; i++) {
		if (!is_end(place))
			check_answer(peers[i]);
		check_parked(atomic_load(&scene.pids[i]), port);
	}
	/* Connections that a child has a copy of end, and what their peers say then wakes nobody
	 * who is not there any more. */
	for (int i = 0; i < CHILDREN; i++) {
		peer_shutdown(peers[i]);
		CHECK(peer_end(peers[i]) == 0);
	}
	check_serves(port);
	for (int i = 0; i < CHILDREN; i++) {
		pid_t pid = atomic_load(&scene.pids[i]);

		CHECK(kill(pid, SIGKILL) == 0);
		CHECK(process_wait_pid(pid) == 128 + SIGKILL);
		peer_close(peers[i]);
	}
	check_serves(port);
	CHECK(sttcp_server_stop(server) == 0);
	sttcp_server_free(server);
	return 0;
}

static int returns_from_receive(void)
{
	return child_returns_from(IN_RECEIVE);
}

static int returns_from_receive_of_the_pool(void)
{
	return child_returns_from(IN_RECEIVE_OF_THE_POOL);
}

static int returns_from_universal(void)
{
	return child_returns_from(IN_UNIVERSAL);
}

static int returns_from_connection(void)
{
	return child_returns_from(IN_CONNECTION);
}

static int returns_from_disconnection(void)
{
	return child_returns_from(IN_DISCONNECTION);
}

static int returns_from_data_free(void)
{
	return child_returns_from(IN_DATA_FREE);
}

static int returns_from_log(void)
{
	return child_returns_from(IN_LOG);
}

static int returns_from_task(void)
{
	return child_returns_from(IN_TASK);
}

static int returns_from_frame(void)
{
	return child_returns_from(IN_FRAME);
}

static int returns_from_frame_of_recv(void)
{
	return child_returns_from(IN_FRAME_OF_RECV);
}

static int returns_from_free_after_task(void)
{
	return child_returns_from(IN_FREE_AFTER_TASK);
}

static int returns_from_free_at_the_end(void)
{
	return child_returns_from(IN_FREE_AT_THE_END);
}

/* The parent alone answers, on old and new connections. */
static void child_that_returns_from_a_handler_does_no_harm(void **state)
{
	(void)state;
	assert_int_equal(process_run("returns_from_receive"), 0);
	assert_int_equal(process_run("returns_from_receive_of_the_pool"), 0);
	assert_int_equal(process_run("returns_from_universal"), 0);
	assert_int_equal(process_run("returns_from_connection"), 0);
	assert_int_equal(process_run("returns_from_disconnection"), 0);
	assert_int_equal(process_run("returns_from_task"), 0);
}

/* The same for what else the library calls on its threads. */
static void child_that_returns_from_another_function_does_no_harm(void **state)
{
	(void)state;
	assert_int_equal(process_run("returns_from_data_free"), 0);
	assert_int_equal(process_run("returns_from_log"), 0);
	assert_int_equal(process_run("returns_from_frame"), 0);
	assert_int_equal(process_run("returns_from_frame_of_recv"), 0);
	assert_int_equal(process_run("returns_from_free_after_task"), 0);
	assert_int_equal(process_run("returns_from_free_at_the_end"), 0);
}

static const struct child children[] = {
	{"exec_fails", exec_fails},
	{"returns_from_receive", returns_from_receive},
	{"returns_from_receive_of_the_pool", returns_from_receive_of_the_pool},
	{"returns_from_universal", returns_from_universal},
	{"returns_from_connection", returns_from_connection},
	{"returns_from_disconnection", returns_from_disconnection},
	{"returns_from_data_free", returns_from_data_free},
	{"returns_from_log", returns_from_log},
	{"returns_from_task", returns_from_task},
	{"returns_from_frame", returns_from_frame},
	{"returns_from_frame_of_recv", returns_from_frame_of_recv},
	{"returns_from_free_after_task", returns_from_free_after_task},
	{"returns_from_free_at_the_end", returns_from_free_at_the_end},
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(handler_that_forks_goes_on_when_exec_fails),
		cmocka_unit_test(child_that_returns_from_a_handler_does_no_harm),
		cmocka_unit_test(child_that_returns_from_another_function_does_no_harm),
	};

	if (argc == 2)
		return child_main(children, argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
