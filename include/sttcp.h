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
 *  - Handlers of one connection never overlap and run in order. Handlers of
 *    different connections run at the same time, on different threads: what
 *    they share needs a lock of yours.
 *  - Every function may be called from any thread at any time, inside handlers
 *    too, unless its comment says otherwise. Sends, and outside handlers stop,
 *    close, free and wait, may wait: a lock of yours that a handler wants must
 *    not be held over them.
 *  - Results of type int are >= 0 when all is well, and a negative code
 *    otherwise: -errno, or one of the codes below. sttcp_strerror() tells. Most
 *    compilers warn where a start, or what prepares one, is not looked at.
 *  - Returning from main ends everything: wait with sttcp_server_keep_alive().
 *
 * A handler may not leave by pthread_exit, longjmp or a C++ exception: the
 * thread that runs it is the library's.
 *
 * After a fork, the parent's objects give STTCP_EFORK in the child (or NULL,
 * false, 0) and touch nothing; objects that the child makes itself work. A
 * child that was forked in a handler, or in another function of yours on a
 * thread of the library, must exec or _exit: it does not come back from there.
 *
 * Handlers run with the signal mask of the thread that made the first start; a
 * handler that changes it puts it back. Only keep_alive sets signals up.
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
#define STTCP_VERSION_MINOR 1
#define STTCP_VERSION_PATCH 0

#if defined(__GNUC__)
#define STTCP_API __attribute__((visibility("default")))
#define STTCP_PRINTF(text, first) __attribute__((__format__(__printf__, text, first)))
#else
#define STTCP_API
#define STTCP_PRINTF(text, first)
#endif

/* Who does not look at the result is warned by the compiler: it alone tells that nothing was done.
 * A program that defines this as nothing, before it includes this header, is not warned. */
#ifndef STTCP_CHECKED
#if defined(__GNUC__)
#define STTCP_CHECKED __attribute__((__warn_unused_result__))
#else
#define STTCP_CHECKED
#endif
#endif

/* The version of the library that runs, "0.1.0"; static. */
STTCP_API const char *sttcp_version(void);

typedef struct sttcp_server sttcp_server;
typedef struct sttcp_client sttcp_client;
typedef struct sttcp_conn sttcp_conn;

/* ------------------------------------------------------------------ handlers */

/* The phases of a connection, as the universal handler sees them. */
typedef enum sttcp_event {
	STTCP_CONNECTION = 1, /* a connection is there: accept or decline it */
	STTCP_RECEIVE,	      /* a server's connection has data */
	STTCP_RESPONSE,	      /* a client's connection has data */
	STTCP_END,	      /* the peer sends no more (only with the option half_close) */
	STTCP_DISCONNECTION,  /* the end of a connection that had been accepted */
	STTCP_UNCONNECTED     /* a client's attempt has failed */
} sttcp_event;

/* "connection", "receive", ...; "unknown" for any other value; static. */
STTCP_API const char *sttcp_event_name(sttcp_event event);

/*
 * In every handler `conn` is never NULL; it and the strings it gives are valid
 * from the start of its first handler to the return of its last (longer with
 * sttcp_conn_ref). `data` is the library's and valid until the handler returns.
 * `size` is in bytes. `context` is what _set_context set, else NULL. The urgent
 * byte of TCP (RFC 6093) and descriptors sent over a Unix socket are dropped.
 *
 * A verdict of false ends the connection in order: what was sent is flushed,
 * then FIN; the reason is 0. From a server's connection handler it declines
 * the connection, and then no other handler runs for it.
 */
typedef bool (*sttcp_connection_handler)(sttcp_conn *conn, void *context);
typedef void (*sttcp_receive_handler)(sttcp_conn *conn, const void *data, size_t size,
				      void *context);
typedef bool (*sttcp_response_handler)(sttcp_conn *conn, const void *data, size_t size,
				       void *context);

/* The peer's FIN, once, with the option half_close: sending goes on until the program
 * closes, or ends this side, too, with sttcp_conn_shutdown; the library does neither. */
typedef void (*sttcp_end_handler)(sttcp_conn *conn, void *context);

/* Bytes had to wait in the queue, because the peer or the network was slow, and all of them have
 * gone to the kernel: a good moment to go on with a long answer. It is a handler like the others
 * (one at a time), but no phase: the universal handler does not see it. */
typedef void (*sttcp_drained_handler)(sttcp_conn *conn, void *context);

/*
 * A message cannot be taken: `code` is STTCP_EFRAME (it is malformed, or the
 * peer's FIN has cut it) or STTCP_ELIMIT (it is over max_message, or there is no
 * room for it under total_queue_max), and with that the connection ends when this
 * returns. What is sent here still leaves; sttcp_conn_fail gives
 * another reason. What came behind the message is dropped. A handler like the
 * others (one at a time, may block), but no phase: the universal handler does
 * not see it. While a handler waits in sttcp_conn_recv_message it runs inside
 * that, on its thread. Reading here gives -EDEADLK.
 */
