/* SPDX-License-Identifier: MIT */
/* The beginning of a run over TLS, between the files that make it up. */
#ifndef STT_TEST_OVER_TLS_INNER_H
#define STT_TEST_OVER_TLS_INNER_H

void over_tls_open_peers(void);

#endif
