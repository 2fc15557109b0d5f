/* SPDX-License-Identifier: MIT */
/*
 * Every socket call of the library: EINTR is handled here, and errno becomes a
 * negative result here, once. All descriptors are non-blocking and
 * close-on-exec. Any thread; no state.
 */
#ifndef STT_NET_SOCKET_H
#define STT_NET_SOCKET_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "net/address.h"

/* The length of an accept queue where none was asked for: the kernel's own limit, unless
 * net.core.somaxconn says otherwise. The C library's SOMAXCONN may be an old one: musl's is 128. */
enum {
	STT_BACKLOG = 4096
};

struct stt_listen_options {
	int backlog;
	bool reuse_port;
	bool ipv6_only;
	bool nagle;
	int dead_peer_timeout_ms; /* -1: off; inherited by what it accepts, too */
	int unix_mode;		  /* of the file of a Unix socket; 0: as the umask leaves it */
};

/*
 * A listening socket, or -errno. On TCP SO_REUSEADDR is set; TCP_NODELAY is set,
 * unless nagle, and inherited by what it accepts (Linux, tcp(7)). IPv6 sockets
 * are dual-stack only when `ipv6_only` is false and the address is the wildcard
 * (or an IPv4 address mapped into IPv6); all other IPv6 sockets are IPV6_V6ONLY.
 * A Unix socket file to which no socket is bound any more is replaced, without a
 * sign of it for a server that is alive there: that is -EADDRINUSE, and any other
 * file is left alone. To remove the file at the end is the caller's. It has its
 * mode before anybody can connect.
 */
int stt_socket_listen(const struct stt_addr *addr, const struct stt_listen_options *options);

/*
 * Whether a descriptor that somebody else has made can be accepted from: 0, and
 * its address; -EBADF; -EINVAL when it is not a stream socket, of TCP or Unix,
 * that listens. Changes nothing.
 */
int stt_socket_check_listener(int fd, struct stt_addr *addr);

/* Makes such a descriptor non-blocking, which all that share the socket see, and close-on-exec. 0
 * or -errno. */
int stt_socket_adopt(int fd);

/* The next connection and its peer's address, or -errno (-EAGAIN when there is none). EINTR is
 * retried; everything else, ECONNABORTED too, is the caller's to judge. */
int stt_socket_accept(int fd, struct stt_addr *peer);

/* For a listener on `addr` that is going to be closed: how many of its queue may still be accepted,
 * so that who is in it now is, and there is an end to it. A Unix socket takes no newcomers from now
 * on; TCP has no means for that. */
int stt_socket_last_call(int fd, const struct stt_addr *addr);

/*
 * Begins to connect: the descriptor in *fd, and 0 when it is connected already,
 * or -EINPROGRESS; any other -errno leaves no descriptor. (A Unix socket whose
 * queue is full says -EAGAIN, and may be tried again.) `from` is this end's
 * address, of the same family, or NULL: -EADDRNOTAVAIL when this machine does
 * not have it.
 */
int stt_socket_connect(int *fd, const struct stt_addr *addr, const struct stt_addr *from,
		       bool nagle);

/* Whether a TCP connection to `addr` is one with itself: where nobody listens on a port of this
 * machine, the kernel may choose that very port for the client's end, and then the two meet as in a
 * simultaneous open (RFC 9293, 3.5). */
bool stt_socket_is_looped(int fd, const struct stt_addr *addr);

/* TCP_NODELAY, off for `nagle`. 0 or -errno. */
int stt_socket_set_nagle(int fd, bool nagle);

/* Has the kernel give up a TCP peer that has not answered for about `timeout_ms` (-1: never) while
 * nothing is under way, with ETIMEDOUT. 0 or -errno. */
int stt_socket_set_dead_peer(int fd, int timeout_ms);

/* How long a TCP peer has been silent with something in flight to it. */
struct stt_silence {
	int64_t ms;	  /* since the last acknowledgement of any kind */
	bool unanswered;  /* something is in flight: data, or a probe */
	bool window_shut; /* nothing but probes can be */
};

/* False when nothing is in flight: all was acknowledged. */
bool stt_socket_silence(int fd, struct stt_silence *silence);

/* Whether the kernel has repeated what it sends, and has no answer now, nor for 1500 ms, while
 * input is unread. An answer may be on its way: then this is no longer so a second later. TCP. */
bool stt_socket_is_unheard(int fd);

/* How much memory for unread input the kernel allows, in bytes (SO_RCVBUF); 0: unknown. */
size_t stt_socket_memory(int fd);

/* Makes the kernel retransmit, and probe a closed window, at least every `ms`; where it cannot
 * (before Linux 6.15) it backs off to two minutes. */
void stt_socket_probe_each(int fd, unsigned ms);

/* How a connect in progress went: 0 or -errno (SO_ERROR, which this clears). */
int stt_socket_error(int fd);

/* The error that has ended a connection, if there is one: 0 or -errno. Not one in passing, which
 * SO_ERROR alone would tell, too. */
int stt_socket_failure(int fd);

/* Bytes, 0 at the peer's FIN (and for `size` 0), or -errno; never blocks. */
ssize_t stt_socket_recv(int fd, void *data, size_t size);

/* Whether there are bytes to read. */
bool stt_socket_has_input(int fd);

/* Drops up to `size` bytes of input: as stt_socket_recv. `data` has room for them, which a TCP
 * socket does not use (tcp(7), MSG_TRUNC). */
ssize_t stt_socket_drop(int fd, void *data, size_t size);

/* Whether it has input, the peer's FIN or a failure that nobody has read; never blocks. */
bool stt_socket_has_news(int fd);

/* Waits until one of the events of the descriptor (poll(2)) has come, or the eventfd is awake: 0,
 * and `*events` are those that have; -ETIMEDOUT at `until_ms` on the monotonic clock (STT_NEVER: no
 * limit), unless one of them has; -EBADF if the eventfd was closed, or -errno. Either descriptor
 * may be -1. */
int stt_socket_wait(int fd, short *events, int waker, int64_t until_ms);

/* Bytes taken (may be fewer), or -errno. sendmsg with MSG_NOSIGNAL; never blocks. `count` is at
 * most IOV_MAX. */
ssize_t stt_socket_send(int fd, const struct iovec *parts, int count);

/* FIN: no more sending. */
void stt_socket_shutdown(int fd);

/* Resets the connection and keeps the descriptor: connect(AF_UNSPEC) on TCP, shutdown(SHUT_RDWR)
 * on a Unix socket. On TCP this end, too, has ECONNRESET as its pending error then (Linux). */
void stt_socket_reset(int fd);

/* This end's address. 0 or -errno. */
int stt_socket_local(int fd, struct stt_addr *addr);

/* 0 or -errno. */
int stt_socket_set_blocking(int fd);

/* Ends it and closes it. While a forked child has a copy of a descriptor, close alone ends nothing:
 * a listener goes on to listen, an attempt to connect, and a peer to send. For everything that is
 * closed before both sides have said their FIN. Does nothing for -1; errno is kept. */
void stt_socket_end(int fd);

/* Closes it, and does nothing for -1; errno is kept, EINTR counts as closed (Linux, close(2)). */
void stt_socket_close(int fd);

#endif
