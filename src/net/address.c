/* SPDX-License-Identifier: MIT */
/*
 * Addresses as the kernel has them and as people write them. Only
 * stt_addr_resolve may block; no state; any thread.
 */
#include "net/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netdb.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"

static const char unix_prefix[] = "unix:";

#define UNIX_PREFIX_LEN (sizeof(unix_prefix) - 1)
#define PATH_OFFSET offsetof(struct sockaddr_un, sun_path)

_Static_assert(STT_ADDR_TEXT > UNIX_PREFIX_LEN + sizeof(((struct sockaddr_un *)0)->sun_path),
	       "the longest path of a Unix socket fits");
_Static_assert(STT_ADDR_TEXT > INET6_ADDRSTRLEN + IF_NAMESIZE + sizeof("%[]:65535"),
	       "the longest IPv6 address with a scope and a port fits");

bool stt_host_is_unix(const char *host)
{
	return host && strncmp(host, unix_prefix, UNIX_PREFIX_LEN) == 0;
}

bool stt_host_has_file(const char *host)
{
	return stt_host_is_unix(host) && host[UNIX_PREFIX_LEN] != '@';
}

static bool port_is_valid(int port)
{
	return port >= 0 && port <= UINT16_MAX;
}

static void fill_in(struct stt_addr *addr, struct in_addr host, int port)
{
	memset(addr, 0, sizeof(*addr));
	addr->in.sin_family = AF_INET;
	addr->in.sin_addr = host;
	addr->len = sizeof(addr->in);
	stt_addr_set_port(addr, port);
}

static void fill_in6(struct stt_addr *addr, const struct in6_addr *host, uint32_t scope, int port)
{
	memset(addr, 0, sizeof(*addr));
	addr->in6.sin6_family = AF_INET6;
	addr->in6.sin6_addr = *host;
	addr->in6.sin6_scope_id = scope;
	addr->len = sizeof(addr->in6);
	stt_addr_set_port(addr, port);
}

/* A path, with its NUL; or '@' and an abstract name, which begins with a NUL and ends with its
 * length (unix(7)). An abstract name that is empty would ask the kernel to choose one, which no
 * peer could know. */
static int fill_un(struct stt_addr *addr, const char *path)
{
	bool is_abstract = path[0] == '@';
	size_t size = strlen(path) + !is_abstract;

	if (size == 1)
		return -EINVAL;
	if (size > sizeof(addr->un.sun_path))
		return -ENAMETOOLONG;
	memset(addr, 0, sizeof(*addr));
	addr->un.sun_family = AF_UNIX;
	memcpy(addr->un.sun_path, path, size);
	if (is_abstract)
		addr->un.sun_path[0] = '\0';
	addr->len = (socklen_t)(PATH_OFFSET + size);
	return 0;
}

/* A scope is the name of an interface or its number (RFC 4007, 11.2). 0 for one that is neither. */
static uint32_t parse_scope(const char *text)
{
	unsigned int index = if_nametoindex(text);

	if (index > 0)
		return index;
	if (text[0] < '0' || text[0] > '9')
		return 0;

	char *end;
	unsigned long long number = strtoull(text, &end, 10);

	return *end == '\0' && number <= UINT32_MAX ? (uint32_t)number : 0;
}

/* As in a URI (RFC 3986, 3.2.2): "[::1]". */
static bool is_bracketed(const char *host)
{
	return host[0] == '[' && host[strlen(host) - 1] == ']';
}

/* "::1" or "fe80::1%eth0". */
static int parse_plain_in6(struct stt_addr *addr, const char *host, int port)
{
	const char *percent = strchr(host, '%');
	size_t len = percent ? (size_t)(percent - host) : strlen(host);
	char plain[INET6_ADDRSTRLEN];
	struct in6_addr in6;
	uint32_t scope = 0;

	if (len >= sizeof(plain))
		return -EINVAL;
	memcpy(plain, host, len);
	plain[len] = '\0';
	if (inet_pton(AF_INET6, plain, &in6) != 1)
		return -EINVAL;
	if (percent) {
		scope = parse_scope(percent + 1);
		if (scope == 0)
			return -EINVAL;
	}
	fill_in6(addr, &in6, scope, port);
	return 0;
}

