/* SPDX-License-Identifier: MIT */
/*
 * Addresses from text and from the resolver. The resolver's
 * answers and failures can be chosen; names that no case has chosen go to the
 * real one.
 */
#include <errno.h>
#include <net/if.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "support/address_text.h"
#include "support/faults.h"

/* ------------------------------------------------------------- the resolver */

/* What it says of the name "chosen.test". */
static struct {
	int code;
	int errnum;
	struct addrinfo *infos;
	struct addrinfo hints; /* as they came */
	int freed;
} resolver;

static int resolve(const char *restrict host, const char *restrict service,
		   const struct addrinfo *restrict hints, struct addrinfo **restrict infos)
{
	if (strcmp(host, "chosen.test") == 0) {
		resolver.hints = *hints;
		*infos = resolver.infos;
		errno = resolver.errnum;
		return resolver.code;
	}
	return real_getaddrinfo(host, service, hints, infos);
}

static void free_answer(struct addrinfo *infos)
{
	if (infos == resolver.infos) {
		resolver.freed++;
		return;
	}
	real_freeaddrinfo(infos);
}

/* One address of an answer; it is linked by set_answer. */
struct answer {
	struct stt_addr addr;
	struct addrinfo info;
};

static struct answer answer_of(const char *host)
{
	struct answer answer = {0};

	assert_int_equal(stt_addr_literal(&answer.addr, host, 0), 0);
	answer.info.ai_family = answer.addr.sa.sa_family;
	answer.info.ai_addrlen = answer.addr.len;
	return answer;
}

static void set_answer(struct answer *answers, size_t count)
{
	memset(&resolver, 0, sizeof(resolver));
	for (size_t i = 0; i < count; i++) {
		answers[i].info.ai_addr = &answers[i].addr.sa;
		answers[i].info.ai_next = i + 1 < count ? &answers[i + 1].info : NULL;
	}
	resolver.infos = count > 0 ? &answers[0].info : NULL;
}

static void set_failure(int code, int errnum)
{
	memset(&resolver, 0, sizeof(resolver));
	resolver.code = code;
	resolver.errnum = errnum;
}

/* ------------------------------------------------------------------ literals */

static void unix_host_is_known_by_its_prefix(void **state)
{
	(void)state;
	assert_true(stt_host_is_unix("unix:/tmp/socket"));
	assert_true(stt_host_is_unix("unix:"));
	assert_false(stt_host_is_unix("unix"));
	assert_false(stt_host_is_unix("UNIX:/tmp/socket"));
	assert_false(stt_host_is_unix("/tmp/socket"));
	assert_false(stt_host_is_unix("localhost"));
	assert_false(stt_host_is_unix(""));
	assert_false(stt_host_is_unix(NULL));
	assert_true(stt_host_has_file("unix:/tmp/@socket"));
	assert_false(stt_host_has_file("unix:@socket"));
	assert_false(stt_host_has_file("/tmp/socket"));
	assert_false(stt_host_has_file(NULL));
}

static void literal_gives_family_port_and_text(void **state)
{
	static const struct {
		const char *given, *host, *text;
		int family;
		socklen_t len;
	} cases[] = {
		{"127.0.0.1", "127.0.0.1", "127.0.0.1:80", AF_INET, sizeof(struct sockaddr_in)},
		{"0.0.0.0", "0.0.0.0", "0.0.0.0:80", AF_INET, sizeof(struct sockaddr_in)},
		{"255.255.255.255", "255.255.255.255", "255.255.255.255:80", AF_INET,
		 sizeof(struct sockaddr_in)},
		{"::1", "::1", "[::1]:80", AF_INET6, sizeof(struct sockaddr_in6)},
		{"::", "::", "[::]:80", AF_INET6, sizeof(struct sockaddr_in6)},
		{"2001:DB8:0:0::1", "2001:db8::1", "[2001:db8::1]:80", AF_INET6,
		 sizeof(struct sockaddr_in6)},
		{"2001:db8:1111:2222:3333:4444:5555:6666", "2001:db8:1111:2222:3333:4444:5555:6666",
		 "[2001:db8:1111:2222:3333:4444:5555:6666]:80", AF_INET6,
		 sizeof(struct sockaddr_in6)},
		{"fe80::1%lo", "fe80::1%lo", "[fe80::1%lo]:80", AF_INET6,
		 sizeof(struct sockaddr_in6)},
		{"[::1]", "::1", "[::1]:80", AF_INET6, sizeof(struct sockaddr_in6)},
		{"[fe80::1%lo]", "fe80::1%lo", "[fe80::1%lo]:80", AF_INET6,
		 sizeof(struct sockaddr_in6)},
		{"::ffff:192.0.2.7", "192.0.2.7", "192.0.2.7:80", AF_INET6,
		 sizeof(struct sockaddr_in6)},
		{"unix:/a", "unix:/a", "unix:/a", AF_UNIX,
		 offsetof(struct sockaddr_un, sun_path) + 3},
		{"unix:@a", "unix:@a", "unix:@a", AF_UNIX,
		 offsetof(struct sockaddr_un, sun_path) + 2},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct stt_addr addr;

		memset(&addr, 0xa5, sizeof(addr));
		assert_int_equal(stt_addr_literal(&addr, cases[i].given, 80), 0);
		assert_int_equal(addr.sa.sa_family, cases[i].family);
		assert_int_equal(addr.len, cases[i].len);
		assert_int_equal(stt_addr_port(&addr), cases[i].family == AF_UNIX ? 0 : 80);
		assert_text(&addr, cases[i].host, cases[i].text);
	}
}