typedef void (*sttcp_malformed_handler)(sttcp_conn *conn, int code, void *context);

/* Exactly once, last, after a connection handler that accepted. `reason` is 0 when the peer
 * closed in order or a handler said false, else a code. Sending fails here. */
typedef void (*sttcp_disconnection_handler)(sttcp_conn *conn, int reason, void *context);

/* A client's attempt has failed: `conn` never opened; its address, client, reason and text can
 * be read. The client may be started again from here. */
typedef void (*sttcp_unconnected_handler)(sttcp_conn *conn, int reason, void *context);

/*
 * Runs before the specific handler in every phase. Where a phase has a specific
 * handler, that one's verdict counts; where it has none, this one's does.
 * Verdicts about DISCONNECTION and UNCONNECTED are ignored. `data` is NULL and
 * `size` 0 outside RECEIVE and RESPONSE; sttcp_conn_reason() tells the reason.
 */
typedef bool (*sttcp_universal_handler)(sttcp_event event, sttcp_conn *conn, const void *data,
					size_t size, void *context);

/* --------------------------------------------------------------------- codes */

/* The library's own codes. All other negative results are -errno. */
enum {
	STTCP_EDESTROYED = -5001,	/* the client was closed by its owner */
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
	STTCP_EFORK = -5017		/* the object belongs to the parent process */
};

/* A sentence for `code`, 0 and -errno too. Never NULL; static or the C library's, not to be
 * freed; any thread. */
STTCP_API const char *sttcp_strerror(int code);

/* "STTCP_ESLOW", "ECONNRESET", ...; "OK" for 0, "UNKNOWN" for a number that is no code; static. */
STTCP_API const char *sttcp_error_name(int code);

/* ------------------------------------------------------------------- framing */

/* How a stream of bytes is cut into messages: the receive or response handler is called once for
 * each, with the payload alone. */
typedef enum sttcp_framing {
	STTCP_FRAMING_RAW, /* not at all: bytes as they come */
	/* Up to "\n"; "\r\n" is accepted, too; see rest_at_end. Not for SMTP, HTTP and their like,
	 * where a bare "\n" is no end: they want the delimiter "\r\n". */
	STTCP_FRAMING_LINE,
	STTCP_FRAMING_DELIMITER, /* up to `delimiter`; likewise */
	STTCP_FRAMING_LENGTH,	 /* a length, then as many bytes */
	STTCP_FRAMING_FIXED,	 /* always `fixed_size` bytes */
	STTCP_FRAMING_CUSTOM	 /* as `frame_fn` says */
} sttcp_framing;

/*
 * Where the first message in `data` ends: 0 when more is needed to tell; n > 0
 * when the first n bytes are one message, delivered whole (n may be more than
 * `size`); below 0 when it is malformed, which ends the connection with
 * STTCP_EFRAME. Called where a handler of the connection would be, never at the
 * same time as one; like one it may block. It sees all bytes of the message that
 * have come so far, each time; it is called when more of them have come, and not
 * again for a message whose end it has told.
 */
typedef ssize_t (*sttcp_frame_fn)(const void *data, size_t size, void *context);

/* ------------------------------------------------------------------- options */

/* What happens to a connection over a limit of its server. */
typedef enum sttcp_over {
	STTCP_OVER_PAUSE, /* leave it in the kernel's queue until there is room */
	STTCP_OVER_REJECT /* accept and close at once */
} sttcp_over;

/*
 * In every number 0 means the default and -1 means off or unlimited. Sizes are
 * in bytes, times in milliseconds. Options are copied by _new; start tells
 * -EINVAL for a value that an option cannot have, for one that has no effect
 * (without its framing; a client's on a server) or contradicts another, and for
 * a struct that this library cannot know. The sentence of _error names it.
 */
