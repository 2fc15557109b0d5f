/* SPDX-License-Identifier: MIT */
/* What users hold as a TLS object, and what a connection tells of its own. The work is done in tls/
 * and conn/. */
#include <string.h>

#include "api/call.h"
#include "conn/handshake.h"
#include "conn/secure.h"
#include "group/all.h"
#include "tls/context.h"

/* 0, -EINVAL or STTCP_EFORK. */
static int check_handle(const sttcp_tls *tls)
{
	if (!tls)
		return -EINVAL;
	return stt_tls_owner(tls) == stt_fork_count() ? 0 : STTCP_EFORK;
}

/* The same, or -ENOMEM. */
static int check_tls(const sttcp_tls *tls)
{
	int result = check_handle(tls);

	return result == 0 && stt_tls_is_missing(tls) ? -ENOMEM : result;
}

/* Before an object is made: whoever has one may fork, and it may be the first of all. */
static int begin_object(void)
{
	int cancel = stt_call_begin();

	stt_all_begin();
	return cancel;
}

static sttcp_tls *own(sttcp_tls *tls)
{
	stt_tls_set_owner(tls, stt_fork_count());
	return tls;
}

sttcp_tls *sttcp_tls_server(const char *certificate, const char *key)
{
	int cancel = begin_object();
	sttcp_tls *tls = own(stt_tls_new_server(certificate, key));

	stt_call_end(cancel);
	return tls;
}

sttcp_tls *sttcp_tls_client(void)
{
	int cancel = begin_object();
	sttcp_tls *tls = own(stt_tls_new_client());

	stt_call_end(cancel);
	return tls;
}

const char *sttcp_tls_error(const sttcp_tls *tls)
{
	/* A lock is no part of what const promises. */
	return check_handle(tls) < 0 ? NULL : stt_tls_error((sttcp_tls *)(uintptr_t)tls);
}

int sttcp_tls_add_certificate(sttcp_tls *tls, const char *certificate, const char *key)
{
	int result = check_tls(tls);

	if (result < 0)
		return result;

	int cancel = stt_call_begin();

	result = stt_tls_add_certificate(tls, certificate, key);
	stt_call_end(cancel);
	return result;
}

int sttcp_tls_set_certificate(sttcp_tls *tls, const char *certificate, const char *key)
{
	int result = check_tls(tls);

	if (result < 0)
		return result;

	int cancel = stt_call_begin();

	result = stt_tls_set_certificate(tls, certificate, key);
	stt_call_end(cancel);
	return result;
}

int sttcp_tls_trust(sttcp_tls *tls, const char *file_or_directory)
{
	int result = check_tls(tls);

	if (result < 0)
		return result;

	int cancel = stt_call_begin();

	result = stt_tls_trust(tls, file_or_directory);
	stt_call_end(cancel);
	return result;
}

int sttcp_tls_require_peer(sttcp_tls *tls, sttcp_tls_peer who)
{
	int result = check_tls(tls);

	if (result < 0)
		return result;

	int cancel = stt_call_begin();

	result = stt_tls_require_peer(tls, (int)who);
	stt_call_end(cancel);
	return result;
}

int sttcp_tls_set_alpn(sttcp_tls *tls, const char *protocols)
{
	int result = check_tls(tls);

	if (result < 0)
		return result;

	int cancel = stt_call_begin();

	result = stt_tls_set_alpn(tls, protocols);
	stt_call_end(cancel);
	return result;
}

int sttcp_tls_set_versions(sttcp_tls *tls, int least, int most)
{
	int result = check_tls(tls);

	if (result < 0)
		return result;

	int cancel = stt_call_begin();

	result = stt_tls_set_versions(tls, least, most);
	stt_call_end(cancel);
	return result;
}

int sttcp_tls_set_ciphers(sttcp_tls *tls, const char *ciphers)
{
	int result = check_tls(tls);

	if (result < 0)
		return result;

	int cancel = stt_call_begin();

	result = stt_tls_set_ciphers(tls, ciphers);
	stt_call_end(cancel);
	return result;
}

int sttcp_tls_reload(sttcp_tls *tls)
{
	int result = check_tls(tls);

	if (result < 0)
		return result;

	int cancel = stt_call_begin();

	result = stt_tls_reload(tls);
	stt_call_end(cancel);
	return result;
}

sttcp_tls *sttcp_tls_ref(sttcp_tls *tls)
{
	/* What it returns may be handed on as the option, and NULL would be no TLS. The unref of a
	 * forked child drops nothing, either. */
	return check_handle(tls) < 0 ? tls : stt_tls_ref(tls);
}

void sttcp_tls_unref(sttcp_tls *tls)
{
	if (check_handle(tls) < 0)
		return;

	int cancel = stt_call_begin();

	stt_tls_unref(tls);
	stt_call_end(cancel);
}

int sttcp_conn_start_tls(sttcp_conn *conn, sttcp_tls *tls, const char *name)
{
	int result = stt_check_conn(conn);

	if (result == 0)
		result = check_tls(tls);
	if (result < 0)
		return result;

	int cancel = stt_call_begin();

	result = stt_handshake_start(conn, tls, name);
	stt_call_end(cancel);
	return result;
}

int sttcp_conn_tls(const sttcp_conn *conn, sttcp_tls_info *info, size_t size)
{
	int result = stt_check_conn(conn);

	if (result < 0)
		return result;
	if (!info)
		return -EINVAL;

	int cancel = stt_call_begin();
	struct stt_tls_facts facts;
	bool known = stt_secure_get_facts((struct sttcp_conn *)(uintptr_t)conn, &facts);

	stt_call_end(cancel);
	if (!known)
		return -ENOENT;

	const sttcp_tls_info all = {
		.version = facts.version,
		.cipher = facts.cipher,
		.alpn = facts.alpn,
		.server_name = facts.server_name,
		.peer_subject = facts.peer_subject,
		.peer_fingerprint = facts.peer_fingerprint,
		.peer_certificate = facts.peer_certificate,
		.peer_certificate_size = facts.peer_certificate_size,
		.peer_verified = facts.peer_verified,
		.resumed = facts.resumed,
	};

	memset(info, 0, size);
	memcpy(info, &all, size < sizeof(all) ? size : sizeof(all));
	return 0;
}