static void literal_refuses_what_is_none(void **state)
{
	static const char *const hosts[] = {
		NULL,
		"",
		" ",
		"localhost",
		"127.0.0.1 ",
		"127.1",
		"256.0.0.1",
		"1.2.3.4.5",
		"127.0.0.1%lo",
		"127.0.0.1:80",
		"::1]",
		"[::1",
		"[::1] ",
		"[[::1]]",
		"[]",
		"[",
		"[%lo]",
		"[127.0.0.1]",
		"[localhost]",
		"[::1]:80",
		"[2001:db8:1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc:dddd:eeee]",
		":::",
		"1:2:3:4:5:6:7:8:9",
		"%lo",
		"2001:db8:1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc:dddd:eeee",
		"unix:",
		"unix:@",
	};

	(void)state;
	for (size_t i = 0; i < COUNT(hosts); i++) {
		struct stt_addr addr;

		assert_int_equal(stt_addr_literal(&addr, hosts[i], 80), -EINVAL);
	}
}

static void literal_refuses_a_port_out_of_range(void **state)
{
	struct stt_addr addr;

	(void)state;
	assert_int_equal(stt_addr_literal(&addr, "127.0.0.1", -1), -EINVAL);
	assert_int_equal(stt_addr_literal(&addr, "::1", 65536), -EINVAL);
	assert_int_equal(stt_addr_literal(&addr, "127.0.0.1", 65535), 0);
	assert_int_equal(stt_addr_port(&addr), 65535);
	assert_int_equal(stt_addr_literal(&addr, "::1", 0), 0);
	assert_int_equal(stt_addr_port(&addr), 0);
	assert_int_equal(stt_addr_literal(&addr, "unix:/a", -1), 0);
}

static void scope_is_a_name_or_a_number(void **state)
{
	static const char *const bad[] = {
		"fe80::1%",	      "fe80::1%no-such-interface",
		"fe80::1%0",	      "fe80::1%-1",
		"fe80::1%+1",	      "fe80::1%1x",
		"fe80::1%lo%lo",      "fe80::1% 1",
		"fe80::1%lo ",	      "fe80::1%99999999999999999999999",
		"fe80::1%4294967296",
	};
	struct stt_addr addr;

	(void)state;
	assert_int_equal(stt_addr_literal(&addr, "fe80::1%lo", 80), 0);
	assert_int_equal(addr.in6.sin6_scope_id, if_nametoindex("lo"));
	assert_int_equal(stt_addr_literal(&addr, "fe80::1%7", 80), 0);
	assert_int_equal(addr.in6.sin6_scope_id, 7);
	for (size_t i = 0; i < COUNT(bad); i++)
		assert_int_equal(stt_addr_literal(&addr, bad[i], 80), -EINVAL);
}

static void scope_without_a_name_is_told_as_a_number(void **state)
{
	struct stt_addr addr;

	(void)state;
	assert_int_equal(stt_addr_literal(&addr, "fe80::1%4294967295", 80), 0);
	assert_text(&addr, "fe80::1%4294967295", "[fe80::1%4294967295]:80");
}

