/* SPDX-License-Identifier: MIT */
/*
 * Looks names up for clients, on threads of its own: getaddrinfo(3) blocks for
 * as long as a resolver likes, and cannot be interrupted. The threads run no
 * user code, block every signal, and count in no stats and against no limit of
 * the pool. Each process has up to four for questions that somebody waits for,
 * and no more than sixteen with those that nobody waits for any more; they come
 * when they are needed, answer in the order in which they were asked, and leave
 * after 5 s without a question.
 */
#ifndef STT_ENGINE_LOOKUP_H
#define STT_ENGINE_LOOKUP_H

struct stt_addr;
struct stt_lookup;
struct stt_loop;

/* The answer, on the loop, outside turns; its parameters are what stt_addr_resolve gives, and
 * `addrs` is the callee's now. -EAGAIN as `result`: there was no thread to be had. */
typedef void (*stt_lookup_answer)(void *asker, int result, struct stt_addr *addrs, const char *why);

/* A question that has not been asked yet; `host` is copied. NULL when out of memory. */
struct stt_lookup *stt_lookup_new(struct stt_loop *loop, const char *host, int port,
				  stt_lookup_answer answer, void *asker);

/* Asks it. From then on it belongs to this file, and the answer is its end. Any thread. */
void stt_lookup_ask(struct stt_lookup *lookup);

/* Gives it up, asked or not, before its answer has come: there will be none. One that waits for its
 * turn is gone at once, one that is being answered leaves its thread only then. NULL does nothing.
 * By the loop's owner, outside turns, or before it was asked. */
void stt_lookup_drop(struct stt_lookup *lookup);

/* Waits until all threads are gone: at once those that are idle, the others when the resolver has
 * answered, which can take as long as its time limits (resolv.conf(5)). The caller sees to it that
 * nobody asks meanwhile; the loops still run, for they take the answers. */
void stt_lookup_end_threads(void);

/* In the child of a fork, which has none of the threads. */
void stt_lookup_after_fork(void);

#endif
