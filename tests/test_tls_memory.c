/* SPDX-License-Identifier: MIT */
/*
 * G18: memory that is denied to a session, at any of its allocations: its birth,
 * its handshake, a message each way; in both roles and versions, each side with a
 * certificate. And to a TLS object: when it is made, and set. Under a sanitizer,
 * which owns malloc, only OpenSSL's own are denied.
 */
#include <openssl/crypto.h>

#include "support/memory_faults.h"
#include "support/support.h"
#include "support/tls_pairs.h"
#include "support/tls_stage.h"

enum {
	ROOM = 128 * 1024, /* of a wire */
	/* Far more than a handshake has. */
	NEVER = 1000 * 1000,
	/* Of the failures of a client with TLS 1.3, which are more than 1000: OpenSSL 3.0 has 7. */
	HIDDEN_MAX = 14
};

/* ------------------------------------------------------------------ OpenSSL's memory */

/* Atomic: a thread of the library may be letting go of what the test has freed. */
static atomic_long left = -1;
static atomic_bool was_denied;

static bool is_denied(void)
{
	if (atomic_load(&left) < 0 || atomic_fetch_sub(&left, 1) > 0)
		return false;
	was_denied = true;
	errno = ENOMEM;
	return true;
}

static void *allocate(size_t size, const char *file, int line)
{
	(void)file;
	(void)line;
	return is_denied() ? NULL : malloc(size);
}

static void *reallocate(void *old, size_t size, const char *file, int line)
{
	(void)file;
	(void)line;
	return is_denied() ? NULL : realloc(old, size);
}

static void release(void *memory, const char *file, int line)
{
	(void)file;
	(void)line;
	free(memory);
}

static bool owns_malloc(void)
{
	return UNDER_ASAN || UNDER_TSAN;
}

/* Before OpenSSL's first allocation. */
__attribute__((constructor)) static void stand_in(void)
{
	if (owns_malloc() && CRYPTO_set_mem_functions(allocate, reallocate, release) != 1)
		abort();
}

static void deny(long count)
{
	if (owns_malloc())
		left = count;
	else if (count >= 0)
		deny_after(count, false);
}

static long deny_nothing(void)
{
	long rest = left;

	left = -1;
	return owns_malloc() ? rest : deny_no_more();
}

static bool end_denying(void)
{
	bool denied = was_denied;

	deny_nothing();
	was_denied = false;
	return owns_malloc() ? denied : allow_again();
}

/* ------------------------------------------------------------------------------ wire */

/* As tube_wire, with memory that is there already. */
static ssize_t wire_send(void *context, const struct iovec *parts, int count)
{
	struct tube *out = ((struct tls_side *)context)->out;
	size_t taken = 0;

	for (int i = 0; i < count; i++) {
		if (out->size + parts[i].iov_len > ROOM)
			return taken ? (ssize_t)taken : -EAGAIN;
		memcpy(out->bytes + out->size, parts[i].iov_base, parts[i].iov_len);
		out->size += parts[i].iov_len;
		taken += parts[i].iov_len;
	}
	out->total += taken;
	return (ssize_t)taken;
}

static ssize_t wire_recv(void *context, void *data, size_t size, bool *emptied)
{
	/* In parentheses: it is no recv(2). */
	return (tube_wire.recv)(context, data, size, emptied);
}

static const struct stt_tls_wire wire = {wire_recv, wire_send};

/* ----------------------------------------------------------------------------- sides */

struct meeting {
	struct sttcp_tls *server, *client;
	struct tls_pair pair;
	struct tls_side *poor, *other; /* memory is denied to one of them */
	long left;
	long failures;
	long hidden;
};

static void open_side(struct meeting *meeting, struct tls_side *side)
{
	bool server = side == &meeting->pair.server;
	struct stt_tls_start start = {
		.name = server ? NULL : "localhost", .wire = &wire, .context = side};

	side->in = server ? &meeting->pair.to_server : &meeting->pair.to_client;
	side->out = server ? &meeting->pair.to_client : &meeting->pair.to_server;
	side->result = stt_tls_session_new(&side->session,
					   server ? meeting->server : meeting->client, &start);
	if (side->result == 0)
		side->result = -EAGAIN;
}

static void step(struct tls_side *side)
{
	if (side->result == -EAGAIN)
		side->result = stt_tls_handshake(side->session);
	stt_tls_flush(side->session);
	/* As a connection does that has failed. */
	if (side->result < 0 && side->result != -EAGAIN)
		side->out->fin = true;
}

