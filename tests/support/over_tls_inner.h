/* SPDX-License-Identifier: MIT */
/* The beginning of a run over TLS, between the files that make it up. */
#ifndef STT_TEST_OVER_TLS_INNER_H
#define STT_TEST_OVER_TLS_INNER_H

#include <stdbool.h>

void over_tls_open_peers(void);

/* With STTCP_TEST_TLS=12: TLS 1.2, where 1.3 is meant otherwise. */
bool over_tls_is_12(void);

#endif
