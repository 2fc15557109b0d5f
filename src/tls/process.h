/* SPDX-License-Identifier: MIT */
/*
 * OpenSSL in this process: it is initialised before its first use, and left
 * alone after its end. Without precautions exit(3) frees OpenSSL's tables while
 * the library's threads are inside it, and a fork(2) leaves the child with locks
 * that they hold.
 */
#ifndef STT_TLS_PROCESS_H
#define STT_TLS_PROCESS_H

#include <stdbool.h>

struct stt_errors;

/* Initialises OpenSSL, without a clean-up of its own at exit. Idempotent, any thread. False when
 * OpenSSL cannot be initialised, or has been cleaned up already. */
bool stt_tls_begin(void);

/* When the library ends in this process (sttcp_engine_shutdown): lets go of what is shared by all
 * TLS objects, the certificates that the system trusts. They are read again when they are needed.
 */
void stt_tls_end(void);

/*
 * A visit: around every use of OpenSSL after that. False: OpenSSL has been cleaned
 * up (by a program that initialised it itself and is now exiting), and must not be
 * called any more. During the visit the thread's error queue is empty but for
 * what the visit does, and errno is 0; afterwards both are as they were. `user` is what the calling
 * thread works on; it spreads the count of visitors over several cache lines.
 */
struct stt_visit {
	const void *user;
	struct stt_errors *errors;
	int number;	/* errno */
	unsigned forks; /* of this process, down from the first, when it began */
};

bool stt_tls_enter(struct stt_visit *visit, const void *user);
void stt_tls_leave(struct stt_visit *visit);

/* For a visit in which OpenSSL has refused nothing, so that it has left no error: saves the look at
 * the queue, an eighth of what a small message costs beside OpenSSL's own work. */
void stt_tls_leave_well(struct stt_visit *visit);

/* What cannot be freed because OpenSSL has been cleaned up stays until the process is gone. It is
 * kept in a list: a leak checker, which looks after that, has to see that nothing was lost. */
struct stt_tls_left {
	struct stt_tls_left *next;
};

void stt_tls_leave_to_the_end(struct stt_tls_left *left);

#endif
