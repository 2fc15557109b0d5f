/* SPDX-License-Identifier: MIT */
/* OpenSSL's error queue of the calling thread, kept for its owner: a handler may be about to read
 * its own errors when a call of the library uses OpenSSL. */
#ifndef STT_TLS_ERRORS_H
#define STT_TLS_ERRORS_H

#include <stdbool.h>

struct stt_errors;

/* Empties the queue: what was in it, or NULL where it was empty. */
struct stt_errors *stt_errors_hide(void);

/* Empties it again, and puts that back. */
void stt_errors_show(struct stt_errors *errors);

/* Whether memory was missed since the visit has begun: then what OpenSSL refused may be good,
 * whatever it says of it. */
bool stt_openssl_missed_memory(void);

/* What OpenSSL said last, or a default. */
const char *stt_openssl_says(const char *otherwise);

#endif
