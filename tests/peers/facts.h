/* SPDX-License-Identifier: MIT */
/* What the programs of this folder print: one line, in one write. */
#ifndef STT_TEST_FACTS_H
#define STT_TEST_FACTS_H

#include <stdio.h>
#include <string.h>

#include <sttcp.h>

static inline void print_facts(sttcp_conn *conn)
{
	sttcp_tls_info info;
	int code = sttcp_conn_tls(conn, &info, sizeof(info));

	if (code < 0)
		printf("open without TLS: %s\n", sttcp_strerror(code));
	else
		printf("open version=%s cipher=%s alpn=%s name=%s verified=%d resumed=%d "
		       "fingerprint=%s subject=%s\n",
		       info.version, info.cipher, info.alpn, info.server_name, info.peer_verified,
		       info.resumed, info.peer_fingerprint, info.peer_subject);
}

static inline void print_end(const char *event, const sttcp_conn *conn, int reason)
{
	printf("%s %s: %s\n", event, sttcp_error_name(reason), sttcp_conn_fail_text(conn));
}

static inline sttcp_tls_peer peer_from(const char *word)
{
	return strcmp(word, "none") == 0    ? STTCP_TLS_PEER_NONE
	       : strcmp(word, "asked") == 0 ? STTCP_TLS_PEER_ASKED
					    : STTCP_TLS_PEER_REQUIRED;
}

#endif
