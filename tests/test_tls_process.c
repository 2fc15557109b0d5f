/* SPDX-License-Identifier: MIT */
/* OpenSSL in a process that ends or forks while threads use it. */
#include "support/certs.h"
#include "support/support.h"
#include "support/tls_pairs.h"
#include "support/tls_stage.h"

#include <openssl/ssl.h>
#include <sys/resource.h>

#include "tls/process.h"

#if UNDER_ASAN
/* What threads hold at exit, and what can no longer be freed, is no leak. */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
	return 1;
}
#endif

enum {
	NTHREADS = 3,
	NCLIENTS = 4,
	NFORKS = 5,
	ROUNDS = UNDER_ASAN || UNDER_TSAN ? 3 : 10
};

static struct sttcp_tls *server;
static struct sttcp_tls *client;
static atomic_long handshakes;

static void make_objects(void)
{
	struct cert_spec spec = {.names = "DNS:a.example"};
	struct cert host;
	const char *file;

	CHECK(stt_tls_begin());
	certs_open();
	host = cert_make(&spec, NULL);
	file = certs_write_chain("host.pem", &host, NULL);
	server = stt_tls_new_server(file, certs_write_key("host.key", &host));
	client = stt_tls_new_client();
	CHECK(stt_tls_trust(client, file) == 0);
	CHECK(stt_tls_use(server) == 0);
	CHECK(stt_tls_use(client) == 0);
	cert_free(&host);
	certs_close();
}

static struct stt_tls_session *open_session(struct sttcp_tls *tls, struct tls_side *side)
{
	struct stt_tls_session *session = NULL;
	struct stt_tls_start start = {.name = "a.example", .wire = &tube_wire, .context = side};

	return stt_tls_session_new(&session, tls, &start) == 0 ? session : NULL;
}

/* Whatever the results: when the process ends there are none. */
static void meet_once(void)
{
	static char word[] = "word";
	struct iovec part = {.iov_base = word, .iov_len = sizeof(word)};
	struct tls_pair pair = {.server = {.in = &pair.to_server, .out = &pair.to_client},
				.client = {.in = &pair.to_client, .out = &pair.to_server}};
	char got[16];
	bool emptied;

	pair.server.session = open_session(server, &pair.server);
	pair.client.session = open_session(client, &pair.client);
	if (pair.server.session && pair.client.session) {
		pair.server.result = pair.client.result = -EAGAIN;
		tls_pair_shake(&pair);
		for (int i = 0; i < 20 && pair.client.result == 0; i++) {
			int budget = 10;

			stt_tls_send(pair.client.session, &part, 1);
			stt_tls_recv(pair.server.session, got, sizeof(got), &emptied, &budget);
		}
		atomic_fetch_add(&handshakes, pair.client.result == 0);
	}
	tls_pair_close(&pair);
}

static void *meet_for_ever(void *argument)
{
	(void)argument;
	for (;;)
		meet_once();
	return NULL;
}

static int exit_amid_traffic(void)
{
	pthread_t thread;

	make_objects();
	for (int i = 0; i < NTHREADS; i++)
		CHECK(pthread_create(&thread, NULL, meet_for_ever, NULL) == 0);
	EVENTUALLY(atomic_load(&handshakes) > 5);
	exit(0);
}

/* Its clean-up at exit is OpenSSL's own then. */
static int exit_after_openssl_was_used_before(void)
{
	CHECK(OPENSSL_init_ssl(0, NULL) == 1);
	return exit_amid_traffic();
}

static void look_behind_the_end(void)
{
	struct stt_tls_session *session;
	struct stt_tls_start start = {.name = "a.example"};

	CHECK(stt_tls_session_new(&session, client, &start) == -ECANCELED);
	CHECK(stt_tls_reload(server) == -ECANCELED);
	CHECK(strstr(stt_tls_error(server), "any more"));
	stt_tls_unref(server);
	stt_tls_unref(client);
	stt_tls_end();
	tell("refused");
}

/* Handlers of atexit(3) run backwards: this one after OpenSSL's. */
static int calls_behind_openssls_end(void)
{
	CHECK(atexit(look_behind_the_end) == 0);
	CHECK(OPENSSL_init_ssl(0, NULL) == 1);
	make_objects();
	exit(0);
}

static void look_that_nothing_has_ended(void)
{
	meet_once();
	CHECK(atomic_load(&handshakes) == 1);
	tell("agreed");
}

/* OpenSSL's clean-up is left out, so what runs behind where it would have been finds all as it was.
 */
static int calls_at_exit(void)
{
	CHECK(atexit(look_that_nothing_has_ended) == 0);
	make_objects();
	exit(0);
}

/* ------------------------------------------------------- whole servers and clients */

static atomic_long answers;
static sttcp_server *whole_server;
static sttcp_client *whole_clients[NCLIENTS];
static sttcp_tls *client_tls;

