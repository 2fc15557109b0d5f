/* SPDX-License-Identifier: MIT */
/* What a certificate can be for: pure functions, any thread. */
#ifndef STT_BASE_HOST_NAME_H
#define STT_BASE_HOST_NAME_H

#include <stdbool.h>

/* An IPv4 or IPv6 address, without brackets and zone. */
bool stt_is_address(const char *host);

/* A DNS name (RFC 1035, 2.3.4; underscores as well, which private networks have, and a final dot),
 * or an address, which may stand in brackets and have a zone. Neither a wildcard, nor with a port;
 * of others than ASCII characters the form that begins with xn--. */
bool stt_is_host_name(const char *host);

#endif
