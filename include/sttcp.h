/* SPDX-License-Identifier: MIT */
/*
 * sttcp: simple threaded TCP.
 *
 * Register a few handlers on a server or a client, call start, done. A handler
 * may block for as long as it likes (sleep, ask a database, wait for a lock):
 * other connections go on as if it did not. An idle connection has no thread.
 *
 *	static void on_receive(sttcp_conn *conn, const void *data, size_t size, void *context)
 *	{
 *		(void)context;
 *		sttcp_conn_send(conn, data, size);
 *	}
 *
 *	int main(void)
 *	{
 *		sttcp_server *server = sttcp_server_new("localhost", 62134, NULL);
 *
 *		if (sttcp_server_on_receive(server, on_receive) < 0 ||
 *		    sttcp_server_start(server) < 0)
 *			fprintf(stderr, "%s\n", sttcp_server_error(server));
 *		else
 *			sttcp_server_keep_alive(server);	// until Ctrl+C
 *		sttcp_server_free(server);
 *	}
 *
 * Five things to know before the first program:
 *
 *  - TCP carries bytes, not messages: a receive handler gets them in arbitrary
 *    chunks. Two sends may arrive as one chunk, one send as many.
 *  - Handlers of one connection run one at a time, in sequence. Handlers of
 *    different connections run at the same time, on different threads: what
 *    they share needs a lock of yours.
 *  - Every function may be called from any thread at any time, inside handlers
 *    too, unless its comment says otherwise. Sends may block, and so may stop,
 *    close, free and wait outside handlers. To avoid a deadlock, do not hold a
 *    lock that a handler needs over one of these calls.
 *  - Results of type int are >= 0 on success and a negative code otherwise:
 *    -errno, or one of the codes below. sttcp_strerror() describes it. Most
 *    compilers warn when the result of a start, or of a call that prepares
 *    one, is ignored.
 *  - Returning from main ends everything: wait with sttcp_server_keep_alive().
 *
 * A handler may not leave by pthread_exit, longjmp or a C++ exception: the
 * thread that runs it is the library's.
 *
 * After a fork, the parent's objects return STTCP_EFORK in the child (or NULL,
 * false, 0) and touch nothing. Objects that the child creates itself work. A
 * child that was forked inside a handler, or inside another callback on a
 * thread of the library, must exec or _exit: it cannot return from there.
 *
 * Handlers run with the signal mask of the thread that made the first start. A
 * handler that changes the mask must restore it. Only keep_alive changes
 * signal dispositions.
 *
 * NULL where an object is expected gives -EINVAL (or NULL, false, 0).
 */
#ifndef STTCP_H
#define STTCP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

#define STTCP_VERSION_MAJOR 0
#define STTCP_VERSION_MINOR 2
#define STTCP_VERSION_PATCH 0

#if defined(__GNUC__)
#define STTCP_API __attribute__((visibility("default")))
#define STTCP_PRINTF(text, first) __attribute__((__format__(__printf__, text, first)))
#else
#define STTCP_API
#define STTCP_PRINTF(text, first)
#endif

/* Marks functions whose result alone says that nothing was done: the compiler warns when it is
 * ignored. To turn these warnings off, define STTCP_CHECKED as nothing before including this
 * header. */
#ifndef STTCP_CHECKED
#if defined(__GNUC__)
#define STTCP_CHECKED __attribute__((__warn_unused_result__))
#else
#define STTCP_CHECKED
#endif
#endif

/* The version of the library at run time, "0.2.0"; static. */
STTCP_API const char *sttcp_version(void);

typedef struct sttcp_server sttcp_server;
typedef struct sttcp_client sttcp_client;
typedef struct sttcp_conn sttcp_conn;
typedef struct sttcp_tls sttcp_tls; /* see TLS, below */

/* ------------------------------------------------------------------ handlers */

/* The phases of a connection, as the universal handler sees them. */
typedef enum sttcp_event {
	STTCP_CONNECTION = 1, /* a new connection: accept or decline it */
	STTCP_RECEIVE,	      /* a server's connection has data */
	STTCP_RESPONSE,	      /* a client's connection has data */
	STTCP_END,	      /* the peer's FIN (only with the option half_close) */
	STTCP_DISCONNECTION,  /* the end of a connection that had been accepted */
	STTCP_UNCONNECTED     /* a client's connection attempt has failed */
} sttcp_event;

/* "connection", "receive", ...; "unknown" for any other value; static. */
STTCP_API const char *sttcp_event_name(sttcp_event event);

/*
 * In every handler:
 *
 *  - `conn` is never NULL. It and the strings that it returns are valid from the
 *    start of its first handler to the return of its last (longer with
 *    sttcp_conn_ref).
 *  - `data` belongs to the library and is valid until the handler returns.
 *  - `size` is in bytes.
 *  - `context` is the pointer set with _set_context, or NULL.
 *
 * A handler that returns false closes the connection in an orderly way: output
 * is flushed, then FIN; the reason is 0. From a server's connection handler,
 * false declines the connection, and no other handler runs for it.
 *
 * TCP's urgent byte (RFC 6093) and descriptors sent over a Unix socket are
 * dropped.
 */
typedef bool (*sttcp_connection_handler)(sttcp_conn *conn, void *context);
typedef void (*sttcp_receive_handler)(sttcp_conn *conn, const void *data, size_t size,
				      void *context);
typedef bool (*sttcp_response_handler)(sttcp_conn *conn, const void *data, size_t size,
				       void *context);

/* The peer's FIN, once, and only with the option half_close. The connection is now half-closed:
 * the program can still send. It stays so until the program closes the connection, or shuts its
 * own side down with sttcp_conn_shutdown; the library does neither. */
typedef void (*sttcp_end_handler)(sttcp_conn *conn, void *context);

/* The send queue is empty again: all of it has gone to the kernel. Called after bytes were queued,
 * a send blocked, or sttcp_conn_try_send returned -EAGAIN, because the peer or the network was
 * slow. A good moment to continue a long answer. Runs one at a time with the other handlers of the
 * connection, but is not a phase: the universal handler does not see it. */
typedef void (*sttcp_drained_handler)(sttcp_conn *conn, void *context);

/*
 * A message was refused, and its connection ends when this handler returns.
 * `code` is one of:
 *
 *  - STTCP_EFRAME: it is malformed, or cut off by the peer's FIN.
 *  - STTCP_ELIMIT: it is larger than max_message, or total_queue_max leaves no
 *    room for it.
 *
 * What this handler sends still goes out, and sttcp_conn_fail sets another
 * reason. Input behind the refused message is dropped. The handler may block. It
 * runs one at a time with the other handlers of the connection, but is not a
 * phase: the universal handler does not see it. If a handler is waiting in
 * sttcp_conn_recv_message, _next_size or _recv_exactly, this one runs inside that
 * call, on the same thread. Reading here gives -EDEADLK.
 */
typedef void (*sttcp_malformed_handler)(sttcp_conn *conn, int code, void *context);

/* Exactly once, and last, for every connection that a connection handler accepted. `reason` is 0
 * after an orderly close (the peer's FIN, or a handler that returned false), else a code. Sending
 * fails here. */
typedef void (*sttcp_disconnection_handler)(sttcp_conn *conn, int reason, void *context);

/* A client's connection attempt has failed. `conn` never opened; its address, client, reason and
 * text can be read. The client may be started again from here. */
typedef void (*sttcp_unconnected_handler)(sttcp_conn *conn, int reason, void *context);

/*
 * Runs before the specific handler in every phase. If the phase has a specific
 * handler, that one's return value counts; if it has none, this one's does. The
 * return value is ignored for DISCONNECTION and UNCONNECTED. Outside RECEIVE and
 * RESPONSE, `data` is NULL and `size` 0. sttcp_conn_reason() gives the reason.
 */
typedef bool (*sttcp_universal_handler)(sttcp_event event, sttcp_conn *conn, const void *data,
					size_t size, void *context);

/* --------------------------------------------------------------------- codes */

/* The library's own codes. All other negative results are -errno. */
enum {
	STTCP_EDESTROYED = -5001,	/* the program closed the client */
	STTCP_ECLOSED = -5002,		/* closed on this side */
	STTCP_ESTOPPED = -5003,		/* the server is stopping */
	STTCP_EHANDLER = -5004,		/* a handler failed the connection */
	STTCP_EFRAME = -5005,		/* a malformed message */
	STTCP_ELIMIT = -5006,		/* over a limit */
	STTCP_ESLOW = -5007,		/* the peer reads too slowly */
	STTCP_ERESOLVE = -5008,		/* the host name could not be resolved */
	STTCP_ETLS = -5009,		/* TLS failed */
	STTCP_ETIME_CONNECT = -5010,	/* connecting took too long */
	STTCP_ETIME_FIRST_BYTE = -5011, /* no first byte in time */
	STTCP_ETIME_IDLE = -5012,	/* nothing sent or received for too long */
	STTCP_ETIME_MESSAGE = -5013,	/* a message took too long to arrive */
	STTCP_ETIME_WRITE = -5014,	/* the peer took no byte for too long */
	STTCP_ETIME_LIFETIME = -5015,	/* the connection reached its age limit */
	STTCP_EDEAD_PEER = -5016,	/* the peer no longer answers */
	STTCP_EFORK = -5017,		/* the object belongs to the parent process */
	STTCP_ETIME_HANDSHAKE = -5018,	/* the TLS handshake took too long */
	STTCP_ECUT = -5019		/* the peer ended without TLS's close_notify */
};

/* A sentence that describes `code`, which may also be 0 or -errno. Never NULL. Static, or the C
 * library's; not to be freed. Any thread. */
STTCP_API const char *sttcp_strerror(int code);

/* "STTCP_ESLOW", "ECONNRESET", ...; "OK" for 0, "UNKNOWN" for any number that is not a code;
 * static. */
STTCP_API const char *sttcp_error_name(int code);

/* ------------------------------------------------------------------- framing */

/* How the byte stream is split into messages. The receive or response handler is called once for
 * each message, with the payload only. */
typedef enum sttcp_framing {
	STTCP_FRAMING_RAW, /* no messages: bytes as they arrive */
	/* Lines: up to "\n"; "\r\n" is accepted, too. Not for SMTP, HTTP/1.1 and other protocols
	 * in which a bare "\n" does not end a line: use the delimiter "\r\n" for those. For input
	 * without a line ending at the peer's FIN see rest_at_end. */
	STTCP_FRAMING_LINE,
	STTCP_FRAMING_DELIMITER, /* up to `delimiter`; see rest_at_end as well */
	STTCP_FRAMING_LENGTH,	 /* a length prefix, then that many bytes */
	STTCP_FRAMING_FIXED,	 /* always `fixed_size` bytes */
	STTCP_FRAMING_CUSTOM	 /* as `frame_fn` says */
} sttcp_framing;

