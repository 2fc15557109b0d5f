/* SPDX-License-Identifier: MIT */
/*
 * Addresses: from a host and a port to what the kernel takes, and back to text.
 * Only stt_addr_resolve may block, for as long as the resolver does. No state;
 * any thread.
 */
#ifndef STT_NET_ADDRESS_H
#define STT_NET_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

struct stt_addr {
	union {
		struct sockaddr sa;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
		struct sockaddr_un un;
	};
	socklen_t len;
};

/* Room for any text that the functions below write, with its NUL. */
#define STT_ADDR_TEXT 128

/* Whether `host` says "unix:", and whether it is then a path, and not an abstract name. */
bool stt_host_is_unix(const char *host);
bool stt_host_has_file(const char *host);

/* Fills `addr` without a resolver: 0; -EINVAL when `host` is neither an IPv4 or IPv6 literal
 * (IPv6 with %scope or not, in brackets or not) nor "unix:/path" or "unix:@name"; -ENAMETOOLONG
 * for a path or name that is too long, -EINVAL for an empty one, and for a port that is not 0 to
 * 65535 (a Unix socket ignores it). */
int stt_addr_literal(struct stt_addr *addr, const char *host, int port);

/* Makes a relative path of a Unix socket absolute, by the working directory; where it does not fit
 * then, or there is no such directory, it stays as it is. */
void stt_addr_make_absolute(struct stt_addr *addr);

/*
 * All addresses of a name, in the order to be tried (RFC 6724), duplicates
 * removed: fills `list` (to be freed by free(3)) and returns how many, at least
 * one; or -ENOMEM, or STTCP_ERESOLVE with a static reason in `why`, which is ""
 * in all other cases. Literals and "unix:" work, too: -EINVAL and -ENAMETOOLONG
 * for their paths and for the port are those of stt_addr_literal. NULL or "" to
 * listen is the wildcard of both families: the IPv6 one first, then the IPv4 one
 * (which cannot be bound beside the first where that is dual-stack); to connect
 * it is the loopback of both, in the same order. A failure leaves NULL in `list`.
 */
enum stt_addr_use {
	STT_ADDR_TO_CONNECT,
	STT_ADDR_TO_LISTEN
};

int stt_addr_resolve(const char *host, int port, enum stt_addr_use use, struct stt_addr **list,
		     const char **why);

/* The numeric host without port: "127.0.0.1", "::1", "fe80::1%eth0", "unix:/path", "unix:" when
 * unnamed, "unix:@name" for an abstract name; "" for a zeroed `addr`. An IPv4 address mapped into
 * IPv6 is told as plain IPv4. `text` has STT_ADDR_TEXT bytes. */
void stt_addr_host(const struct stt_addr *addr, char *text);

/* The port, 0 for a Unix socket; and how to set it (nothing happens for a Unix socket). Whether
 * it is 0 to 65535 is the caller's to check. */
int stt_addr_port(const struct stt_addr *addr);
void stt_addr_set_port(struct stt_addr *addr, int port);

/* Whether it is the path of a Unix socket. */
bool stt_addr_has_file(const struct stt_addr *addr);

/* Whether two IPv4 or IPv6 addresses are the same, port and scope included. */
bool stt_addr_equal(const struct stt_addr *a, const struct stt_addr *b);

/* Of `count` addresses the first one that a socket connecting to `to` can be bound to: of the same
 * family. For an IPv4 address mapped into IPv6 that is an IPv4 one, mapped likewise. False when
 * there is none. */
bool stt_addr_choose_end(struct stt_addr *end, const struct stt_addr *list, int count,
			 const struct stt_addr *to);

/* "127.0.0.1:80", "[::1]:80", "unix:/path". `text` has STT_ADDR_TEXT bytes. */
void stt_addr_text(const struct stt_addr *addr, char *text);

/* Host and port as a user gave them: "localhost:80", "[::1]:80", "*:80" for the wildcard,
 * "unix:/path". Truncates to `size` bytes with the NUL. */
void stt_addr_given(const char *host, int port, char *text, size_t size);

#endif