static void step_in_want(struct meeting *meeting)
{
	deny(meeting->left);
	step(meeting->poor);
	meeting->left = deny_nothing();
}

static size_t movement(const struct tube *tube)
{
	return 2 * tube->total - tube->size + tube->fin;
}

static void shake(struct meeting *meeting)
{
	size_t before, now = 0;

	do {
		before = now;
		step_in_want(meeting);
		step(meeting->other);
		now = movement(&meeting->pair.to_server) + movement(&meeting->pair.to_client);
	} while (now != before);
}

/* A word through both, and its end: 0, or the code with which a call of the poor one has failed. */
static int say_and_hear(struct meeting *meeting)
{
	static char word[] = "word";
	const struct iovec part = {.iov_base = word, .iov_len = sizeof(word)};
	char got[64];
	bool emptied;
	int budget = 100;

	deny(meeting->left);
	ssize_t result = stt_tls_send(meeting->poor->session, &part, 1);
	meeting->left = deny_nothing();
	if (result != (ssize_t)sizeof(word))
		return (int)result;
	assert_int_equal(stt_tls_recv(meeting->other->session, got, sizeof(got), &emptied, &budget),
			 sizeof(word));
	assert_int_equal(stt_tls_send(meeting->other->session, &part, 1), sizeof(word));
	deny(meeting->left);
	result = stt_tls_recv(meeting->poor->session, got, sizeof(got), &emptied, &budget);
	meeting->left = deny_nothing();
	return result == (ssize_t)sizeof(word) ? 0 : (int)result;
}

static void expect_memory_is_missed(const struct meeting *meeting, long count, int code)
{
	const struct stt_tls_session *session = meeting->poor->session;
	const char *text = session ? stt_tls_text(session) : "";

	/* A call that failed before OpenSSL was asked has ended nothing, and needs no sentence. */
	if (code != -ENOMEM || (meeting->poor->result < 0 && session && !*text))
		fail_msg("allocation %ld: %d, \"%s\"; the peer: %d, \"%s\"", count, code, text,
			 meeting->other->result, stt_tls_text(meeting->other->session));
}

/* With TLS 1.3 a client is done before its server is. Where OpenSSL has no memory for the client's
 * certificate it shows none, and that is all that the client hears of it. */
static void expect_refusal_is_told(struct meeting *meeting)
{
	char got[64];
	bool emptied;
	int budget = 100;
	ssize_t result = stt_tls_recv(meeting->poor->session, got, sizeof(got), &emptied, &budget);

	meeting->hidden++;
	if (result != STTCP_ETLS || !*stt_tls_text(meeting->poor->session))
		fail_msg("%zd, \"%s\"; the peer: %d, \"%s\"", result,
			 stt_tls_text(meeting->poor->session), meeting->other->result,
			 stt_tls_text(meeting->other->session));
}

/* What fails is told as what it is, and the other side is not left waiting; what does not fail
 * works. True if memory was denied. */
static bool meet(struct meeting *meeting, bool of_server, long count)
{
	memset(&meeting->pair, 0, sizeof(meeting->pair));
	meeting->pair.to_server.bytes = malloc(ROOM);
	meeting->pair.to_client.bytes = malloc(ROOM);
	meeting->poor = of_server ? &meeting->pair.server : &meeting->pair.client;
	meeting->other = of_server ? &meeting->pair.client : &meeting->pair.server;
	open_side(meeting, meeting->other);
	assert_non_null(meeting->other->session);
	deny(count);
	open_side(meeting, meeting->poor);
	meeting->left = deny_nothing();

	int code = meeting->poor->result;

	if (meeting->poor->session) {
		shake(meeting);
		code = meeting->poor->result;
		if (code != 0)
			assert_int_not_equal(meeting->other->result, -EAGAIN);
		else if (meeting->other->result == 0)
			code = say_and_hear(meeting);
	}
	bool denied = end_denying();

	meeting->failures += code != 0;
	if (code != 0)
		expect_memory_is_missed(meeting, count, code);
	else if (meeting->other->result != 0)
		expect_refusal_is_told(meeting);
	assert_true(code == 0 || denied);
	tls_pair_close(&meeting->pair);
	return denied;
}

/* A run takes every few, from a place that differs from run to run; STTCP_TEST_EVERY=1 takes them
 * all, for a minute. */
static long stride(void)
{
	const char *every = getenv("STTCP_TEST_EVERY");

	return every ? atol(every) : 9;
}

