/* SPDX-License-Identifier: MIT */
#include "support/tls_good.h"

#include <string.h>

#include "support/support.h"

struct cert authority;
struct cert host;
const char *good_certificate, *good_key, *trusted;

int good_files_open(void **state)
{
	struct cert_spec of_authority = {.subject = "Test Authority", .authority = true};
	struct cert_spec of_host = {.names = "DNS:a.example,IP:127.0.0.1"};

	(void)state;
	certs_open();
	authority = cert_make(&of_authority, NULL);
	host = cert_make(&of_host, &authority);
	trusted = certs_write_chain("authority.pem", &authority, NULL);
	good_certificate = certs_write_chain("host.pem", &host, NULL);
	good_key = certs_write_key("host.key", &host);
	return 0;
}

int good_files_close(void **state)
{
	(void)state;
	cert_free(&authority);
	cert_free(&host);
	certs_close();
	return 0;
}

struct sttcp_tls *good_server(void)
{
	struct sttcp_tls *tls = stt_tls_new_server(good_certificate, good_key);

	assert_string_equal(stt_tls_error(tls), "");
	return tls;
}

void expect_text(const char *text, const char *words)
{
	if (!strstr(text, words))
		fail_msg("\"%s\" does not say \"%s\"", text, words);
}

void expect_words(struct sttcp_tls *tls, const char *words)
{
	expect_text(stt_tls_error(tls), words);
}
