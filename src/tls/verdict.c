/* SPDX-License-Identifier: MIT */
/*
 * Why OpenSSL has refused a call, as a code and a sentence. What the session
 * knows comes first; only then is the thread's error queue read, which the visit
 * has emptied before. So SSL_get_error, which reads it first, is not asked.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tls/inner.h"

enum {
	ALERT_HANDSHAKE_FAILURE = 40,
	ALERT_NO_APPLICATION_PROTOCOL = 120,
	TEXT_SIZE = 512
};

int stt_end_with(struct stt_tls_session *session, int code, const char *format, ...)
{
	char text[TEXT_SIZE];
	va_list arguments;

	session->ended = true;
	session->end_code = code;
	if (session->text)
		return code;
	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	session->text = strdup(text);
	return code;
}

/* ---------------------------------------------------------------- certificates */

static char *text_of_name(const X509_NAME *name)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *text = NULL, *data;

	if (bio && X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB) >= 0) {
		long size = BIO_get_mem_data(bio, &data);

		text = size > 0 ? malloc((size_t)size + 1) : NULL;
		if (text) {
			memcpy(text, data, (size_t)size);
			text[size] = 0;
		}
	}
	BIO_free(bio);
	return text;
}

static char *text_of_date(const ASN1_TIME *time)
{
	struct tm parts;
	char text[32];

	if (ASN1_TIME_to_tm(time, &parts) != 1 ||
	    strftime(text, sizeof(text), "%Y-%m-%d", &parts) == 0)
		return NULL;
	return strdup(text);
}

/* "" for what is neither a host's name nor its address. */
static void name_of(const GENERAL_NAME *name, char *text, size_t size)
{
	const ASN1_STRING *value = name->type == GEN_DNS ? name->d.dNSName : name->d.iPAddress;

	*text = 0;
	if (name->type != GEN_DNS && name->type != GEN_IPADD)
		return;

	const unsigned char *data = ASN1_STRING_get0_data(value);
	int length = ASN1_STRING_length(value);

	if (name->type == GEN_DNS) {
		snprintf(text, size, "%.*s", length, (const char *)data);
		/* The sentence is for people, and goes to terminals. */
		for (char *at = text; *at; at++) {
			if ((unsigned char)*at < ' ' || *at == 0x7f)
				*at = '?';
		}
	} else if (length == sizeof(struct in_addr) || length == sizeof(struct in6_addr))
		inet_ntop(length == sizeof(struct in_addr) ? AF_INET : AF_INET6, data, text,
			  (socklen_t)size);
}

/* The names that a certificate is for, as far as there is room. */
static char *text_of_names(const X509 *certificate)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
	char text[TEXT_SIZE / 2] = "", one[STT_NAME_MAX + 1];

	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		size_t end = strlen(text);

		name_of(sk_GENERAL_NAME_value(names, i), one, sizeof(one));
		if (*one)
			snprintf(text + end, sizeof(text) - end, "%s%s", end ? ", " : "", one);
	}
	GENERAL_NAMES_free(names);
	return *text ? strdup(text) : NULL;
}

static bool is_other_name(long error)
{
	return error == X509_V_ERR_HOSTNAME_MISMATCH || error == X509_V_ERR_IP_ADDRESS_MISMATCH;
}

int stt_verify(int fine, X509_STORE_CTX *store)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct stt_tls_session *session = SSL_get_app_data(ssl);
	const X509 *certificate = X509_STORE_CTX_get_current_cert(store);
	struct stt_refusal_note *note = &session->note;

	if (fine || note->error)
		return fine;
	note->error = X509_STORE_CTX_get_error(store);
	if (!certificate)
		return 0;
	/* Of the peer's own a client knows the name that it asked for. */
	if (is_other_name(note->error))
		note->name = text_of_names(certificate);
	else if (X509_STORE_CTX_get_error_depth(store) == 0 && session->name)
		note->name = strdup(session->name);
	else
		note->name = text_of_name(X509_get_subject_name(certificate));
	note->issuer = text_of_name(X509_get_issuer_name(certificate));
	note->dates = text_of_date(note->error == X509_V_ERR_CERT_NOT_YET_VALID
					   ? X509_get0_notBefore(certificate)
					   : X509_get0_notAfter(certificate));
	return 0;
}