static void sweep(int version, bool of_server)
{
	struct meeting meeting = {.server = stage_server(), .client = stage_client()};
	long count = (long)(test_seed() % (uint32_t)stride());

	assert_int_equal(sttcp_tls_trust(meeting.server, stage.trust), 0);
	assert_int_equal(sttcp_tls_require_peer(meeting.server, STTCP_TLS_PEER_REQUIRED), 0);
	assert_int_equal(sttcp_tls_set_certificate(meeting.client, stage.chain, stage.key), 0);
	assert_int_equal(sttcp_tls_set_alpn(meeting.server, "a,b"), 0);
	assert_int_equal(sttcp_tls_set_alpn(meeting.client, "b"), 0);
	assert_int_equal(sttcp_tls_set_versions(meeting.client, version, version), 0);
	assert_int_equal(stt_tls_use(meeting.server), 0);
	assert_int_equal(stt_tls_use(meeting.client), 0);
	/* What a process and a thread need once is there afterwards. */
	assert_false(meet(&meeting, of_server, NEVER));
	while (meet(&meeting, of_server, count))
		count += stride();
	assert_true(count > 100);
	assert_true(meeting.failures > 0);
	assert_true(meeting.hidden <= (version == 13 && !of_server ? HIDDEN_MAX : 0));
	stt_tls_unref(meeting.server);
	stt_tls_unref(meeting.client);
}

static void servers_session_survives_every_failing_allocation(void **state)
{
	(void)state;
	sweep(13, true);
	sweep(12, true);
}

static void clients_session_survives_every_failing_allocation(void **state)
{
	(void)state;
	sweep(13, false);
	sweep(12, false);
}

/* --------------------------------------------------------------------------- objects */

/* Whoever ignores a code must not trust others than were asked for, nor show less. */
static void what_there_was_no_memory_for_fails_the_start(void **state)
{
	(void)state;
	if (!memory_can_be_short())
		skip();
	sttcp_tls *trusts = sttcp_tls_client(), *shows = stage_client(), *serves = stage_server();

	deny_after(0, true);
	int trusted = sttcp_tls_trust(trusts, stage.trust);
	int shown = sttcp_tls_set_certificate(shows, stage.chain, stage.key);
	int served = sttcp_tls_add_certificate(serves, stage.chain, stage.key);
	allow_again();
	assert_int_equal(trusted, -ENOMEM);
	assert_int_equal(shown, -ENOMEM);
	assert_int_equal(served, -ENOMEM);
	assert_int_equal(stt_tls_use(trusts), -ENOMEM);
	assert_string_equal(sttcp_tls_error(trusts), "out of memory");
	assert_int_equal(stt_tls_use(shows), -ENOMEM);
	assert_int_equal(stt_tls_use(serves), -ENOMEM);
	/* Where it can be set right it is. */
	assert_int_equal(sttcp_tls_trust(trusts, stage.trust), 0);
	assert_int_equal(sttcp_tls_set_certificate(shows, stage.chain, stage.key), 0);
	assert_int_equal(stt_tls_use(trusts), 0);
	assert_int_equal(stt_tls_use(shows), 0);
	sttcp_tls_unref(trusts);
	sttcp_tls_unref(shows);
	sttcp_tls_unref(serves);
}

/* A program hands on what it got, as the option that says whether there is TLS at all. */
static void object_is_never_null(void **state)
{
	long count = 0; /* the first one is the object itself */
	bool denied = true;

	(void)state;
	for (; denied; count += stride()) {
		deny(count);
		sttcp_tls *tls = sttcp_tls_server(stage.chain, stage.key);
		denied = end_denying();
		if (!tls)
			fail_msg("allocation %ld: NULL", count);

		/* Now memory is there again: what is among the settings is tried anew. */
		sttcp_server *server = sttcp_server_new("127.0.0.1", 0, STTCP_OPTIONS(.tls = tls));
		int result = sttcp_server_start(server);

		if (result != 0 &&
		    (result != -ENOMEM || !strstr(sttcp_server_error(server), "memory")))
			fail_msg("allocation %ld: %d, %s", count, result,
				 sttcp_server_error(server));
		sttcp_server_free(server);
		sttcp_tls_unref(tls);
	}
	assert_true(count > 100);
}

