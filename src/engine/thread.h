/* SPDX-License-Identifier: MIT */
/*
 * The threads of workers, and their records. For the pool, but for the first
 * call, which is for every thread of the library.
 */
#ifndef STT_ENGINE_THREAD_H
#define STT_ENGINE_THREAD_H

#include <pthread.h>
#include <stddef.h>

struct stt_pool;
struct stt_worker;

/* A new thread of the library, to be joined, on which every signal is blocked: one that runs user
 * code takes the pool's mask itself. 0 or -errno. */
int stt_thread_start(pthread_t *thread, size_t stack_size, void *(*run)(void *), void *argument);

/* A record for a thread that is to be started; NULL without memory. Not under the lock. */
struct stt_worker *stt_thread_take_record(struct stt_pool *pool);

/* Of a thread that could not be had. */
void stt_thread_give_record_back(struct stt_pool *pool, struct stt_worker *worker);

/* The last step of a thread that ends. */
void stt_thread_leave(struct stt_pool *pool, struct stt_worker *worker);

/* When all threads have left: joins the last one, and frees the records. */
void stt_thread_free_records(struct stt_pool *pool);

#endif
