/* SPDX-License-Identifier: MIT */
/* What is a host's name, and what only looks like one. */
#include "support/support.h"

#include <string.h>

#include "base/host_name.h"

static void expect(const char *host, bool is_name)
{
	if (stt_is_host_name(host) != is_name)
		fail_msg("\"%s\" %s", host, is_name ? "was refused" : "was taken for a name");
}

static void names_and_addresses_are_taken(void **state)
{
	static const char *const names[] = {
		"localhost",	   "a.example",	     "A.Example.", "x",		  "my_host.lan",
		"xn--bcher-kva.x", "127.0.0.1",	     "1.2.3",	   "::1",	  "[::1]",
		"fe80::1%eth0",	   "[fe80::1%eth0]", "-.example",  "2001:db8::7",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		expect(names[i], true);
}

static void all_else_is_refused(void **state)
{
	static const char *const others[] = {
		"",
		".",
		"..",
		".example",
		"a..b",
		"a.example..",
		"*",
		"*.b.example",
		"a b",
		"a.example:443",
		"[::1]:443",
		"[::1",
		"::1]",
		"::1]:443",
		"[::1]]",
		"[a]",
		"b\xc3\xbcro.x",
		"a\n.x",
		"https://a.example",
		"a/b",
		"1::2::3",
		"[127.0.0.1]",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		expect(others[i], false);
}

/* RFC 1035, 2.3.4. */
static void lengths_end_where_dns_does(void **state)
{
	char text[300];

	(void)state;
	memset(text, 'a', sizeof(text));
	text[63] = '\0';
	expect(text, true);
	memcpy(text + 63, "a", 2);
	expect(text, false);
	memset(text, 'a', sizeof(text));
	for (int dot = 63; dot < 253; dot += 64)
		text[dot] = '.';
	text[253] = '\0';
	expect(text, true);
	memcpy(text + 253, ".", 2);
	expect(text, true);
	memcpy(text + 253, "a", 2);
	expect(text, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_and_addresses_are_taken),
		cmocka_unit_test(all_else_is_refused),
		cmocka_unit_test(lengths_end_where_dns_does),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
