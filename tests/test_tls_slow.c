/* SPDX-License-Identifier: MIT */
/* Signatures that take as long as they like, as those of a key in a slow module do: whoever is not
 * in such a handshake does not notice. */
#include <dlfcn.h>
#include <openssl/evp.h>

#include "support/hall.h"
#include "support/tls_stage.h"

enum {
	/* More than there are loops. */
	NSLOW = 12,
	NECHOES = 50
};

/* --------------------------------------------------------------------- slow module */

static atomic_bool is_slow;
static atomic_int signatures; /* since then */
static atomic_int inside;     /* of them wait */
static struct event is_quick = EVENT_INIT;

static int (*sign_behind)(EVP_MD_CTX *context, unsigned char *signature, size_t *size,
			  const unsigned char *data, size_t data_size);

static atomic_bool verifies_slowly; /* once */

static int (*verify_behind)(EVP_MD_CTX *context, const unsigned char *signature, size_t size,
			    const unsigned char *data, size_t data_size);

__attribute__((constructor)) static void find_behind(void)
{
	*(void **)&sign_behind = dlsym(RTLD_NEXT, "EVP_DigestSign");
	*(void **)&verify_behind = dlsym(RTLD_NEXT, "EVP_DigestVerify");
}

static void wait_inside(void)
{
	atomic_fetch_add(&inside, 1);
	event_wait(&is_quick, 1);
	atomic_fetch_sub(&inside, 1);
}

/* In front of OpenSSL's own, which makes the signatures of handshakes. The first ones wait. */
int EVP_DigestSign(EVP_MD_CTX *context, unsigned char *signature, size_t *size,
		   const unsigned char *data, size_t data_size)
{
	if (atomic_load(&is_slow) && atomic_fetch_add(&signatures, 1) < NSLOW)
		wait_inside();
	return sign_behind(context, signature, size, data, data_size);
}

/* The same for what a client verifies. */
int EVP_DigestVerify(EVP_MD_CTX *context, const unsigned char *signature, size_t size,
		     const unsigned char *data, size_t data_size)
{
	if (atomic_exchange(&verifies_slowly, false))
		wait_inside();
	return verify_behind(context, signature, size, data, data_size);
}

/* ---------------------------------------------------------------------------- peers */

struct slow_peer {
	struct tls_peer peer;
	pthread_t thread;
	bool shaken;
};

static void *shake(void *argument)
{
	struct slow_peer *slow = argument;

	slow->shaken = tls_peer_shake(&slow->peer);
	return NULL;
}

static void begin_slowly(struct slow_peer *peers, int port)
{
	for (int i = 0; i < NSLOW; i++) {
		tls_peer_prepare(&peers[i].peer, port, 0);
		assert_int_equal(pthread_create(&peers[i].thread, NULL, shake, &peers[i]), 0);
	}
	/* None waits for another one. */
	EVENTUALLY(atomic_load(&signatures) == NSLOW);
}

static void expect_echo(struct tls_peer *peer)
{
	assert_true(tls_peer_say(peer, "there"));
	assert_true(tls_peer_expect(peer, "there"));
}

static void finish(struct slow_peer *peers)
{
	for (int i = 0; i < NSLOW; i++) {
		pthread_join(peers[i].thread, NULL);
		assert_true(peers[i].shaken);
		expect_echo(&peers[i].peer);
		tls_peer_close(&peers[i].peer);
	}
}

/* An open connection, a new one, and calls of the program. */
static void expect_that_others_go_on(sttcp_server *server, struct tls_peer *open)
{
	struct tls_peer late;
	sttcp_stats stats;

	for (int i = 0; i < NECHOES; i++)
		expect_echo(open);
	tls_peer_open(&late, sttcp_server_port(server));
	expect_echo(&late);
	assert_int_equal(sttcp_server_broadcast(server, "all", 3), 2);
	assert_true(tls_peer_expect(open, "all"));
	assert_true(tls_peer_expect(&late, "all"));
	assert_int_equal(sttcp_server_stats(server, &stats, sizeof(stats)), 0);
	assert_int_equal(stats.total, NSLOW + 2);
	assert_int_equal(sttcp_server_count(server), 2);
	tls_peer_close(&late);
}

