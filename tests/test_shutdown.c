/* SPDX-License-Identifier: MIT */
/* sttcp_engine_shutdown: no thread and no descriptor of the library is left, what lingers is
 * closed, and the next start begins anew. Each case runs in a process of its own. */
#include "support/stock.h"

#include <signal.h>

/* Children of a process with threads make threads of their own here. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
	return "die_after_fork=0";
}

static struct event inside = EVENT_INIT;
static struct event gate = EVENT_INIT;
static atomic_int result = -1;

static sttcp_server *listen_with(sttcp_receive_handler handler, const sttcp_options *options)
{
	sttcp_server *server = server_with(handler, options);

	CHECK(sttcp_server_start(server) == 0);
	return server;
}

/* ------------------------------------------------------------- nothing stays */

static void block(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	event_raise(&inside);
	event_wait(&gate, 1);
	echo(conn, data, size, context);
}

static bool respond(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	(void)conn;
	(void)data;
	(void)size;
	(void)context;
	return false;
}

static bool say_hello(sttcp_conn *conn, void *context)
{
	(void)context;
	return sttcp_conn_send(conn, "hello", 5) == 0;
}

static void run_a_client(sttcp_server *server, const char *host)
{
	sttcp_client *client = sttcp_client_new(host, sttcp_server_port(server), NULL);

	CHECK(sttcp_client_on_connection(client, say_hello) == 0);
	CHECK(sttcp_client_on_response(client, respond) == 0);
	CHECK(sttcp_client_start(client) == 0);
	CHECK(sttcp_client_wait(client, DEADLINE_MS) == 0);
	sttcp_client_free(client);
}

static int leave_nothing(void)
{
	struct stock before = take_stock();

	CHECK(sttcp_engine_shutdown() == 0); /* of nothing */
	sttcp_server *quick = listen_with(echo, NULL);
	sttcp_server *slow = listen_with(block, NULL);
	int peers[30];

	for (int i = 0; i < 30; i++) {
		peers[i] = peer_connect(sttcp_server_port(slow));
		CHECK(peer_say(peers[i], "x"));
	}
	CHECK(event_wait(&inside, 30));
	run_a_client(quick, "127.0.0.1");
	run_a_client(quick, "localhost");
	event_raise(&gate);
	for (int i = 0; i < 30; i++) {
		CHECK(peer_expect(peers[i], "x"));
		peer_close(peers[i]);
	}
	/* Closed while its name is looked up. */
	sttcp_client *client = sttcp_client_new("localhost", sttcp_server_port(quick), NULL);
	CHECK(sttcp_client_start(client) == 0);
	CHECK(sttcp_client_close(client) == 0);
	CHECK(sttcp_server_stop(slow) == 0);
	CHECK(sttcp_server_stop(quick) == 0);
	CHECK(sttcp_engine_shutdown() == 0);
	check_stock(before);
	CHECK(sttcp_engine_shutdown() == 0);
	sttcp_client_free(client);
	sttcp_server_free(slow);
	sttcp_server_free(quick);
	return 0;
}

static void shutdown_leaves_no_thread_and_no_descriptor(void **state)
{
	(void)state;
	for (int i = 0; i < 5; i++)
		assert_int_equal(process_run("leave_nothing"), 0);
}

/* ------------------------------------------------------------------- refused */

static int refuse(void)
{
	struct stock before = take_stock();
	sttcp_server *server = listen_with(block, NULL);

	CHECK(sttcp_engine_shutdown() == -EBUSY);
	CHECK(sttcp_engine_configure(1, 0, 0) == -EBUSY);
	int peer = peer_connect(sttcp_server_port(server));
	CHECK(peer_say(peer, "x"));
	CHECK(event_wait(&inside, 1));
	/* Its report is out, but a handler still runs. */
	CHECK(sttcp_server_stop_within(server, 0, NULL) == 0);
	CHECK(sttcp_engine_shutdown() == -EBUSY);
	event_raise(&gate);
	sttcp_server_free(server);
	peer_close(peer);

	server = listen_with(echo, NULL);
	sttcp_client *client = sttcp_client_new("127.0.0.1", sttcp_server_port(server), NULL);
	CHECK(sttcp_client_start(client) == 0);
	COMES(sttcp_server_count(server) == 1);
	CHECK(sttcp_server_stop_within(server, 0, NULL) == 0);
	/* The client alone, until it has ended by itself. */
	int code = sttcp_engine_shutdown();
	CHECK(code == -EBUSY || code == 0);
	CHECK(sttcp_client_wait(client, DEADLINE_MS) == 0);
	CHECK(sttcp_engine_shutdown() == 0);
	check_stock(before);
	sttcp_client_free(client);
	sttcp_server_free(server);
	return 0;
}