typedef struct sttcp_options {
	size_t size; /* of this struct; STTCP_OPTIONS and sttcp_options_init set it */

	/* --- Framing --- */

	/* A value of sttcp_framing; default STTCP_FRAMING_RAW. */
	int32_t framing;

	/* All framings but STTCP_FRAMING_RAW: cap on the payload of one message, in both
	 * directions, and on what is held of one that is not whole. Over it the connection ends
	 * with STTCP_ELIMIT. Default 1 MiB. */
	int64_t max_message;

	/* STTCP_FRAMING_DELIMITER: 1 to 16 bytes, which are copied. */
	const void *delimiter;
	size_t delimiter_size;

	/* STTCP_FRAMING_LINE and _DELIMITER: bytes that have no end at the peer's FIN are a last
	 * message. Without it they are half of one, as they are in the other framings:
	 * STTCP_EFRAME, and no handler gets them. */
	bool rest_at_end;

	/* STTCP_FRAMING_LENGTH: how many bytes the length has: 1, 2, 4 or 8; default 4. */
	int32_t prefix_size;
	bool prefix_little_endian;   /* the length's lowest byte comes first */
	bool prefix_varint;	     /* the length as protobuf writes it; prefix_size is not used */
	bool prefix_includes_itself; /* the length counts its own bytes, too */

	/* STTCP_FRAMING_FIXED: the size of each message. */
	int64_t fixed_size;

	/* STTCP_FRAMING_CUSTOM: with the object's context. */
	sttcp_frame_fn frame_fn;

	/* --- Queues, and peers that read slowly --- */

	/* Cap on the bytes queued in the library for one connection, those the kernel holds not
	 * counted. At the cap sttcp_conn_send waits. They take at most 8/7 of that in memory, and
	 * 24 KiB, however small the parts. Default 1 MiB. */
	int64_t send_queue_max;

	/* While that many bytes that the connection's own handlers have sent are queued likewise,
	 * nothing is read from its peer; it goes on when low_water or fewer of them are left. What
	 * is sent on it elsewhere (by main, a handler of another connection, a broadcast of theirs)
	 * never stops its reading: two ends of which each rests while anybody's bytes are queued
	 * for it would wait for each other. Default 512 KiB and 128 KiB; under a send_queue_max
	 * that is smaller, half of it and a quarter of the high one. -1 for high_water: reading
	 * goes on. Neither may be over the one before it. */
	int64_t high_water;
	int64_t low_water;

	/* Cap on what is queued for all connections of the object together, with what is held of
	 * messages that are not whole. At it each of them is as if it were at its own cap, peers
	 * are not read from for whom their own handlers have something queued, and a message that
	 * needs more room ends its connection with STTCP_ELIMIT. Default -1. */
	int64_t total_queue_max;

	bool broadcast_skips; /* a member over its cap misses the message, and stays */

	/* --- Timeouts --- */

	/* Client: limit for name resolution and all addresses together. Default 10 000. Ends in
	 * STTCP_ETIME_CONNECT. The process asks for four names at a time, on threads that are not
	 * those of handlers; the time in which a name waits for its turn counts, too. */
	int32_t connect_timeout_ms;

	/* Limits on waiting for the peer, all off by default. They rest while a handler runs and
	 * while the connection is paused. First byte: from accept or connect on;
	 * STTCP_ETIME_FIRST_BYTE. Idle: no byte in or out; STTCP_ETIME_IDLE. Message: from the
	 * first byte of a message to its last; STTCP_ETIME_MESSAGE. The connection is flushed and
	 * closed. */
	int32_t first_byte_timeout_ms;
	int32_t idle_timeout_ms;
	int32_t message_timeout_ms;

	/* How long a connection may live, whatever it does, and how much longer at most, chosen for
	 * each at random so that they do not all end at once. It ends as sttcp_conn_abort does,
	 * with STTCP_ETIME_LIFETIME. Off by default. */
	int32_t lifetime_ms;
	int32_t lifetime_jitter_ms;

	/* A queue, or a waiting sttcp_conn_send, from which no byte leaves for this long ends the
	 * connection as sttcp_conn_abort does, with STTCP_ETIME_WRITE. Once the connection is being
	 * closed, ten times as long is what all of its queue may take. Default 30 000. */
	int32_t write_timeout_ms;

	/* A peer that has vanished, which means that it answers nothing, is found in about this
	 * time: by TCP keepalive (tcp(7)) while nothing is under way to it, by the library while
	 * something is. It ends as sttcp_conn_abort does, with STTCP_EDEAD_PEER. One that answers
	 * with its window shut lives. Default 60 000; 3000 at least, in whole seconds. Not on Unix
	 * sockets. Before Linux 6.15 a vanished peer whose window was shut may be found two minutes
	 * later. */
	int32_t dead_peer_timeout_ms;

	/* After an end in order on this side (close, false, fail, a limit, a graceful stop) what
	 * the peer still sends is dropped for so long, from the FIN on or, where the disconnection
	 * handler takes its time, from its return on; however much it is, or until the peer's FIN.
	 * Closed with input unread the connection would be reset, and the last answer lost
	 * (RFC 1122, 4.2.2.13). The connection counts for max_connections until then. -1: it is
	 * closed at once. Default 2000. */
	int32_t linger_timeout_ms;

	/* --- Stopping --- */

	/* How long a stop lets connections come to their end by themselves. Server: default -1
	 * (waits) for close and stop, 10 000 after a signal in keep_alive. Client: how long a close
	 * waits for what is queued; default 10 000. */
	int32_t drain_timeout_ms;

	/* Server: in a graceful stop, connections on which nothing is going on end at once with
	 * STTCP_ESTOPPED, and the others as soon as that is true of them: no handler runs, nothing
	 * is queued, everything that has come was delivered, and there is no part of a message.
	 * An answer that another thread is still to send is not known to the library. */
	bool end_idle_at_stop;

	/* --- Limits of a server --- */

	/* Server: how many connections there may be at a time, how many of one address (of IPv6:
	 * one /64), and how many are taken a second (in bursts of up to a second's worth). Off by
	 * default. A connection counts until its descriptor is closed. */
	int32_t max_connections;
	int32_t max_connections_per_ip;
	int32_t accept_rate;

	/* A value of sttcp_over, for max_connections and accept_rate; per address it is always
	 * rejected. */
	int32_t over_limit;

	/* --- Sockets --- */

	/* Server: the length of the queue of connections not yet accepted, listen(2). Default: the
	 * system's SOMAXCONN. */
	int32_t backlog;

	bool reuse_port; /* server: SO_REUSEPORT, socket(7); else a second start is refused */
	bool ipv6_only;	 /* server: no IPv4 on an IPv6 socket, ipv6(7) */
	bool nagle;	 /* leave Nagle's algorithm on (TCP_NODELAY off, tcp(7)) */
	bool half_close; /* the peer's FIN calls the end handler; sending stays open */
} sttcp_options;

