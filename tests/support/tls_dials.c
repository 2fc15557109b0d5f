/* SPDX-License-Identifier: MIT */
/* Peers of OpenSSL's over memory BIOs, whose bytes are moved here. */
#include "support/tls_dials.h"

#include <openssl/err.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "support/support.h"

enum {
	HEADER_SIZE = 5, /* RFC 8446, 5.1 */
	RECORD_MAX = HEADER_SIZE + 16384 + 256
};

static void set_version(SSL_CTX *context, int version)
{
	int number = version == 12 ? TLS1_2_VERSION : version == 13 ? TLS1_3_VERSION : 0;

	assert_int_equal(SSL_CTX_set_min_proto_version(context, number), 1);
	assert_int_equal(SSL_CTX_set_max_proto_version(context, number), 1);
}

SSL_CTX *tls_dial_context(const char *trusted, int version)
{
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());

	assert_non_null(context);
	set_version(context, version);
	if (trusted) {
		assert_int_equal(SSL_CTX_load_verify_file(context, trusted), 1);
		SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
	}
	return context;
}

SSL_CTX *tls_answer_context(const char *certificate, const char *key, int version)
{
	SSL_CTX *context = SSL_CTX_new(TLS_server_method());

	assert_non_null(context);
	set_version(context, version);
	assert_int_equal(SSL_CTX_use_certificate_chain_file(context, certificate), 1);
	assert_int_equal(SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM), 1);
	return context;
}

/* ------------------------------------------------------------------- beginning */

/* A peer that is not answered must fail, not hang. */
static void set_deadline(int fd)
{
	struct timeval limit = {.tv_sec = DEADLINE_MS / 1000};

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
}

static bool begin(struct tls_dial *dial, SSL_CTX *context, int fd)
{
	*dial = (struct tls_dial){.fd = fd, .most = ALL_RECORDS};
	ERR_clear_error();
	set_deadline(fd);
	dial->ssl = SSL_new(context);
	dial->in = BIO_new(BIO_s_mem());
	dial->out = BIO_new(BIO_s_mem());
	if (!dial->ssl || !dial->in || !dial->out)
		return false;
	/* Empty is not the end. */
	BIO_set_mem_eof_return(dial->in, -1);
	SSL_set_bio(dial->ssl, dial->in, dial->out);
	return fd >= 0;
}

bool tls_dial_begin(struct tls_dial *dial, SSL_CTX *context, int fd, const char *name)
{
	if (!begin(dial, context, fd))
		return false;
	SSL_set_connect_state(dial->ssl);
	return !name || (SSL_set_tlsext_host_name(dial->ssl, name) == 1 &&
			 SSL_set1_host(dial->ssl, name) == 1);
}

bool tls_answer_begin(struct tls_dial *dial, SSL_CTX *context, int fd)
{
	if (!begin(dial, context, fd))
		return false;
	SSL_set_accept_state(dial->ssl);
	return true;
}

void tls_dial_close(struct tls_dial *dial)
{
	peer_close(dial->fd);
	SSL_free(dial->ssl);
	*dial = (struct tls_dial){.fd = -1};
}

/* -------------------------------------------------------------------- moving */

static size_t record_size(const unsigned char *header)
{
	return HEADER_SIZE + (size_t)(header[3] << 8 | header[4]);
}

/* Record by record, until there is none, or no more may leave. */
static bool put_out(struct tls_dial *dial)
{
	unsigned char record[RECORD_MAX];

	while (BIO_ctrl_pending(dial->out) >= HEADER_SIZE) {
		size_t size;

		if (BIO_read(dial->out, record, HEADER_SIZE) != HEADER_SIZE)
			return false;
		size = record_size(record);
		if (size > sizeof(record) ||
		    BIO_read(dial->out, record + HEADER_SIZE, (int)(size - HEADER_SIZE)) !=
			    (int)(size - HEADER_SIZE))
			return false;
		if (dial->records == dial->most) {
			if (dial->torn)
				peer_send(dial->fd, record, size / 2);
			peer_shutdown(dial->fd);
			return false;
		}
		dial->records++;
		if (!peer_send(dial->fd, record, size))
			return false;
	}
	return true;
}

static bool take_in(struct tls_dial *dial)
{
	unsigned char data[RECORD_MAX];
	ssize_t got = recv(dial->fd, data, sizeof(data), 0);

	return got > 0 && BIO_write(dial->in, data, (int)got) == (int)got;
}

/* Whether to call OpenSSL again, which has just given this result. */
static bool goes_on(struct tls_dial *dial, int result)
{
	int error = SSL_get_error(dial->ssl, result);

	return put_out(dial) && result <= 0 && error == SSL_ERROR_WANT_READ && take_in(dial);
}

bool tls_dial_shake(struct tls_dial *dial)
{
	int result;

	do
		result = SSL_do_handshake(dial->ssl);
	while (goes_on(dial, result));
	return result == 1 && BIO_ctrl_pending(dial->out) == 0;
}

bool tls_dial_send(struct tls_dial *dial, const void *data, size_t size)
{
	size_t taken;

	return SSL_write_ex(dial->ssl, data, size, &taken) == 1 && put_out(dial);
}

bool tls_dial_recv(struct tls_dial *dial, void *data, size_t size)
{
	char *at = data;

	while (size > 0) {
		int result;

		do
			result = SSL_read(dial->ssl, at, (int)size);
		while (goes_on(dial, result));
		if (result <= 0)
			return false;
		at += result;
		size -= (size_t)result;
	}
	return true;
}

bool tls_dial_finish(struct tls_dial *dial)
{
	return SSL_shutdown(dial->ssl) >= 0 && put_out(dial);
}

bool tls_dial_hears_the_end(struct tls_dial *dial)
{
	char byte;
	int result;

	do
		result = SSL_read(dial->ssl, &byte, 1);
	while (goes_on(dial, result));
	return SSL_get_error(dial->ssl, result) == SSL_ERROR_ZERO_RETURN;
}

bool tls_dial(struct tls_dial *dial, SSL_CTX *context, int port, const char *name)
{
	return tls_dial_begin(dial, context, peer_connect(port), name) && tls_dial_shake(dial);
}

bool tls_dial_is_answered(struct tls_dial *dial)
{
	char said[1000], heard[sizeof(said)];

	fill_pattern(said, sizeof(said), 1);
	return tls_dial_send(dial, said, sizeof(said)) &&
	       tls_dial_recv(dial, heard, sizeof(heard)) && memcmp(said, heard, sizeof(said)) == 0;
}

const char *tls_dial_why(void)
{
	const char *text = ERR_reason_error_string(ERR_peek_last_error());

	return text ? text : "no reason given";
}