static void shutdown_is_refused_while_an_object_is_started(void **state)
{
	(void)state;
	assert_int_equal(process_run("refuse"), 0);
}

static atomic_bool refused;

static void shut_down_inside(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	atomic_store(&result, sttcp_engine_shutdown());
	echo(conn, data, size, context);
	sttcp_server_free(sttcp_conn_server(conn));
	sttcp_conn_close(conn);
}

/* On a thread of the library, and the group is idle: to wait here for the end would be to wait for
 * itself, and so would be a start. */
static void shut_down_in_release(void *context)
{
	(void)context;
	CHECK(sttcp_engine_shutdown() == -EDEADLK);
	event_raise(&inside);
	for (int64_t until = now_ms() + DEADLINE_MS; now_ms() < until;) {
		sttcp_server *other = server_with(echo, NULL);
		int code = sttcp_server_start(other);

		CHECK(code == 0 || code == -EDEADLK);
		sttcp_server_free(other);
		atomic_store(&refused, code < 0);
		if (code < 0)
			break;
	}
}

static int refuse_inside(void)
{
	struct stock before = take_stock();
	sttcp_server *server = server_with(shut_down_inside, NULL);

	CHECK(sttcp_server_on_release(server, shut_down_in_release) == 0);
	CHECK(sttcp_server_start(server) == 0);
	int peer = peer_connect(sttcp_server_port(server));
	CHECK(peer_say(peer, "x") && peer_expect(peer, "x"));
	CHECK(atomic_load(&result) == -EDEADLK);
	CHECK(event_wait(&inside, 1));
	/* It waits for the release function, which goes on until a start is refused. */
	COMES(sttcp_engine_shutdown() == 0);
	CHECK(atomic_load(&refused));
	peer_close(peer);
	check_stock(before);
	return 0;
}

static void shutdown_in_a_handler_gives_edeadlk(void **state)
{
	(void)state;
	assert_int_equal(process_run("refuse_inside"), 0);
}

/* ----------------------------------------------------------------- lingering */

static void flood(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	static char much[1 << 19];

	(void)data;
	(void)size;
	(void)context;
	for (int i = 0; i < 40; i++)
		if (sttcp_conn_try_send(conn, much, sizeof(much)) < 0)
			break;
	event_raise(&inside);
}

static atomic_int freed;

static void count_free(void *data)
{
	(void)data;
	atomic_fetch_add(&freed, 1);
}

static bool have_data(sttcp_conn *conn, void *context)
{
	(void)context;
	sttcp_conn_set_data(conn, conn, count_free);
	return true;
}

/* Output that is flushed without a limit to a peer that never reads; and a connection that is
 * closed in an orderly way, whose peer does not close. */
static int cut_what_lingers(void)
{
	struct stock before = take_stock();
	sttcp_server *server = server_with(flood, STTCP_OPTIONS(.write_timeout_ms = -1));

	CHECK(sttcp_server_on_connection(server, have_data) == 0);
	CHECK(sttcp_server_start(server) == 0);
	int deaf = peer_connect_narrow(sttcp_server_port(server));
	int idle = peer_connect(sttcp_server_port(server));

	CHECK(peer_say(deaf, "x"));
	CHECK(event_wait(&inside, 1));
	COMES(sttcp_server_count(server) == 2);
	CHECK(sttcp_server_stop_within(server, 0, NULL) == 0);
	sttcp_server_free(server);
	CHECK(sttcp_engine_shutdown() == 0);
	CHECK(atomic_load(&freed) == 2);
	CHECK(peer_end(idle) == 0);
	peer_close(deaf);
	peer_close(idle);
	check_stock(before);
	return 0;
}

static void shutdown_closes_what_lingers(void **state)
{
	(void)state;
	assert_int_equal(process_run("cut_what_lingers"), 0);
}

/* ------------------------------------------------------------------ outliving */

