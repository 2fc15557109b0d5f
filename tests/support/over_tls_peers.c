/* SPDX-License-Identifier: MIT */
/* What a raw peer over TLS is told to do: reading, writing and its ends, as the system's calls. The
 * sessions are in over_tls_wires.c. */
#include "support/over_tls.h"
#include "support/over_tls_wires.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "support/support.h"

#undef recv
#undef send

enum {
	EARLY_MAX = 65536,
	/* How long an end waits for a handshake that may never come about, and for tickets. */
	PATIENCE_MS = 1000
};

bool over_tls_settle(int fd, int64_t until_ms)
{
	if (!over_tls())
		return true;
	wires_lock();
	bool is_settled = wire_settle(fd, until_ms);
	wires_unlock();
	return is_settled;
}

bool over_tls_pending(int fd)
{
	if (!over_tls())
		return false;
	wires_lock();
	struct wire *wire = wire_own(fd);
	bool pending = wire && SSL_pending(wire->ssl) > 0;
	wires_unlock();
	return pending;
}

/* --------------------------------------------------------------- reading, writing */

static ssize_t fail_with(int code)
{
	errno = code;
	return -1;
}

/* Behind close_notify there is nothing but a FIN. */
static ssize_t read_fin(struct wire *wire)
{
	char byte;
	ssize_t got = recv(wire->fd, &byte, 1, MSG_DONTWAIT);

	if (got <= 0)
		return got;
	fprintf(stderr, "a peer got bytes behind close_notify\n");
	return fail_with(EPROTO);
}

static ssize_t tell_failure(struct wire *wire, int result)
{
	int why = SSL_get_error(wire->ssl, result);

	if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE)
		return fail_with(EAGAIN);
	if (why == SSL_ERROR_ZERO_RETURN)
		return read_fin(wire);
	if (!SSL_is_init_finished(wire->ssl) && (wire->ended || wire->error))
		return 0;
	if (wire->error)
		return fail_with(wire->error);
	fprintf(stderr, "a peer: %s\n",
		wire->ended ? "an end without close_notify"
			    : ERR_error_string(ERR_peek_error(), NULL));
	return fail_with(EPROTO);
}

static ssize_t recv_locked(struct wire *wire, void *data, size_t size, int flags)
{
	int most = size > INT32_MAX ? INT32_MAX : (int)size;
	int got;

	if (!wire->settled)
		return fail_with(EAGAIN);
	ERR_clear_error();
	if (flags & MSG_PEEK)
		got = SSL_peek(wire->ssl, data, most);
	else
		got = SSL_read(wire->ssl, data, most);
	return got > 0 ? got : tell_failure(wire, got);
}

/* As the kernel keeps what is sent to a peer that has not accepted yet. */
static ssize_t send_early(struct wire *wire, const void *data, size_t size)
{
	if (wire->finishes)
		return fail_with(EPIPE);
	if (size > EARLY_MAX - wire->early_size)
		return fail_with(EAGAIN);
	if (!wire->early)
		wire->early = malloc(EARLY_MAX);
	if (!wire->early)
		abort();
	memcpy(wire->early + wire->early_size, data, size);
	wire->early_size += size;
	return (ssize_t)size;
}

static ssize_t send_locked(struct wire *wire, const void *data, size_t size)
{
	int most = size > INT32_MAX ? INT32_MAX : (int)size;

	if (!wire->settled)
		return send_early(wire, data, size);
	ERR_clear_error();
	int sent = most ? SSL_write(wire->ssl, data, most) : 0;
	if (sent >= 0 && (sent > 0 || !most))
		return sent;
	ssize_t result = tell_failure(wire, sent);
	return result == 0 ? fail_with(EPIPE) : result;
}

/* Until there is something to do, or an end. */
static void wait_for(int fd, short events)
{
	struct pollfd wait = {.fd = fd, .events = events};

	over_tls_settle(fd, now_ms() + 24 * 3600 * 1000);
	if (!over_tls_pending(fd))
		poll(&wait, 1, -1);
}

static ssize_t recv_once(int fd, void *data, size_t size, int flags)
{
	wires_lock();
	struct wire *wire = wire_own(fd);
	ssize_t got = wire ? recv_locked(wire, data, size, flags) : recv(fd, data, size, flags);
	wires_unlock();
	return got;
}