/* The same in brackets, too. */
static int parse_in6(struct stt_addr *addr, const char *host, int port)
{
	char inner[INET6_ADDRSTRLEN + IF_NAMESIZE + sizeof("%")];
	size_t len = strlen(host);

	if (!is_bracketed(host))
		return parse_plain_in6(addr, host, port);
	if (len - 2 >= sizeof(inner))
		return -EINVAL;
	memcpy(inner, host + 1, len - 2);
	inner[len - 2] = '\0';
	return parse_plain_in6(addr, inner, port);
}

int stt_addr_literal(struct stt_addr *addr, const char *host, int port)
{
	struct in_addr in;

	if (!host)
		return -EINVAL;
	if (stt_host_is_unix(host))
		return fill_un(addr, host + UNIX_PREFIX_LEN);
	if (!port_is_valid(port))
		return -EINVAL;
	if (inet_pton(AF_INET, host, &in) == 1) {
		fill_in(addr, in, port);
		return 0;
	}
	return parse_in6(addr, host, port);
}

void stt_addr_make_absolute(struct stt_addr *addr)
{
	const char *path = addr->un.sun_path;
	char absolute[sizeof(addr->un.sun_path)];

	if (addr->sa.sa_family != AF_UNIX || path[0] == '/' || path[0] == '\0')
		return;
	/* The kernel tells a directory out of reach as "(unreachable)/..." (getcwd(3)). */
	if (!getcwd(absolute, sizeof(absolute)) || absolute[0] != '/')
		return;

	size_t len = strlen(absolute);

	if (absolute[len - 1] != '/')
		absolute[len++] = '/';
	if (len + strlen(path) + 1 > sizeof(absolute))
		return;
	memcpy(absolute + len, path, strlen(path) + 1);
	(void)fill_un(addr, absolute);
}

static bool is_mapped(const struct stt_addr *addr)
{
	return addr->sa.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&addr->in6.sin6_addr);
}

/* RFC 4291, 2.5.5.2. */
static void map(struct stt_addr *addr, const struct stt_addr *four)
{
	struct in6_addr host = {.s6_addr = {[10] = 0xff, [11] = 0xff}};

	memcpy(&host.s6_addr[12], &four->in.sin_addr, sizeof(four->in.sin_addr));
	fill_in6(addr, &host, 0, stt_addr_port(four));
}

bool stt_addr_choose_end(struct stt_addr *end, const struct stt_addr *list, int count,
			 const struct stt_addr *to)
{
	for (int i = 0; i < count; i++) {
		bool maps = is_mapped(to) && list[i].sa.sa_family == AF_INET;

		if (maps)
			map(end, &list[i]);
		else if (is_mapped(to) == is_mapped(&list[i]) &&
			 list[i].sa.sa_family == to->sa.sa_family)
			*end = list[i];
		else
			continue;
		return true;
	}
	return false;
}

static bool same_host(const struct stt_addr *a, const struct stt_addr *b)
{
	if (a->sa.sa_family != b->sa.sa_family)
		return false;
	if (a->sa.sa_family == AF_INET)
		return a->in.sin_addr.s_addr == b->in.sin_addr.s_addr;
	return IN6_ARE_ADDR_EQUAL(&a->in6.sin6_addr, &b->in6.sin6_addr) &&
	       a->in6.sin6_scope_id == b->in6.sin6_scope_id;
}

bool stt_addr_has_file(const struct stt_addr *addr)
{
	return addr->sa.sa_family == AF_UNIX && addr->len > PATH_OFFSET &&
	       addr->un.sun_path[0] != '\0';
}

bool stt_addr_equal(const struct stt_addr *a, const struct stt_addr *b)
{
	return same_host(a, b) && stt_addr_port(a) == stt_addr_port(b);
}

static bool contains_host(const struct stt_addr *list, int count, const struct stt_addr *addr)
{
	for (int i = 0; i < count; i++) {
		if (same_host(&list[i], addr))
			return true;
	}
	return false;
}