#ifndef __cplusplus
/* STTCP_OPTIONS(.write_timeout_ms = 5000): options that live as long as the enclosing block. */
#define STTCP_OPTIONS(...) (&(const sttcp_options){.size = sizeof(sttcp_options), __VA_ARGS__})
#endif

/* Zeroes `options` and sets its size, for C++ and bindings: size is sizeof(sttcp_options). */
STTCP_API void sttcp_options_init(sttcp_options *options, size_t size);

/*
 * The event loops and threads of the process; before the first start, or the
 * first after sttcp_engine_shutdown. 0 means
 * the default: one loop per CPU that the process may use; 4096 threads for
 * handlers that block; the system's stack size (in bytes).
 * -EINVAL: a negative number, or a stack below PTHREAD_STACK_MIN. -EBUSY: something was started
 * already.
 */
STTCP_API int sttcp_engine_configure(int loops, int max_threads, size_t stack_size) STTCP_CHECKED;

/*
 * Ends every thread and closes every descriptor of the library. Nobody needs
 * this at the end of a program; it is for leak checkers, for a fork that should
 * find a process without threads, and for sttcp_engine_configure, which may be
 * called again: the next start begins anew, and its thread's signal mask is
 * that of handlers. Objects can be started again, and connections whose
 * references are held go on to answer.
 *
 * Connections that have ended and still flush, or wait for the peer's end, are
 * closed at once. The call waits for name lookups under way and for free and
 * release functions that still run. 0, also when nothing was ever started;
 * -EBUSY while a server or client is started (a stop is over, too, only when no
 * handler runs); -EDEADLK inside a handler, or such a function on a thread of
 * the library.
 */
STTCP_API int sttcp_engine_shutdown(void);

/*
 * What the library has to say: nothing is printed unless one of these asks for
 * it. Levels: 1 error, 2 warning, 3 info, which tells each end that the library
 * decided (a limit, a malformed message, a peer that is gone), 4 trace, which
 * tells the life of each connection: accept, open, pause, resume, ended. A line
 * has the address that it is about, and the id of the connection. What nobody
 * asks for costs next to nothing.
 *
 * `fn` gets lines without a newline, which are valid during the call, on any
 * thread, with no lock held. It may not block: other connections may wait for
 * its thread. It may call what does not wait; what that would have to say is not
 * told. NULL turns logging off, which is the default. Returns when the function
 * from before does not run any more and will not, so that its context may go;
 * inside that function at once. (So it may not be called with a lock that the
 * function takes.)
 */
typedef void (*sttcp_log_fn)(int level, const char *text, void *context);
STTCP_API void sttcp_set_log(sttcp_log_fn fn, void *context);

/* Up to which level a function that is set gets lines: 0 to 4, 3 by default. */
STTCP_API void sttcp_log_level(int level);

/*
 * Prints what is at most `level`, with the time, a line in one write(2); 0: off.
 * The last of it and sttcp_set_log counts. With STTCP_LOG=0 to 4 in the
 * environment (secure_getenv(3)) the first start does so, unless one of the two
 * was called before.
 */
STTCP_API void sttcp_log_to_stderr(int level);

/* -------------------------------------------------------------------- server */

