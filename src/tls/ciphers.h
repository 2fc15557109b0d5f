/* SPDX-License-Identifier: MIT */
/* Whether the names in a cipher list exist. OpenSSL passes over those that it does not know, as
 * long as one is left: a slip of the pen would silently mean other ciphers. */
#ifndef STT_TLS_CIPHERS_H
#define STT_TLS_CIPHERS_H

#include "tls/fault.h"

/* Lists with colons between the names, as OpenSSL writes them: of TLS 1.2, and of TLS 1.3. NULL is
 * fine. 0, or -EINVAL and which name it is. */
int stt_ciphers_check(const char *ciphers, const char *suites, struct stt_fault *fault);

#endif
