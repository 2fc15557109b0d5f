/* SPDX-License-Identifier: MIT */
/* Texts of addresses. */
#include "support/address_text.h"

#include <string.h>

void assert_text(const struct stt_addr *addr, const char *host, const char *text)
{
	char got[STT_ADDR_TEXT];

	stt_addr_host(addr, got);
	assert_string_equal(got, host);
	stt_addr_text(addr, got);
	assert_string_equal(got, text);
}

void fill_unix_host(char *host, size_t len)
{
	memcpy(host, "unix:", 5);
	memset(host + 5, 'p', len);
	host[5 + len] = '\0';
}
