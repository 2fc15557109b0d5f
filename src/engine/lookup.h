/* SPDX-License-Identifier: MIT */
/*
 * Looks names up for clients, on threads of its own: getaddrinfo(3) may block
 * for as long as the resolver takes, and cannot be interrupted. These threads
 * run no user code, block every signal, and do not count in stats or for
 * max_threads. A process has up to eight for questions that somebody waits for,
 * and up to sixteen including those with abandoned questions. They are created
 * when needed, take questions in sequence, and end after 5 s without one.
 */
#ifndef STT_ENGINE_LOOKUP_H
#define STT_ENGINE_LOOKUP_H

struct stt_addr;
struct stt_lookup;
struct stt_loop;

/* The answer, on the loop, outside turns. Its parameters are the results of stt_addr_resolve;
 * `addrs` now belongs to the callee. -EAGAIN as `result`: no thread could be created. */
typedef void (*stt_lookup_answer)(void *asker, int result, struct stt_addr *addrs, const char *why);

/* A question that has not been asked yet; `host` is copied. NULL when out of memory. */
struct stt_lookup *stt_lookup_new(struct stt_loop *loop, const char *host, int port,
				  stt_lookup_answer answer, void *asker);

/* Asks it. From then on it belongs to this file, and ends with the answer. Any thread. */
void stt_lookup_ask(struct stt_lookup *lookup);

/* Abandons it, asked or not, before its answer has come: there will be none. One that is queued is
 * freed at once, one that is being answered by its thread. NULL does nothing. By the loop's owner,
 * outside turns, or before it was asked. */
void stt_lookup_drop(struct stt_lookup *lookup);

/* Waits until all threads have ended: the idle ones at once, the others when the resolver has
 * answered, which can take as long as its timeouts (resolv.conf(5)). Nobody may ask meanwhile. The
 * loops must still run, because they receive the answers. */
void stt_lookup_end_threads(void);

/* In the child of a fork, which has none of the threads. */
void stt_lookup_after_fork(void);

#endif