/*
 * A server for `host`: a name, an IPv4 or IPv6 literal, "" or NULL for all
 * interfaces, "unix:/path" for a Unix socket (port is ignored; a relative path is
 * meant as it is at each start). Port 0 lets the kernel choose. `options` may be
 * NULL. NULL only for want of memory: bad arguments are told by start. To be
 * freed with sttcp_server_free.
 */
STTCP_API sttcp_server *sttcp_server_new(const char *host, int port,
					 const sttcp_options *options) STTCP_CHECKED;

/* Handlers and the context change only while the server is stopped, else -EBUSY. NULL removes a
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

/* `fn` is the very last call for this server, once, also if it was never started: the context
 * may go then. A free outside handlers returns after it. */
STTCP_API int sttcp_server_on_release(sttcp_server *server,
				      void (*fn)(void *context)) STTCP_CHECKED;

/*
 * Binds and listens on every address of the host's name, and returns when that
 * has succeeded or failed. On failure nothing is left running, no handler will
 * ever run, and sttcp_server_error tells a sentence with the address in it:
 * -EINVAL (port, options), STTCP_ERESOLVE, -EADDRINUSE, -EADDRNOTAVAIL,
 * -EACCES, -EMFILE, -ENOMEM, -EAGAIN (no thread), and others of bind(2).
 * -EBUSY: it runs, or handlers of its last run have not returned yet. Addresses
 * that this machine does not have are skipped if at least one listens.
 */
STTCP_API int sttcp_server_start(sttcp_server *server) STTCP_CHECKED;

/* The port that it listens on, from start on; before that the one given to new. 0 for a Unix
 * socket. */
STTCP_API int sttcp_server_port(const sttcp_server *server);

/* A sentence about the last failure; "" when there is none; valid until the next start or free. */
STTCP_API const char *sttcp_server_error(const sttcp_server *server);

/*
 * close and stop are the same: stop listening at once, let every connection
 * come to its end (within the option drain_timeout_ms), then stop. Returns when
 * that is done; inside any handler it returns at once and completes later.
 * 0 also when connections had to be closed by force and when nothing was
 * started. Connections can see it coming with sttcp_conn_stopping.
 */
STTCP_API int sttcp_server_close(sttcp_server *server);
STTCP_API int sttcp_server_stop(sttcp_server *server);

/* How a stop went, in connections. */
typedef struct sttcp_stop_report {
	int64_t ended;	 /* came to their end by themselves after the stop had begun */
	int64_t forced;	 /* were flushed and closed at the deadline, with STTCP_ESTOPPED */
	int64_t running; /* closed as well, but still in a handler, or waiting for a thread */
} sttcp_stop_report;

/*
 * A stop with its own deadline: 0 is at once, -1 waits without limit. A later
 * stop can only shorten the deadline. `report` may be NULL; inside a handler it
 * holds what is known then. -EINVAL: timeout below -1.
 */
STTCP_API int sttcp_server_stop_within(sttcp_server *server, int timeout_ms,
				       sttcp_stop_report *report);

/*
 * The stop for a signal handler: begins what a first SIGTERM begins in
 * keep_alive (a graceful stop with the drain limit of a signal), and does not
 * wait. Async-signal-safe (signal-safety(7)); it may interrupt any function of
 * the library, and leaves errno as it is. A second request does nothing more,
 * and is not a second signal. 0, also when nothing is started: then nothing
 * happens, and a later start is not stopped. -EINVAL, STTCP_EFORK.
 */
STTCP_API int sttcp_server_request_stop(sttcp_server *server);

/*
 * Waits until the server has stopped: 0, -ETIMEDOUT after `timeout_ms` (-1 waits
 * for ever), -EDEADLK inside any handler, -EINVAL when it was never started or
 * the timeout is below -1.
 */
STTCP_API int sttcp_server_wait(sttcp_server *server, int timeout_ms);

/*
 * Waits likewise, with SIGINT and SIGTERM starting the stop, and a second one
 * making it immediate. The calling thread lets both through while it waits,
 * whatever its mask was; mask and dispositions from before come back at the end,
 * and a signal that was ignored stays ignored. (The seed's word for "wait until
 * Ctrl+C": it has nothing to do with TCP's keepalive.) -EDEADLK, -EINVAL as
 * for wait.
 */
STTCP_API int sttcp_server_keep_alive(sttcp_server *server);

/* The same for all servers and clients that are started. -EINVAL: there is none. */
STTCP_API int sttcp_keep_alive(void);

/*
 * Stops at once, and returns when none of its handlers runs or ever will. Inside
 * one of its own handlers it returns at once and takes effect when that handler
 * returns; inside another object's it returns at once, too. NULL is fine.
 */
STTCP_API void sttcp_server_free(sttcp_server *server);