void stt_note_fini(struct stt_refusal_note *note)
{
	free(note->name);
	free(note->issuer);
	free(note->dates);
}

static const char *or_unknown(const char *text)
{
	return text ? text : "an unknown name";
}

static int refuse_certificate(struct stt_tls_session *session)
{
	const struct stt_refusal_note *note = &session->note;
	const char *name = or_unknown(note->name), *issuer = or_unknown(note->issuer);
	const char *dates = note->dates ? note->dates : "an unknown day";

	switch (note->error) {
	case X509_V_ERR_CERT_HAS_EXPIRED:
		return stt_end_with(session, STTCP_ETLS, "the certificate of %s has expired on %s",
				    name, dates);
	case X509_V_ERR_CERT_NOT_YET_VALID:
		return stt_end_with(session, STTCP_ETLS,
				    "the certificate of %s is not valid before %s", name, dates);
	case X509_V_ERR_HOSTNAME_MISMATCH:
	case X509_V_ERR_IP_ADDRESS_MISMATCH:
		if (note->name && session->name && strcmp(note->name, session->name) == 0)
			return stt_end_with(
				session, STTCP_ETLS,
				"the certificate has %s as a host name, not as an address",
				note->name);
		return stt_end_with(session, STTCP_ETLS, "the certificate is for %s, not for %s",
				    note->name ? note->name : "no host name",
				    or_unknown(session->name));
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
		return stt_end_with(session, STTCP_ETLS,
				    "the certificate of %s is self-signed and not trusted", name);
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
		return stt_end_with(session, STTCP_ETLS,
				    "the certificate of %s was issued by %s, which is not trusted",
				    name, issuer);
	default:
		return stt_end_with(session, STTCP_ETLS, "the certificate of %s was refused: %s",
				    name, X509_verify_cert_error_string(note->error));
	}
}

/* ------------------------------------------------------------------ other reasons */

/* What stands first in the way of people, in other words than OpenSSL's. */
static const struct {
	int reason;
	const char *text;
} explanations[] = {
	{SSL_R_HTTP_REQUEST, "the peer speaks HTTP, without TLS"},
	{SSL_R_HTTPS_PROXY_REQUEST, "the peer speaks HTTP to a proxy, without TLS"},
	{SSL_R_WRONG_VERSION_NUMBER, "the peer does not speak TLS"},
	{SSL_R_UNSUPPORTED_PROTOCOL, "the peer speaks no version of TLS that is allowed here"},
	{SSL_R_TLSV1_ALERT_PROTOCOL_VERSION,
	 "the peer allows no version of TLS that is spoken here (it sent the alert \"protocol "
	 "version\")"},
	{SSL_R_VERSION_TOO_LOW, "the peer speaks no version of TLS that is allowed here"},
	{SSL_R_NO_SHARED_CIPHER, "there is no cipher that both sides allow"},
	{SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM,
	 "the peer can verify no signature of the key that is here"},
	{SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS,
	 "there is no signature algorithm that both sides allow"},
	{SSL_R_NO_SUITABLE_KEY_SHARE, "there is no key exchange that both sides allow"},
	{SSL_R_NO_SHARED_GROUPS, "there is no key exchange that both sides allow"},
	{SSL_R_NO_APPLICATION_PROTOCOL, "the peer offers no ALPN protocol that is spoken here"},
	{SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE,
	 "the peer has shown no certificate, and one is required"},
	{SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED, "the peer requires a certificate, and none was "
						  "given here (it sent the alert \"certificate "
						  "required\")"},
	{SSL_R_TLSV1_ALERT_UNKNOWN_CA,
	 "the peer does not trust the issuer of the certificate that is used here (it sent the "
	 "alert \"unknown CA\")"},
	{SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN,
	 "the peer does not accept the certificate that is used here (it sent the alert "
	 "\"certificate unknown\")"},
	{SSL_R_SSLV3_ALERT_BAD_CERTIFICATE,
	 "the peer does not accept the certificate that is used here (it sent the alert \"bad "
	 "certificate\")"},
	{SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED,
	 "the peer says that the certificate that is used here has expired (it sent the alert "
	 "\"certificate expired\")"},
	{SSL_AD_REASON_OFFSET + ALERT_HANDSHAKE_FAILURE,
	 "the peer refused the handshake: most often no cipher is allowed on both sides, or it "
	 "requires a certificate (it sent the alert \"handshake failure\")"},
	{SSL_AD_REASON_OFFSET + ALERT_NO_APPLICATION_PROTOCOL,
	 "the peer speaks none of the ALPN protocols that are offered here (it sent the alert \"no "
	 "application protocol\")"},
	{SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC,
	 "a record of the peer has been changed on its way"},
};

