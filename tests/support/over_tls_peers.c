/* SPDX-License-Identifier: MIT */
/*
 * Raw peers over TLS: a table from descriptors to sessions of OpenSSL's.
 *
 * One lock for all of it: nothing waits under it. It is held over fork(2), so a
 * child finds the table whole; what it inherits there it leaves alone, for its
 * parent speaks on it.
 */
#include "support/over_tls.h"
#include "support/over_tls_inner.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "support/support.h"

#undef recv
#undef send

enum {
	WIRES_MAX = 65536,
	EARLY_MAX = 65536,
	QUEUE_MAX = 64,
	/* How long an end waits for a handshake that may never come about. */
	PATIENCE_MS = 1000
};

struct wire {
	int fd;
	pid_t owner;
	SSL *ssl;
	bool settled; /* the handshake is over, one way or the other */
	bool ended;   /* the socket gave its end */
	int error;    /* the socket's, or 0 */
	char *early;  /* said before the handshake was over */
	size_t early_size;
	bool finishes; /* and then the end of its bytes */
};

/* A listener whose peers are accepted beside the test: without TLS the kernel would do that. */
struct listener {
	pid_t owner;
	int queue[QUEUE_MAX];
	int size;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t settled;
static struct wire *wires[WIRES_MAX];
static struct listener *listeners[WIRES_MAX];
static SSL_CTX *contexts[2]; /* of who begins, of who answers */
static BIO_METHOD *method;
static int waiting = -1; /* an epoll of those in their handshake */
static pid_t pump_owner;

static _Thread_local bool is_inside, is_pump;

bool over_tls_is_inside(void)
{
	return is_inside || is_pump;
}

static void take_lock(void)
{
	pthread_mutex_lock(&lock);
	is_inside = true;
}

static void give_lock(void)
{
	is_inside = false;
	pthread_mutex_unlock(&lock);
}

/* -------------------------------------------------------------------- the wire */

static int note(struct wire *wire, BIO *bio, ssize_t result)
{
	BIO_clear_retry_flags(bio);
	if (result < 0 && (errno == EAGAIN || errno == EINTR))
		BIO_set_flags(bio, BIO_FLAGS_SHOULD_RETRY | BIO_FLAGS_READ);
	else if (result < 0)
		wire->error = errno;
	return (int)result;
}

static int wire_read(BIO *bio, char *data, int size)
{
	struct wire *wire = BIO_get_data(bio);
	ssize_t got = recv(wire->fd, data, (size_t)size, MSG_DONTWAIT);

	wire->ended |= got == 0;
	return note(wire, bio, got);
}

static int wire_write(BIO *bio, const char *data, int size)
{
	struct wire *wire = BIO_get_data(bio);
	ssize_t sent = send(wire->fd, data, (size_t)size, MSG_DONTWAIT | MSG_NOSIGNAL);
	int result = note(wire, bio, sent);

	if (BIO_should_retry(bio)) {
		BIO_clear_flags(bio, BIO_FLAGS_READ);
		BIO_set_flags(bio, BIO_FLAGS_WRITE);
	}
	return result;
}

static long wire_control(BIO *bio, int command, long number, void *pointer)
{
	const struct wire *wire = BIO_get_data(bio);

	(void)number;
	(void)pointer;
	if (command == BIO_CTRL_EOF)
		return wire->ended;
	return command == BIO_CTRL_FLUSH;
}

/* ------------------------------------------------------------------- handshakes */

static struct wire *wire_of(int fd)
{
	return fd >= 0 && fd < WIRES_MAX ? wires[fd] : NULL;
}

/* Those that this process may speak on. */
static struct wire *own_wire(int fd)
{
	struct wire *wire = wire_of(fd);

	return wire && wire->owner == getpid() ? wire : NULL;
}

static bool says_goodbye(struct wire *wire)
{
	return wire && wire->settled && SSL_is_init_finished(wire->ssl) && !wire->error;
}

static void finish(struct wire *wire)
{
	ERR_clear_error();
	if (says_goodbye(wire))
		SSL_shutdown(wire->ssl);
	shutdown(wire->fd, SHUT_WR);
}

/* What a test has said and done meanwhile. */
static void catch_up(struct wire *wire)
{
	int size = (int)wire->early_size;

	for (int sum = 0, sent = 1; sum < size && sent > 0; sum += sent)
		sent = SSL_write(wire->ssl, wire->early + sum, size - sum);
	free(wire->early);
	wire->early = NULL;
	if (wire->finishes)
		finish(wire);
}

static void shake(struct wire *wire)
{
	ERR_clear_error();
	int result = SSL_do_handshake(wire->ssl);
	int why = SSL_get_error(wire->ssl, result);

	if (result != 1 && (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE))
		return;
	if (result != 1 && !wire->ended && !wire->error)
		fprintf(stderr, "a peer's handshake: %s\n",
			ERR_error_string(ERR_peek_error(), NULL));
	epoll_ctl(waiting, EPOLL_CTL_DEL, wire->fd, NULL);
	wire->settled = true;
	catch_up(wire);
	pthread_cond_broadcast(&settled);
}

static void begin_locked(int fd, bool answers);

static void accept_locked(int fd, struct listener *listener)
{
	struct pollfd there = {.fd = fd, .events = POLLIN};

	if (listener->size == QUEUE_MAX || poll(&there, 1, 0) != 1)
		return;
	int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	if (peer < 0)
		return;
	begin_locked(peer, true);
	listener->queue[listener->size++] = peer;
	pthread_cond_broadcast(&settled);
}

static struct listener *own_listener(int fd)
{
	struct listener *listener = fd >= 0 && fd < WIRES_MAX ? listeners[fd] : NULL;