/*
 * Sends the bytes as they are to every member: each connection from the true of
 * its connection handler until its disconnection handler starts. Never waits: a
 * member whose queue would go over its cap is dropped with STTCP_ESLOW, or with
 * the option broadcast_skips misses the message. Returns how many it went to.
 * `except` (may be NULL) is left out.
 */
STTCP_API int sttcp_server_broadcast(sttcp_server *server, const void *data, size_t size);
STTCP_API int sttcp_server_broadcast_except(sttcp_server *server, sttcp_conn *except,
					    const void *data, size_t size);

/* The same, framed as each member's framing asks; a member whose framing cannot carry it
 * (sttcp_conn_send_message would refuse) is left out. */
STTCP_API int sttcp_server_broadcast_message(sttcp_server *server, sttcp_conn *except,
					     const void *data, size_t size);

/* Calls `fn` for every member, on the caller's thread, with no lock held; returns how many. Who is
 * a member all the time is met once, who comes or leaves meanwhile once or not at all; it may have
 * ended. */
STTCP_API int sttcp_server_each(sttcp_server *server, void (*fn)(sttcp_conn *conn, void *argument),
				void *argument);

/* How many members there are. */
STTCP_API int sttcp_server_count(const sttcp_server *server);

/* The member with this id: a new reference (sttcp_conn_unref), or NULL. */
STTCP_API sttcp_conn *sttcp_server_find(sttcp_server *server, uint64_t id) STTCP_CHECKED;

/* Counters since new; gauges are marked. Sizes in bytes. */
typedef struct sttcp_stats {
	int64_t connections;  /* gauge: members now */
	int64_t total;	      /* accepted from the kernel */
	int64_t declined;     /* turned away by the connection handler */
	int64_t failed;	      /* ended with a reason other than 0 */
	int64_t bytes_in;     /* read from the kernel and delivered */
	int64_t bytes_out;    /* handed to the kernel */
	int64_t messages_in;  /* calls of a receive or response handler */
	int64_t messages_out; /* sends that were taken */
	int64_t queued;	      /* gauge: bytes queued in the library */
	int64_t threads; /* gauge: threads of the process's engine that run or wait for handlers */
	int64_t threads_blocked; /* gauge: of these, inside a handler and off the loops */
	int64_t takeovers;	 /* loops of the process taken from a blocked handler */
	int64_t longest_ms;    /* gauge: the handler of this object that has been running longest */
	uint64_t longest_id;   /* gauge: its connection; 0 for none */
	int64_t accept_pauses; /* accepting paused: no files or memory, or it is denied */
	int64_t over_connections; /* over a limit on connections */
	int64_t over_per_ip;	  /* over a limit per address */
	int64_t over_rate;	  /* over a limit on accepting */
	int64_t thread_cap_hits;  /* times a handler of the process had to wait for max_threads */
} sttcp_stats;

/* Fills the first `size` bytes of `stats`: sizeof(sttcp_stats). Walks the connections. */
STTCP_API int sttcp_server_stats(const sttcp_server *server, sttcp_stats *stats, size_t size);

/* -------------------------------------------------------------------- client */

/* A client for one connection at a time; host and port as for a server, but the port may not be
 * 0. NULL only for want of memory. To be freed with sttcp_client_free. */
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
 * Returns once the attempt is under way; the outcome is a handler: connection or
 * unconnected, exactly one of them. The addresses of a name race as RFC 8305
 * says, one more every 250 ms. May be called again after the end, also from
 * inside the client's own unconnected or disconnection handler: the next
 * attempt begins when that returns. -EINVAL (port, options), -EBUSY, -ENOMEM,
 * -EAGAIN (no thread).
 */
STTCP_API int sttcp_client_start(sttcp_client *client) STTCP_CHECKED;

/*
 * Ends the attempt (STTCP_EDESTROYED goes to the unconnected handler) or the
 * connection (flushed within the option drain_timeout_ms; STTCP_EDESTROYED goes
 * to the disconnection handler), and returns when the last handler has; inside
 * any handler it returns at once. 0 also when nothing was started.
 */
STTCP_API int sttcp_client_close(sttcp_client *client);
STTCP_API int sttcp_client_stop(sttcp_client *client);

/* Waits for the end: 0, the reason it ended with, or -ETIMEDOUT, -EDEADLK, -EINVAL as for a
 * server. */
STTCP_API int sttcp_client_wait(sttcp_client *client, int timeout_ms);

/* As for a server; the result is that of wait. */
STTCP_API int sttcp_client_keep_alive(sttcp_client *client);

/* A new reference to the open connection, or NULL. */
STTCP_API sttcp_conn *sttcp_client_conn(sttcp_client *client) STTCP_CHECKED;