/* What a frame function reports about a message. All fields are 0 at the start of each message,
 * and keep their values until its end. */
typedef struct sttcp_frame {
	size_t skip;	/* where the payload begins, counted from the start of the message */
	size_t size;	/* of the payload, which is what a handler gets */
	size_t total;	/* of the message, including everything around the payload */
	uint64_t state; /* for the function itself, for example how far it has searched */
} sttcp_frame;

/*
 * Finds the end of the first message in `data`: all bytes of it that have
 * arrived, at least one. Returns
 *
 *  - 1: the first frame->total bytes are one message, of which frame->size
 *    bytes from frame->skip on are delivered. If they have not all arrived,
 *    they are delivered later, without another call.
 *  - 0: more bytes are needed. If frame->total is above `size`, the next call is
 *    made when that many have arrived, otherwise with the next byte.
 *  - below 0: the message is malformed, and the connection ends with
 *    STTCP_EFRAME. The same happens after 1 with a total of 0, or with skip and
 *    size beyond the total.
 *
 * A frame->size over max_message ends the connection with STTCP_ELIMIT at once,
 * whatever the result is. So does a frame->total over max_message while
 * frame->size is 0; and one that is above frame->size by more than max_message,
 * and by more than 64 KiB: bytes around the payload are held with it. While no
 * total beyond what has arrived is known, no more than max_message bytes beyond
 * frame->size may arrive.
 *
 * Never runs at the same time as a handler of the connection, and may block like
 * one. `context` is that of the server or client. Per-connection state, such as
 * the phase of a dialogue, can be kept with sttcp_conn_set_data. Reading from
 * `conn` here gives -EDEADLK, or -EBUSY on a connection of sttcp_dial, which a
 * call is reading.
 */
typedef int (*sttcp_frame_fn)(sttcp_conn *conn, const void *data, size_t size, sttcp_frame *frame,
			      void *context);

/* ------------------------------------------------------------------- options */

/* What happens to a connection over a limit of its server. */
typedef enum sttcp_over {
	STTCP_OVER_PAUSE, /* leave it in the kernel's queue until there is room */
	STTCP_OVER_REJECT /* accept and close at once */
} sttcp_over;

/*
 * In every number, 0 means the default. -1 means off or unlimited, but for
 * framing, over_limit, prefix_size, prefix_offset, prefix_adjust, fixed_size,
 * unix_mode and fiber_stack_size, which have no such value. Sizes are in bytes,
 * times in milliseconds. Options are copied by _new. start returns -EINVAL, and
 * _error names the option, for
 *
 *  - a value that the option cannot have;
 *  - an option without effect (its framing is missing; a client's on a server);
 *  - an option that contradicts another;
 *  - a struct with something set behind the fields that this library knows.
 *
 * The reserved fields are room for later versions: leave them 0.
 */
typedef struct sttcp_options {
	size_t size; /* of this struct; set by STTCP_OPTIONS and sttcp_options_init */

	/* --- Framing --- */

	/* A value of sttcp_framing; default STTCP_FRAMING_RAW. */
	int32_t framing;
	char reserved1[4];

	/* All framings but STTCP_FRAMING_RAW: cap on the payload of one message, in both
	 * directions, and on the memory held for an incomplete one (as much again, or 64 KiB, for
	 * what a frame_fn has found around the payload). A connection that exceeds it ends with
	 * STTCP_ELIMIT. Default 1 MiB. */
	int64_t max_message;

	/* STTCP_FRAMING_DELIMITER: 1 to 16 bytes, which are copied. */
	const void *delimiter;
	size_t delimiter_size;

	/* STTCP_FRAMING_LINE and _DELIMITER: bytes without a delimiter at the peer's FIN are
	 * delivered as a last message. Without this option they are an incomplete message, as in
	 * the other framings: no handler gets them, and the connection ends with STTCP_EFRAME. */
	bool rest_at_end;
	char reserved2[3];

	/* STTCP_FRAMING_LENGTH: size of the length prefix in bytes, 1, 2, 3, 4 or 8; default 4. */
	int32_t prefix_size;
	bool prefix_little_endian;   /* the length is little-endian; default big-endian */
	bool prefix_varint;	     /* the length is a protobuf varint (without prefix_size) */
	bool prefix_includes_itself; /* the length counts its own bytes, too */
	char reserved3[1];

	/* STTCP_FRAMING_LENGTH: the number of bytes in front of the length, for example the type of
	 * the message. They belong to the payload: a handler gets them together with the bytes that
	 * follow the length, contiguous, without the length itself. sttcp_conn_send_message takes
	 * the same payload, and inserts the length after its first prefix_offset bytes. At most
	 * max_message; default 0. */
	int32_t prefix_offset;

	/* STTCP_FRAMING_LENGTH: any number, -1 included. It is added to the length to get the
	 * number of bytes behind the length. With prefix_includes_itself, the size of the length
	 * itself is subtracted, too. A result below 0 is STTCP_EFRAME. Default 0. */
	int32_t prefix_adjust;
	char reserved4[4];

	/* STTCP_FRAMING_FIXED: the size of each message. */
	int64_t fixed_size;

	/* STTCP_FRAMING_CUSTOM; its context is that of the server or client. */
	sttcp_frame_fn frame_fn;

	/* --- Queues and backpressure --- */

	/* Cap on the bytes queued in the library for one connection. Bytes in the kernel are not
	 * counted. At the cap sttcp_conn_send blocks. Queued bytes use at most 8/7 of their size in
	 * memory, plus 24 KiB, however small the parts. Default 1 MiB. */
	int64_t send_queue_max;

	/* Backpressure: stop reading from a peer when high_water bytes are queued for it, and
	 * resume when the queue has shrunk to low_water. Only bytes sent by the connection's own
	 * handlers count. Bytes sent on it elsewhere (by main, by a handler of another connection,
	 * by a broadcast of either) never stop its reading; otherwise two peers that each stop
	 * reading while anybody's bytes are queued would deadlock.
	 *
	 * Default 512 KiB and 128 KiB, but high_water at most half of send_queue_max, and low_water
	 * at most a quarter of high_water. -1 for high_water: reading never stops. high_water may
	 * not exceed send_queue_max, nor low_water high_water. */
	int64_t high_water;
	int64_t low_water;

	/* Cap on the bytes queued for all connections of the server or client together, plus the
	 * memory held for incomplete messages. At the cap
	 *
	 *  - each connection behaves as at its own send_queue_max. But where nothing is queued, a
	 *    send that may not wait (a try, a broadcast) is begun: the kernel may take it all. What
	 *    is left of it comes on top: one message for each such connection;
	 *  - a peer is not read from while its connection's own handlers have bytes queued;
	 *  - a message that needs more room ends its connection with STTCP_ELIMIT.
	 *
	 * Default -1. */
	int64_t total_queue_max;

	bool broadcast_skips; /* a member over its cap misses a broadcast, but stays connected */
	char reserved5[3];

	/* --- Timeouts --- */

	/* Client: limit for name resolution and all addresses together. Default 10 000. Ends the
	 * attempt with STTCP_ETIME_CONNECT. A process resolves eight names at a time, on threads of
	 * their own; the time that a name waits for one of them counts. */
	int32_t connect_timeout_ms;

	/* Client: connects again by itself, after a failed attempt, and after an end that nobody on
	 * this side asked for. Asked for are close and stop of the client; close, abort, fail,
	 * fail_now and detach of its connection; and a handler that returns false. Everything else
	 * is not: the peer's FIN, an error of the network, a timeout or limit, a malformed message.
	 * Each attempt resolves the name anew, and all handlers run each time as ever.
	 *
	 * Before each attempt the client waits for a random time from 0 to a bound, so that the
	 * clients of a server that comes back do not all come at the same moment. The bound is
	 * reconnect_ms at first, and doubles each time, up to reconnect_max_ms. It is reconnect_ms
	 * again once a connection was open for reconnect_max_ms.
	 *
	 * reconnect_ms: off by default. reconnect_max_ms: default 30 000; may not be below
	 * reconnect_ms; -1: unlimited, and a connection has to be open for as long as the bound
	 * that was reached. reconnect_tries: attempts of this kind since the client was last open,
	 * or started, after which it ends for good; unlimited by default. */
	int32_t reconnect_ms;
	int32_t reconnect_max_ms;
	int32_t reconnect_tries;

	/* Limits on waiting for the peer, off by default. They do not run while a handler runs, or
	 * while nothing is read from the peer (sttcp_conn_pause, high_water). The connection is
	 * flushed and closed.
	 *
	 *  - First byte: from the return of the connection handler, or from accept while a
	 *    connection waits for a thread to run it; STTCP_ETIME_FIRST_BYTE.
	 *  - Idle: without a byte received, or given to the kernel; STTCP_ETIME_IDLE.
	 *  - Message: from the first byte of a message to its last; STTCP_ETIME_MESSAGE. With
	 *    STTCP_FRAMING_RAW it counts once sttcp_conn_set_framing has set another.
	 *
	 * Over TLS the bytes of a record count as they come, before it is whole. */
	int32_t first_byte_timeout_ms;
	int32_t idle_timeout_ms;
	int32_t message_timeout_ms;

	/* Maximum age of a connection, counted from the return of its connection handler, whatever
	 * it is doing. Up to lifetime_jitter_ms is added, at random for each connection, so that
	 * not all end at once. Ends as sttcp_conn_abort does, with STTCP_ETIME_LIFETIME. One that
	 * was closed in order before, and has given its last byte to the kernel, is left to
	 * linger_timeout_ms. Off by default. */
	int32_t lifetime_ms;
	int32_t lifetime_jitter_ms;

	/* A queue, or a blocked sttcp_conn_send, that makes no progress for this long ends the
	 * connection as sttcp_conn_abort does, with STTCP_ETIME_WRITE. The final flush of a
	 * connection that is being closed may take ten times as long. Default 30 000. */
	int32_t write_timeout_ms;

	/* Approximate time to detect a peer that has vanished, that is, one that answers nothing:
	 * by TCP keepalive (tcp(7)) while nothing is in flight, else by the library. Ends as
	 * sttcp_conn_abort does, with STTCP_EDEAD_PEER. A peer that answers, even with a closed
	 * window, is alive. Default 60 000; less than 3000 counts as 3000; whole seconds. Not on
	 * Unix sockets.
	 * Before Linux 6.15, a peer that vanishes behind a closed window may be detected two
	 * minutes later. */
	int32_t dead_peer_timeout_ms;

	/* After an orderly close by this side (close, false, fail, a limit, a graceful stop), input
	 * is read and dropped, however much it is, until the peer's FIN or for this long. Closing a
	 * socket with unread input would reset the connection, and the last answer could be lost
	 * (RFC 1122, 4.2.2.13). The time starts with our FIN, or when the disconnection handler
	 * returns if that is later. The connection counts for max_connections until it is closed.
	 * -1: close at once. Default 2000. */
	int32_t linger_timeout_ms;

	/* --- Stopping --- */

	/* Server: how long a stop waits for connections to end by themselves. Default -1 (no limit)
	 * for close and stop, 10 000 after a signal in keep_alive. Client: how long a close
	 * flushes; default 10 000. */
	int32_t drain_timeout_ms;

	/* Server: a graceful stop ends idle connections with STTCP_ESTOPPED, at once or as soon as
	 * they become idle. Idle means: no handler runs, no task is due, nothing is queued, all
	 * input has been delivered, and no message is incomplete. The library cannot know about an
	 * answer that another thread is still going to send. */
	bool end_idle_at_stop;
	char reserved6[3];

	/* --- Limits of a server --- */

	/* Connections at a time; connections per address (an IPv6 /64 counts as one address);
	 * connections accepted per second, in bursts of up to one second's worth. Off by default. A
	 * connection counts until its descriptor is closed. */
	int32_t max_connections;
	int32_t max_connections_per_ip;
	int32_t accept_rate;

	/* A value of sttcp_over, for max_connections and accept_rate. Connections over
	 * max_connections_per_ip are always rejected. */
	int32_t over_limit;

	/* --- Sockets --- */

	/* Server: length of the accept queue, listen(2). The kernel cuts it to
	 * net.core.somaxconn (tcp(7)), which is 4096 by default. Default 4096. */
	int32_t backlog;

	bool reuse_port; /* server: SO_REUSEPORT, socket(7); else a second start is refused */
	bool ipv6_only;	 /* server: no IPv4 on an IPv6 socket, ipv6(7) */
	char reserved7[6];

	/* Client: this end's address, a name or a literal, and its port; either may be left out.
	 * The attempt fails with -EADDRNOTAVAIL if this machine does not have the address, or none
	 * of the peer's address family. local_host is resolved at each attempt. With a port, only
	 * one connection at a time is possible to each address of a peer; it can follow on the last
	 * one at once if the peer has closed that first. Not with a Unix socket. */
	const char *local_host;
	int32_t local_port;

	/* Server: permissions of the socket file of each Unix socket that has one, 1 to 0777. They
	 * are set before anybody can connect, and the umask does not change them. Default: as the
	 * umask leaves them. Needs an address "unix:/path". Not for sockets that were added with
	 * sttcp_server_add_listener. */
	int32_t unix_mode;

	bool nagle;	 /* leave Nagle's algorithm on (TCP_NODELAY off, tcp(7)) */
	bool half_close; /* the peer's FIN calls the end handler; sending stays possible */
	char reserved8[6];

	/* --- TLS --- */

	/* Every connection speaks TLS, from its first byte on: see TLS, below. A server needs an
	 * object of sttcp_tls_server, a client one of sttcp_tls_client. The object is referenced by
	 * _new, and may be shared. Default NULL: plain bytes, and those connections on which
	 * sttcp_conn_start_tls is called. */
	sttcp_tls *tls;

	/* Limit on the TLS handshake, also that of sttcp_conn_start_tls. Of a server's connection
	 * it counts from accept, of a client's from the end of connecting (connect_timeout_ms ends
	 * before it). Ends the connection, or the attempt, with STTCP_ETIME_HANDSHAKE. Default
	 * 10 000. */
	int32_t tls_handshake_timeout_ms;
	char reserved9[4];

	/* Client: the name that is asked for (SNI, RFC 6066) and that the server's certificate has
	 * to have: a DNS name or an address, without a port. An address is checked as one, and is
	 * not asked for. Copied. Default: the host. With `tls` and a Unix socket it has to be set.
	 */
	const char *tls_name;

	/* --- fibers --- */

	/* With `fibers`: the size of their stacks in bytes, at least 16 KiB (-EINVAL below that),
	 * rounded up to pages; a little is added for signals. printf takes 2 to 3 KB of it, a name
	 * lookup 12, a TLS handshake 14. What overflows ends the process with SIGSEGV. Default: 128
	 * KiB, with 32 bits 64 KiB. */
	int32_t fiber_stack_size;

	/* Every handler of the object, and every task, runs on a stack of its own, and a wait in
	 * the library gives its thread back: see Waiting without a thread, below. Default false. */
	bool fibers;
	char reserved10[3];
} sttcp_options;