static const char *find_explanation(int reason)
{
	for (size_t i = 0; i < sizeof(explanations) / sizeof(explanations[0]); i++) {
		if (explanations[i].reason == reason)
			return explanations[i].text;
	}
	return NULL;
}

/* Much of OpenSSL only says "internal error", or nothing, where an allocation has failed. But errno
 * tells it, from there to the next system call: before each that is made in a visit it is noted.
 * Empties the queue. */
static bool has_missed_memory(struct stt_tls_session *session)
{
	unsigned long error;

	stt_note_memory(session);
	while ((error = ERR_get_error()))
		session->out_of_memory |= ERR_GET_REASON(error) == ERR_R_MALLOC_FAILURE;
	return session->out_of_memory;
}

static int judge_queue(struct stt_tls_session *session)
{
	unsigned long error = ERR_peek_last_error();
	int reason = ERR_GET_REASON(error);
	const char *text = ERR_GET_LIB(error) == ERR_LIB_SSL ? find_explanation(reason) : NULL;

	if (has_missed_memory(session))
		return stt_end_with(session, -ENOMEM, "out of memory");
	if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED && session->note.error)
		return refuse_certificate(session);
	/* Behind the handshake it answers a wish to renegotiate, which was refused. */
	if (session->open && reason == SSL_AD_REASON_OFFSET + ALERT_HANDSHAKE_FAILURE)
		text = NULL;
	if (text)
		return stt_end_with(session, STTCP_ETLS, "%s", text);
	/* RFC 8446, 6: what the peer sent as an alert. */
	if (ERR_GET_LIB(error) == ERR_LIB_SSL && reason > SSL_AD_REASON_OFFSET &&
	    reason <= SSL_AD_REASON_OFFSET + 255)
		return stt_end_with(session, STTCP_ETLS, "the peer sent the alert \"%s\"",
				    SSL_alert_desc_string_long(reason - SSL_AD_REASON_OFFSET));
	text = ERR_reason_error_string(error);
	return stt_end_with(session, STTCP_ETLS, "OpenSSL says: %s",
			    text ? text : "no reason given");
}

/* The wire has ended or failed, and all that it gave has been read. */
static int judge_wire(struct stt_tls_session *session)
{
	if (session->wire_code)
		return stt_end_with(session, session->wire_code, "%s",
				    sttcp_strerror(session->wire_code));
	/* A reset that met a write is told there alone: what is read behind it is an end. */
	if (session->out_code == -ECONNRESET)
		return stt_end_with(session, -ECONNRESET, "%s", sttcp_strerror(-ECONNRESET));
	return stt_end_with(session, STTCP_ECUT,
			    "the peer's bytes end without TLS's close_notify: they may have been "
			    "cut");
}

int stt_verdict(struct stt_tls_session *session)
{
	session->refused = true;
	/* SSL_want_read alone is also true at the end, and stays so from an earlier call: the flags
	 * of the BIO were cleared before this one. */
	if (SSL_want_read(session->ssl) && BIO_should_retry(SSL_get_rbio(session->ssl))) {
		if (session->fin || session->wire_code)
			return judge_wire(session);
		return session->dry ? -EAGAIN : 0;
	}
	if (session->closed_by_peer && (SSL_get_shutdown(session->ssl) & SSL_RECEIVED_SHUTDOWN))
		return 1;
	session->broken = true;
	return judge_queue(session);
}