static void slow_handshakes_hold_nobody_else_up(void **state)
{
	struct slow_peer slow[NSLOW];
	struct tls_peer open;
	struct probe *probe = probe_new();

	(void)state;
	probe->data = echo_data;
	sttcp_server *server = probe_listen(probe, STTCP_OPTIONS(.tls = stage_shared_server()));

	tls_peer_open(&open, sttcp_server_port(server));
	atomic_store(&is_slow, true);
	begin_slowly(slow, sttcp_server_port(server));
	expect_that_others_go_on(server, &open);
	/* Else they may have waited for one of these. */
	assert_int_equal(atomic_load(&inside), NSLOW);
	event_raise(&is_quick);
	finish(slow);
	expect_echo(&open);
	tls_peer_close(&open);
	sttcp_server_free(server);
	probe_free(probe);
}

/* ------------------------------------------------------------------------ starttls */

static bool go_over(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	(void)probe;
	(void)data;
	(void)size;
	return sttcp_conn_start_tls(conn, stage_shared_server(), NULL) == 0;
}

/* Its connection is a member all the while: whoever sends to it, or asks about it, goes on. */
static void calls_do_not_wait_for_a_slow_start_tls(void **state)
{
	struct event fresh = EVENT_INIT;
	struct probe *probe = probe_new();
	struct slow_peer slow;
	sttcp_conn_counts counts;
	sttcp_tls_info info;

	(void)state;
	is_quick = fresh;
	/* One of them waits. */
	atomic_store(&signatures, NSLOW - 1);
	probe->data = go_over;
	sttcp_server *server = probe_listen(probe, STTCP_OPTIONS(.framing = STTCP_FRAMING_LINE));

	tls_peer_prepare(&slow.peer, sttcp_server_port(server), 0);
	assert_true(peer_say(slow.peer.fd, "STARTTLS\n"));
	EVENTUALLY(sttcp_server_count(server) == 1);
	sttcp_conn *conn = sttcp_server_find(server, probe_last_id(probe));

	assert_non_null(conn);
	assert_int_equal(pthread_create(&slow.thread, NULL, shake, &slow), 0);
	EVENTUALLY(atomic_load(&inside) == 1);
	assert_int_equal(sttcp_conn_try_send(conn, "one ", 4), 0);
	assert_int_equal(sttcp_server_broadcast(server, "two ", 4), 1);
	assert_int_equal(sttcp_conn_send(conn, "three", 5), 0);
	assert_int_equal(sttcp_conn_stats(conn, &counts, sizeof(counts)), 0);
	assert_int_equal(counts.queued, 13);
	assert_int_equal(sttcp_conn_tls(conn, &info, sizeof(info)), -ENOENT);
	assert_int_equal(atomic_load(&inside), 1);
	event_raise(&is_quick);
	pthread_join(slow.thread, NULL);
	assert_true(slow.shaken);
	assert_true(tls_peer_expect(&slow.peer, "one two three"));
	sttcp_conn_unref(conn);
	tls_peer_close(&slow.peer);
	sttcp_server_free(server);
	probe_free(probe);
}

/* ------------------------------------------------------------- a dial at max_threads */

enum {
	FULL = 6 /* peers whose handlers take more than all threads */
};

static int dial_to;
static atomic_int dial_code;
static struct event at_cap = EVENT_INIT;
static struct event dialled = EVENT_INIT;
static struct event gate = EVENT_INIT;

static void dial_or_stay(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	int code;

	(void)conn;
	(void)size;
	(void)context;
	if (*(const char *)data == 's') {
		event_wait(&gate, 1);
		return;
	}
	sttcp_conn *back = sttcp_dial("127.0.0.1", dial_to,
				      STTCP_OPTIONS(.tls = stage_shared_client()), &code);

	atomic_store(&dial_code, code);
	sttcp_conn_unref(back);
	event_raise(&dialled);
}