	return listener && listener->owner == getpid() ? listener : NULL;
}

static void *pump(void *unused)
{
	struct epoll_event event;

	(void)unused;
	is_pump = true;
	for (;;) {
		if (epoll_wait(waiting, &event, 1, -1) != 1)
			continue;
		take_lock();
		struct wire *wire = own_wire(event.data.fd);
		struct listener *listener = own_listener(event.data.fd);
		if (wire && !wire->settled)
			shake(wire);
		if (listener)
			accept_locked(event.data.fd, listener);
		give_lock();
	}
	return NULL;
}

static void start_pump(void)
{
	pthread_attr_t attributes;
	sigset_t all, before;
	pthread_t thread;

	waiting = epoll_create1(EPOLL_CLOEXEC);
	pump_owner = getpid();
	sigfillset(&all);
	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	if (waiting < 0 || pthread_create(&thread, &attributes, pump, NULL) != 0)
		abort();
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
}

static SSL_CTX *make_context(bool answers)
{
	SSL_CTX *context = SSL_CTX_new(answers ? TLS_server_method() : TLS_client_method());

	if (!context ||
	    !SSL_CTX_set_min_proto_version(context,
					   over_tls_is_12() ? TLS1_2_VERSION : TLS1_3_VERSION) ||
	    !SSL_CTX_set_max_proto_version(context,
					   over_tls_is_12() ? TLS1_2_VERSION : TLS1_3_VERSION))
		abort();
	/* A retry comes with what is left, from wherever that is. */
	SSL_CTX_set_mode(context,
			 SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	if (answers &&
	    (SSL_CTX_use_certificate_chain_file(context, over_tls_file()) != 1 ||
	     SSL_CTX_use_PrivateKey_file(context, over_tls_file(), SSL_FILETYPE_PEM) != 1))
		abort();
	return context;
}

void over_tls_open_peers(void)
{
	pthread_condattr_t monotonic;

	method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "test peer");
	if (!method)
		abort();
	BIO_meth_set_read(method, wire_read);
	BIO_meth_set_write(method, wire_write);
	BIO_meth_set_ctrl(method, wire_control);
	contexts[false] = make_context(false);
	contexts[true] = make_context(true);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&settled, &monotonic);
	pthread_atfork(take_lock, give_lock, give_lock);
	start_pump();
}

int over_tls_threads(void)
{
	return over_tls() && pump_owner == getpid();
}