static void unix_path_has_a_longest_length(void **state)
{
	const size_t longest = sizeof(((struct sockaddr_un *)0)->sun_path) - 1;
	struct stt_addr addr;
	char host[STT_ADDR_TEXT];

	(void)state;
	fill_unix_host(host, longest);
	assert_int_equal(stt_addr_literal(&addr, host, 0), 0);
	assert_int_equal(addr.len, sizeof(struct sockaddr_un));
	assert_text(&addr, host, host);
	fill_unix_host(host, longest + 1);
	assert_int_equal(stt_addr_literal(&addr, host, 0), -ENAMETOOLONG);
}

/* All of it counts, and no NUL follows. */
static void abstract_name_has_a_longest_length(void **state)
{
	const size_t longest = sizeof(((struct sockaddr_un *)0)->sun_path);
	struct stt_addr addr;
	char host[STT_ADDR_TEXT];

	(void)state;
	fill_unix_host(host, longest);
	host[5] = '@';
	assert_int_equal(stt_addr_literal(&addr, host, 0), 0);
	assert_int_equal(addr.len, sizeof(struct sockaddr_un));
	assert_int_equal(addr.un.sun_path[0], '\0');
	assert_text(&addr, host, host);
	fill_unix_host(host, longest + 1);
	host[5] = '@';
	assert_int_equal(stt_addr_literal(&addr, host, 0), -ENAMETOOLONG);
}

/* A working directory is no part of it. */
static void abstract_name_stays_what_it_is(void **state)
{
	struct stt_addr addr, before;

	(void)state;
	assert_int_equal(stt_addr_literal(&addr, "unix:@a", 0), 0);
	before = addr;
	stt_addr_make_absolute(&addr);
	assert_memory_equal(&addr.un, &before.un, sizeof(addr.un));
	assert_int_equal(addr.len, before.len);
}

/* ------------------------------------------------------------------ resolving */

/* Resolves, compares with the expected hosts in their order, and frees the list. */
static void assert_resolves(const char *host, enum stt_addr_use use, const char *const *expected,
			    int count)
{
	struct stt_addr *list;
	const char *why = NULL;

	assert_int_equal(stt_addr_resolve(host, 4711, use, &list, &why), count);
	assert_string_equal(why, "");
	for (int i = 0; i < count; i++) {
		char text[STT_ADDR_TEXT];

		stt_addr_host(&list[i], text);
		assert_string_equal(text, expected[i]);
		if (list[i].sa.sa_family != AF_UNIX)
			assert_int_equal(stt_addr_port(&list[i]), 4711);
	}
	free(list);
}

static void assert_fails(const char *host, int port, int err, const char *reason)
{
	struct stt_addr *list = (struct stt_addr *)&resolver;
	const char *why = NULL;

	assert_int_equal(stt_addr_resolve(host, port, STT_ADDR_TO_CONNECT, &list, &why), err);
	assert_null(list);
	assert_string_equal(why, reason);
}

static void resolve_takes_literals(void **state)
{
	static const char *const hosts[] = {"127.0.0.1", "2001:db8::1", "fe80::1%lo", "unix:/a",
					    "unix:@a"};

	(void)state;
	for (size_t i = 0; i < COUNT(hosts); i++) {
		assert_resolves(hosts[i], STT_ADDR_TO_CONNECT, &hosts[i], 1);
		assert_resolves(hosts[i], STT_ADDR_TO_LISTEN, &hosts[i], 1);
	}
}

static void wildcard_is_ipv6_then_ipv4(void **state)
{
	static const char *const expected[] = {"::", "0.0.0.0"};

	(void)state;
	assert_resolves(NULL, STT_ADDR_TO_LISTEN, expected, 2);
	assert_resolves("", STT_ADDR_TO_LISTEN, expected, 2);
}

static void no_host_is_the_loopback_to_connect(void **state)
{
	static const char *const expected[] = {"::1", "127.0.0.1"};

	(void)state;
	assert_resolves(NULL, STT_ADDR_TO_CONNECT, expected, 2);
	assert_resolves("", STT_ADDR_TO_CONNECT, expected, 2);
}

static void localhost_gives_loopback_addresses_without_duplicates(void **state)
{
	struct stt_addr *list;
	const char *why;
	int count = stt_addr_resolve("localhost", 80, STT_ADDR_TO_CONNECT, &list, &why);

	(void)state;
	assert_true(count >= 1);
	for (int i = 0; i < count; i++) {
		char text[STT_ADDR_TEXT];

		stt_addr_host(&list[i], text);
		assert_true(strncmp(text, "127.", 4) == 0 || strcmp(text, "::1") == 0);
		for (int k = 0; k < i; k++) {
			char other[STT_ADDR_TEXT];

			stt_addr_host(&list[k], other);
			assert_string_not_equal(text, other);
		}
	}
	free(list);
}