#ifndef __cplusplus
/* STTCP_OPTIONS(.write_timeout_ms = 5000): options that live as long as the enclosing block. */
#define STTCP_OPTIONS(...) (&(const sttcp_options){.size = sizeof(sttcp_options), __VA_ARGS__})
#endif

/* Zeroes `options` and sets its size, for C++ and bindings: size is sizeof(sttcp_options). */
STTCP_API void sttcp_options_init(sttcp_options *options, size_t size);

/*
 * Configures the event loops and threads of the process. Call it before the
 * first start, or before the first one after sttcp_engine_shutdown. 0 means the
 * default: one loop per CPU that the process may use (1024 are the most, also of
 * those that are asked for); 4096 threads for handlers
 * that block; the system's stack size (in bytes). The threads of the loops, which
 * run handlers, too, come on top: up to one more for each loop. While all threads are inside
 * handlers and others want one, every 100 ms those handlers that wait longest for
 * a silent peer lose their connections, with STTCP_ELIMIT: as many as have come to
 * want a thread since, one at least. -EINVAL: a negative number, or a stack below
 * PTHREAD_STACK_MIN. -EBUSY: something was started already.
 */
STTCP_API int sttcp_engine_configure(int loops, int max_threads, size_t stack_size) STTCP_CHECKED;

/*
 * Ends every thread and closes every descriptor of the library. No program needs
 * this at its end. It is for
 *
 *  - leak checkers;
 *  - a fork that should find a process without threads;
 *  - another sttcp_engine_configure.
 *
 * The next start begins anew, and handlers then have the signal mask of its
 * thread. Objects can be started again, and referenced connections still answer.
 *
 * Connections that have ended but still flush or linger are closed at once. The
 * call waits for name lookups in progress, and for free_fn and release callbacks
 * that are running. 0, also when nothing was ever started; -EBUSY while a server
 * or client is started (a stop is complete only when no handler runs; a client
 * that is going to connect again is started, too), a connection of sttcp_dial has
 * not ended, a timer is set or runs, or work given to sttcp_run is not done;
 * -EDEADLK inside a handler, or inside such a callback on a thread of the library.
 */
STTCP_API int sttcp_engine_shutdown(void);

/*
 * Diagnostics. Nothing is printed by default. Levels:
 *
 *  1 error
 *  2 warning
 *  3 info: each end that the library decided (a limit, a malformed message, a
 *    peer that is gone)
 *  4 trace: the life of each connection: accept, open, pause, resume, read ahead,
 *    blocked and taken over, ended
 *
 * A line names the address and, for a connection, its id. A level that is off
 * costs next to nothing.
 *
 * `fn` is called with one line, without a newline, which is valid during the
 * call. It may be called on any thread, with no lock held. It must not block:
 * other connections may wait for its thread. It may call functions that do not
 * wait; lines that those would log are dropped.
 *
 * NULL turns logging off, which is the default. Returns when the previous
 * callback is no longer running and will not be called again, so that its
 * context may go; called inside that callback, it returns at once. So do not
 * call it with a lock held that the callback takes.
 */
typedef void (*sttcp_log_fn)(int level, const char *text, void *context);
STTCP_API void sttcp_set_log(sttcp_log_fn fn, void *context);

/* The highest level that the log callback is called for: 0 to 4, default 3. */
STTCP_API void sttcp_log_level(int level);

/*
 * Prints lines up to `level` to standard error, each with the time and in one
 * write(2); 0 turns it off. The last call of this and sttcp_set_log counts. With
 * STTCP_LOG=0 to 4 in the environment (secure_getenv(3)), the first start does
 * this, unless one of the two was called before. Nothing is printed while
 * descriptor 2 is another file than it was then, unless that is open for writing
 * alone (open(2)): it was closed, and has become a connection, say.
 */
STTCP_API void sttcp_log_to_stderr(int level);

/* -------------------------------------------------------------------- server */

/*
 * Creates a server. `host` is one of
 *
 *  - a name, or an IPv4 or IPv6 literal; the latter may stand in brackets,
 *    "[::1]";
 *  - "" or NULL: all interfaces;
 *  - "unix:/path": a Unix socket. The port is ignored. A relative path is
 *    resolved at each start.
 *  - "unix:@name": a Unix socket with an abstract name, which has no file
 *    (unix(7)). The port is ignored.
 *
 * With port 0 the kernel chooses one. With port -1 the server has no address of
 * its own (but for a Unix socket), only those that are added. `options` may be
 * NULL. Returns NULL only when out of memory; invalid arguments are reported by
 * start. Release it with sttcp_server_free.
 */
STTCP_API sttcp_server *sttcp_server_new(const char *host, int port,
					 const sttcp_options *options) STTCP_CHECKED;

/*
 * Adds an address for the server to listen on, from its next start on: host and
 * port as for new; the port may not be -1. A start listens on all addresses or
 * on none. Options and limits hold for all of them together. 0; -EINVAL (port,
 * empty path or name), -ENAMETOOLONG (path or name), -EBUSY (the server is not
 * stopped), -ENOMEM. sttcp_server_error has a sentence.
 */
STTCP_API int sttcp_server_add_address(sttcp_server *server, const char *host,
				       int port) STTCP_CHECKED;

/*
 * Adds a socket that listens already, for example one that a service manager has
 * passed to the program. On success the descriptor is the server's: it is made
 * close-on-exec and non-blocking, and is closed by sttcp_server_free. On failure
 * it stays the caller's, unchanged.
 *
 * The socket may be shared with other processes. A stop accepts no more from it
 * and leaves it listening: connections in its queue wait for the next start, or
 * for another process. A socket file is not removed. The options backlog,
 * reuse_port, ipv6_only and unix_mode do not change it.
 *
 * 0; -EINVAL: it is not a TCP or Unix stream socket that listens; -EBADF: it is
 * no open descriptor; -EEXIST: it was added already; -EBUSY (the server is not
 * stopped), -ENOMEM. sttcp_server_error has a sentence.
 */
STTCP_API int sttcp_server_add_listener(sttcp_server *server, int fd) STTCP_CHECKED;

/* Handlers and the context can only be set while the server is stopped, else -EBUSY. NULL removes a
 * handler. */
STTCP_API int sttcp_server_on_connection(sttcp_server *server,
					 sttcp_connection_handler handler) STTCP_CHECKED;
STTCP_API int sttcp_server_on_receive(sttcp_server *server,
				      sttcp_receive_handler handler) STTCP_CHECKED;
