/* SPDX-License-Identifier: MIT */
/* Which certificate, and which protocol, a server takes for a hello. Called by OpenSSL in a
 * handshake, on the thread that makes it. */
#ifndef STT_TLS_CHOICE_H
#define STT_TLS_CHOICE_H

#include "tls/credentials.h"

/* Has the context of these credentials choose. */
void stt_choice_attach(struct stt_credentials *credentials);

#endif
