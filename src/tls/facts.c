/* SPDX-License-Identifier: MIT */
/*
 * What a handshake has agreed on, for the program. It is gathered once: the
 * strings live as long as the connection's handle, when OpenSSL's objects may be
 * gone. A server whose clients have no certificates needs no memory for it but
 * that of the names.
 */
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#include "tls/inner.h"

enum {
	DIGEST_SIZE = 32,
	HEX_SIZE = 2 * DIGEST_SIZE + 1
};

/* Everything that is copied, before it is known how much room it takes. */
struct found {
	const unsigned char *alpn;
	unsigned alpn_size;
	const char *server_name;
	BIO *subject;
	char *subject_text;
	size_t subject_size;
	unsigned char *der;
	size_t der_size;
};

static bool read_certificate(struct found *found, const X509 *certificate)
{
	int size = i2d_X509(certificate, &found->der);

	found->subject = BIO_new(BIO_s_mem());
	if (size <= 0 || !found->subject ||
	    X509_NAME_print_ex(found->subject, X509_get_subject_name(certificate), 0,
			       XN_FLAG_RFC2253) < 0)
		return false;
	found->der_size = (size_t)size;
	found->subject_size = (size_t)BIO_get_mem_data(found->subject, &found->subject_text);
	return true;
}

static bool find(struct stt_tls_session *session, struct found *found)
{
	const X509 *certificate = SSL_get0_peer_certificate(session->ssl);

	SSL_get0_alpn_selected(session->ssl, &found->alpn, &found->alpn_size);
	found->server_name = SSL_get_servername(session->ssl, TLSEXT_NAMETYPE_host_name);
	return !certificate || read_certificate(found, certificate);
}

/* Copies text behind what is there, and returns where it stands; "" takes no room. */
static const char *put(char **end, const void *text, size_t size)
{
	char *start = *end;

	if (!size)
		return "";
	memcpy(start, text, size);
	start[size] = 0;
	*end += size + 1;
	return start;
}

static const char *put_fingerprint(char **end, const struct found *found)
{
	static const char digits[] = "0123456789abcdef";
	unsigned char digest[EVP_MAX_MD_SIZE];
	char text[HEX_SIZE];

	if (!found->der_size ||
	    EVP_Digest(found->der, found->der_size, digest, NULL, EVP_sha256(), NULL) != 1)
		return "";
	for (size_t i = 0; i < DIGEST_SIZE; i++) {
		text[2 * i] = digits[digest[i] >> 4];
		text[2 * i + 1] = digits[digest[i] & 15];
	}
	return put(end, text, HEX_SIZE - 1);
}

static bool copy_found(struct stt_tls_session *session, const struct found *found)
{
	struct stt_tls_facts *facts = &session->facts;
	size_t name_size = found->server_name ? strlen(found->server_name) : 0;
	size_t room = found->alpn_size + name_size + found->subject_size + found->der_size;
	char *end;

	if (found->der_size)
		room += HEX_SIZE;
	if (room) {
		/* And the zero byte of each. */
		session->facts_memory = malloc(room + 4);
		if (!session->facts_memory)
			return false;
	}
	end = session->facts_memory;
	facts->alpn = put(&end, found->alpn, found->alpn_size);
	facts->server_name = put(&end, found->server_name, name_size);
	facts->peer_subject = put(&end, found->subject_text, found->subject_size);
	facts->peer_fingerprint = put_fingerprint(&end, found);
	if (found->der_size) {
		/* A program may compare it: it is not left out for want of memory. */
		if (!*facts->peer_fingerprint)
			return false;
		memcpy(end, found->der, found->der_size);
		facts->peer_certificate = end;
		facts->peer_certificate_size = found->der_size;
	}
	return true;
}

bool stt_facts_gather(struct stt_tls_session *session)
{
	struct found found = {.alpn = NULL};
	bool fine = find(session, &found) && copy_found(session, &found);
	struct stt_tls_facts *facts = &session->facts;

	OPENSSL_free(found.der);
	BIO_free(found.subject);
	facts->version = SSL_get_version(session->ssl);
	facts->cipher = SSL_get_cipher_name(session->ssl);
	facts->resumed = SSL_session_reused(session->ssl) == 1;
	/* Without a demand OpenSSL verifies as well, but not for anybody in particular. */
	facts->peer_verified = session->credentials->peer != STTCP_TLS_PEER_NONE &&
			       facts->peer_certificate &&
			       SSL_get_verify_result(session->ssl) == X509_V_OK;
	return fine;
}

bool stt_tls_get_facts(const struct stt_tls_session *session, struct stt_tls_facts *facts)
{
	if (!session->open)
		return false;
	*facts = session->facts;
	return true;
}
