/* SPDX-License-Identifier: MIT */
/*
 * Raw peers over TLS: a table from descriptors to sessions of OpenSSL's, and the
 * thread that goes on with their handshakes. What peers say and hear is in
 * over_tls_peers.c.
 *
 * One lock for all of it: nothing waits under it. It is held over fork(2), so a
 * child finds the table whole; what it inherits there it leaves alone, for its
 * parent speaks on it.
 */
#include "support/over_tls_wires.h"
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
	QUEUE_MAX = 64
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

void wires_lock(void)
{
	pthread_mutex_lock(&lock);
	is_inside = true;
}

void wires_unlock(void)
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
struct wire *wire_own(int fd)
{
	struct wire *wire = wire_of(fd);

	return wire && wire->owner == getpid() ? wire : NULL;
}

bool wire_says_goodbye(struct wire *wire)
{
	return wire && wire->settled && SSL_is_init_finished(wire->ssl) && !wire->error;
}

void wire_finish(struct wire *wire)
{
	ERR_clear_error();
	if (wire_says_goodbye(wire))
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
		wire_finish(wire);
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
		wires_lock();
		struct wire *wire = wire_own(event.data.fd);
		struct listener *listener = own_listener(event.data.fd);
		if (wire && !wire->settled)
			shake(wire);
		if (listener)
			accept_locked(event.data.fd, listener);
		wires_unlock();
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

static int note_tickets(SSL *ssl, SSL_SESSION *session)
{
	struct wire *wire = BIO_get_data(SSL_get_rbio(ssl));

	(void)session;
	wire->tickets = true;
	return 0;
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
	if (!answers) {
		SSL_CTX_set_session_cache_mode(context,
					       SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
		SSL_CTX_sess_set_new_cb(context, note_tickets);
	}
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
	pthread_atfork(wires_lock, wires_unlock, wires_unlock);
	start_pump();
}

int over_tls_threads(void)
{
	return over_tls() && pump_owner == getpid();
}

void wire_reset(int fd)
{
	struct linger now = {.l_onoff = 1, .l_linger = 0};

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

static void forget_listener(int fd)
{
	struct listener *listener = own_listener(fd);

	if (!listener)
		return;
	listeners[fd] = NULL;
	epoll_ctl(waiting, EPOLL_CTL_DEL, fd, NULL);
	for (int i = 0; i < listener->size; i++) {
		wire_forget(listener->queue[i]);
		wire_reset(listener->queue[i]);
		close(listener->queue[i]);
	}
	free(listener);
}

void wire_forget(int fd)
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
	wire_forget(fd);
	wires[fd] = wire;
	watch(fd);
	shake(wire);
}

void over_tls_begin(int fd, bool answers)
{
	if (!over_tls() || fd < 0)
		return;
	wires_lock();
	begin_locked(fd, answers);
	wires_unlock();
}

void over_tls_listen(int fd)
{
	if (!over_tls())
		return;
	wires_lock();
	struct listener *listener = calloc(1, sizeof(*listener));

	if (!listener || fd >= WIRES_MAX)
		abort();
	listener->owner = getpid();
	wire_forget(fd);
	listeners[fd] = listener;
	watch(fd);
	wires_unlock();
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
	wires_lock();
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
	wires_unlock();
	return peer;
}

bool over_tls_listens(int fd)
{
	if (!over_tls())
		return false;
	wires_lock();
	bool listens = own_listener(fd) != NULL;
	wires_unlock();
	return listens;
}

bool wire_settle(int fd, int64_t until_ms)
{
	struct timespec until = time_at(until_ms);
	struct wire *wire = wire_own(fd);
	int result = 0;

	while (wire && !wire->settled && result != ETIMEDOUT) {
		result = pthread_cond_timedwait(&settled, &lock, &until);
		wire = wire_own(fd);
	}
	return !wire || wire->settled;
}
