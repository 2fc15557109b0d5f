/* SPDX-License-Identifier: MIT */
/* Bytes through a session, in both directions. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tls/inner.h"
#include "tls/process.h"

enum {
	RECORD = 16 * 1024, /* RFC 8446, 5.1 */
	RECORDS_PER_SEND = STT_TLS_BATCH / RECORD,
	/* A part that has so much is a record of its own: to copy it together with the next one
	 * would cost more than a few longer records save. */
	ENOUGH = RECORD / 2,
	/* What a record may have beside its bytes: header, IV, tag or MAC, padding. */
	RECORD_EXTRA = 128,
	/* Small sends gather on the stack. */
	SMALL = 1024,
	PARTS_AT_ONCE = 64
};

/* ------------------------------------------------------------------- receiving */

/* Answers go out with the next flush; a peer that does not read them is not served for ever. */
static bool has_too_many_answers(const struct stt_tls_session *session)
{
	size_t plain = session->has_plain ? STT_TLS_BATCH + 4 * RECORD_EXTRA : 0;

	return session->rest.size > STT_TLS_ANSWERS_MAX + plain;
}

/* Ends a visit that began with `refused` cleared. */
static void leave(const struct stt_tls_session *session, struct stt_visit *visit)
{
	if (session->refused)
		stt_tls_leave(visit);
	else
		stt_tls_leave_well(visit);
}

/* Bytes of one record; else as stt_verdict. */
static ssize_t read_record(struct stt_tls_session *session, void *data, size_t size)
{
	size_t got = 0;
	ssize_t result;

	session->messages = 0;
	BIO_clear_retry_flags(SSL_get_rbio(session->ssl));
	result = SSL_read_ex(session->ssl, data, size, &got) == 1 ? (ssize_t)got
								  : stt_verdict(session);
	session->refused |= session->messages;
	/* 1 is also a length. */
	if (got == 0 && result == 1) {
		session->ended = true;
		session->end_code = 0;
		result = 0;
	}
	if (has_too_many_answers(session))
		return stt_end_with(session, STTCP_ETLS,
				    "the peer asks for answers of TLS and does not read them");
	return result;
}

/* The wire gave a short read, and OpenSSL has neither plain bytes nor cipher bytes left: most often
 * so, and it saves the second read that would find nothing. Else that one finds out whether what is
 * left is a whole record. */
static bool is_emptied(const struct stt_tls_session *session)
{
	return session->dry && session->early_at == session->early_size &&
	       !SSL_has_pending(session->ssl);
}

/* Whether a part of a record has come. Of one whose header alone is there OpenSSL has nothing
 * pending: it is about to read the body. */
static bool has_part(const struct stt_tls_session *session)
{
	return session->early_at < session->early_size || SSL_has_pending(session->ssl) ||
	       strcmp(SSL_rstate_string(session->ssl), "RB") == 0;
}

/* Until there is room for no more, or nothing is left, or the budget is: how many. */
static size_t read_records(struct stt_tls_session *session, unsigned char *data, size_t size,
			   bool *emptied, int *budget)
{
	size_t got = 0;
	int left = *budget;

	session->amid = false;
	while (got < size && left > 0 && !session->ended) {
		ssize_t now = read_record(session, data + got, size - got);

		left -= 1 + session->messages;
		if (now > 0)
			got += (size_t)now;
		*emptied = now == -EAGAIN || (now > 0 && is_emptied(session));
		session->amid =
			!session->ended && (now == -EAGAIN || !*emptied) && has_part(session);
		if (*emptied)
			break;
	}
	*budget = left;
	return got;
}

