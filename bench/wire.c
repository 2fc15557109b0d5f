/* SPDX-License-Identifier: MIT */
/* The BIO, and what stands around it. */
#include "wire.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum {
	EXTRA = 64,    /* what a record has beside its bytes */
	FLIGHT = 16384 /* room for a handshake's messages before them */
};

/* What the connection whose turn it is has written. */
static char batch[FLIGHT + 4 * (WIRE_RECORD + EXTRA)];
static size_t batch_len;

static int read_socket(BIO *bio, char *data, size_t size, size_t *got)
{
	struct wire *wire = BIO_get_data(bio);

	BIO_clear_retry_flags(bio);
	if (!wire->dry) {
		ssize_t n = recv(wire->fd, data, size, MSG_DONTWAIT);

		if (n > 0) {
			/* Data and FIN may have come in one edge. */
			wire->dry = n < (ssize_t)size && !wire->hup;
			*got = (size_t)n;
			return 1;
		}
		wire->dry = true;
		if (n == 0 || errno != EAGAIN)
			wire->ended = true;
	}
	BIO_set_retry_read(bio);
	return 0;
}

/* Always takes everything, so that no record stands half written. */
static int write_batch(BIO *bio, const char *data, size_t size, size_t *written)
{
	struct wire *wire = BIO_get_data(bio);

	BIO_clear_retry_flags(bio);
	if (batch_len + size > sizeof(batch) && !wire_flush(wire))
		return 0;
	memcpy(batch + batch_len, data, size);
	batch_len += size;
	*written = size;
	return 1;
}

static long control(BIO *bio, int command, long number, void *pointer)
{
	(void)bio;
	(void)number;
	(void)pointer;
	return command == BIO_CTRL_FLUSH;
}

static BIO *new_bio(struct wire *wire)
{
	static BIO_METHOD *method;
	BIO *bio;

	if (!method) {
		method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "wire");
		BIO_meth_set_read_ex(method, read_socket);
		BIO_meth_set_write_ex(method, write_batch);
		BIO_meth_set_ctrl(method, control);
	}
	bio = BIO_new(method);
	if (bio) {
		BIO_set_data(bio, wire);
		BIO_set_init(bio, 1);
	}
	return bio;
}

static void die(const char *what)
{
	fprintf(stderr, "%s: ", what);
	ERR_print_errors_fp(stderr);
	exit(1);
}

SSL_CTX *wire_context(const char *pem)
{
	SSL_CTX *context = SSL_CTX_new(pem ? TLS_server_method() : TLS_client_method());

	if (!context || SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) != 1)
		die("OpenSSL");
	SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
					     SSL_OP_CIPHER_SERVER_PREFERENCE |
					     SSL_OP_PRIORITIZE_CHACHA);
	SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN);
	SSL_CTX_set_read_ahead(context, 1);
	/* Sessions are in their tickets alone. */
	SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
	if (pem && (SSL_CTX_use_certificate_chain_file(context, pem) != 1 ||
		    SSL_CTX_use_PrivateKey_file(context, pem, SSL_FILETYPE_PEM) != 1))
		die(pem);
	return context;
}

bool wire_open(struct wire *wire, SSL_CTX *context, int fd)
{
	BIO *bio;

	*wire = (struct wire){.ssl = SSL_new(context), .fd = fd, .dry = true};
	bio = wire->ssl ? new_bio(wire) : NULL;
	if (!bio) {
		SSL_free(wire->ssl);
		return false;
	}
	SSL_set_bio(wire->ssl, bio, bio);
	if (SSL_is_server(wire->ssl))
		SSL_set_accept_state(wire->ssl);
	else
		SSL_set_connect_state(wire->ssl);
	return true;
}

void wire_close(struct wire *wire)
{
	if (!wire->deaf && SSL_is_init_finished(wire->ssl)) {
		SSL_shutdown(wire->ssl);
		wire_flush(wire);
	}
	batch_len = 0;
	ERR_clear_error();
	SSL_free(wire->ssl);
	free(wire->rest);
}

bool wire_wake(struct wire *wire, uint32_t events)
{
	if (events & ~(uint32_t)EPOLLOUT)
		wire->dry = false;
	if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		wire->hup = true;
	return !wire->rest || wire_flush(wire);
}

/* Why a call gave nothing, as recv(2) tells it. */
static ssize_t failure(const struct wire *wire, int result)
{
	int error = SSL_get_error(wire->ssl, result);

	if (error == SSL_ERROR_WANT_READ && !wire->ended) {
		errno = EAGAIN;
		return -1;
	}
	ERR_clear_error();
	if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_ZERO_RETURN)
		return 0;
	errno = EPROTO;
	return -1;
}

ssize_t wire_recv(struct wire *wire, void *data, size_t size)
{
	size_t got = 0;
	int result = SSL_read_ex(wire->ssl, data, size, &got);

	return result == 1 ? (ssize_t)got : failure(wire, result);
}

ssize_t wire_send(struct wire *wire, const void *data, size_t size)
{
	size_t written = 0;
	int result = SSL_write_ex(wire->ssl, data, size, &written);

	return result == 1 ? (ssize_t)written : failure(wire, result);
}

/* What the peer has sent is still to be read: an end of sending is none of receiving. */
static void stop_sending(struct wire *wire)
{
	wire->deaf = true;
	free(wire->rest);
	wire->rest = NULL;
	wire->rest_at = wire->rest_len = 0;
}

/* Sends; returns what was taken. */
static size_t push(struct wire *wire, const char *data, size_t size)
{
	ssize_t n = send(wire->fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n < 0 && errno != EAGAIN)
		stop_sending(wire);
	return n > 0 ? (size_t)n : 0;
}

static void flush_rest(struct wire *wire)
{
	wire->rest_at +=
		(uint32_t)push(wire, wire->rest + wire->rest_at, wire->rest_len - wire->rest_at);
	if (wire->rest_at < wire->rest_len)
		return;
	free(wire->rest);
	wire->rest = NULL;
	wire->rest_at = wire->rest_len = 0;
}

static bool keep_rest(struct wire *wire, const char *data, size_t size)
{
	char *rest = realloc(wire->rest, wire->rest_len + size);

	if (!rest)
		return false;
	memcpy(rest + wire->rest_len, data, size);
	wire->rest = rest;
	wire->rest_len += (uint32_t)size;
	return true;
}

bool wire_flush(struct wire *wire)
{
	size_t size = batch_len, taken = 0;

	batch_len = 0;
	if (wire->rest)
		flush_rest(wire);
	if (size && !wire->rest && !wire->deaf)
		taken = push(wire, batch, size);
	return wire->deaf || taken == size || keep_rest(wire, batch + taken, size - taken);
}

bool wire_is_empty(const struct wire *wire)
{
	return wire->dry && !SSL_has_pending(wire->ssl);
}
