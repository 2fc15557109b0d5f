/* SPDX-License-Identifier: MIT */
/*
 * Files of TLS that are as they should be: an authority's, and those of a server
 * for a.example and 127.0.0.1; an object made of them, and what an object says.
 * Asserts.
 */
#ifndef STT_TEST_TLS_GOOD_H
#define STT_TEST_TLS_GOOD_H

#include "support/certs.h"
#include "tls/context.h"

extern struct cert authority;
extern struct cert host; /* signed by it */

/* The files: of the authority's certificate, and of the host's. */
extern const char *trusted;
extern const char *good_certificate, *good_key;

/* For cmocka's groups. */
int good_files_open(void **state);
int good_files_close(void **state);

struct sttcp_tls *good_server(void);

/* That these words are in the text, or in what the object says now. */
void expect_text(const char *text, const char *words);
void expect_words(struct sttcp_tls *tls, const char *words);

#endif