/* "localhost:62134", as it was given to new; lives as long as the client. */
STTCP_API const char *sttcp_client_address(const sttcp_client *client);

/* As for a server. */
STTCP_API const char *sttcp_client_error(const sttcp_client *client);
STTCP_API void sttcp_client_free(sttcp_client *client);

/* ---------------------------------------------------------------- connection */

/*
 * All of these may be called from any thread, also when the connection has
 * ended, by whoever is in one of its handlers or holds a reference: they give
 * the reason it ended with then, or STTCP_ECLOSED where that is 0.
 */

/*
 * Sends all of it, as one contiguous run of bytes, and returns 0; or a code and,
 * where a part had gone already, the end of the connection. What the kernel
 * does not take at once is copied into the queue; at the cap it waits for room.
 * `data` is the caller's again on return. -ENOMEM, -EPIPE after shutdown.
 */
STTCP_API int sttcp_conn_send(sttcp_conn *conn, const void *data, size_t size);

/* The same without ever waiting: -EAGAIN when the queue has no room, and nothing was taken;
 * -EMSGSIZE if size is over the option send_queue_max. */
STTCP_API int sttcp_conn_try_send(sttcp_conn *conn, const void *data, size_t size) STTCP_CHECKED;

/* sttcp_conn_send of several parts as one run of bytes. -EINVAL: count below 0 or over 1024, or
 * more bytes together than PTRDIFF_MAX. */
STTCP_API int sttcp_conn_sendv(sttcp_conn *conn, const struct iovec *parts, int count);

/* sttcp_conn_send of what printf(3) makes of format and arguments. */
STTCP_API int sttcp_conn_sendf(sttcp_conn *conn, const char *format, ...) STTCP_PRINTF(2, 3);

/*
 * sttcp_conn_send of one message, framed as this connection's reader expects it:
 * with the delimiter behind it or the length before it. With STTCP_FRAMING_RAW
 * and _CUSTOM it goes as it is. -EMSGSIZE: over max_message, or more than the
 * prefix can tell; -EINVAL: it contains the delimiter, or is not of fixed_size.
 */
STTCP_API int sttcp_conn_send_message(sttcp_conn *conn, const void *data, size_t size);

/*
 * Changes the framing of this connection: the fields framing, delimiter,
 * delimiter_size, prefix_*, fixed_size, frame_fn, rest_at_end and max_message of
 * `framing` count, the others do not. At once for sttcp_conn_send_message; for input from
 * the byte after the message that is being handled (with STTCP_FRAMING_RAW what
 * was delivered is gone). -EINVAL as from start (the log has the sentence), and
 * for NULL; -ENOMEM.
 */
STTCP_API int sttcp_conn_set_framing(sttcp_conn *conn, const sttcp_options *framing) STTCP_CHECKED;

/*
 * Reads up to `size` bytes from inside a handler, after what the handler was
 * called with: a dialogue can be written as one straight function. Returns how
 * many; 0 at the peer's FIN. Waits up to `timeout_ms` for the first byte (-1
 * without limit, 0 only looks): -ETIMEDOUT. What was sent leaves first. Bytes
 * taken this way are not delivered again, and `data` of the handler stays valid.
 * Only in the connection's own connection, receive and response handlers, on
 * their thread: -EDEADLK elsewhere. When the connection ends meanwhile, by a
 * forced stop for one: why, or STTCP_ECLOSED.
 */
STTCP_API ssize_t sttcp_conn_recv(sttcp_conn *conn, void *buffer, size_t size,
				  int timeout_ms) STTCP_CHECKED;

/* The same for one whole message, framed as set: its size, 0 for an empty one. -ENODATA: the
 * peer's FIN came instead. -EMSGSIZE: it is larger than `size`, and stays to be read.
 * STTCP_ELIMIT, STTCP_EFRAME (also when the FIN has cut it): it ends the connection. */
STTCP_API ssize_t sttcp_conn_recv_message(sttcp_conn *conn, void *buffer, size_t size,
					  int timeout_ms) STTCP_CHECKED;

/*
 * Stops and continues reading from this peer: after the running handler no
 * message more is delivered, also of bytes that were read already. Meanwhile
 * limits on input rest; sending and closing go on as ever. A peer's end in order
 * is found after resume, one that is gone (-ECONNRESET, a send that fails) at
 * once, and what it sent before is lost.
 */
STTCP_API int sttcp_conn_pause(sttcp_conn *conn);
STTCP_API int sttcp_conn_resume(sttcp_conn *conn);

/* Hands what is held back or queued to the socket as far as it takes it; does not wait. */
STTCP_API int sttcp_conn_flush(sttcp_conn *conn);