/* Of a family that the library speaks; 0 for any other. */
static socklen_t size_of_family(int family)
{
	switch (family) {
	case AF_INET:
		return sizeof(struct sockaddr_in);
	case AF_INET6:
		return sizeof(struct sockaddr_in6);
	default:
		return 0;
	}
}

/* Copies an answer of the resolver; false for one that is of no use. */
static bool take_answer(struct stt_addr *addr, const struct addrinfo *info, int port)
{
	socklen_t size = size_of_family(info->ai_family);

	if (size == 0 || info->ai_addrlen != size)
		return false;
	memset(addr, 0, sizeof(*addr));
	memcpy(&addr->sa, info->ai_addr, size);
	addr->len = size;
	stt_addr_set_port(addr, port);
	return true;
}

/* A hosts file may name an address twice: to try or to bind it again would only fail once more. */
static int collect_answers(const struct addrinfo *infos, int port, struct stt_addr **list)
{
	size_t room = 1;
	int count = 0;

	for (const struct addrinfo *info = infos; info; info = info->ai_next)
		room++;
	*list = calloc(room, sizeof(**list));
	if (!*list)
		return -ENOMEM;
	for (const struct addrinfo *info = infos; info; info = info->ai_next) {
		struct stt_addr *addr = &(*list)[count];

		if (take_answer(addr, info, port) && !contains_host(*list, count, addr))
			count++;
	}
	return count;
}

/* What getaddrinfo says as one of our codes. */
static int resolver_error(int code, int errnum, const char **why)
{
	if (code == EAI_MEMORY || (code == EAI_SYSTEM && errnum == ENOMEM))
		return -ENOMEM;
	*why = code == EAI_SYSTEM ? sttcp_strerror(-errnum) : gai_strerror(code);
	return STTCP_ERESOLVE;
}

/* An IPv6 address whose scope is neither the name of an interface nor a number. */
static bool lacks_only_its_interface(const char *host)
{
	const char *start = host + is_bracketed(host);
	size_t len = strcspn(start, "%");
	char plain[INET6_ADDRSTRLEN];
	struct in6_addr in6;

	if (start[len] != '%' || len >= sizeof(plain))
		return false;
	memcpy(plain, start, len);
	plain[len] = '\0';
	return inet_pton(AF_INET6, plain, &in6) == 1;
}

/*
 * Without AI_ADDRCONFIG: it hides ::1 from a machine whose only IPv6 address is
 * that one, and an address that cannot be reached fails fast at connect.
 */
static int ask_resolver(const char *host, int port, struct stt_addr **list, const char **why)
{
	const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
	struct addrinfo *infos = NULL;
	int code = getaddrinfo(host, NULL, &hints, &infos);

	if (code != 0)
		return resolver_error(code, errno, why);

	int count = collect_answers(infos, port, list);

	freeaddrinfo(infos);
	if (count != 0)
		return count;
	free(*list);
	*list = NULL;
	*why = "the name has no IPv4 or IPv6 address";
	return STTCP_ERESOLVE;
}

/* The wildcard or the loopback of both families. */
static int fill_unnamed(int port, enum stt_addr_use use, struct stt_addr **list)
{
	bool listens = use == STT_ADDR_TO_LISTEN;
	const struct in_addr in = {.s_addr = htonl(listens ? INADDR_ANY : INADDR_LOOPBACK)};

	*list = calloc(2, sizeof(**list));
	if (!*list)
		return -ENOMEM;
	/* IPv6 first: its wildcard is dual-stack, and then the IPv4 one is not needed. */
	fill_in6(&(*list)[0], listens ? &in6addr_any : &in6addr_loopback, 0, port);
	fill_in(&(*list)[1], in, port);
	return 2;
}

int stt_addr_resolve(const char *host, int port, enum stt_addr_use use, struct stt_addr **list,
		     const char **why)
{
	struct stt_addr literal;

	*list = NULL;
	*why = "";
	if (!stt_host_is_unix(host) && !port_is_valid(port))
		return -EINVAL;
	if (!host || host[0] == '\0')
		return fill_unnamed(port, use, list);

	int err = stt_addr_literal(&literal, host, port);

	if (err < 0 && stt_host_is_unix(host))
		return err;
	if (err < 0 && lacks_only_its_interface(host)) {
		*why = "there is no interface of the name behind the %";
		return STTCP_ERESOLVE;
	}
	if (err < 0 && is_bracketed(host)) {
		*why = "only an IPv6 address may stand in brackets";
		return STTCP_ERESOLVE;
	}
	if (err < 0)
		return ask_resolver(host, port, list, why);
	*list = malloc(sizeof(**list));
	if (!*list)
		return -ENOMEM;
	**list = literal;
	return 1;
}

