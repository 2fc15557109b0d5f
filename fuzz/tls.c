/* SPDX-License-Identifier: MIT */
/*
 * A handshake's bytes, in both roles: a byte of flags, how many bytes a read
 * gives at most, then either what the peer sends, or changes to what a real peer
 * sends: each two bytes of how far to the next one, and the byte to put there.
 * The changes come deep into the handshake, and behind it.
 */
#include <errno.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "properties.h"
#include "tls/context.h"
#include "tls/session.h"

enum {
	IS_SERVER = 1,
	CHANGES = 2, /* of a real peer */
	ENDS = 4,    /* with a FIN behind the bytes */
	TLS_12 = 8,
	ASKS = 16, /* for a client's certificate */
	ROUNDS = 20,
	BUDGET = 64
};

/* What must hold, whatever the bytes. */
static void require(bool holds)
{
	if (!holds)
		abort();
}

/* ---------------------------------------------------------------------- objects */

static X509 *sign_certificate(EVP_PKEY *key)
{
	X509 *certificate = X509_new();
	X509_NAME *name = X509_get_subject_name(certificate);
	X509_EXTENSION *names =
		X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "DNS:a.example");

	X509_set_version(certificate, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
	X509_gmtime_adj(X509_getm_notBefore(certificate), -24L * 3600);
	X509_gmtime_adj(X509_getm_notAfter(certificate), 24L * 3600 * 3650);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"a.example", -1,
				   -1, 0);
	X509_set_issuer_name(certificate, name);
	X509_set_pubkey(certificate, key);
	require(X509_add_ext(certificate, names, -1) == 1);
	X509_EXTENSION_free(names);
	require(X509_sign(certificate, key, EVP_sha256()) > 0);
	return certificate;
}

/* Key and certificate in one file, which is no file of the disk. */
static const char *make_file(void)
{
	static char path[32];
	int fd = memfd_create("pem", 0);
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *certificate = sign_certificate(key);
	FILE *file = fdopen(dup(fd), "w");

	require(fd >= 0 && file);
	require(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL) == 1);
	require(PEM_write_X509(file, certificate) == 1);
	fclose(file);
	X509_free(certificate);
	EVP_PKEY_free(key);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return path;
}

/* By version, and of servers also by whether they ask. */
static struct sttcp_tls *servers[2][2];
static struct sttcp_tls *clients[2];

static void use(struct sttcp_tls *tls, bool old)
{
	require(stt_tls_set_versions(tls, 12, old ? 12 : 13) == 0);
	require(stt_tls_set_alpn(tls, "h2,http/1.1") == 0);
	require(stt_tls_use(tls) == 0);
}

static void make_objects(void)
{
	const char *file = make_file();

	for (int old = 0; old < 2; old++) {
		for (int asks = 0; asks < 2; asks++) {
			servers[old][asks] = stt_tls_new_server(file, NULL);
			require(stt_tls_trust(servers[old][asks], file) == 0);
			require(stt_tls_require_peer(servers[old][asks],
						     asks ? STTCP_TLS_PEER_REQUIRED
							  : STTCP_TLS_PEER_NONE) == 0);
			use(servers[old][asks], old);
		}
		clients[old] = stt_tls_new_client();
		require(stt_tls_trust(clients[old], file) == 0);
		require(stt_tls_set_certificate(clients[old], file, NULL) == 0);
		use(clients[old], old);
	}
}

/* ------------------------------------------------------------------------ wires */

struct tube {
	unsigned char *bytes;
	size_t size;
	size_t at;
	bool fin;
};

struct side {
	struct stt_tls_session *session;
	struct tube *in;
	struct tube *out;
	size_t step;	       /* bytes of one read */
	struct input *changes; /* to what is read, or NULL */
	size_t until_change;
};

static void begin_change(struct side *side)
{
	side->until_change = take_byte(side->changes);
	side->until_change |= (size_t)take_byte(side->changes) << 8;
}

static void change(struct side *side, unsigned char *data, size_t size)
{
	while (side->changes && side->changes->size && side->until_change < size) {
		data += side->until_change;
		size -= side->until_change;
		*data = take_byte(side->changes);
		begin_change(side);
	}
	side->until_change -= side->until_change < size ? side->until_change : size;
}

static ssize_t tube_recv(void *context, void *data, size_t size, bool *emptied)
{
	struct side *side = context;
	struct tube *in = side->in;
	size_t left = in->size - in->at;
	size_t got = size < side->step ? size : side->step;

	*emptied = true;
	if (!left)
		return in->fin ? 0 : -EAGAIN;
	got = got < left ? got : left;
	memcpy(data, in->bytes + in->at, got);
	in->at += got;
	change(side, data, got);
	*emptied = in->at == in->size && got < size;
	return (ssize_t)got;
}

