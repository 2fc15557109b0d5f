/* SPDX-License-Identifier: MIT */
/*
 * Addresses of the command line.
 */
#include "options.h"
#include "say.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>

static _Noreturn void refuse(const char *text, const char *why)
{
	exit(fail(STATUS_USAGE, "'%s' is no address: %s", text, why));
}

/* A number, or a name of services(5). */
static int read_port(const char *text, const char *port, bool listens)
{
	const struct servent *service;
	char *end;
	long value = strtol(port, &end, 10);

	if (!isdigit((unsigned char)*port)) {
		service = getservbyname(port, "tcp");
		if (!service)
			refuse(text,
			       "its port is neither a number nor the name of a service; it is "
			       "written as PORT, HOST:PORT, [::1]:PORT or unix:/path");
		return ntohs((uint16_t)service->s_port);
	}
	if (*end || value > 65535 || (value == 0 && !listens))
		refuse(text, listens ? "a port is a number from 0 (any that is free) to 65535"
				     : "a port is a number from 1 to 65535");
	return (int)value;
}

struct address read_address(const char *text, bool listens)
{
	struct address address = {.port = 0};
	const char *colon = strrchr(text, ':');
	const char *host = text;
	size_t length;

	if (!strncmp(text, "unix:", 5)) {
		const char *path = text + 5 + (text[5] == '@');

		if (strlen(path) < 1 || strlen(path) > 107)
			refuse(text, "the path or name of a Unix socket has 1 to 107 bytes");
		strcpy(address.host, text);
		return address;
	}
	if (!colon && !listens)
		refuse(text, "it is written as HOST:PORT, [::1]:PORT or unix:/path");
	length = colon ? (size_t)(colon - text) : 0;
	address.port = read_port(text, colon ? colon + 1 : text, listens);
	if (length > 2 && text[0] == '[' && text[length - 1] == ']') {
		host++;
		length -= 2;
	} else if (memchr(text, ':', length) || memchr(text, '[', length)) {
		refuse(text, "an IPv6 address stands in brackets: [::1]:PORT");
	}
	if (length >= sizeof(address.host))
		refuse(text, "a host name has at most 253 bytes");
	memcpy(address.host, host, length);
	if (length == 0 && !listens)
		strcpy(address.host, "localhost");
	return address;
}