/*
 * The kernel does not promise a NUL at the end of a path, and tells a length
 * beyond the structure when there was no room for one (unix(7), BUGS). An
 * abstract name starts with a NUL and may contain more of them: they are told
 * as '@', as ss(8) does.
 */
static void write_path(const struct stt_addr *addr, char *text)
{
	const char *path = addr->un.sun_path;
	size_t len = addr->len > PATH_OFFSET ? addr->len - PATH_OFFSET : 0;

	if (len > sizeof(addr->un.sun_path))
		len = sizeof(addr->un.sun_path);
	if (len > 0 && path[0] != '\0')
		len = strnlen(path, len);
	memcpy(text, unix_prefix, UNIX_PREFIX_LEN);
	text += UNIX_PREFIX_LEN;
	for (size_t i = 0; i < len; i++)
		text[i] = path[i] == '\0' ? '@' : path[i];
	text[len] = '\0';
}

/* A link-local address means something only together with its interface. */
static void write_in6(const struct sockaddr_in6 *in6, char *text)
{
	char name[IF_NAMESIZE];

	inet_ntop(AF_INET6, &in6->sin6_addr, text, STT_ADDR_TEXT);
	if (in6->sin6_scope_id == 0)
		return;

	size_t len = strlen(text);

	if (if_indextoname(in6->sin6_scope_id, name))
		snprintf(text + len, STT_ADDR_TEXT - len, "%%%s", name);
	else
		snprintf(text + len, STT_ADDR_TEXT - len, "%%%u", in6->sin6_scope_id);
}

void stt_addr_host(const struct stt_addr *addr, char *text)
{
	text[0] = '\0';
	if (addr->sa.sa_family == AF_INET)
		inet_ntop(AF_INET, &addr->in.sin_addr, text, STT_ADDR_TEXT);
	else if (is_mapped(addr))
		inet_ntop(AF_INET, &addr->in6.sin6_addr.s6_addr[12], text, STT_ADDR_TEXT);
	else if (addr->sa.sa_family == AF_INET6)
		write_in6(&addr->in6, text);
	else if (addr->sa.sa_family == AF_UNIX)
		write_path(addr, text);
}

int stt_addr_port(const struct stt_addr *addr)
{
	if (addr->sa.sa_family == AF_INET)
		return ntohs(addr->in.sin_port);
	if (addr->sa.sa_family == AF_INET6)
		return ntohs(addr->in6.sin6_port);
	return 0;
}

void stt_addr_set_port(struct stt_addr *addr, int port)
{
	if (addr->sa.sa_family == AF_INET)
		addr->in.sin_port = htons((uint16_t)port);
	else if (addr->sa.sa_family == AF_INET6)
		addr->in6.sin6_port = htons((uint16_t)port);
}

void stt_addr_text(const struct stt_addr *addr, char *text)
{
	bool brackets = addr->sa.sa_family == AF_INET6 && !is_mapped(addr);
	char host[STT_ADDR_TEXT];

	stt_addr_host(addr, host);
	if (addr->sa.sa_family == AF_UNIX || host[0] == '\0')
		memcpy(text, host, sizeof(host));
	else
		snprintf(text, STT_ADDR_TEXT, brackets ? "[%s]:%d" : "%s:%d", host,
			 stt_addr_port(addr));
}

void stt_addr_given(const char *host, int port, char *text, size_t size)
{
	if (!host || host[0] == '\0')
		snprintf(text, size, "*:%d", port);
	else if (stt_host_is_unix(host))
		snprintf(text, size, "%s", host);
	else if (strchr(host, ':') && host[0] != '[')
		snprintf(text, size, "[%s]:%d", host, port);
	else
		snprintf(text, size, "%s:%d", host, port);
}