/*
 * Ends the connection on this side: what was sent is flushed, FIN, then the
 * disconnection handler with STTCP_ECLOSED, once the running handler has
 * returned. Never waits; calling it again is fine. What the peer still sends is
 * dropped in the background, for linger_timeout_ms.
 */
STTCP_API int sttcp_conn_close(sttcp_conn *conn);

/* Ends it with a reset at once (RFC 9293, 3.10.5); what is queued is lost. STTCP_ECLOSED. */
STTCP_API int sttcp_conn_abort(sttcp_conn *conn);

/*
 * Ends it as close does, with `code` as the reason (if it is below 0, else
 * STTCP_EHANDLER) and a text for sttcp_conn_fail_text, made as by printf(3).
 * Wins over the handler's verdict, and over close and abort in the same call of
 * a handler. An abort after it still resets at once; the reason stays.
 */
STTCP_API int sttcp_conn_fail(sttcp_conn *conn, int code, const char *format, ...)
	STTCP_PRINTF(3, 4);

/* The same, but with a reset at once, as abort does: what is queued is lost. The first of fail and
 * fail_now counts, and the other does nothing. */
STTCP_API int sttcp_conn_fail_now(sttcp_conn *conn, int code, const char *format, ...)
	STTCP_PRINTF(3, 4);

/* No more sending from here: FIN once the queue is empty; receiving goes on. */
STTCP_API int sttcp_conn_shutdown(sttcp_conn *conn);

/* Why it ended; 0 while it is open, and after an end in order. */
STTCP_API int sttcp_conn_reason(const sttcp_conn *conn);

/* More than the reason tells: the text that was given to sttcp_conn_fail, what a failed attempt has
 * to say, or, for an end that the library decided, which option it was and its value, or what was
 * malformed: "no byte for 30000 ms, idle_timeout_ms is 30000". "" when there is none, which is
 * never the case with a code of this library but STTCP_ECLOSED and STTCP_EDESTROYED. */
STTCP_API const char *sttcp_conn_fail_text(const sttcp_conn *conn);

/* The peer: its address as a number ("127.0.0.1", "::1", "unix:/path"; the name as given for an
 * attempt that never resolved) and its port (0 for a Unix socket). */
STTCP_API const char *sttcp_conn_host(const sttcp_conn *conn);
STTCP_API int sttcp_conn_port(const sttcp_conn *conn);

/* "127.0.0.1:80", "[::1]:80", "unix:/path": the peer's end, and this one ("" if it never
 * opened). */
STTCP_API const char *sttcp_conn_address(const sttcp_conn *conn);
STTCP_API const char *sttcp_conn_local_address(const sttcp_conn *conn);

/* A number from 1 on that no other connection of the process ever has. */
STTCP_API uint64_t sttcp_conn_id(const sttcp_conn *conn);

/* Its owner; NULL if it is of the other kind, and once its free has taken effect. */
STTCP_API sttcp_server *sttcp_conn_server(const sttcp_conn *conn);
STTCP_API sttcp_client *sttcp_conn_client(const sttcp_conn *conn);

/* Counters of one connection, as in sttcp_stats; age_ms is counted from accept or start. */
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

/* A pointer of yours. `free_fn` (may be NULL) is called for it once: when it is replaced, or with
 * the last reference to the connection; on any thread, with no lock of the library held. A lock
 * that it takes must not be held over set_data, unref, each and broadcast, where it may run. */
STTCP_API void sttcp_conn_set_data(sttcp_conn *conn, void *data, void (*free_fn)(void *data));
STTCP_API void *sttcp_conn_data(const sttcp_conn *conn);

/* A reference keeps the handle and its strings valid beyond the last handler, and beyond its
 * server. ref returns `conn`; each needs one unref. */
STTCP_API sttcp_conn *sttcp_conn_ref(sttcp_conn *conn);
STTCP_API void sttcp_conn_unref(sttcp_conn *conn);

/* Whether it can still be sent to: opened, and not ended. */
STTCP_API bool sttcp_conn_is_open(const sttcp_conn *conn);

/* Whether its server is stopping: a good moment to say goodbye. */
STTCP_API bool sttcp_conn_stopping(const sttcp_conn *conn);

/* The descriptor, borrowed, for setsockopt and fileno; -1 once it is closed. Reading or writing
 * it is an error of the caller. */
STTCP_API int sttcp_conn_fd(const sttcp_conn *conn);

/*
 * Takes the descriptor, in blocking mode, out of the library: it is the caller's
 * to close. The connection ends with STTCP_ECLOSED. -EBUSY while another thread
 * runs its handler, -EAGAIN while output is queued. Bytes that were read but
 * not delivered are lost.
 */
STTCP_API int sttcp_conn_detach(sttcp_conn *conn) STTCP_CHECKED;

#ifdef __cplusplus
}
#endif

#endif