ssize_t stt_tls_recv(struct stt_tls_session *session, void *data, size_t size, bool *emptied,
		     int *budget)
{
	struct stt_visit visit;
	size_t got;

	*emptied = false;
	if (session->ended)
		return session->end_code;
	if (!stt_tls_enter(&visit, session))
		return -ECANCELED;
	session->dry &= session->stays_dry;
	session->stays_dry = false;
	session->refused = session->out_of_memory = false;
	got = read_records(session, data, size, emptied, budget);
	session->needs_input = session->needs_input && SSL_in_init(session->ssl);
	leave(session, &visit);
	session->more = !*emptied;
	if (got > 0)
		return (ssize_t)got;
	return session->ended ? session->end_code : -EAGAIN;
}

void stt_tls_stay_dry(struct stt_tls_session *session, bool on)
{
	session->stays_dry = on;
}

bool stt_tls_has_input(const struct stt_tls_session *session)
{
	return session->more;
}

bool stt_tls_is_amid_record(const struct stt_tls_session *session)
{
	return session->amid;
}

/* --------------------------------------------------------------------- sending */

/* The wire takes no more, and never will. */
static void lose_output(struct stt_tls_session *session, int code)
{
	session->out_code = code;
	session->has_plain = false;
	stt_bytes_clear(&session->rest);
}

int stt_tls_flush(struct stt_tls_session *session)
{
	struct iovec parts[PARTS_AT_ONCE];

	session->held = false;
	while (session->rest.size) {
		int count = stt_bytes_peek(&session->rest, parts, PARTS_AT_ONCE, SIZE_MAX);
		ssize_t taken = session->wire->send(session->context, parts, count);

		if (taken == -EAGAIN)
			return -EAGAIN;
		if (taken < 0) {
			bool matters = session->has_plain;

			lose_output(session, (int)taken);
			return matters ? (int)taken : 0;
		}
		stt_bytes_consume(&session->rest, (size_t)taken);
		session->moved += (uint64_t)taken;
	}
	session->has_plain = false;
	return 0;
}

int stt_tls_failure(const struct stt_tls_session *session)
{
	return session->out_code ? session->out_code : session->wire_code;
}

bool stt_tls_has_failed(const struct stt_tls_session *session)
{
	return session->out_code || session->broken;
}

bool stt_tls_is_held(const struct stt_tls_session *session)
{
	return session->held;
}

bool stt_tls_needs_input(const struct stt_tls_session *session)
{
	return session->needs_input;
}

size_t stt_tls_rest(const struct stt_tls_session *session)
{
	return session->rest.size;
}

uint64_t stt_tls_moved(const struct stt_tls_session *session)
{
	return session->moved;
}

/* Where the next byte to be sent stands. */
struct source {
	const struct iovec *parts;
	size_t offset;
};

static size_t left_in_part(const struct source *source)
{
	return source->parts->iov_len - source->offset;
}

static const unsigned char *here(const struct source *source)
{
	return (const unsigned char *)source->parts->iov_base + source->offset;
}

/* The next `size` bytes, as they stand, or gathered out of several parts. */
static const unsigned char *next_bytes(struct source *source, size_t size, unsigned char *gathered)
{
	size_t at = 0;

	while (left_in_part(source) == 0)
		*source = (struct source){source->parts + 1, 0};
	if (left_in_part(source) >= size) {
		source->offset += size;
		return here(source) - size;
	}
	while (at < size) {
		size_t now = left_in_part(source);

		if (now > size - at)
			now = size - at;
		/* An empty part may be NULL, which memcpy must not get. */
		if (now)
			memcpy(gathered + at, here(source), now);
		at += now;
		source->offset += now;
		if (left_in_part(source) == 0 && at < size)
			*source = (struct source){source->parts + 1, 0};
	}
	return gathered;
}

static size_t next_record(const struct source *source, size_t size)
{
	size_t left = left_in_part(source);

	if (left >= ENOUGH && left < size)
		size = left;
	return size < RECORD ? size : RECORD;
}