static bool begin_to_talk(sttcp_conn *conn, void *context)
{
	(void)context;
	return sttcp_conn_send(conn, "word", 4) == 0;
}

static void answer(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	(void)context;
	sttcp_conn_send(conn, data, size);
}

static bool talk_on(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	(void)context;
	atomic_fetch_add(&answers, 1);
	return sttcp_conn_send(conn, data, size) == 0;
}

/* NULL where the process is ending. */
static sttcp_client *talk(void)
{
	sttcp_client *made = sttcp_client_new("127.0.0.1", sttcp_server_port(whole_server),
					      STTCP_OPTIONS(.tls = client_tls));

	if (!made || sttcp_client_on_connection(made, begin_to_talk) < 0 ||
	    sttcp_client_on_response(made, talk_on) < 0 || sttcp_client_start(made) < 0) {
		sttcp_client_free(made);
		return NULL;
	}
	return made;
}

/* So that there are handshakes at any time. */
static void *come_and_go(void *argument)
{
	(void)argument;
	for (;;) {
		sttcp_client *one = talk();

		nap_ms(1);
		sttcp_client_free(one);
	}
	return NULL;
}

static void begin_traffic(void)
{
	pthread_t thread;

	stage_open(NULL);
	whole_server =
		sttcp_server_new("127.0.0.1", 0, STTCP_OPTIONS(.tls = stage_shared_server()));
	client_tls = stage_shared_client();
	CHECK(sttcp_server_on_receive(whole_server, answer) == 0);
	CHECK(sttcp_server_start(whole_server) == 0);
	for (int i = 0; i < NCLIENTS; i++) {
		whole_clients[i] = talk();
		CHECK(whole_clients[i]);
	}
	CHECK(pthread_create(&thread, NULL, come_and_go, NULL) == 0);
	COMES(atomic_load(&answers) > 100);
	certs_close();
}

static int exit_of_whole_servers(void)
{
	begin_traffic();
	exit(0);
}

static int exit_of_whole_servers_behind_openssl(void)
{
	CHECK(OPENSSL_init_ssl(0, NULL) == 1);
	return exit_of_whole_servers();
}

static void end_as_child(void)
{
	CHECK(sttcp_server_count(whole_server) == STTCP_EFORK);
	for (int i = 0; i < NCLIENTS; i++)
		sttcp_client_free(whole_clients[i]);
	sttcp_server_free(whole_server);
	exit(0);
}

/* Its objects are let go of in the child, which ends as a program does; the parent goes on. */
static int fork_amid_traffic(void)
{
	begin_traffic();
	for (int i = 0; i < NFORKS; i++) {
		long before = atomic_load(&answers);
		pid_t child = process_fork();

		if (child == 0)
			end_as_child();
		CHECK(process_wait_pid(child) == 0);
		COMES(atomic_load(&answers) > before + 100);
	}
	exit(0);
}

/* Its thread has time to leave before a fork that waits for it, and none before another. */
static struct event is_inside = EVENT_INIT;
static atomic_bool has_left;

/* In a child: a fork has no other thread to wait for, and those of the parent are none. */
static void fork_without_waiting(void)
{
	struct rusage before;
	struct rusage after;

	CHECK(getrusage(RUSAGE_THREAD, &before) == 0);
	pid_t child = process_fork();

	if (child == 0)
		_exit(0);
	CHECK(getrusage(RUSAGE_THREAD, &after) == 0);
	CHECK(after.ru_nvcsw - before.ru_nvcsw < 1000);
	CHECK(process_wait_pid(child) == 0);
}

static void *visit_for_ever(void *argument)
{
	struct stt_visit visit;

	(void)argument;
	CHECK(stt_tls_enter(&visit, &has_left));
	event_raise(&is_inside);
	for (;;)
		pause();
	return NULL;
}

static void *visit_for_long(void *argument)
{
	struct stt_visit visit;

	(void)argument;
	CHECK(stt_tls_enter(&visit, &has_left));
	event_raise(&is_inside);
	nap_ms(100);
	atomic_store(&has_left, true);
	stt_tls_leave(&visit);
	return NULL;
}

/* Behind the fork, both are let in. */
static int enter_again(pid_t child)
{
	struct stt_visit visit;

	CHECK(stt_tls_enter(&visit, &has_left));
	stt_tls_leave(&visit);
	if (child == 0) {
		fork_without_waiting();
		_exit(0);
	}
	CHECK(process_wait_pid(child) == 0);
	return 0;
}