static ssize_t tube_send(void *context, const struct iovec *parts, int count)
{
	struct tube *out = ((struct side *)context)->out;
	size_t sum = 0;

	for (int i = 0; i < count; i++) {
		out->bytes = realloc(out->bytes, out->size + parts[i].iov_len + 1);
		require(out->bytes);
		memcpy(out->bytes + out->size, parts[i].iov_base, parts[i].iov_len);
		out->size += parts[i].iov_len;
		sum += parts[i].iov_len;
	}
	return (ssize_t)sum;
}

static const struct stt_tls_wire wire = {tube_recv, tube_send};

static void open_side(struct side *side, struct sttcp_tls *tls)
{
	struct stt_tls_start start = {.name = "a.example", .wire = &wire, .context = side};

	require(stt_tls_session_new(&side->session, tls, &start) == 0);
}

/* --------------------------------------------------------------------- properties */

static bool is_code(ssize_t result)
{
	return result == -EAGAIN || result == STTCP_ETLS || result == STTCP_ECUT;
}

static void talk(struct side *side)
{
	static unsigned char data[1000];
	struct iovec part = {.iov_base = data, .iov_len = sizeof(data)};
	bool emptied = false;

	for (int i = 0; i < ROUNDS && !emptied; i++) {
		int budget = BUDGET;
		ssize_t got = stt_tls_recv(side->session, data, sizeof(data), &emptied, &budget);

		require(got >= 0 || is_code(got));
		/* A read that comes back without reason would be a loop. */
		require(got != -EAGAIN || emptied || budget <= 0);
		require(stt_tls_rest(side->session) < 2 * STT_TLS_ANSWERS_MAX);
		if (got <= 0 && got != -EAGAIN)
			break;
	}
	stt_tls_send(side->session, &part, 1);
	stt_tls_flush(side->session);
}

/* One step of a side: whether it may be worth another one. */
static bool work(struct side *side)
{
	int result = stt_tls_handshake(side->session);
	struct stt_tls_facts facts;

	require(result == 0 || is_code(result));
	stt_tls_flush(side->session);
	if (result == 0) {
		require(stt_tls_get_facts(side->session, &facts));
		require(facts.alpn && facts.server_name && facts.peer_subject);
		talk(side);
	} else if (result != -EAGAIN) {
		/* An end is explained, and stays. */
		require(*stt_tls_text(side->session));
		require(stt_tls_handshake(side->session) == result);
	}
	return result == 0 || result == -EAGAIN;
}

static void close_side(struct side *side)
{
	stt_tls_finish(side->session);
	stt_tls_flush(side->session);
	stt_tls_session_free(side->session);
}

static struct sttcp_tls *object_for(uint8_t flags, bool server)
{
	bool old = flags & TLS_12;

	return server ? servers[old][(flags & ASKS) != 0] : clients[old];
}

static void try_bytes(uint8_t flags, size_t step, struct input input)
{
	struct tube in = {.bytes = malloc(input.size + 1), .size = input.size, .fin = flags & ENDS};
	struct tube out = {.bytes = NULL};
	struct side side = {.in = &in, .out = &out, .step = step};

	require(in.bytes);
	if (input.size)
		memcpy(in.bytes, input.data, input.size);
	open_side(&side, object_for(flags, flags & IS_SERVER));
	for (int i = 0; i < ROUNDS && work(&side) && in.at < in.size; i++)
		;
	/* Whoever knows no key has not been believed. */
	require(stt_tls_handshake(side.session) != 0);
	close_side(&side);
	free(in.bytes);
	free(out.bytes);
}

static void try_changes(uint8_t flags, size_t step, struct input input)
{
	struct tube to_target = {.bytes = NULL}, to_peer = {.bytes = NULL};
	struct side target = {.in = &to_target, .out = &to_peer, .step = step, .changes = &input};
	struct side peer = {.in = &to_peer, .out = &to_target, .step = SIZE_MAX};

	begin_change(&target);
	open_side(&target, object_for(flags, flags & IS_SERVER));
	open_side(&peer, object_for(flags, !(flags & IS_SERVER)));
	for (int i = 0; i < ROUNDS; i++) {
		bool goes_on = work(&peer);

		if (!work(&target) || !goes_on)
			break;
	}
	to_target.fin = flags & ENDS;
	work(&target);
	close_side(&peer);
	close_side(&target);
	free(to_target.bytes);
	free(to_peer.bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};
	uint8_t flags = take_byte(&input);
	size_t step = take_byte(&input);

	if (!clients[0])
		make_objects();
	if (!step)
		step = SIZE_MAX;
	if (flags & CHANGES)
		try_changes(flags, step, input);
	else
		try_bytes(flags, step, input);
	return 0;
}