/* RFC 6761, 6.4: no name below .invalid exists. */
static void name_that_does_not_exist_has_a_reason(void **state)
{
	struct stt_addr *list;
	const char *why = NULL;

	(void)state;
	assert_int_equal(
		stt_addr_resolve("no-such-host.invalid", 80, STT_ADDR_TO_CONNECT, &list, &why),
		STTCP_ERESOLVE);
	assert_null(list);
	assert_non_null(why);
	assert_string_not_equal(why, "");
}

static void answers_keep_their_order_and_lose_duplicates(void **state)
{
	struct answer answers[] = {
		answer_of("2001:db8::2"), answer_of("192.0.2.1"),   answer_of("192.0.2.1"),
		answer_of("2001:db8::1"), answer_of("2001:db8::2"), answer_of("192.0.2.2"),
		answer_of("fe80::1%1"),	  answer_of("fe80::1%2"),   answer_of("fe80::1%1"),
	};
	char first[STT_ADDR_TEXT];
	char second[STT_ADDR_TEXT];
	const char *const expected[] = {"2001:db8::2", "192.0.2.1", "2001:db8::1",
					"192.0.2.2",   first,	    second};

	(void)state;
	stt_addr_host(&answers[6].addr, first);
	stt_addr_host(&answers[7].addr, second);
	set_answer(answers, COUNT(answers));
	assert_resolves("chosen.test", STT_ADDR_TO_CONNECT, expected, (int)COUNT(expected));
	assert_int_equal(resolver.freed, 1);
}

static void resolver_is_asked_for_streams_of_every_family(void **state)
{
	static const char *const expected[] = {"::1"};
	struct answer answers[] = {answer_of("::1")};

	(void)state;
	set_answer(answers, COUNT(answers));
	assert_resolves("chosen.test", STT_ADDR_TO_LISTEN, expected, 1);
	assert_int_equal(resolver.hints.ai_family, AF_UNSPEC);
	assert_int_equal(resolver.hints.ai_socktype, SOCK_STREAM);
	assert_int_equal(resolver.hints.ai_flags & AI_ADDRCONFIG, 0);
}

static void answers_of_no_use_are_skipped(void **state)
{
	static const char *const expected[] = {"192.0.2.1"};
	struct answer answers[] = {answer_of("unix:/a"), answer_of("::1"), answer_of("192.0.2.1")};

	(void)state;
	answers[1].info.ai_addrlen = 4;
	set_answer(answers, COUNT(answers));
	assert_resolves("chosen.test", STT_ADDR_TO_CONNECT, expected, 1);

	set_answer(answers, 2);
	assert_fails("chosen.test", 80, STTCP_ERESOLVE, "the name has no IPv4 or IPv6 address");
	assert_int_equal(resolver.freed, 1);
}

/* The resolver is not asked: it might ask the network. */
static void brackets_are_for_ipv6(void **state)
{
	(void)state;
	memset(&resolver, 0, sizeof(resolver));
	assert_fails("[127.0.0.1]", 80, STTCP_ERESOLVE,
		     "only an IPv6 address may stand in brackets");
	assert_fails("[chosen.test]", 80, STTCP_ERESOLVE,
		     "only an IPv6 address may stand in brackets");
	assert_int_equal(resolver.hints.ai_socktype, 0);
}

static void interface_that_is_missing_is_told_of(void **state)
{
	const char *why = "there is no interface of the name behind the %";

	(void)state;
	memset(&resolver, 0, sizeof(resolver));
	assert_fails("fe80::1%no-such-one", 80, STTCP_ERESOLVE, why);
	assert_fails("[fe80::1%no-such-one]", 80, STTCP_ERESOLVE, why);
	assert_int_equal(resolver.hints.ai_socktype, 0);
}

static void resolver_failures_become_codes_with_a_reason(void **state)
{
	(void)state;
	set_failure(EAI_NONAME, 0);
	assert_fails("chosen.test", 80, STTCP_ERESOLVE, gai_strerror(EAI_NONAME));
	set_failure(EAI_AGAIN, ENOENT);
	assert_fails("chosen.test", 80, STTCP_ERESOLVE, gai_strerror(EAI_AGAIN));
	set_failure(EAI_SYSTEM, EMFILE);
	assert_fails("chosen.test", 80, STTCP_ERESOLVE, sttcp_strerror(-EMFILE));
}