/* Every call that may be made on a connection that has ended. */
static void use_dead(sttcp_conn *conn)
{
	struct iovec part = {(char[]){'x'}, 1};
	sttcp_conn_counts counts;
	char buffer[8];

	CHECK(sttcp_conn_send(conn, "x", 1) == STTCP_ESTOPPED);
	CHECK(sttcp_conn_try_send(conn, "x", 1) == STTCP_ESTOPPED);
	CHECK(sttcp_conn_sendv(conn, &part, 1) == STTCP_ESTOPPED);
	CHECK(sttcp_conn_sendf(conn, "%d", 1) == STTCP_ESTOPPED);
	CHECK(sttcp_conn_send_message(conn, "x", 1) == STTCP_ESTOPPED);
	CHECK(sttcp_conn_set_framing(conn, STTCP_OPTIONS(.framing = STTCP_FRAMING_LINE)) ==
	      STTCP_ESTOPPED);
	CHECK(sttcp_conn_recv(conn, buffer, sizeof(buffer), 0) == -EDEADLK);
	CHECK(sttcp_conn_recv_message(conn, buffer, sizeof(buffer), 0) == -EDEADLK);
	CHECK(sttcp_conn_pause(conn) == STTCP_ESTOPPED);
	CHECK(sttcp_conn_resume(conn) == STTCP_ESTOPPED);
	CHECK(sttcp_conn_flush(conn) == STTCP_ESTOPPED);
	CHECK(sttcp_conn_shutdown(conn) == STTCP_ESTOPPED);
	CHECK(sttcp_conn_detach(conn) == STTCP_ESTOPPED);
	CHECK(sttcp_conn_fail(conn, 0, "late") == STTCP_ESTOPPED);
	CHECK(sttcp_conn_close(conn) == 0);
	CHECK(sttcp_conn_abort(conn) == 0);
	CHECK(sttcp_conn_reason(conn) == STTCP_ESTOPPED);
	CHECK(sttcp_conn_fd(conn) == -1);
	CHECK(!sttcp_conn_is_open(conn));
	CHECK(!sttcp_conn_stopping(conn));
	CHECK(!sttcp_conn_server(conn) && !sttcp_conn_client(conn));
	CHECK(strncmp(sttcp_conn_address(conn), "127.0.0.1:", 10) == 0);
	CHECK(strncmp(sttcp_conn_local_address(conn), "127.0.0.1:", 10) == 0);
	CHECK(strcmp(sttcp_conn_host(conn), "127.0.0.1") == 0);
	CHECK(sttcp_conn_fail_text(conn));
	CHECK(sttcp_conn_port(conn) > 0 && sttcp_conn_id(conn) > 0);
	CHECK(sttcp_conn_stats(conn, &counts, sizeof(counts)) == 0 && counts.bytes_in == 1);
	CHECK(sttcp_conn_data(conn) == conn);
	sttcp_conn_unref(sttcp_conn_ref(conn));
}

static void use_and_drop(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	use_dead(context);
	sttcp_conn_unref(context);
	CHECK(atomic_load(&freed) == 1);
	echo(conn, data, size, NULL);
}

static void keep_conn(sttcp_conn *conn, void *argument)
{
	*(sttcp_conn **)argument = sttcp_conn_ref(conn);
}

static int outlive(void)
{
	struct stock before = take_stock();
	sttcp_conn *kept = NULL;

	CHECK(sttcp_engine_configure(3, 0, 0) == 0);
	sttcp_server *server = server_with(echo, NULL);
	CHECK(sttcp_server_on_connection(server, have_data) == 0);
	CHECK(sttcp_server_start(server) == 0);
	int peer = echoing_peer(server);
	CHECK(sttcp_server_each(server, keep_conn, &kept) == 1);
	CHECK(sttcp_server_stop_within(server, 0, NULL) == 0);
	sttcp_server_free(server);
	CHECK(sttcp_engine_shutdown() == 0);
	peer_close(peer);
	check_stock(before);
	CHECK(atomic_load(&freed) == 0);
	use_dead(kept);

	/* The same in a handler of another engine, where the last reference goes. */
	CHECK(sttcp_engine_configure(1, 0, 0) == 0);
	server = server_with(use_and_drop, NULL);
	CHECK(sttcp_server_set_context(server, kept) == 0);
	CHECK(sttcp_server_start(server) == 0);
	peer_close(echoing_peer(server));
	CHECK(sttcp_server_stop(server) == 0);
	sttcp_server_free(server);
	CHECK(sttcp_engine_shutdown() == 0);
	check_stock(before);
	return 0;
}

static void connections_outlive_the_engine(void **state)
{
	(void)state;
	assert_int_equal(process_run("outlive"), 0);
}

/* --------------------------------------------------------------------- again */

static void check_server(sttcp_server *server)
{
	int peers[40];
	sttcp_stats stats;

	CHECK(sttcp_server_start(server) == 0);
	for (int i = 0; i < 40; i++)
		peers[i] = echoing_peer(server);
	CHECK(sttcp_server_count(server) == 40);
	CHECK(sttcp_server_broadcast(server, "y", 1) == 40);
	for (int i = 0; i < 40; i++)
		CHECK(peer_expect(peers[i], "y"));
	CHECK(sttcp_server_stats(server, &stats, sizeof(stats)) == 0);
	CHECK(stats.connections == 40 && stats.threads > 0);
	for (int i = 0; i < 20; i++)
		peer_close(peers[i]);
	COMES(sttcp_server_count(server) == 20);
	CHECK(sttcp_server_stop_within(server, 0, NULL) == 0);
	for (int i = 20; i < 40; i++) {
		CHECK(peer_end(peers[i]) == 0);
		peer_close(peers[i]);
	}
}

