/* SPDX-License-Identifier: MIT */
/*
 * Whom TLS asks for.
 */
#include "tls_name.h"

#include "say.h"

#include <arpa/inet.h>
#include <string.h>

/* An address of IPv6 may stand in brackets, and have a zone. */
static bool is_ipv6(const char *text)
{
	unsigned char bytes[sizeof(struct in6_addr)];
	bool has_bracket = *text == '[';
	size_t length = strcspn(text += has_bracket, "%]");
	char copy[INET6_ADDRSTRLEN] = "";

	if (length >= sizeof(copy) || (has_bracket && text[strlen(text) - 1] != ']'))
		return false;
	memcpy(copy, text, length);
	return inet_pton(AF_INET6, copy, bytes) == 1;
}

/* What the library takes for one: without it every connection would fail. */
static bool is_host_name(const char *text)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789-_";
	size_t size = strlen(text);

	if (strchr(text, ':'))
		return is_ipv6(text);
	if (size > 1 && text[size - 1] == '.')
		size--;
	for (const char *label = text, *end = text + size; label <= end;) {
		size_t length = strspn(label, letters);

		if (length < 1 || length > 63 || (label + length < end && label[length] != '.'))
			return false;
		label += length + 1;
	}
	return size <= 253;
}

bool tls_name_fits(const sttcp_options *options, const char *target, const char *tls,
		   const char *name)
{
	const char *given = options->tls_name;

	if (!options->tls)
		return true;
	if (given && !is_host_name(given)) {
		fail(0, "%s is a DNS name or an address, without a port, not '%s'", name, given);
		return false;
	}
	if (!given && strncmp(target, "unix:", 5) == 0) {
		fail(0, "%s: %s needs %s with a Unix socket: the name that the certificate is for",
		     target, tls, name);
		return false;
	}
	return true;
}