static void reset(int fd)
{
	struct linger now = {.l_onoff = 1, .l_linger = 0};

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

static void forget(int fd);

static void forget_listener(int fd)
{
	struct listener *listener = own_listener(fd);

	if (!listener)
		return;
	listeners[fd] = NULL;
	epoll_ctl(waiting, EPOLL_CTL_DEL, fd, NULL);
	for (int i = 0; i < listener->size; i++) {
		forget(listener->queue[i]);
		reset(listener->queue[i]);
		close(listener->queue[i]);
	}
	free(listener);
}

static void forget(int fd)
{
	struct wire *wire = wire_of(fd);

	forget_listener(fd);
	if (!wire)
		return;
	if (wire->owner == getpid() && !wire->settled)
		epoll_ctl(waiting, EPOLL_CTL_DEL, fd, NULL);
	wires[fd] = NULL;
	SSL_free(wire->ssl);
	free(wire->early);
	free(wire);
}

/* Wakes the pump for what comes there. */
static void watch(int fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

	if (pump_owner != getpid())
		start_pump();
	epoll_ctl(waiting, EPOLL_CTL_ADD, fd, &event);
}

static void begin_locked(int fd, bool answers)
{
	struct wire *wire = calloc(1, sizeof(*wire));
	BIO *bio = BIO_new(method);

	if (!wire || !bio || fd >= WIRES_MAX)
		abort();
	wire->fd = fd;
	wire->owner = getpid();
	BIO_set_data(bio, wire);
	BIO_set_init(bio, 1);
	wire->ssl = SSL_new(contexts[answers]);
	if (!wire->ssl)
		abort();
	SSL_set_bio(wire->ssl, bio, bio);
	if (answers)
		SSL_set_accept_state(wire->ssl);
	else
		SSL_set_connect_state(wire->ssl);
	/* The last owner of this number was closed behind this table's back. */
	forget(fd);
	wires[fd] = wire;
	watch(fd);
	shake(wire);
}

void over_tls_begin(int fd, bool answers)
{
	if (!over_tls() || fd < 0)
		return;
	take_lock();
	begin_locked(fd, answers);
	give_lock();
}

void over_tls_listen(int fd)
{
	if (!over_tls())
		return;
	take_lock();
	struct listener *listener = calloc(1, sizeof(*listener));

	if (!listener || fd >= WIRES_MAX)
		abort();
	listener->owner = getpid();
	forget(fd);
	listeners[fd] = listener;
	watch(fd);
	give_lock();
}

static struct timespec time_at(int64_t ms)
{
	return (struct timespec){ms / 1000, (long)(ms % 1000) * 1000000};
}

int over_tls_accept(int fd, int64_t until_ms)
{
	struct timespec until = time_at(until_ms);
	int result = 0, peer = -1;

	if (!over_tls())
		return accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	take_lock();
	struct listener *listener = own_listener(fd);
	while (listener && !listener->size && result != ETIMEDOUT) {
		result = pthread_cond_timedwait(&settled, &lock, &until);
		listener = own_listener(fd);
	}
	if (listener && listener->size) {
		peer = listener->queue[0];
		memmove(listener->queue, listener->queue + 1,
			(size_t)--listener->size * sizeof(peer));
	}
	give_lock();
	return peer;
}

bool over_tls_listens(int fd)
{
	if (!over_tls())
		return false;
	take_lock();
	bool listens = own_listener(fd) != NULL;
	give_lock();
	return listens;
}

static bool settle_locked(int fd, int64_t until_ms)
{
	struct timespec until = time_at(until_ms);
	struct wire *wire = own_wire(fd);
	int result = 0;

	while (wire && !wire->settled && result != ETIMEDOUT) {
		result = pthread_cond_timedwait(&settled, &lock, &until);
		wire = own_wire(fd);
	}
	return !wire || wire->settled;
}

bool over_tls_settle(int fd, int64_t until_ms)
{
	if (!over_tls())
		return true;
	take_lock();
	bool is_settled = settle_locked(fd, until_ms);
	give_lock();
	return is_settled;
}

bool over_tls_pending(int fd)
{
	if (!over_tls())
		return false;
	take_lock();
	struct wire *wire = own_wire(fd);
	bool pending = wire && SSL_pending(wire->ssl) > 0;
	give_lock();
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
	take_lock();
	struct wire *wire = own_wire(fd);
	ssize_t got = wire ? recv_locked(wire, data, size, flags) : recv(fd, data, size, flags);
	give_lock();
	return got;
}

static bool is_wire(int fd)
{
	if (!over_tls())
		return false;
	take_lock();
	bool is = own_wire(fd) != NULL;
	give_lock();
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
		take_lock();
		struct wire *wire = own_wire(fd);
		ssize_t sent = wire ? send_locked(wire, (const char *)data + sum, size - sum)
				    : fail_with(EBADF);
		give_lock();
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
	take_lock();
	struct wire *wire = own_wire(fd);
	if (wire && wire->settled)
		finish(wire);
	else if (wire)
		wire->finishes = true;
	give_lock();
}

/* Tickets are not the test's, it could not read them. */
static bool has_unread(struct wire *wire)
{
	char byte;

	ERR_clear_error();
	return SSL_peek(wire->ssl, &byte, 1) > 0;
}

static void say_goodbye(struct wire *wire)
{
	if (!says_goodbye(wire))
		return;
	if (has_unread(wire)) {
		reset(wire->fd);
	} else {
		ERR_clear_error();
		SSL_shutdown(wire->ssl);
	}
}

void over_tls_close(int fd)
{
	if (over_tls()) {
		take_lock();
		settle_locked(fd, now_ms() + PATIENCE_MS);
		say_goodbye(own_wire(fd));
		forget(fd);
		give_lock();
	}
	close(fd);
}

void over_tls_forget(int fd)
{
	if (!over_tls())
		return;
	take_lock();
	settle_locked(fd, now_ms() + PATIENCE_MS);
	forget(fd);
	give_lock();
}
