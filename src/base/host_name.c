/* SPDX-License-Identifier: MIT */
/* Names of hosts. Bytes, not letters: the locale must not matter. */
#include "base/host_name.h"

#include <arpa/inet.h>
#include <stddef.h>
#include <string.h>

enum {
	NAME_MAX_SIZE = 253, /* without a final dot */
	LABEL_MAX_SIZE = 63,
	ADDRESS_ROOM = 64
};

bool stt_is_address(const char *host)
{
	unsigned char bytes[sizeof(struct in6_addr)];

	return inet_pton(AF_INET, host, bytes) == 1 || inet_pton(AF_INET6, host, bytes) == 1;
}

/* With what may stand around an address of IPv6. */
static bool is_decorated_address(const char *host)
{
	bool bracket = *host == '[';
	const char *start = host + bracket;
	size_t length = strcspn(start, "%]");
	size_t end = strcspn(start, "]"); /* the bracket's place, if there is one */
	char text[ADDRESS_ROOM];

	if (length >= sizeof(text) || !memchr(start, ':', length) || strlen(start) != end + bracket)
		return false;
	memcpy(text, start, length);
	text[length] = '\0';
	return stt_is_address(text);
}

static bool is_label_byte(char byte)
{
	return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
	       (byte >= '0' && byte <= '9') || byte == '-' || byte == '_';
}

bool stt_is_host_name(const char *host)
{
	size_t length = strlen(host), label = 0;

	if (is_decorated_address(host))
		return true;
	if (length > 1 && host[length - 1] == '.')
		length--;
	for (size_t i = 0; i < length; i++) {
		/* Labels are not empty, the first one either: OpenSSL takes a dot in front for a
		 * suffix that any name may have. */
		if (host[i] == '.' ? label == 0 : !is_label_byte(host[i]))
			return false;
		label = host[i] == '.' ? 0 : label + 1;
		if (label > LABEL_MAX_SIZE)
			return false;
	}
	return label > 0 && length <= NAME_MAX_SIZE;
}