STTCP_API int sttcp_server_on_end(sttcp_server *server, sttcp_end_handler handler) STTCP_CHECKED;
STTCP_API int sttcp_server_on_disconnection(sttcp_server *server,
					    sttcp_disconnection_handler handler) STTCP_CHECKED;
STTCP_API int sttcp_server_on_universal(sttcp_server *server,
					sttcp_universal_handler handler) STTCP_CHECKED;
STTCP_API int sttcp_server_on_drained(sttcp_server *server,
				      sttcp_drained_handler handler) STTCP_CHECKED;
STTCP_API int sttcp_server_on_malformed(sttcp_server *server,
					sttcp_malformed_handler handler) STTCP_CHECKED;
STTCP_API int sttcp_server_set_context(sttcp_server *server, void *context) STTCP_CHECKED;

/* `fn` is the very last call for this server, once, even if it was never started: the context may
 * go then. A free outside handlers returns after it. */
STTCP_API int sttcp_server_on_release(sttcp_server *server,
				      void (*fn)(void *context)) STTCP_CHECKED;

/*
 * Binds and listens on every address of the host, and on those that were added,
 * and returns when that has succeeded or failed. Addresses of a name that this
 * machine does not have are skipped if at least one can be listened on. After a
 * failure nothing is left running, no handler will ever run, and
 * sttcp_server_error gives a sentence with the address in it. Codes: -EINVAL
 * (port, options), STTCP_ERESOLVE, -EADDRINUSE, -EADDRNOTAVAIL, -EACCES, -EMFILE,
 * -ENOMEM, -EAGAIN (no thread), others of bind(2); -EBUSY: the server runs, or
 * handlers of its last run have not returned yet.
 */
STTCP_API int sttcp_server_start(sttcp_server *server) STTCP_CHECKED;

/* The port of the server's own address, from start on; before that, the one given to new. 0 for a
 * Unix socket, and without an address of its own. */
STTCP_API int sttcp_server_port(const sttcp_server *server);

/* "127.0.0.1:7000", "[::1]:7000", "unix:/path": what the server listens on, from start on, one text
 * for each socket (a name may have several), in the order in which the addresses were given: its
 * own, then those added. `index` counts from 0; NULL past the end, and where the last start has
 * failed, or there was none. Lives as long as the server. */
STTCP_API const char *sttcp_server_address(const sttcp_server *server, int index);

/* A sentence about the last failure; "" when there is none; valid until the next start or free. */
STTCP_API const char *sttcp_server_error(const sttcp_server *server);

/*
 * close and stop are the same, a graceful stop: stop listening at once, wait for
 * every connection to end (for at most drain_timeout_ms), then stop. Returns
 * when that is done. Inside any handler it returns at once, and the stop
 * completes later. Returns 0 also when connections had to be closed by force,
 * and when nothing was started. A handler can see a stop coming with
 * sttcp_conn_stopping.
 */
STTCP_API int sttcp_server_close(sttcp_server *server);
STTCP_API int sttcp_server_stop(sttcp_server *server);

/* The outcome of a stop, in connections. */
typedef struct sttcp_stop_report {
	int64_t ended;	 /* ended by themselves after the stop had begun */
	int64_t forced;	 /* flushed and closed at the deadline, with STTCP_ESTOPPED */
	int64_t running; /* closed as well, but still in a handler, or waiting for a thread */
} sttcp_stop_report;

/*
 * A graceful stop with its own deadline: 0 is at once, -1 waits without limit. A
 * later stop can only shorten the deadline. `report` may be NULL; inside a
 * handler it holds what is known at that moment. -EINVAL: timeout below -1.
 */
STTCP_API int sttcp_server_stop_within(sttcp_server *server, int timeout_ms,
				       sttcp_stop_report *report);

/*
 * The stop for a signal handler: starts what the first SIGTERM starts in
 * keep_alive (a graceful stop, limited as after a signal), and does not wait.
 * Async-signal-safe (signal-safety(7)): it may interrupt any function of the
 * library, and preserves errno. A second request does nothing more, and does not
 * count as a second signal. 0, also when nothing is started: then nothing
 * happens, and a later start is not stopped. -EINVAL, STTCP_EFORK.
 */
STTCP_API int sttcp_server_request_stop(sttcp_server *server);

/*
 * Waits until the server has stopped: 0; -ETIMEDOUT after `timeout_ms` (-1 waits
 * without limit); -EDEADLK inside any handler; -EINVAL when it was never started,
 * or the timeout is below -1.
 */
STTCP_API int sttcp_server_wait(sttcp_server *server, int timeout_ms);

/*
 * Waits without limit, and until then SIGINT and SIGTERM stop the server: the
 * first one gracefully, the second one at once. The calling thread unblocks both
 * signals while it waits. The previous signal mask and dispositions are restored
 * at the end. A signal that was ignored stays ignored. -EDEADLK and -EINVAL as
 * for wait. The name is that of the Python package; it has nothing to do with
 * TCP keepalive.
 */
STTCP_API int sttcp_server_keep_alive(sttcp_server *server);

/* The same for all servers and clients that are started. -EINVAL: there is none. */
STTCP_API int sttcp_keep_alive(void);

/*
 * Stops at once, and returns when none of its handlers runs or ever will. Inside
 * one of its own handlers it returns at once: its connections, that of the handler
 * too, end by force from then on, so a send may fail, and the server is released
 * when that handler has returned. Inside a handler of another object it returns at
 * once, too. NULL is fine.
 */
STTCP_API void sttcp_server_free(sttcp_server *server);

/*
 * Sends the bytes unframed to every member, except `except` (may be NULL). A
 * connection is a member from the moment its connection handler returns true
 * until its disconnection handler starts. Never waits: a member whose queue
 * would exceed its cap is dropped with STTCP_ESLOW, or, with the option
 * broadcast_skips, misses the message. Returns the number of members it was sent
 * to. -EINVAL as sttcp_conn_send; the calls for messages and for rooms, too.
 */
STTCP_API int sttcp_server_broadcast(sttcp_server *server, const void *data, size_t size);
STTCP_API int sttcp_server_broadcast_except(sttcp_server *server, sttcp_conn *except,
					    const void *data, size_t size);

/* The same with one message, framed for each member. A member whose framing cannot carry it
 * (sttcp_conn_send_message would refuse) is left out. */
STTCP_API int sttcp_server_broadcast_message(sttcp_server *server, sttcp_conn *except,
					     const void *data, size_t size);

/* Calls `fn` for every member, on the calling thread, with no lock held; returns the number of
 * calls. A connection that is a member throughout is visited once, one that joins or leaves
 * meanwhile once or not at all. A visited connection may have ended already. In a child that was
 * forked in `fn` no more are visited: it returns STTCP_EFORK there. */
STTCP_API int sttcp_server_each(sttcp_server *server, void (*fn)(sttcp_conn *conn, void *argument),
				void *argument);

/* The number of members. */
STTCP_API int sttcp_server_count(const sttcp_server *server);

/* The member with this id: a new reference (sttcp_conn_unref), or NULL. */
STTCP_API sttcp_conn *sttcp_server_find(sttcp_server *server, uint64_t id) STTCP_CHECKED;

/*
 * Rooms: broadcast, each and count for some of the members, who come and go with
 * sttcp_conn_join and sttcp_conn_leave. A room has a name, 1 to 255 bytes that
 * are compared as bytes. It needs not be made: it is there while somebody is in
 * it. A call costs what the room has members, however many the server has, and
 * calls about different rooms do not wait for each other. All return -EINVAL for
 * a name that is NULL, empty or longer, and 0 for a room in which nobody is.
 */

/* As sttcp_server_broadcast_except and sttcp_server_broadcast_message, to those in the room. Any
 * thread may send, whether in the room or not. */
STTCP_API int sttcp_server_send_room(sttcp_server *server, const char *room, sttcp_conn *except,
				     const void *data, size_t size);
STTCP_API int sttcp_server_send_room_message(sttcp_server *server, const char *room,
					     sttcp_conn *except, const void *data, size_t size);

/* As sttcp_server_each and sttcp_server_count, for those in the room. `fn` may join and leave. */
STTCP_API int sttcp_server_each_in(sttcp_server *server, const char *room,
				   void (*fn)(sttcp_conn *conn, void *argument), void *argument);
STTCP_API int sttcp_server_count_in(sttcp_server *server, const char *room);

/* Counters since new; gauges, which tell the present, are marked. Sizes in bytes. */
typedef struct sttcp_stats {
	int64_t connections;  /* gauge: members */
	int64_t total;	      /* accepted from the kernel */
	int64_t declined;     /* turned away by the connection handler */
	int64_t failed;	      /* ended with a reason other than 0 */
	int64_t bytes_in;     /* read from the kernel before the end, delivered or not */
	int64_t bytes_out;    /* given to the kernel */
	int64_t messages_in;  /* calls of a receive or response handler, and messages taken with
			       * sttcp_conn_recv_message under a framing */
	int64_t messages_out; /* successful sends */
	int64_t queued;	      /* gauge: bytes queued in the library */
	int64_t threads; /* gauge: threads of the process's engine that run or wait for handlers */
	int64_t threads_blocked; /* gauge: those that a handler blocks, and that run no loop */
	int64_t takeovers;     /* loops of the process taken from a thread whose handler blocked */
	int64_t longest_ms;    /* gauge: age of the longest-running handler call of this object */
	uint64_t longest_id;   /* gauge: the connection of that call; 0 for none */
	int64_t accept_pauses; /* accepting paused: out of descriptors or memory, or denied */
	/* Connections that were ended because of a limit, or times that accepting paused for it. */
	int64_t over_connections; /* max_connections */
	int64_t over_per_ip;	  /* max_connections_per_ip */
	int64_t over_rate;	  /* accept_rate */
	int64_t thread_cap_hits;  /* times a handler of the process had to wait for max_threads, or
				   * because the system gave no thread */
	int64_t tls_failed;	  /* TLS handshakes that failed or took too long. Those before the
				   * connection handler are not in `failed`, those of
				   * sttcp_conn_start_tls are */
	int64_t fibers; /* gauge: handlers of this object that have a stack of their own now */
	int64_t fibers_waiting; /* gauge: those of them that wait, and hold no thread */
} sttcp_stats;

/* Fills the first `size` bytes of `stats`: sizeof(sttcp_stats). Visits every connection. */
STTCP_API int sttcp_server_stats(const sttcp_server *server, sttcp_stats *stats, size_t size);

/* -------------------------------------------------------------------- client */

/* Creates a client, which has one connection at a time. Host and port are as for a server, but the
 * port may not be 0. Returns NULL only when out of memory. Release it with sttcp_client_free. */
STTCP_API sttcp_client *sttcp_client_new(const char *host, int port,
					 const sttcp_options *options) STTCP_CHECKED;

/* As for a server. */
STTCP_API int sttcp_client_on_connection(sttcp_client *client,
					 sttcp_connection_handler handler) STTCP_CHECKED;
