/* SPDX-License-Identifier: MIT */
/*
 * The BIO of a session, one for both ways.
 *
 * Reading goes into OpenSSL's own buffer (read-ahead), without a copy. After a
 * short read it says "retry" without a system call. The end and the failures of
 * the wire say "retry", too: the session knows them, and OpenSSL makes neither
 * an alert nor an error of them.
 *
 * Writing always takes everything. So SSL_write never stops in the middle of a
 * record (there is no bad write retry, no buffer that must not move, no
 * WANT_WRITE out of SSL_read), and the answer to a key update always goes.
 * BIO_s_socket would raise SIGPIPE, and block on a descriptor that somebody has
 * made blocking.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "tls/inner.h"

static size_t take_early(struct stt_tls_session *session, char *data, size_t size)
{
	size_t left = session->early_size - session->early_at;

	if (size > left)
		size = left;
	memcpy(data, session->early + session->early_at, size);
	session->early_at += size;
	/* The peer has chosen how much it was, and the connection may last for days. */
	if (session->early_at == session->early_size) {
		free(session->early);
		session->early = NULL;
	}
	return size;
}

/* Bytes, or 0 when there are none now. */
static size_t take_from_wire(struct stt_tls_session *session, char *data, size_t size)
{
	ssize_t got;

	if (session->dry || session->fin || session->wire_code)
		return 0;
	got = session->wire->recv(session->context, data, size, &session->dry);
	if (got > 0)
		return (size_t)got;
	session->dry = true;
	if (got == 0)
		session->fin = true;
	else if (got != -EAGAIN)
		session->wire_code = (int)got;
	return 0;
}

static int read_cipher(BIO *bio, char *data, size_t size, size_t *got)
{
	struct stt_tls_session *session = BIO_get_data(bio);

	stt_note_memory(session);
	BIO_clear_retry_flags(bio);
	if (session->early_at < session->early_size)
		*got = take_early(session, data, size);
	else
		*got = take_from_wire(session, data, size);
	if (*got == 0) {
		BIO_set_retry_read(bio);
		return 0;
	}
	session->heard += *got;
	return 1;
}

/* The batch is for what comes before a rest. When it is full it becomes one. */
static bool store(struct stt_tls_session *session, const char *data, size_t size)
{
	if (session->batch && session->batch_room - session->batch_size >= size) {
		memcpy(session->batch + session->batch_size, data, size);
		session->batch_size += size;
		return true;
	}
	if (session->batch) {
		if (stt_bytes_append(&session->rest, session->batch, session->batch_size, false) <
		    0)
			return false;
		session->batch = NULL;
	}
	return stt_bytes_append(&session->rest, data, size, false) == 0;
}

static int write_cipher(BIO *bio, const char *data, size_t size, size_t *written)
{
	struct stt_tls_session *session = BIO_get_data(bio);

	BIO_clear_retry_flags(bio);
	/* Where nothing can be sent any more, the session goes on to read what the peer had sent.
	 */
	if (session->out_code == 0 && !store(session, data, size)) {
		session->out_of_memory = true;
		return 0;
	}
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

static BIO_METHOD *method;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void make_method(void)
{
	int type = BIO_get_new_index();
	BIO_METHOD *made =
		type < 0 ? NULL : BIO_meth_new(type | BIO_TYPE_SOURCE_SINK, "sttcp connection");

	if (!made)
		return;
	BIO_meth_set_read_ex(made, read_cipher);
	BIO_meth_set_write_ex(made, write_cipher);
	BIO_meth_set_ctrl(made, control);
	method = made;
}

BIO *stt_bio_new(struct stt_tls_session *session)
{
	BIO *bio;

	pthread_once(&once, make_method);
	bio = method ? BIO_new(method) : NULL;
	if (bio) {
		BIO_set_data(bio, session);
		BIO_set_init(bio, 1);
	}
	return bio;
}