/* An object for want of a better one: it can be used as any, and all fails. */
static void object_without_memory_fails_every_call(void **state)
{
	int code = 0;

	(void)state;
	if (!memory_can_be_short())
		skip();
	deny_after(0, true);
	sttcp_tls *serves = sttcp_tls_server(stage.chain, stage.key);
	sttcp_tls *begins = sttcp_tls_client();
	allow_again();
	assert_non_null(serves);
	assert_non_null(begins);
	assert_non_null(strstr(sttcp_tls_error(serves), "no memory"));
	assert_int_equal(sttcp_tls_add_certificate(serves, stage.chain, stage.key), -ENOMEM);
	assert_int_equal(sttcp_tls_set_certificate(begins, stage.chain, stage.key), -ENOMEM);
	assert_int_equal(sttcp_tls_trust(begins, stage.trust), -ENOMEM);
	assert_int_equal(sttcp_tls_require_peer(serves, STTCP_TLS_PEER_NONE), -ENOMEM);
	assert_int_equal(sttcp_tls_set_alpn(begins, "h2"), -ENOMEM);
	assert_int_equal(sttcp_tls_set_versions(serves, 12, 13), -ENOMEM);
	assert_int_equal(sttcp_tls_set_ciphers(begins, "HIGH"), -ENOMEM);
	assert_int_equal(sttcp_tls_reload(serves), -ENOMEM);
	assert_ptr_equal(sttcp_tls_ref(begins), begins);
	sttcp_tls_unref(begins);

	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, STTCP_OPTIONS(.tls = serves));
	sttcp_client *client = sttcp_client_new("127.0.0.1", 1, STTCP_OPTIONS(.tls = begins));

	assert_int_equal(sttcp_server_start(server), -ENOMEM);
	assert_non_null(strstr(sttcp_server_error(server), "no memory"));
	assert_int_equal(sttcp_client_start(client), -ENOMEM);
	assert_null(sttcp_dial("127.0.0.1", 1, STTCP_OPTIONS(.tls = begins), &code));
	assert_int_equal(code, -ENOMEM);
	sttcp_client_free(client);
	sttcp_server_free(server);
	/* More often than references were taken: nothing is freed. */
	for (int i = 0; i < 3; i++) {
		sttcp_tls_unref(serves);
		sttcp_tls_unref(begins);
	}
	assert_non_null(strstr(sttcp_tls_error(begins), "no memory"));
}

struct trial {
	sttcp_tls *server, *client;
};

static int make_server(struct trial *trial)
{
	sttcp_tls_unref(trial->server);
	trial->server = sttcp_tls_server(stage.chain, stage.key);
	return *sttcp_tls_error(trial->server) ? -ENOMEM : 0;
}

static int reload_server(struct trial *trial)
{
	return sttcp_tls_reload(trial->server);
}

static int trust_place(struct trial *trial)
{
	sttcp_tls_unref(trial->client);
	trial->client = sttcp_tls_client();
	return sttcp_tls_trust(trial->client, stage.trust);
}

static int set_ciphers(struct trial *trial)
{
	return sttcp_tls_set_ciphers(trial->server, "ECDHE+AESGCM:!MD5:TLS_AES_128_GCM_SHA256");
}

/* Whoever runs the program would look for a fault in files that are good. */
static void lack_of_memory_is_not_told_as_bad_files(void **state)
{
	static int (*const calls[])(struct trial *) = {make_server, reload_server, trust_place,
						       set_ciphers};
	struct trial trial = {stage_server(), stage_client()};

	(void)state;
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		long count = (long)(test_seed() % (uint32_t)stride());
		bool denied = true;

		for (; denied; count += stride()) {
			deny(count);
			int result = calls[i](&trial);
			const char *text = sttcp_tls_error(i == 2 ? trial.client : trial.server);

			denied = end_denying();
			if (result != 0 && (result != -ENOMEM || !strstr(text, "memory")))
				fail_msg("call %zu, allocation %ld: %d, %s", i, count, result,
					 text);
			if (result != 0 && !denied)
				fail_msg("call %zu: %d, %s", i, result, text);
		}
		assert_int_equal(calls[i](&trial), 0);
	}
	sttcp_tls_unref(trial.server);
	sttcp_tls_unref(trial.client);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(servers_session_survives_every_failing_allocation),
		cmocka_unit_test(clients_session_survives_every_failing_allocation),
		cmocka_unit_test(what_there_was_no_memory_for_fails_the_start),
		cmocka_unit_test(object_is_never_null),
		cmocka_unit_test(object_without_memory_fails_every_call),
		cmocka_unit_test(lack_of_memory_is_not_told_as_bad_files),
	};

	return cmocka_run_group_tests(tests, stage_open, stage_close);
}