STTCP_API int sttcp_client_on_response(sttcp_client *client,
				       sttcp_response_handler handler) STTCP_CHECKED;
STTCP_API int sttcp_client_on_end(sttcp_client *client, sttcp_end_handler handler) STTCP_CHECKED;
STTCP_API int sttcp_client_on_disconnection(sttcp_client *client,
					    sttcp_disconnection_handler handler) STTCP_CHECKED;
STTCP_API int sttcp_client_on_unconnected(sttcp_client *client,
					  sttcp_unconnected_handler handler) STTCP_CHECKED;
STTCP_API int sttcp_client_on_universal(sttcp_client *client,
					sttcp_universal_handler handler) STTCP_CHECKED;
STTCP_API int sttcp_client_on_drained(sttcp_client *client,
				      sttcp_drained_handler handler) STTCP_CHECKED;
STTCP_API int sttcp_client_on_malformed(sttcp_client *client,
					sttcp_malformed_handler handler) STTCP_CHECKED;
STTCP_API int sttcp_client_set_context(sttcp_client *client, void *context) STTCP_CHECKED;
STTCP_API int sttcp_client_on_release(sttcp_client *client,
				      void (*fn)(void *context)) STTCP_CHECKED;

/*
 * Starts an attempt to connect, and returns. Exactly one handler reports the
 * outcome: connection or unconnected. The addresses of a name race as in
 * RFC 8305, one more every 250 ms. A client may be started again after its end,
 * also from inside its own unconnected or disconnection handler: the next
 * attempt begins when that handler returns, without a wait where one was due
 * (reconnect_ms). -EINVAL (port, options), -EBUSY, -ENOMEM, -EAGAIN (no thread).
 */
STTCP_API int sttcp_client_start(sttcp_client *client) STTCP_CHECKED;

/*
 * Ends the attempt (the unconnected handler gets STTCP_EDESTROYED) or the
 * connection (flushed for at most drain_timeout_ms; the disconnection handler
 * gets STTCP_EDESTROYED), and returns when the last handler has returned. Inside
 * any handler it returns at once. Between two attempts (reconnect_ms) no
 * handler runs, and wait returns STTCP_EDESTROYED. 0 also when nothing was
 * started.
 */
STTCP_API int sttcp_client_close(sttcp_client *client);
STTCP_API int sttcp_client_stop(sttcp_client *client);

/*
 * Waits for the end of the attempt or connection, with reconnect_ms for the end
 * after which no attempt follows: returns its reason, which may be 0.
 * -ETIMEDOUT; -EINVAL when it was never started, or the timeout is below -1.
 * -EDEADLK in the client's own handlers, in frame_fn, and in callbacks other
 * than handlers on a thread of the library (release, free_fn, log). Allowed in
 * handlers of other objects, in the free_fn of a task of theirs that has run, and
 * in timers and work of sttcp_run; two handlers that wait for each other's client
 * wait for ever. In a handler it also ends, with the code of that, when the
 * handler's connection is ended by force.
 */
STTCP_API int sttcp_client_wait(sttcp_client *client, int timeout_ms);

/* As for a server; returns what wait does, and is allowed where wait is. */
STTCP_API int sttcp_client_keep_alive(sttcp_client *client);

/*
 * Waits until the client has an open connection, that is, until its connection
 * handler has returned true: 0, at once if it has one. The reason when the client
 * has ended for good (STTCP_ECLOSED where that is 0). -ETIMEDOUT after
 * `timeout_ms` (-1: without limit; 0: does not wait). -EINVAL, -EDEADLK and the
 * handler's end by force as wait.
 */
STTCP_API int sttcp_client_wait_open(sttcp_client *client, int timeout_ms);

/*
 * Waits for an open connection as wait_open does, and then sends as
 * sttcp_conn_send and sttcp_conn_send_message do: `timeout_ms` is for the
 * connection alone, and write_timeout_ms for the rest. A code of that connection
 * may come after a part of the data was sent; the call does not try again. Bytes
 * that a lost connection had accepted are lost with it. -EDEADLK in the client's
 * own handlers, open or not: they have their connection. May run a free_fn, as
 * sttcp_conn_unref.
 */
STTCP_API int sttcp_client_send(sttcp_client *client, const void *data, size_t size,
				int timeout_ms);
STTCP_API int sttcp_client_send_message(sttcp_client *client, const void *data, size_t size,
					int timeout_ms);

/* A new reference to the open connection, or NULL. */
STTCP_API sttcp_conn *sttcp_client_conn(sttcp_client *client) STTCP_CHECKED;

/* "localhost:62134", as given to new; lives as long as the client. */
STTCP_API const char *sttcp_client_address(const sttcp_client *client);

/* As for a server. */
STTCP_API const char *sttcp_client_error(const sttcp_client *client);
STTCP_API void sttcp_client_free(sttcp_client *client);

/* ---------------------------------------------------------------- connection */

/*
 * All of these may be called from any thread, by a handler of the connection or
 * by the holder of a reference, even after the connection has ended. Functions
 * that return a code then return the reason of the end, or STTCP_ECLOSED where
 * that is 0.
 */

/*
 * Sends all of the data as one contiguous run of bytes, and returns 0. Data that
 * the kernel does not accept at once is copied into the queue; at its cap the
 * call blocks until there is room. The caller may reuse `data` when the call
 * returns. After a failure in the middle of the data the connection has ended.
 * -EINVAL: more than PTRDIFF_MAX bytes, as a length below 0 is; -ENOMEM; -EPIPE
 * after sttcp_conn_shutdown.
 */
STTCP_API int sttcp_conn_send(sttcp_conn *conn, const void *data, size_t size);

/* The same, but never blocks. -EAGAIN: the queue has no room, and nothing was sent; the drained
 * handler will follow. -EMSGSIZE: `size` is over the option send_queue_max. */
STTCP_API int sttcp_conn_try_send(sttcp_conn *conn, const void *data, size_t size) STTCP_CHECKED;

/* sttcp_conn_send of several parts as one run of bytes. -EINVAL: count below 0 or over 1024, or
 * more than PTRDIFF_MAX bytes in total. */
STTCP_API int sttcp_conn_sendv(sttcp_conn *conn, const struct iovec *parts, int count);

/* sttcp_conn_try_send of several parts: all of them, or nothing. -EINVAL as sttcp_conn_sendv. */
STTCP_API int sttcp_conn_try_sendv(sttcp_conn *conn, const struct iovec *parts,
				   int count) STTCP_CHECKED;

/* sttcp_conn_send of text formatted as by printf(3). */
STTCP_API int sttcp_conn_sendf(sttcp_conn *conn, const char *format, ...) STTCP_PRINTF(2, 3);

/*
 * sttcp_conn_send of one message, framed the way this connection's input is: with
 * the delimiter after it, or the length before it. With STTCP_FRAMING_RAW and
 * _CUSTOM the data is sent as it is. -EMSGSIZE: over max_message, or more than
 * the prefix can express. -EINVAL: a reader would find another end, because it
 * contains the delimiter or a line ending (or is a line that ends in "\r"); it is
 * not of fixed_size, is shorter than prefix_offset, or is so short that
 * prefix_adjust makes its length negative.
 */
STTCP_API int sttcp_conn_send_message(sttcp_conn *conn, const void *data, size_t size);

/* The same, but never blocks: the whole message, or nothing. -EAGAIN as sttcp_conn_try_send;
 * -EMSGSIZE also if the message with its length or delimiter is over send_queue_max. */
STTCP_API int sttcp_conn_try_send_message(sttcp_conn *conn, const void *data,
					  size_t size) STTCP_CHECKED;

/* sttcp_conn_send_message of one message that stands in several parts, without joining them first:
 * all that is said of its bytes counts for those of all parts together. -EINVAL also as
 * sttcp_conn_sendv. */
STTCP_API int sttcp_conn_sendv_message(sttcp_conn *conn, const struct iovec *parts, int count);

/*
 * Changes the framing of this connection. Only these fields of `framing` are
 * used: framing, delimiter, delimiter_size, prefix_*, fixed_size, frame_fn,
 * rest_at_end and max_message. Takes effect at once for sttcp_conn_send_message,
 * and for input from the byte after the message that is being handled (under
 * RAW, bytes already delivered are not framed again). -EINVAL for NULL, and as
 * from start (the log has the sentence); -ENOMEM.
 */
STTCP_API int sttcp_conn_set_framing(sttcp_conn *conn, const sttcp_options *framing) STTCP_CHECKED;

/*
 * Gives this connection a handler of its own for messages (under
 * STTCP_FRAMING_RAW: chunks of bytes): from the next message on, `fn` is called
 * in place of the server's receive handler or the client's response handler. NULL
 * restores that one. So each state of a protocol can be a function of its own,
 * and switching protocols is this call beside sttcp_conn_set_framing.
 *
 * `context` is what `fn` gets, in place of the context of the server or client.
 * It is in use until another handler is set; if that is done outside the
 * handlers of this connection, until the handler that runs meanwhile returns; at
 * the latest until the disconnection handler starts. The universal handler still
 * sees each message first, but its result does not count: `fn` returns nothing,
 * and the connection goes on, that of a client, too. `fn` stays when the framing
 * changes, and may block and read like any receive handler; messages that are
 * read by sttcp_conn_recv_message are not passed to it.
 *
 * Inside a handler of the connection it counts for the message after the one
 * that is being handled; elsewhere for every message whose handler starts after
 * this call returns. Never waits. -ENOMEM.
 */
STTCP_API int sttcp_conn_on_message(sttcp_conn *conn, sttcp_receive_handler fn,
				    void *context) STTCP_CHECKED;

/*
 * Reads up to `size` bytes inside a handler, starting after the data that the
 * handler was called with, so that a dialogue can be written as one function.
 * Returns the number of bytes, or 0 at the peer's FIN. Waits up to `timeout_ms`
 * for the first byte (-1: without limit, 0: not at all), then -ETIMEDOUT. Queued
 * output is written first, as by sttcp_conn_flush. Bytes read this way are not
 * delivered to a handler again, and the `data` of the handler stays valid.
 *
 * Works only in the connection's own connection, receive and response handlers
 * and its tasks, on the thread that runs them: -EDEADLK elsewhere. One of
 * sttcp_dial is read anywhere. If the connection ends meanwhile, for example by a
 * forced stop: its reason, or STTCP_ECLOSED. STTCP_ELIMIT: max_threads was reached,
 * others want a thread, and this wait is among the longest; the connection ends.
 */
STTCP_API ssize_t sttcp_conn_recv(sttcp_conn *conn, void *buffer, size_t size,
				  int timeout_ms) STTCP_CHECKED;