static bool is_wire(int fd)
{
	if (!over_tls())
		return false;
	wires_lock();
	bool is = wire_own(fd) != NULL;
	wires_unlock();
	return is;
}

static ssize_t recv_all(int fd, char *data, size_t size, int flags)
{
	size_t sum = 0;

	for (;;) {
		ssize_t got = recv_once(fd, data + sum, size - sum, flags);

		if (got > 0 && !(flags & MSG_PEEK))
			sum += (size_t)got;
		if (got > 0 && (!(flags & MSG_WAITALL) || sum == size))
			return sum ? (ssize_t)sum : got;
		if (got == 0 || (got < 0 && (errno != EAGAIN || flags & MSG_DONTWAIT)))
			return sum ? (ssize_t)sum : got;
		if (got < 0)
			wait_for(fd, POLLIN);
	}
}

ssize_t over_tls_recv(int fd, void *data, size_t size, int flags)
{
	char dropped[65536];

	if (!is_wire(fd))
		return recv(fd, data, size, flags);
	/* TCP drops them itself, see tcp(7). */
	if (flags & MSG_TRUNC)
		return recv_all(fd, dropped, size < sizeof(dropped) ? size : sizeof(dropped),
				flags);
	return recv_all(fd, data, size, flags);
}

ssize_t over_tls_send(int fd, const void *data, size_t size, int flags)
{
	size_t sum = 0;

	if (!is_wire(fd))
		return send(fd, data, size, flags);
	for (;;) {
		wires_lock();
		struct wire *wire = wire_own(fd);
		ssize_t sent = wire ? send_locked(wire, (const char *)data + sum, size - sum)
				    : fail_with(EBADF);
		wires_unlock();
		if (sent > 0)
			sum += (size_t)sent;
		if (sent >= 0 && (sum == size || flags & MSG_DONTWAIT))
			return (ssize_t)sum;
		if (sent < 0 && (errno != EAGAIN || flags & MSG_DONTWAIT))
			return sum ? (ssize_t)sum : -1;
		if (sent < 0)
			wait_for(fd, POLLOUT);
	}
}

/* ------------------------------------------------------------------------- ends */

void over_tls_shutdown(int fd)
{
	if (!is_wire(fd)) {
		shutdown(fd, SHUT_WR);
		return;
	}
	wires_lock();
	struct wire *wire = wire_own(fd);
	if (wire && wire->settled)
		wire_finish(wire);
	else if (wire)
		wire->finishes = true;
	wires_unlock();
}

/* Tickets are not the test's, it could not read them. */
static bool has_unread(struct wire *wire)
{
	char byte;

	ERR_clear_error();
	return SSL_peek(wire->ssl, &byte, 1) > 0;
}

/* Whether a server's are still to come. */
static bool lacks_tickets(struct wire *wire)
{
	return wire_says_goodbye(wire) && !SSL_is_server(wire->ssl) &&
	       SSL_version(wire->ssl) == TLS1_3_VERSION && !has_unread(wire) && !wire->tickets &&
	       !wire->ended;
}

/* TCP answers them by a reset if they come behind the end, and that would be of the test's making.
 */
static void await_tickets(int fd, int64_t until_ms)
{
	struct pollfd wait = {.fd = fd, .events = POLLIN};
	int64_t left;

	while (lacks_tickets(wire_own(fd)) && (left = until_ms - now_ms()) > 0) {
		wires_unlock();
		poll(&wait, 1, (int)left);
		wires_lock();
	}
}

static void say_goodbye(struct wire *wire)
{
	if (!wire_says_goodbye(wire))
		return;
	if (has_unread(wire)) {
		wire_reset(wire->fd);
	} else {
		ERR_clear_error();
		SSL_shutdown(wire->ssl);
	}
}

void over_tls_close(int fd)
{
	if (over_tls()) {
		wires_lock();
		wire_settle(fd, now_ms() + PATIENCE_MS);
		await_tickets(fd, now_ms() + PATIENCE_MS);
		say_goodbye(wire_own(fd));
		wire_forget(fd);
		wires_unlock();
	}
	close(fd);
}

void over_tls_forget(int fd)
{
	if (!over_tls())
		return;
	wires_lock();
	wire_settle(fd, now_ms() + PATIENCE_MS);
	wire_forget(fd);
	wires_unlock();
}