/* A server whose bytes are moved here: what it has said until it needs more. */
static size_t step_by_hand(struct tls_peer *peer, BIO *in, BIO *out, char **said)
{
	char bytes[4096];
	ssize_t got = recv(peer->fd, bytes, sizeof(bytes), 0);

	CHECK(got > 0);
	BIO_write(in, bytes, (int)got);
	tls_peer_shake(peer);
	return (size_t)BIO_get_mem_data(out, said);
}

static void expect_members(sttcp_server *server, int64_t count)
{
	sttcp_stats stats = {0};

	for (int64_t until = now_ms() + DEADLINE_MS; stats.total < count; nap_ms(1)) {
		CHECK(now_ms() < until);
		CHECK(sttcp_server_stats(server, &stats, sizeof(stats)) == 0);
	}
}

/* The thread in the slow step loses its loop, and others take all that are left. What comes for the
 * handshake meanwhile needs none of them. */
static int dial_slowly_at_the_cap(void)
{
	BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
	struct tls_peer back;
	int peers[1 + FULL + 2];
	char *said;

	CHECK(stage_open(NULL) == 0);
	CHECK(sttcp_engine_configure(1, 3, 0) == 0);
	hall_note_cap(&at_cap);
	int listener = peer_listen(&dial_to, 8);
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, NULL);
	CHECK(sttcp_server_on_receive(server, dial_or_stay) == 0);
	CHECK(sttcp_server_start(server) == 0);
	peers[0] = peer_connect(sttcp_server_port(server));
	CHECK(peer_say(peers[0], "d"));
	tls_peer_adopt(&back, peer_accept(listener), true, TLS1_3_VERSION);
	SSL_set_bio(back.ssl, in, out);
	size_t size = step_by_hand(&back, in, out, &said), last = 16;

	atomic_store(&verifies_slowly, true);
	CHECK(size > last && peer_send(back.fd, said, size - last));
	for (int64_t until = now_ms() + DEADLINE_MS; !atomic_load(&inside); nap_ms(1))
		CHECK(now_ms() < until);
	for (int i = 1; i <= FULL; i++) {
		peers[i] = peer_connect(sttcp_server_port(server));
		CHECK(peer_say(peers[i], "s"));
	}
	CHECK(event_wait(&at_cap, 1));
	CHECK(peer_send(back.fd, said + size - last, last));
	/* By then the loop has looked: these come in two batches of events. */
	for (int i = 1 + FULL; i < 1 + FULL + 2; i++) {
		peers[i] = peer_connect(sttcp_server_port(server));
		expect_members(server, i + 1);
	}
	event_raise(&is_quick);
	step_by_hand(&back, in, out, &said);
	CHECK(SSL_is_init_finished(back.ssl));
	CHECK(event_wait(&dialled, 1));
	CHECK(atomic_load(&dial_code) == 0);
	event_raise(&gate);
	sttcp_server_free(server);
	for (int i = 0; i < 1 + FULL + 2; i++)
		peer_close(peers[i]);
	tls_peer_close(&back);
	peer_close(listener);
	return stage_close(NULL);
}

/* G8 */
static void a_dial_with_a_slow_handshake_needs_no_thread_of_handlers(void **state)
{
	(void)state;
	assert_int_equal(process_run("dial_slowly_at_the_cap"), 0);
}

static const struct child children[] = {
	{"dial_slowly_at_the_cap", dial_slowly_at_the_cap},
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slow_handshakes_hold_nobody_else_up),
		cmocka_unit_test(calls_do_not_wait_for_a_slow_start_tls),
		cmocka_unit_test(a_dial_with_a_slow_handshake_needs_no_thread_of_handlers),
	};

	if (argc == 2)
		return child_main(children, argv[1]);
	return cmocka_run_group_tests(tests, stage_open, stage_close);
}