/* A lock of OpenSSL's that is held inside would be held in the child for ever. */
static int fork_beside_a_visit(void)
{
	pthread_t thread;

	CHECK(stt_tls_begin());
	CHECK(pthread_create(&thread, NULL, visit_for_long, NULL) == 0);
	/* Nobody could join it in the child. */
	CHECK(pthread_detach(thread) == 0);
	CHECK(event_wait(&is_inside, 1));
	pid_t child = process_fork();

	CHECK(child >= 0 && atomic_load(&has_left));
	return enter_again(child);
}

/* Which is not waited for without end. */
static int fork_inside_a_visit(void)
{
	struct stt_visit visit;

	CHECK(stt_tls_begin());
	CHECK(stt_tls_enter(&visit, &visit));
	pid_t child = process_fork();

	CHECK(child >= 0);
	stt_tls_leave(&visit);
	return enter_again(child);
}

/* The child has not the thread that is inside, and each of its own forks, and its exit, would wait
 * for that. */
static int fork_beside_a_visit_without_end(void)
{
	pthread_t thread;

	CHECK(stt_tls_begin());
	CHECK(pthread_create(&thread, NULL, visit_for_ever, NULL) == 0);
	CHECK(pthread_detach(thread) == 0);
	CHECK(event_wait(&is_inside, 1));

	int64_t began = now_ms();
	pid_t child = process_fork();

	/* A second is promised; the rest is for a busy machine. */
	CHECK(child >= 0 && now_ms() - began < DEADLINE_MS / 2);
	return enter_again(child);
}

static const struct child children[] = {
	{"exit_amid_traffic", exit_amid_traffic},
	{"exit_after_openssl_was_used_before", exit_after_openssl_was_used_before},
	{"exit_of_whole_servers", exit_of_whole_servers},
	{"exit_of_whole_servers_behind_openssl", exit_of_whole_servers_behind_openssl},
	{"fork_amid_traffic", fork_amid_traffic},
	{"fork_beside_a_visit", fork_beside_a_visit},
	{"fork_inside_a_visit", fork_inside_a_visit},
	{"fork_beside_a_visit_without_end", fork_beside_a_visit_without_end},
	{"calls_behind_openssls_end", calls_behind_openssls_end},
	{"calls_at_exit", calls_at_exit},
	{NULL, NULL},
};

static void exit_amid_traffic_does_not_crash(void **state)
{
	(void)state;
	for (int i = 0; i < ROUNDS; i++)
		assert_int_equal(process_run("exit_amid_traffic"), 0);
}

static void neither_where_the_program_has_used_openssl_before(void **state)
{
	(void)state;
	for (int i = 0; i < ROUNDS; i++)
		assert_int_equal(process_run("exit_after_openssl_was_used_before"), 0);
}

static void whole_servers_and_clients_do_not_crash_at_exit(void **state)
{
	(void)state;
	for (int i = 0; i < ROUNDS; i++) {
		assert_int_equal(process_run("exit_of_whole_servers"), 0);
		assert_int_equal(process_run("exit_of_whole_servers_behind_openssl"), 0);
	}
}

/* G17 */
static void fork_amid_traffic_harms_neither(void **state)
{
	(void)state;
	if (UNDER_ASAN || UNDER_TSAN) {
		print_message(
			"left out: a lock of the sanitizer may be held in a child for ever\n");
		skip();
	}
	assert_int_equal(process_run("fork_amid_traffic"), 0);
}

static void fork_waits_until_nobody_is_inside(void **state)
{
	(void)state;
	assert_int_equal(process_run("fork_beside_a_visit"), 0);
	assert_int_equal(process_run("fork_inside_a_visit"), 0);
}

static void child_waits_for_no_thread_of_its_parent(void **state)
{
	(void)state;
	assert_int_equal(process_run("fork_beside_a_visit_without_end"), 0);
}

static void expect_line(const char *child, const char *expected)
{
	struct process process;
	char line[64];

	assert_true(process_start(&process, child));
	assert_true(process_line(&process, line, sizeof(line)));
	assert_string_equal(line, expected);
	assert_int_equal(process_wait(&process), 0);
}

static void calls_after_openssls_end_have_a_code(void **state)
{
	(void)state;
	expect_line("calls_behind_openssls_end", "refused");
}

static void at_exit_all_is_as_it_was(void **state)
{
	(void)state;
	expect_line("calls_at_exit", "agreed");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(exit_amid_traffic_does_not_crash),
		cmocka_unit_test(neither_where_the_program_has_used_openssl_before),
		cmocka_unit_test(whole_servers_and_clients_do_not_crash_at_exit),
		cmocka_unit_test(fork_amid_traffic_harms_neither),
		cmocka_unit_test(fork_waits_until_nobody_is_inside),
		cmocka_unit_test(child_waits_for_no_thread_of_its_parent),
		cmocka_unit_test(calls_after_openssls_end_have_a_code),
		cmocka_unit_test(at_exit_all_is_as_it_was),
	};

	if (argc > 1)
		return child_main(children, argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
