/* SPDX-License-Identifier: MIT */
/*
 * What the echo servers of the benchmark have in common. A chunk of bytes is
 * echoed; its first byte may ask for more:
 *
 *	's' + microseconds in decimal	sleep that long first (where handlers may block)
 *	'b'				send it to all connections instead
 *	'j'				join the room (not in threads)
 *	'r'				send it to all in the room instead (the same)
 *	'c' + a number			make and free so many clients of this server first
 *	'f'				fill the queue of this connection, after the word "full"
 *	'T'				answer with the engine's counters as text instead
 *	'i'				take it, and answer nothing (over TLS, and in the library's)
 *	'o'				send zeros as fast as they are taken from now on, 64 KiB
 *					at a time, instead (the same)
 *
 * The load generator fills everything else with '.', so that the rest of a
 * large message is never taken for a request.
 */
#ifndef STTCP_BENCH_ECHO_H
#define STTCP_BENCH_ECHO_H

#include <stdbool.h>
#include <stddef.h>

/* The servers were asked to handle their input line by line, and answer each line; set by
 * echo_start. */
extern bool echo_by_line;

/* All handlers of lines lock one mutex for a microsecond; the answer is sent with it held, or after
 * the unlock. Set by echo_start. */
enum echo_lock {
	ECHO_NO_LOCK,
	ECHO_LOCKED,  /* the answer leaves under the lock */
	ECHO_UNLOCKED /* after it */
};

extern enum echo_lock echo_lock;

/* The library's server was asked for an idle limit of so many milliseconds: each connection has a
 * deadline. 0: no limit. Set by echo_start. */
extern int echo_idle_ms;

/* The library's server was asked for queues of so many bytes at most (send_queue_max). 0: the
 * default. Set by echo_start. */
extern int echo_queue_max;

/* The server was asked for TLS: the PEM file with its certificate and key; else NULL. Set by
 * echo_start. */
extern const char *echo_tls;

/* The library's server was asked for its handlers to have stacks of their own (fibers); for a
 * dialogue in the connection handler in place of a receive handler; and for sleeping with
 * sttcp_sleep. Set by echo_start. */
extern bool echo_fibers;
extern bool echo_talks;
extern bool echo_naps;
extern int (*echo_nap)(int ms);

/* The port from the command line (default 0), with the limit of files raised as far as allowed;
 * ends the program on a wrong one. */
int echo_start(int argc, char **argv);

/* A blocking listening socket on 127.0.0.1; ends the program on failure. TCP_NODELAY is inherited
 * by what it accepts. */
int echo_listen(int port);

/* Tells the port on standard output. */
void echo_announce(int port);

/* Sleeps if the chunk asks for it: with echo_nap where that is set. */
void echo_sleep(const char *data, size_t size);

#endif
