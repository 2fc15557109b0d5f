/* SPDX-License-Identifier: MIT */
/* Addresses as text: those of the kernel, and those that a user gave. */
#include <stdlib.h>
#include <string.h>

#include "support/address_text.h"

static void port_can_be_set(void **state)
{
	static const char *const hosts[] = {"127.0.0.1", "::1"};
	struct stt_addr addr;

	(void)state;
	for (size_t i = 0; i < COUNT(hosts); i++) {
		assert_int_equal(stt_addr_literal(&addr, hosts[i], 1), 0);
		stt_addr_set_port(&addr, 65535);
		assert_int_equal(stt_addr_port(&addr), 65535);
		stt_addr_set_port(&addr, 0);
		assert_int_equal(stt_addr_port(&addr), 0);
	}
}

static void port_of_a_unix_socket_stays_0(void **state)
{
	struct stt_addr addr, before;

	(void)state;
	assert_int_equal(stt_addr_literal(&addr, "unix:/a", 80), 0);
	before = addr;
	stt_addr_set_port(&addr, 81);
	assert_int_equal(stt_addr_port(&addr), 0);
	assert_memory_equal(&addr.un, &before.un, sizeof(addr.un));
}

static void unnamed_and_abstract_unix_sockets_have_a_text(void **state)
{
	const socklen_t offset = offsetof(struct sockaddr_un, sun_path);
	struct stt_addr addr = {.un.sun_family = AF_UNIX, .len = offset};

	(void)state;
	assert_text(&addr, "unix:", "unix:");
	memcpy(addr.un.sun_path, "\0a\0b", 4);
	addr.len = offset + 4;
	assert_text(&addr, "unix:@a@b", "unix:@a@b");
}

/* unix(7), BUGS: no NUL, and a length that counts it all the same. */
static void unix_path_without_nul_is_told_whole(void **state)
{
	struct stt_addr addr;
	char host[STT_ADDR_TEXT];

	(void)state;
	memset(&addr, 'p', sizeof(addr));
	addr.un.sun_family = AF_UNIX;
	addr.len = sizeof(addr.un) + 1;
	fill_unix_host(host, sizeof(addr.un.sun_path));
	assert_text(&addr, host, host);
}

static void zeroed_address_has_no_text(void **state)
{
	struct stt_addr addr = {0};

	(void)state;
	assert_text(&addr, "", "");
	assert_int_equal(stt_addr_port(&addr), 0);
}

static void longest_ipv6_text_fits(void **state)
{
	static const char expected[] = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295]:65535";
	struct stt_addr addr;

	(void)state;
	memset(&addr, 0xff, sizeof(addr));
	addr.in6.sin6_family = AF_INET6;
	addr.len = sizeof(addr.in6);
	assert_text(&addr, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295", expected);
}

static void given_address_is_told_as_it_was_given(void **state)
{
	static const struct {
		const char *host;
		int port;
		const char *text;
	} cases[] = {
		{"localhost", 80, "localhost:80"},
		{"127.0.0.1", 0, "127.0.0.1:0"},
		{"::1", 80, "[::1]:80"},
		{"fe80::1%lo", 80, "[fe80::1%lo]:80"},
		{"[::1]", 80, "[::1]:80"},
		{"", 80, "*:80"},
		{NULL, 80, "*:80"},
		{"unix:/path", 80, "unix:/path"},
		{"localhost", -1, "localhost:-1"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		char text[STT_ADDR_TEXT];

		stt_addr_given(cases[i].host, cases[i].port, text, sizeof(text));
		assert_string_equal(text, cases[i].text);
	}
}

static void given_address_is_truncated_to_its_room(void **state)
{
	static const char *const hosts[] = {"a-long-name.example", "2001:db8::1", "unix:/path", ""};

	(void)state;
	for (size_t i = 0; i < COUNT(hosts); i++) {
		char whole[STT_ADDR_TEXT];

		stt_addr_given(hosts[i], 65535, whole, sizeof(whole));
		for (size_t size = 1; size <= strlen(whole) + 1; size++) {
			char text[STT_ADDR_TEXT];

			memset(text, '#', sizeof(text));
			stt_addr_given(hosts[i], 65535, text, size);
			assert_int_equal(strlen(text), size - 1);
			assert_memory_equal(text, whole, size - 1);
			assert_int_equal(text[size], '#');
		}
	}
}

static void given_name_of_any_length_is_safe(void **state)
{
	char *host = malloc(100001);
	char text[STT_ADDR_TEXT];

	(void)state;
	assert_non_null(host);
	memset(host, 'x', 100000);
	host[100000] = '\0';
	stt_addr_given(host, 80, text, sizeof(text));
	assert_int_equal(strlen(text), sizeof(text) - 1);
	assert_memory_equal(text, host, sizeof(text) - 1);
	free(host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(port_can_be_set),
		cmocka_unit_test(port_of_a_unix_socket_stays_0),
		cmocka_unit_test(unnamed_and_abstract_unix_sockets_have_a_text),
		cmocka_unit_test(unix_path_without_nul_is_told_whole),
		cmocka_unit_test(zeroed_address_has_no_text),
		cmocka_unit_test(longest_ipv6_text_fits),
		cmocka_unit_test(given_address_is_told_as_it_was_given),
		cmocka_unit_test(given_address_is_truncated_to_its_room),
		cmocka_unit_test(given_name_of_any_length_is_safe),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