static int begin_anew(void)
{
	static const int loops[] = {1, 5, 2, 8, 1};
	struct stock before = take_stock();
	sttcp_server *server = server_with(echo, NULL);
	sttcp_stats stats;

	for (int i = 0; i < 5; i++) {
		CHECK(sttcp_engine_configure(loops[i], 100 + i, 0) == 0);
		check_server(server);
		CHECK(sttcp_server_start(server) == 0);
		/* A new one each time: the port of another start may be that of another program. */
		sttcp_client *client =
			sttcp_client_new("127.0.0.1", sttcp_server_port(server), NULL);

		CHECK(sttcp_client_on_response(client, respond) == 0);
		CHECK(sttcp_client_start(client) == 0);
		CHECK(sttcp_client_close(client) == 0);
		CHECK(sttcp_server_stop(server) == 0);
		CHECK(sttcp_engine_shutdown() == 0);
		check_stock(before);
		/* Nobody is there, and all can be asked. */
		CHECK(sttcp_server_count(server) == 0);
		CHECK(sttcp_server_stats(server, &stats, sizeof(stats)) == 0);
		CHECK(stats.threads == 0 && stats.total >= 40 * (i + 1));
		CHECK(sttcp_server_wait(server, 0) == 0);
		CHECK(sttcp_server_keep_alive(server) == 0);
		CHECK(sttcp_keep_alive() == -EINVAL);
		CHECK(sttcp_server_stop(server) == 0);
		CHECK(sttcp_server_request_stop(server) == 0);
		CHECK(!sttcp_server_find(server, 1));
		sttcp_client_free(client);
	}
	sttcp_server_free(server);
	return 0;
}

static void a_start_after_shutdown_begins_anew(void **state)
{
	(void)state;
	assert_int_equal(process_run("begin_anew"), 0);
}

static void look_at_mask(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	sigset_t mask;

	pthread_sigmask(SIG_BLOCK, NULL, &mask);
	atomic_store(&result, sigismember(&mask, SIGUSR1));
	echo(conn, data, size, context);
}

static void *keep(void *server)
{
	CHECK(sttcp_server_keep_alive(server) == 0);
	event_raise(&inside);
	return NULL;
}

/* G17: the next start's mask counts, and signals find the new engine. */
static int take_signals_anew(void)
{
	sttcp_server *server = server_with(look_at_mask, NULL);
	pthread_t thread;
	sigset_t usr1;

	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	signal(SIGTERM, SIG_IGN); /* one that comes too early kills nobody */
	for (int round = 0; round < 4; round++) {
		pthread_sigmask(round % 2 ? SIG_BLOCK : SIG_UNBLOCK, &usr1, NULL);
		CHECK(sttcp_server_start(server) == 0);
		peer_close(echoing_peer(server));
		CHECK(atomic_load(&result) == round % 2);
		signal(SIGTERM, SIG_DFL);
		CHECK(pthread_create(&thread, NULL, keep, server) == 0);
		struct sigaction action;
		COMES(sigaction(SIGTERM, NULL, &action) == 0 && action.sa_handler != SIG_DFL);
		raise(SIGTERM);
		CHECK(event_wait(&inside, round + 1));
		pthread_join(thread, NULL);
		CHECK(sttcp_engine_shutdown() == 0);
	}
	sttcp_server_free(server);
	return 0;
}

static void signals_find_the_next_engine(void **state)
{
	(void)state;
	assert_int_equal(process_run("take_signals_anew"), 0);
}

static const struct child children[] = {
	{"leave_nothing", leave_nothing},
	{"refuse", refuse},
	{"refuse_inside", refuse_inside},
	{"cut_what_lingers", cut_what_lingers},
	{"outlive", outlive},
	{"begin_anew", begin_anew},
	{"take_signals_anew", take_signals_anew},
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shutdown_leaves_no_thread_and_no_descriptor),
		cmocka_unit_test(shutdown_is_refused_while_an_object_is_started),
		cmocka_unit_test(shutdown_in_a_handler_gives_edeadlk),
		cmocka_unit_test(shutdown_closes_what_lingers),
		cmocka_unit_test(connections_outlive_the_engine),
		cmocka_unit_test(a_start_after_shutdown_begins_anew),
		cmocka_unit_test(signals_find_the_next_engine),
	};

	if (argc == 2)
		return child_main(children, argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