/* The same for one whole message: its size, 0 for an empty one. -ENODATA: the peer's FIN came
 * instead. -EMSGSIZE: it is larger than `size`, and can still be read. STTCP_ELIMIT, STTCP_EFRAME
 * (also for a message cut off by the FIN): the connection ends. */
STTCP_API ssize_t sttcp_conn_recv_message(sttcp_conn *conn, void *buffer, size_t size,
					  int timeout_ms) STTCP_CHECKED;

/*
 * Waits as sttcp_conn_recv_message does, and returns the size of the message that
 * it would give, which stays to be read: to find room for it, for example. With
 * STTCP_FRAMING_RAW: how many bytes are there, at least one. Codes as
 * sttcp_conn_recv_message, but for -EMSGSIZE: a malformed or too large message
 * ends the connection here, too.
 */
STTCP_API ssize_t sttcp_conn_next_size(sttcp_conn *conn, int timeout_ms) STTCP_CHECKED;

/*
 * As sttcp_conn_recv, but for exactly `size` bytes, and `timeout_ms` is for all
 * of them together. Returns `size`, or a code, and then nothing was taken: what
 * has arrived can still be read, and otherwise goes to the handler. -ENODATA: the
 * peer's FIN came before so many bytes. -EMSGSIZE: `size` is over max_message
 * (1 MiB with STTCP_FRAMING_RAW). -ENOMEM. STTCP_ELIMIT: total_queue_max leaves
 * no room for them, and the connection ends. A size of 0 does not wait.
 */
STTCP_API ssize_t sttcp_conn_recv_exactly(sttcp_conn *conn, void *buffer, size_t size,
					  int timeout_ms) STTCP_CHECKED;

/*
 * Stops and resumes reading from this peer. Once the running handler has
 * returned, no further message is delivered, not even one that was read already.
 * While paused:
 *
 *  - the limits on waiting for the peer do not run;
 *  - sending and closing work as usual;
 *  - a FIN is noticed only after resume;
 *  - a reset, or a send that fails, ends the connection at once, and unread
 *    input is lost.
 */
STTCP_API int sttcp_conn_pause(sttcp_conn *conn);
STTCP_API int sttcp_conn_resume(sttcp_conn *conn);

/* Writes coalesced and queued output as far as the kernel accepts it, without blocking. */
STTCP_API int sttcp_conn_flush(sttcp_conn *conn);

/*
 * Closes the connection in an orderly way: output is flushed, then FIN, then,
 * once the running handler has returned, the disconnection handler with
 * STTCP_ECLOSED. Never blocks; calling it again is fine. Further input is dropped
 * in the background, for linger_timeout_ms.
 */
STTCP_API int sttcp_conn_close(sttcp_conn *conn);

/* Resets the connection at once (RFC 9293, 3.10.5); queued output is lost. The reason is
 * STTCP_ECLOSED. */
STTCP_API int sttcp_conn_abort(sttcp_conn *conn);

/*
 * Closes the connection as close does, with `code` as the reason if it is below
 * 0, else STTCP_EHANDLER, and with a text for sttcp_conn_fail_text, formatted as
 * by printf(3). Overrides the handler's return value, and a close or abort in the
 * same call of a handler. An abort after it still resets at once; the reason
 * stays.
 */
STTCP_API int sttcp_conn_fail(sttcp_conn *conn, int code, const char *format, ...)
	STTCP_PRINTF(3, 4);

/* The same with a reset at once, as abort does: queued output is lost. Of several calls of fail and
 * fail_now the first counts, and the others do nothing. */
STTCP_API int sttcp_conn_fail_now(sttcp_conn *conn, int code, const char *format, ...)
	STTCP_PRINTF(3, 4);

/* Ends sending from this side (a half close): FIN once the queue is empty. Receiving goes on. */
STTCP_API int sttcp_conn_shutdown(sttcp_conn *conn);

/*
 * The option half_close for this connection, from now on, in one of its handlers on
 * the thread that runs it (-EDEADLK elsewhere): with it, the peer's FIN calls the
 * end handler and sending stays possible; without it, the FIN ends the connection,
 * also one that has come before. What ends it then has the reason 0.
 */
STTCP_API int sttcp_conn_set_half_close(sttcp_conn *conn, bool on);

/* The reason of the end; 0 while the connection is open, and after an orderly close. */
STTCP_API int sttcp_conn_reason(const sttcp_conn *conn);

/*
 * A text that adds to the reason, one of
 *
 *  - the text given to sttcp_conn_fail;
 *  - why an attempt failed;
 *  - for an end that the library decided: the option and its value, or what was
 *    malformed: "no byte for 30000 ms, idle_timeout_ms is 30000".
 *
 * "" when there is none. The library's own codes always have one, but for
 * STTCP_ECLOSED and STTCP_EDESTROYED.
 */
STTCP_API const char *sttcp_conn_fail_text(const sttcp_conn *conn);

/* The peer: its numeric address ("127.0.0.1", "::1", "unix:/path"; the name as given if an attempt
 * could not resolve it), and its port (0 for a Unix socket). */
STTCP_API const char *sttcp_conn_host(const sttcp_conn *conn);
STTCP_API int sttcp_conn_port(const sttcp_conn *conn);

/* "127.0.0.1:80", "[::1]:80", "unix:/path": the address of the peer, and of this side ("" if the
 * connection never opened). */
STTCP_API const char *sttcp_conn_address(const sttcp_conn *conn);
STTCP_API const char *sttcp_conn_local_address(const sttcp_conn *conn);

/* A number, 1 or more, that is unique among all connections of the process, past and future. */
STTCP_API uint64_t sttcp_conn_id(const sttcp_conn *conn);

/* The server or client of the connection. NULL if it is of the other kind, and once its free has
 * taken effect. */
STTCP_API sttcp_server *sttcp_conn_server(const sttcp_conn *conn);
STTCP_API sttcp_client *sttcp_conn_client(const sttcp_conn *conn);

/* Counters of one connection, as in sttcp_stats. age_ms counts from accept or start. */
typedef struct sttcp_conn_counts {
	int64_t bytes_in;
	int64_t bytes_out;
	int64_t messages_in;
	int64_t messages_out;
	int64_t queued;
	int64_t age_ms;
} sttcp_conn_counts;

/* Fills the first `size` bytes of `counts`: sizeof(sttcp_conn_counts). */
STTCP_API int sttcp_conn_stats(const sttcp_conn *conn, sttcp_conn_counts *counts, size_t size);

/* Per-connection state: a pointer of yours. `free_fn` (may be NULL) is called for it once: when it
 * is replaced; or after the connection's last handler, but not before the last unref of what you
 * hold of it. On any thread, with no lock of the library held. It may run inside set_data, unref
 * and each: a lock that it takes must not be held over them. */
STTCP_API void sttcp_conn_set_data(sttcp_conn *conn, void *data, void (*free_fn)(void *data));
STTCP_API void *sttcp_conn_data(const sttcp_conn *conn);

/* A reference keeps the handle and its strings valid beyond the last handler, and beyond the server
 * or client. ref returns `conn`; each call needs one unref. */
STTCP_API sttcp_conn *sttcp_conn_ref(sttcp_conn *conn);
STTCP_API void sttcp_conn_unref(sttcp_conn *conn);

/*
 * Makes a server's connection a member of a room (see sttcp_server_send_room),
 * or of it no longer; 0 also if it was so already. It may be in any number of
 * rooms. A join in the connection handler counts from the moment the handler
 * returns true, and never counts after false. The connection leaves all rooms
 * before its disconnection handler starts, which may still send to them. Neither
 * call waits for a message that is being sent: that may still reach a connection
 * that has just left.
 *
 * -EINVAL: a name that is NULL, empty, or longer than 255 bytes; a client's
 * connection. -ENOMEM: join. On a connection that has ended, its code; leave has
 * its effect all the same.
 */
STTCP_API int sttcp_conn_join(sttcp_conn *conn, const char *room);
STTCP_API int sttcp_conn_leave(sttcp_conn *conn, const char *room);

/* Whether it can still be sent to: it has opened, and not ended. */
STTCP_API bool sttcp_conn_is_open(const sttcp_conn *conn);

/* Whether its server is stopping: a good moment to say goodbye. */
STTCP_API bool sttcp_conn_stopping(const sttcp_conn *conn);

/* The descriptor, borrowed, for setsockopt(2) and the like; -1 once it is closed. Reading or
 * writing it is an error of the caller, and a smaller SO_RCVBUF than it has a trap: sttcp(7). */
STTCP_API int sttcp_conn_fd(const sttcp_conn *conn);

/*
 * Takes the descriptor out of the library and returns it, in blocking mode; the
 * caller has to close it. The connection ends with STTCP_ECLOSED. -EBUSY while
 * another thread runs its handler; -EAGAIN while output is queued; -EOPNOTSUPP
 * with TLS, or when it is beginning. Bytes that were read but not delivered are
 * lost, such as what came behind a message; in a handler sttcp_conn_recv with a
 * timeout of 0 gives them before.
 */
STTCP_API int sttcp_conn_detach(sttcp_conn *conn) STTCP_CHECKED;

/* ------------------------------------------------------------- straight line */

/*
 * The client for code without callbacks: connects, waits until that has an
 * outcome, and returns an open connection that has no handlers.
 *
 *	static ssize_t greet(char *line, size_t size)
 *	{
 *		sttcp_conn *conn = sttcp_dial("localhost", 62134,
 *					      STTCP_OPTIONS(.framing = STTCP_FRAMING_LINE), NULL);
 *
 *		if (!conn)
 *			return fprintf(stderr, "%s\n", sttcp_dial_error());
 *		sttcp_conn_send_message(conn, "hello", 5);
 *
 *		ssize_t got = sttcp_conn_recv_message(conn, line, size, 1000);
 *
 *		sttcp_conn_unref(conn);
 *		return got;
 *	}
 *
 * Everything of a client's attempt counts: names are looked up and addresses race,
 * local_host, local_port, connect_timeout_ms, tls with tls_name and its handshake,
 * Unix sockets, framing, write_timeout_ms, dead_peer_timeout_ms, lifetime_ms. The
 * limits for input run while a call waits for input. Any thread may dial, also
 * inside handlers; that blocks it, and loops are taken over as for any handler
 * that blocks (with `fibers` it holds no thread). Name lookups have threads of
 * their own, up to eight beyond max_threads, and cannot keep a handler from one.
 *
 * NULL with a code in `*code` (may be NULL) if there is no connection: what a
 * client's unconnected handler is told; -EINVAL for arguments and options that
 * are wrong, and for those without effect here: of servers, of connecting again,
 * half_close, drain_timeout_ms, fibers; -ENOMEM; what else an engine cannot start
 * with. If the connection whose handler dials is ended by force, the attempt is
 * cancelled, and `*code` is the reason of that end. -EDEADLK on a thread of the
 * library outside handlers, timers and work, such as a log callback on one.
 *
 * The connection is used with all of sttcp_conn_* by any thread. It belongs to no
 * server or client (sttcp_conn_server and sttcp_conn_client are NULL), so no stop
 * and no keep_alive knows of it. Other than for connections with handlers:
 *
 *  - sttcp_conn_recv, _recv_message, _recv_exactly, _next_size and _start_tls may
 *    be called by any thread, one at a time: -EBUSY while another one does so.
 *    They wait for a task of the connection that is running, and no task runs
 *    meanwhile: a heartbeat of a connection that is being read is a timer's.
 *    In a handler of another connection they also end when that is ended by force,
 *    with its reason.
 *  - The peer's FIN does not end it: recv returns 0 (recv_message -ENODATA) each
 *    time, and sending goes on.
 *  - It ends with close, abort and fail, with a limit of its own, with what a read
 *    finds (a reset, a malformed message) - and with the last reference: the
 *    caller's from here, and those of sttcp_conn_ref. The last sttcp_conn_unref of
 *    an open one closes it as sttcp_conn_close does, and waits for nothing. A
 *    program that is about to exit waits for its peer first: sttcp_conn_shutdown,
 *    and sttcp_conn_recv until it returns 0.
 *  - sttcp_conn_on_message, join and leave: -EINVAL.
 *
 * It counts as started for sttcp_engine_shutdown until it has ended. In the child
 * of a fork a parent's one returns STTCP_EFORK; the child may dial its own.
 */