static void resolver_without_memory_is_enomem(void **state)
{
	(void)state;
	set_failure(EAI_MEMORY, 0);
	assert_fails("chosen.test", 80, -ENOMEM, "");
	set_failure(EAI_SYSTEM, ENOMEM);
	assert_fails("chosen.test", 80, -ENOMEM, "");
}

static void resolve_refuses_bad_paths_and_ports(void **state)
{
	char host[STT_ADDR_TEXT];

	(void)state;
	fill_unix_host(host, sizeof(((struct sockaddr_un *)0)->sun_path));
	assert_fails(host, 0, -ENAMETOOLONG, "");
	assert_fails("unix:", 0, -EINVAL, "");
	assert_fails("localhost", -1, -EINVAL, "");
	assert_fails("localhost", 65536, -EINVAL, "");
	assert_fails("127.0.0.1", 65536, -EINVAL, "");
	assert_fails(NULL, -1, -EINVAL, "");
}

/* ------------------------------------------------------------------ this end */

static void end_is_of_the_peers_family(void **state)
{
	static const char *const ends[] = {"::1", "192.0.2.1", "192.0.2.2", "::"};
	static const struct {
		const char *to, *end;
		int family;
		int count;
	} cases[] = {
		{"127.0.0.1", "192.0.2.1", AF_INET, 4},
		{"2001:db8::1", "::1", AF_INET6, 4},
		{"::ffff:127.0.0.1", "192.0.2.1", AF_INET6, 4}, /* as IPv4, mapped likewise */
		{"::ffff:127.0.0.1", NULL, 0, 1},
		{"127.0.0.1", NULL, 0, 1},
		{"127.0.0.1", NULL, 0, 0},
	};
	struct stt_addr list[COUNT(ends)];

	(void)state;
	for (size_t i = 0; i < COUNT(ends); i++)
		assert_int_equal(stt_addr_literal(&list[i], ends[i], 4711), 0);
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct stt_addr to, end;
		char text[STT_ADDR_TEXT];

		assert_int_equal(stt_addr_literal(&to, cases[i].to, 80), 0);
		assert_int_equal(stt_addr_choose_end(&end, list, cases[i].count, &to),
				 cases[i].end != NULL);
		if (!cases[i].end)
			continue;
		stt_addr_host(&end, text);
		assert_string_equal(text, cases[i].end);
		assert_int_equal(end.sa.sa_family, cases[i].family);
		assert_int_equal(stt_addr_port(&end), 4711);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(unix_host_is_known_by_its_prefix),
		cmocka_unit_test(literal_gives_family_port_and_text),
		cmocka_unit_test(literal_refuses_what_is_none),
		cmocka_unit_test(literal_refuses_a_port_out_of_range),
		cmocka_unit_test(scope_is_a_name_or_a_number),
		cmocka_unit_test(scope_without_a_name_is_told_as_a_number),
		cmocka_unit_test(unix_path_has_a_longest_length),
		cmocka_unit_test(abstract_name_has_a_longest_length),
		cmocka_unit_test(abstract_name_stays_what_it_is),
		cmocka_unit_test(resolve_takes_literals),
		cmocka_unit_test(wildcard_is_ipv6_then_ipv4),
		cmocka_unit_test(no_host_is_the_loopback_to_connect),
		cmocka_unit_test(localhost_gives_loopback_addresses_without_duplicates),
		cmocka_unit_test(name_that_does_not_exist_has_a_reason),
		cmocka_unit_test(answers_keep_their_order_and_lose_duplicates),
		cmocka_unit_test(resolver_is_asked_for_streams_of_every_family),
		cmocka_unit_test(answers_of_no_use_are_skipped),
		cmocka_unit_test(brackets_are_for_ipv6),
		cmocka_unit_test(interface_that_is_missing_is_told_of),
		cmocka_unit_test(resolver_failures_become_codes_with_a_reason),
		cmocka_unit_test(resolver_without_memory_is_enomem),
		cmocka_unit_test(resolve_refuses_bad_paths_and_ports),
		cmocka_unit_test(end_is_of_the_peers_family),
	};

	atomic_store(&stand_in_getaddrinfo, resolve);
	atomic_store(&stand_in_freeaddrinfo, free_answer);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
