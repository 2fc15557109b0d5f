/* SPDX-License-Identifier: MIT */
/* A program may load the library with dlopen and close it while servers run: its code stays (it is
 * linked with -z nodelete). Each case runs in a process of its own. */
#include "support/support.h"

#include <dlfcn.h>

enum {
	SKIPPED = 77
};

/* What the case needs of the loaded library; the one linked into this program is not used. */
struct library {
	void *handle;
	char path[4096];
	sttcp_server *(*server_new)(const char *host, int port, const sttcp_options *options);
	int (*server_on_receive)(sttcp_server *server, sttcp_receive_handler handler);
	int (*server_start)(sttcp_server *server);
	int (*server_port)(const sttcp_server *server);
	int (*server_stop)(sttcp_server *server);
	void (*server_free)(sttcp_server *server);
	int (*conn_send)(sttcp_conn *conn, const void *data, size_t size);
};

static struct library lib;
static struct event inside = EVENT_INIT;
static struct event gate = EVENT_INIT;

static void look_up(const char *name, void *function)
{
	void *symbol = dlsym(lib.handle, name);

	CHECK(symbol);
	memcpy(function, &symbol, sizeof(symbol));
}

/* Leaves where a sanitizer does not let it in. */
static void load(void)
{
	snprintf(lib.path, sizeof(lib.path), "%s/libsttcp.so", getenv("STTCP_BUILD_DIR"));
	lib.handle = dlopen(lib.path, RTLD_NOW | RTLD_LOCAL);
	if (!lib.handle) {
		fprintf(stderr, "%s\n", dlerror());
		_exit(UNDER_ASAN || UNDER_TSAN ? SKIPPED : 1);
	}
	look_up("sttcp_server_new", &lib.server_new);
	look_up("sttcp_server_on_receive", &lib.server_on_receive);
	look_up("sttcp_server_start", &lib.server_start);
	look_up("sttcp_server_port", &lib.server_port);
	look_up("sttcp_server_stop", &lib.server_stop);
	look_up("sttcp_server_free", &lib.server_free);
	look_up("sttcp_conn_send", &lib.conn_send);
	/* Were it the one of this program, the test would show nothing. */
	CHECK(lib.server_start != sttcp_server_start);
}

static void echo(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	(void)context;
	lib.conn_send(conn, data, size);
}

static void echo_late(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	event_raise(&inside);
	event_wait(&gate, 1);
	echo(conn, data, size, context);
}

static sttcp_server *serve(sttcp_receive_handler handler)
{
	sttcp_server *server = lib.server_new("127.0.0.1", 0, NULL);

	CHECK(server);
	CHECK(lib.server_on_receive(server, handler) == 0);
	CHECK(lib.server_start(server) == 0);
	return server;
}

static void check_echo(int peer)
{
	CHECK(peer >= 0);
	CHECK(peer_say(peer, "meow"));
	CHECK(peer_expect(peer, "meow"));
}

/* Were it unloaded, its pages would be gone when dlclose returns. */
static void unload(void)
{
	CHECK(dlclose(lib.handle) == 0);
	lib.handle = NULL;
	void *again = dlopen(lib.path, RTLD_NOW | RTLD_NOLOAD);
	CHECK(again);
	CHECK(dlclose(again) == 0);
}

/* Threads that wait for something go on in its code. */
static int close_it_while_a_server_runs(void)
{
	load();
	sttcp_server *server = serve(echo);
	int port = lib.server_port(server);
	int peer = peer_connect(port);
	check_echo(peer);
	unload();
	check_echo(peer);
	for (int i = 0; i < 20; i++) {
		int other = peer_connect(port);

		check_echo(other);
		peer_close(other);
	}
	pid_t pid = fork(); /* what it has registered for a fork is called */
	CHECK(pid >= 0);
	if (pid == 0)
		_exit(0);
	CHECK(process_wait_pid(pid) == 0);
	check_echo(peer);
	peer_close(peer);
	CHECK(lib.server_stop(server) == 0);
	lib.server_free(server);
	return 0;
}

/* Nor is a handler that runs meanwhile without the code that it returns to. */
static int close_it_while_handlers_run(void)
{
	int peers[8];

	load();
	sttcp_server *server = serve(echo_late);
	for (int i = 0; i < 8; i++) {
		peers[i] = peer_connect(lib.server_port(server));
		CHECK(peer_say(peers[i], "x"));
	}
	CHECK(event_wait(&inside, 8));
	unload();
	event_raise(&gate);
	for (int i = 0; i < 8; i++) {
		CHECK(peer_expect(peers[i], "x"));
		check_echo(peers[i]);
		peer_close(peers[i]);
	}
	lib.server_free(server);
	return 0;
}

/* And leaving main is no crash. */
static int leave_main_after_closing_it(void)
{
	load();
	sttcp_server *server = serve(echo);
	int peer = peer_connect(lib.server_port(server));
	check_echo(peer);
	unload();
	check_echo(peer);
	return 0;
}

static void run_or_skip(const char *name)
{
	int status = process_run(name);

	if (status == SKIPPED) {
		fprintf(stderr, "a library with a sanitizer cannot be loaded: skipped\n");
		skip();
	}
	assert_int_equal(status, 0);
}

static void dlclose_leaves_a_running_server_alone(void **state)
{
	(void)state;
	run_or_skip("close_it_while_a_server_runs");
}

static void dlclose_leaves_running_handlers_alone(void **state)
{
	(void)state;
	run_or_skip("close_it_while_handlers_run");
}

static void dlclose_and_leaving_main_is_exit_status_0(void **state)
{
	(void)state;
	run_or_skip("leave_main_after_closing_it");
}

static const struct child children[] = {
	{"close_it_while_a_server_runs", close_it_while_a_server_runs},
	{"close_it_while_handlers_run", close_it_while_handlers_run},
	{"leave_main_after_closing_it", leave_main_after_closing_it},
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(dlclose_leaves_a_running_server_alone),
		cmocka_unit_test(dlclose_leaves_running_handlers_alone),
		cmocka_unit_test(dlclose_and_leaving_main_is_exit_status_0),
	};

	if (!getenv("STTCP_BUILD_DIR")) {
		fprintf(stderr,
			"STTCP_BUILD_DIR is not set, there is no library to load: skipped\n");
		return SKIPPED;
	}
	if (argc == 2)
		return child_main(children, argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