STTCP_API sttcp_conn *sttcp_dial(const char *host, int port, const sttcp_options *options,
				 int *code) STTCP_CHECKED;

/* Why the last sttcp_dial of the calling thread gave no connection, as a sentence; "" if it gave
 * one. Valid until the thread's next. */
STTCP_API const char *sttcp_dial_error(void);

/*
 * Waits for `ms` milliseconds, and no less; -1: without limit. As sleep(3), but in
 * a handler it ends when the connection of that handler is ended by force, before
 * it or meanwhile: by abort, fail_now, a forced stop, free, lifetime_ms or
 * write_timeout_ms. So it delays no stop. Returns 0, or what that connection has
 * ended with; -EINVAL below -1. What the handler has sent leaves first. Any thread;
 * signals do not end it, and it is no cancellation point.
 */
STTCP_API int sttcp_sleep(int ms);

/*
 * poll(2) for one descriptor of the program's, for clients of other protocols that
 * give theirs away (libpq, hiredis, curl). Returns the events that have come (above
 * 0: POLLIN and so on; POLLERR, POLLHUP and POLLNVAL also unasked), or -ETIMEDOUT
 * after `timeout_ms` (-1: no limit; 0: a look), or as sttcp_sleep. A regular file is
 * always ready. -EINVAL: a descriptor below 0, or a limit below -1. As with poll(2),
 * closing the descriptor meanwhile wakes nobody. The library does not read, write
 * or keep it; several may wait for one, but with `fibers` only the first of them
 * without a thread.
 */
STTCP_API int sttcp_poll(int fd, short events, int timeout_ms);

/* --------------------------------------------------------------------- tasks */

/*
 * A task is a function that runs as one of the handlers of a connection: never at
 * the same time as another one of them. It may block, and may call whatever a
 * receive handler may, sttcp_conn_recv included. So what belongs to one
 * connection needs no lock, whichever thread has news for it.
 */
typedef void (*sttcp_task)(sttcp_conn *conn, void *argument);

/*
 * Runs `task` once, as soon as no other handler of the connection runs, and
 * before its disconnection handler. Never waits. Any thread; tasks that one
 * thread gives run in that order. Where it stands among received messages is not
 * fixed, but a task that was given before the peer's FIN was noticed runs before
 * that ends the connection. Tasks run also while the connection is paused. A task
 * that the connection handler gives runs after it, and before the first message.
 *
 * A task runs, or is cancelled, or the connection ends first: a close, false or a
 * limit keeps what has not begun from running. In each of these cases
 * `free_fn(argument)` is called once after that (`free_fn` may be NULL):
 *
 *  - on the thread that ran the task, after it; or inside sttcp_conn_cancel; or
 *    before the disconnection handler;
 *  - with no lock of the library held;
 *  - so that it has returned before on_release, and before a free of the server
 *    or client outside handlers returns. Outside handlers it must not wait for
 *    that itself (close, stop, wait and free of that server or client). A stop or
 *    wait may return before it has.
 *
 * Returns 0. After any other result nothing was taken, and free_fn is not called:
 * the reason of the connection if it has ended; -EAGAIN when 16 384 tasks of this
 * connection, of all kinds, wait already; -EINVAL without a task; -ENOMEM.
 */
STTCP_API int sttcp_conn_run(sttcp_conn *conn, sttcp_task task, void *argument,
			     void (*free_fn)(void *argument));

/*
 * The same, once, after `ms` milliseconds or a little later, never earlier.
 * Long delays are exceeded by up to a thousandth, and 32 ms at most, so that many
 * tasks share a wake-up. Returns an id from 1 on, by which it can be cancelled; it
 * is unique among the tasks of this connection. -EINVAL also for `ms` below 0.
 *
 * A task that waits for its time costs memory, and nothing else. It neither keeps
 * a connection from ending nor counts as a sign of life (idle_timeout_ms), and
 * with end_idle_at_stop only a task that is due keeps the connection open.
 */
STTCP_API int64_t sttcp_conn_after(sttcp_conn *conn, int ms, sttcp_task task, void *argument,
				   void (*free_fn)(void *argument));

/* The same again and again, every `ms` milliseconds, without drift, until it is cancelled or the
 * connection ends. Times that pass before a call has returned are left out. With 0 it runs again
 * when it has returned, and the others have had their turn. */
STTCP_API int64_t sttcp_conn_every(sttcp_conn *conn, int ms, sttcp_task task, void *argument,
				   void (*free_fn)(void *argument));

/*
 * Cancels a task of sttcp_conn_after or _every, and returns 0. Does not wait: a
 * call that runs, or is just about to, goes on, and in an `every` it is the last
 * one. A task of which no call runs never runs again: it is freed inside this
 * call, with its free_fn, so hold no lock that this takes. -ENOENT: it has run,
 * was cancelled, or never was.
 */
STTCP_API int sttcp_conn_cancel(sttcp_conn *conn, int64_t id);

/* ----------------------------------------------------------- timers and work */

typedef struct sttcp_timer sttcp_timer;

/*
 * A timer that calls `fn` on a thread of the library, never beside itself. `fn` may
 * block as a handler may: connections and other timers go on. What is said of
 * handlers in general holds for it: stop, close and free of any object return at
 * once inside it, and engine_shutdown gives -EDEADLK. The timer is at rest until it
 * is started. Returns NULL only when out of memory. All functions of a timer may
 * be called from any thread, `fn` included; in a forked child they give
 * STTCP_EFORK, and free does nothing.
 */
STTCP_API sttcp_timer *sttcp_timer_new(void (*fn)(sttcp_timer *timer, void *context),
				       void *context) STTCP_CHECKED;

/*
 * Sets it: the first call after `first_ms` milliseconds, never earlier, then one
 * every `every_ms`; 0: no more. The times are counted from the first one, without
 * drift. Those that pass while `fn` runs, or waits for a thread at max_threads, are
 * left out. Starting it again replaces what was set, also inside `fn`. Starts the
 * engine if nothing has. -EINVAL: NULL, a timer without `fn`, or a number below 0;
 * -ECANCELED: inside `fn`, when it was stopped elsewhere since `fn` was called, so
 * that a function that starts its timer again can be stopped; -EDEADLK on a
 * thread that sttcp_engine_shutdown waits for; else -errno when there are no
 * threads or descriptors for the engine. A code changes nothing.
 */
STTCP_API int sttcp_timer_start(sttcp_timer *timer, int first_ms, int every_ms) STTCP_CHECKED;

/*
 * Unsets it, and returns 0 when `fn` does not run and will not. A call that another
 * thread's start brings about meanwhile is not waited for. Inside a handler, a
 * timer or a piece of work it never waits: 0 if `fn` does not run, else -EBUSY, and
 * that is its last run. -EINVAL: NULL.
 */
STTCP_API int sttcp_timer_stop(sttcp_timer *timer);

/*
 * Stops it as above and frees it: outside handlers the context may be freed then.
 * Inside its own `fn` it takes effect when `fn` returns. So it does inside a handler,
 * another timer or a piece of work while `fn` runs on another thread. NULL is
 * ignored.
 */
STTCP_API void sttcp_timer_free(sttcp_timer *timer);

/*
 * Calls `fn` once, soon, on a thread of the library, where it may block as in a
 * timer. Several pieces of work run at the same time, in no order. Nobody waits for
 * one at exit; sttcp_engine_shutdown gives -EBUSY until it is done. Starts the engine
 * if nothing has. -EINVAL: no `fn`; -ENOMEM; and as sttcp_timer_start. After a code
 * `fn` is not called. Any thread.
 */
STTCP_API int sttcp_run(void (*fn)(void *argument), void *argument) STTCP_CHECKED;

/* ---------------------------------------------------- waiting without a thread */

/*
 * With the option `fibers` every handler of an object, and every task, runs on a
 * stack of its own (fiber_stack_size), and a wait in the library gives its thread
 * back: sttcp_conn_recv and those like it, a send at the cap, the handshake of
 * sttcp_conn_start_tls, sttcp_dial, sttcp_sleep, sttcp_poll. So ten thousand
 * dialogues, each written as one function, need no more threads than one. Any other
 * call that blocks holds its thread, as ever. Where there is no memory for a stack, a
 * handler runs on its thread's, and its waits hold that; so it is with C libraries
 * that lack makecontext(3), as musl does.
 *
 * After such a wait the handler may go on on another thread. So across one it
 * - holds no lock that knows its owner: a mutex that is recursive, error-checking,
 *   robust or priority-inheriting; a read-write lock; the lock of a stdio stream
 *   (inside a function of fopencookie(3), too); a lock of C++;
 * - keeps nothing that is the thread's own: thread-local variables, and errno, whose
 *   address compilers find out once; a rounding mode that it has changed;
 * - is not inside a catch block of C++.
 * A plain mutex that is held over a wait makes each handler that wants it hold a
 * thread, and at max_threads is a deadlock. Stacks are small: no large arrays.
 * sttcp-fibers(7) has a program for each of these rules.
 *
 * While a handler waits, no other one of its connection runs: no task, no drained or
 * end handler. Limits on input rest, and those of a connection whose connection
 * handler waits begin when that returns: give sttcp_conn_recv limits of its own. The
 * connection cannot be detached by others (-EBUSY).
 *
 * A connection is ended *by force* by sttcp_conn_abort and sttcp_conn_fail_now, a
 * forced stop, free, lifetime_ms or write_timeout_ms. That ends every
 * wait of its handlers at once, also of the last one, and later ones return at once.
 * A send to another connection that has begun is not torn: that one's peer has its
 * write_timeout_ms from then on to take the rest, or the connection is reset.
 * Any other end only ends the wait for input.
 */

