/* SPDX-License-Identifier: MIT */
/*
 * Readiness: epoll and eventfd, the one place that would change for another
 * mechanism. Results are >= 0 or -errno; descriptors are close-on-exec. Any
 * thread.
 */
#ifndef STT_NET_POLLER_H
#define STT_NET_POLLER_H

#include <stdint.h>
#include <sys/epoll.h>

/* A connection is registered once, with everything and edge-triggered, and never modified. */
#define STT_POLL_STREAM (EPOLLIN | EPOLLPRI | EPOLLOUT | EPOLLRDHUP | EPOLLET)
/* A listener is level-triggered: what one turn leaves, the next one finds. */
#define STT_POLL_LISTENER EPOLLIN

/* What tells that nothing more will come than is there already. */
#define STT_POLL_HANGUP (EPOLLRDHUP | EPOLLHUP | EPOLLERR)
/* After one of these a short read does not tell that the socket is empty: one ends at the mark of
 * urgent data, too (tcp(7)). */
#define STT_POLL_READ_ON (STT_POLL_HANGUP | EPOLLPRI)

int stt_poller_open(void);
int stt_poller_add(int poller, int fd, uint32_t events, void *data);

/* The same with a number in place of a pointer. */
int stt_poller_add_named(int poller, int fd, uint32_t events, uint64_t name);

/* Changes the events of a descriptor that is registered. */
void stt_poller_change(int poller, int fd, uint32_t events, void *data);

/* Must come before close: a copy of the descriptor in a child would keep the registration. */
void stt_poller_remove(int poller, int fd);

/* Waits for up to `timeout_ms` (-1: for ever) and returns how many events there are, 0 also when
 * a signal came; or -errno. */
int stt_poller_wait(int poller, struct epoll_event *events, int max, int timeout_ms);

/* Something to wake a poller with, from any thread and from a signal handler: registered
 * edge-triggered, it need not be read. */
int stt_waker_open(int poller, void *data);
void stt_waker_wake(int waker);

/* A timer on the monotonic clock, registered likewise, and set once, to nothing. */
int stt_timer_open(int poller, void *data);

/* When it is to ring, once, in place of what was set before. */
void stt_timer_set(int timer, int64_t at_ms);

/* An eventfd for stt_socket_wait, or -errno; woken by stt_waker_wake, and sleepy again after
 * stt_waker_clear. */
int stt_waker_new(void);
void stt_waker_clear(int waker);

#endif