/* Writes up to `*size` bytes, and tells how many. */
static int write_records(struct stt_tls_session *session, struct source source, size_t *size,
			 unsigned char *gathered)
{
	size_t left = *size;

	for (int i = 0; left && i < RECORDS_PER_SEND; i++) {
		size_t now = next_record(&source, left), written;
		const unsigned char *data = next_bytes(&source, now, gathered);

		BIO_clear_retry_flags(SSL_get_rbio(session->ssl));
		if (SSL_write_ex(session->ssl, data, now, &written) != 1) {
			int code = stt_verdict(session);

			session->needs_input = code == -EAGAIN;
			return code < 0 ? code : STTCP_ETLS;
		}
		left -= now;
	}
	*size -= left;
	return 0;
}

/* Sends the batch, and keeps what the wire does not take. */
static int send_batch(struct stt_tls_session *session)
{
	struct iovec part = {.iov_base = session->batch, .iov_len = session->batch_size};
	ssize_t taken = session->wire->send(session->context, &part, 1);

	if (taken == -EAGAIN)
		taken = 0;
	if (taken < 0) {
		lose_output(session, (int)taken);
		return (int)taken;
	}
	session->moved += (uint64_t)taken;
	if ((size_t)taken == session->batch_size)
		return 0;
	/* What OpenSSL has encrypted cannot be encrypted again. */
	if (stt_bytes_append(&session->rest, session->batch + taken,
			     session->batch_size - (size_t)taken, false) < 0) {
		lose_output(session, -ENOMEM);
		return -ENOMEM;
	}
	session->has_plain = true;
	return 0;
}

/* `memory` has room for the batch, and behind it for a record that is gathered. Behind a rest there
 * is no batch. */
static int send_through(struct stt_tls_session *session, const struct iovec *parts, size_t *size,
			unsigned char *memory, size_t batch_room)
{
	int result;

	session->batch = session->rest.size ? NULL : memory;
	session->batch_size = 0;
	session->batch_room = batch_room;
	result = write_records(session, (struct source){parts, 0}, size, memory + batch_room);
	if (result == 0 && session->batch)
		result = send_batch(session);
	else if (result == 0) {
		/* It has become the rest, or a part of it. */
		session->has_plain = true;
		result = stt_tls_flush(session);
		result = result == -EAGAIN ? 0 : result;
	}
	session->batch = NULL;
	return result;
}

static size_t size_of(const struct iovec *parts, int count)
{
	size_t size = 0;

	for (int i = 0; i < count && size < STT_TLS_BATCH; i++)
		size += parts[i].iov_len < STT_TLS_BATCH ? parts[i].iov_len : STT_TLS_BATCH;
	return size < STT_TLS_BATCH ? size : STT_TLS_BATCH;
}

/* How many bytes of the parts it has taken, `size` at most. */
static ssize_t send_some(struct stt_tls_session *session, const struct iovec *parts, size_t size)
{
	unsigned char small[2 * SMALL + RECORDS_PER_SEND * RECORD_EXTRA];
	size_t batch_room = size + RECORDS_PER_SEND * RECORD_EXTRA;
	size_t gathered = size < RECORD ? size : RECORD;
	unsigned char *memory = size <= SMALL ? small : malloc(batch_room + gathered);
	int result;

	if (!memory)
		return -ENOMEM;
	result = send_through(session, parts, &size, memory, batch_room);
	if (memory != small)
		free(memory);
	return result < 0 ? result : (ssize_t)size;
}

ssize_t stt_tls_send(struct stt_tls_session *session, const struct iovec *parts, int count)
{
	size_t size = size_of(parts, count);
	bool together = session->held && size <= SMALL;
	ssize_t result = together ? 0 : stt_tls_flush(session);
	struct stt_visit visit;

	if (result < 0)
		return result;
	if (session->out_code)
		return session->out_code;
	if (!session->open || session->finished)
		return -EPIPE;
	if (!size)
		return 0;
	if (!stt_tls_enter(&visit, session))
		return -ECANCELED;
	session->refused = session->out_of_memory = session->needs_input = false;
	result = send_some(session, parts, size);
	leave(session, &visit);
	return result;
}