/* ------------------------------------------------------------------------ TLS */

/*
 * TLS 1.2 and 1.3 (RFC 8446) by OpenSSL 3. A TLS object holds certificates, trust
 * and settings. It is made once, and shared by any number of servers, clients and
 * connections: by the option `tls`, or by sttcp_conn_start_tls.
 *
 *	sttcp_tls *tls = sttcp_tls_server("cert.pem", "key.pem");
 *	sttcp_server *server = sttcp_server_new("", 8443, STTCP_OPTIONS(.tls = tls));
 *
 *	sttcp_tls_unref(tls);	// the server has a reference of its own
 *
 * What holds for a plain connection holds for one with TLS: handlers, framing,
 * reading inside handlers, backpressure, broadcasts, limits, stops. All sizes and
 * counters are of plain bytes. The differences:
 *
 *  - A server's connection handler runs after the handshake. A handshake that
 *    fails runs no handler: it is logged, and counted in sttcp_stats.tls_failed.
 *    A client's connection ends in its unconnected handler, with STTCP_ETLS and a
 *    text that says what was wrong ("the certificate of db.example has expired on
 *    2026-01-31").
 *  - A connection in its handshake counts for max_connections and the other
 *    limits, not for sttcp_server_count. The limits for the first byte and for
 *    idle time begin after it. A graceful stop lets it finish, a forced one does
 *    not.
 *  - TLS's own end of the stream, close_notify, is the peer's FIN. A peer that
 *    ends without one may have been cut off by somebody on the way: what came is
 *    delivered, but no end handler runs and no incomplete line becomes a last
 *    message; sttcp_conn_recv and its kin return STTCP_ECUT, and so does the
 *    connection end. Many peers are careless about it.
 *  - An orderly close, and sttcp_conn_shutdown, send close_notify before FIN.
 *    sttcp_conn_abort, _fail_now and a forked child do not.
 *  - With TLS 1.3 a client's handshake is over before the server has looked at the
 *    client's certificate. That it is refused may be told only after the
 *    connection handler, by the disconnection handler, with STTCP_ETLS.
 *  - sttcp_conn_detach gives -EOPNOTSUPP.
 *
 * Not supported: early data (0-RTT), renegotiation, compression, encrypted keys,
 * PKCS#11. Revocation is not checked: neither CRLs nor OCSP. A client resumes its
 * own last session only, which saves the larger part of a handshake.
 *
 * A fork waits until no thread of the library is inside OpenSSL (a second at
 * most), whose locks would stay held in the child; those of the program's own
 * threads do. The parent's objects give STTCP_EFORK there, and so does a start that
 * is to use one.
 *
 * A library that was built without OpenSSL has all these functions. New objects
 * can be made; setting anything, and a start that needs one, gives -ENOSYS.
 *
 * Setting is done before the first start that uses the object, else -EBUSY. Files
 * are tried when they are named, and read once more by that start: a process that
 * gives up the right to read them does so afterwards. sttcp_tls_reload may be
 * called at any time. All functions may be called on any thread; those that read
 * files wait for the disk. Files are in PEM format. They are read again at a
 * start and at each reload, so a pipe is refused.
 */

/*
 * A server's object. `certificate` is a file with the certificate, followed by
 * those of its issuers up to one that clients trust; `key` a file with its private
 * key, which may not be encrypted. NULL for `key`: it stands in the certificate's
 * file. Never NULL, which would be no TLS where it is handed on: what is wrong with
 * the files is told by sttcp_tls_error, and by a start. Without memory for an object
 * it gives one for which all calls, and a start that is to use it, give -ENOMEM.
 * Release it with sttcp_tls_unref.
 */
STTCP_API sttcp_tls *sttcp_tls_server(const char *certificate, const char *key) STTCP_CHECKED;

/* A client's object: it trusts whom the system trusts, and checks that the certificate is for the
 * name it asked for (subjectAltName, RFC 9525; the common name does not count). Never NULL, see
 * sttcp_tls_server. Release it with sttcp_tls_unref. */
STTCP_API sttcp_tls *sttcp_tls_client(void) STTCP_CHECKED;

/* A sentence about what is wrong, with the name of the file in it; "" when all is well. It tells of
 * the last call that could fail, on whichever thread; a start of a server or client that has the
 * object is one, too, a dial with it, and an sttcp_conn_start_tls that it refuses. The text itself
 * does not change, and is valid until the last unref. */
STTCP_API const char *sttcp_tls_error(const sttcp_tls *tls);

/*
 * Server: one certificate more. A peer that asks for a name (SNI) gets one that has
 * this name, or a wildcard for it; of several, one whose key the peer can use. The
 * first certificate is for all other peers.
 *
 * 0; -EINVAL: not a server's object, or not what the files should hold; -ENOENT,
 * -EACCES and others of open(2) and read(2); -EBUSY: it is in use; -ENOMEM;
 * -ENOSYS. sttcp_tls_error has a sentence. A start fails as well, until what was
 * wrong is set right. The functions that follow have the same codes.
 */
STTCP_API int sttcp_tls_add_certificate(sttcp_tls *tls, const char *certificate,
					const char *key) STTCP_CHECKED;

/* Client: the certificate that it shows to servers that ask for one. On a server's object -EINVAL,
 * which changes nothing. */
STTCP_API int sttcp_tls_set_certificate(sttcp_tls *tls, const char *certificate,
					const char *key) STTCP_CHECKED;

/* Trusts the certificates in this file, or in all files of this directory (no links by hash are
 * needed), instead of those that the system trusts. Several calls add up: a place that could not be
 * read fails the later ones and a start, too, until it can. A server trusts nobody without it. */
STTCP_API int sttcp_tls_trust(sttcp_tls *tls, const char *file_or_directory) STTCP_CHECKED;

/* Whether the peer has to show a certificate. */
typedef enum sttcp_tls_peer {
	STTCP_TLS_PEER_NONE,  /* no; client: encrypts without knowing to whom */
	STTCP_TLS_PEER_ASKED, /* server: it may; one that is shown has to be good */
	STTCP_TLS_PEER_REQUIRED
} sttcp_tls_peer;

/* Default: a server's _NONE, a client's _REQUIRED. A server that asks needs sttcp_tls_trust, else a
 * start gives -EINVAL. */
STTCP_API int sttcp_tls_require_peer(sttcp_tls *tls, sttcp_tls_peer who) STTCP_CHECKED;

/* The application's protocols (ALPN, RFC 7301), "h2,http/1.1", best first. The server's order
 * decides. With none in common the handshake fails; a peer that offers none is served, and
 * sttcp_tls_info.alpn is "". */
STTCP_API int sttcp_tls_set_alpn(sttcp_tls *tls, const char *protocols) STTCP_CHECKED;

/* The versions of TLS that are allowed: 12 for 1.2, 13 for 1.3. Default 12 to 13. */
STTCP_API int sttcp_tls_set_versions(sttcp_tls *tls, int least, int most) STTCP_CHECKED;

/* The ciphers that are allowed, separated by colons, in the syntax of openssl-ciphers(1). Names
 * that begin with TLS_ are those of 1.3. An unknown name gives -EINVAL. Those without
 * authentication (aNULL) are left out of every list. */
STTCP_API int sttcp_tls_set_ciphers(sttcp_tls *tls, const char *ciphers) STTCP_CHECKED;

/*
 * Reads all files again. Only if all of them are good does that count, for
 * handshakes from then on; open connections are not concerned. Otherwise a code as
 * above, sttcp_tls_error has a sentence, and everything stays as it was. While
 * servers run, too. A server's sessions from before can still be resumed, unless
 * what is trusted has changed; a client begins with a new one.
 */
STTCP_API int sttcp_tls_reload(sttcp_tls *tls) STTCP_CHECKED;

/* References, counted. ref returns `tls`; each call, and each object that was made, needs one
 * unref. NULL is fine for unref. */
STTCP_API sttcp_tls *sttcp_tls_ref(sttcp_tls *tls);
STTCP_API void sttcp_tls_unref(sttcp_tls *tls);

/*
 * Begins TLS on a connection that has spoken plain bytes so far (STARTTLS): inside
 * one of its connection, receive or response handlers, or a task. Waits for the
 * handshake as sttcp_conn_recv waits, for tls_handshake_timeout_ms at most. The
 * kind of `tls`, of a server or of a client, decides who begins. `name` is whom a
 * client asks for, as tls_name; NULL: tls_name, or the host.
 *
 * What was sent before leaves as plain bytes first, and other threads' sends wait
 * in the queue meanwhile. Bytes that were received behind the message that is being
 * handled are taken for the peer's first bytes of TLS, never for a message: so
 * nobody can put plain commands in front of encrypted ones.
 *
 * 0; -EBUSY: it has TLS already, or another call is beginning it; -EDEADLK: not on
 * the thread of such a handler; -EINVAL: no `tls`, a client's object that verifies
 * and has no name, or a name that no certificate can be for; a code of the object
 * as from a start: sttcp_tls_error has a sentence about both; -EPIPE after
 * sttcp_conn_shutdown; -ENOMEM. After these nothing has changed. STTCP_ETLS,
 * STTCP_ETIME_HANDSHAKE, or why the peer is gone: the connection ends with this
 * code.
 */
STTCP_API int sttcp_conn_start_tls(sttcp_conn *conn, sttcp_tls *tls,
				   const char *name) STTCP_CHECKED;

/* What the two sides have agreed on. Strings are never NULL, and live as long as the handle. */
typedef struct sttcp_tls_info {
	const char *version;	      /* "TLSv1.3" */
	const char *cipher;	      /* "TLS_AES_256_GCM_SHA384" */
	const char *alpn;	      /* the protocol that was chosen, or "" */
	const char *server_name;      /* that the client asked for, or "" */
	const char *peer_subject;     /* of the peer's certificate, as RFC 2253 writes it; "" */
	const char *peer_fingerprint; /* its SHA-256, 64 hexadecimal digits in lower case; "" */
	const void *peer_certificate; /* the certificate itself (DER); NULL: it showed none */
	size_t peer_certificate_size;
	bool peer_verified; /* the certificate was checked, and is trusted */
	bool resumed;	    /* from an earlier session */
	char reserved[6];   /* 0 */
} sttcp_tls_info;

/* Fills the first `size` bytes of `info`: sizeof(sttcp_tls_info). 0; -ENOENT: it has no TLS, or its
 * handshake is not over; -EINVAL. Any thread, also after the end. */
STTCP_API int sttcp_conn_tls(const sttcp_conn *conn, sttcp_tls_info *info, size_t size);

#ifdef __cplusplus
}
#endif

#endif
