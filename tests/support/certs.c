/* SPDX-License-Identifier: MIT */
/* Making certificates with OpenSSL. */
#include "support/certs.h"

#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

#include "support/support.h"

static EVP_PKEY *make_key(enum cert_key kind)
{
	switch (kind) {
	case CERT_EC:
		return EVP_EC_gen("P-256");
	case CERT_RSA:
		return EVP_RSA_gen(2048);
	case CERT_ED25519:
		return EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	}
	return NULL;
}

static void add_extension(X509 *certificate, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX context;
	X509_EXTENSION *extension;

	X509V3_set_ctx_nodb(&context);
	X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
	extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
	assert_non_null(extension);
	assert_int_equal(X509_add_ext(certificate, extension, -1), 1);
	X509_EXTENSION_free(extension);
}

/* The first name without its kind. */
static void default_subject(char *subject, size_t size, const char *names)
{
	const char *start = names ? strchr(names, ':') : NULL;

	start = start ? start + 1 : "nobody";
	snprintf(subject, size, "%.*s", (int)strcspn(start, ","), start);
}

static void set_subject(X509 *certificate, const struct cert_spec *spec)
{
	char subject[256];
	X509_NAME *name = X509_get_subject_name(certificate);

	if (spec->subject)
		snprintf(subject, sizeof(subject), "%s", spec->subject);
	else
		default_subject(subject, sizeof(subject), spec->names);
	assert_int_equal(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
						    (const unsigned char *)subject, -1, -1, 0),
			 1);
}

static void set_dates(X509 *certificate, const struct cert_spec *spec)
{
	bool ordinary = !spec->from_days && !spec->until_days;

	X509_gmtime_adj(X509_getm_notBefore(certificate),
			(ordinary ? -1L : spec->from_days) * 24 * 3600);
	X509_gmtime_adj(X509_getm_notAfter(certificate),
			(ordinary ? 1L : spec->until_days) * 24 * 3600);
}

static void set_extensions(X509 *certificate, X509 *issuer, const struct cert_spec *spec)
{
	add_extension(certificate, issuer, NID_basic_constraints,
		      spec->authority ? "critical,CA:TRUE" : "critical,CA:FALSE");
	add_extension(certificate, issuer, NID_subject_key_identifier, "hash");
	if (issuer != certificate)
		add_extension(certificate, issuer, NID_authority_key_identifier, "keyid:always");
	add_extension(certificate, issuer, NID_key_usage,
		      spec->authority ? "critical,keyCertSign,cRLSign"
				      : "critical,digitalSignature,keyEncipherment");
	if (spec->names)
		add_extension(certificate, issuer, NID_subject_alt_name, spec->names);
}

struct cert cert_make(const struct cert_spec *spec, const struct cert *issuer)
{
	static long serial = 1000;
	struct cert cert = {X509_new(), make_key(spec->key)};
	X509 *above = issuer ? issuer->certificate : cert.certificate;
	EVP_PKEY *signer = issuer ? issuer->key : cert.key;
	bool plain = EVP_PKEY_get_base_id(signer) == EVP_PKEY_ED25519;

	assert_non_null(cert.certificate);
	assert_non_null(cert.key);
	X509_set_version(cert.certificate, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(cert.certificate), serial++);
	set_dates(cert.certificate, spec);
	set_subject(cert.certificate, spec);
	X509_set_issuer_name(cert.certificate, X509_get_subject_name(above));
	X509_set_pubkey(cert.certificate, cert.key);
	set_extensions(cert.certificate, above, spec);
	assert_true(X509_sign(cert.certificate, signer, plain ? NULL : EVP_sha256()) > 0);
	return cert;
}

void cert_free(struct cert *cert)
{
	X509_free(cert->certificate);
	EVP_PKEY_free(cert->key);
	*cert = (struct cert){NULL, NULL};
}

/* ---------------------------------------------------------------------- files */

enum {
	PATHS_MAX = 512
};

static char directory[64];
static char *paths[PATHS_MAX];
static int npaths;

void certs_open(void)
{
	snprintf(directory, sizeof(directory), "/tmp/sttcp-certs-XXXXXX");
	assert_non_null(mkdtemp(directory));
}

void certs_close(void)
{
	/* Backwards: what is in a directory goes before it. */
	while (npaths > 0) {
		remove(paths[--npaths]);
		free(paths[npaths]);
	}
	assert_int_equal(rmdir(directory), 0);
}

const char *certs_path(const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	for (int i = 0; i < npaths; i++) {
		if (strcmp(paths[i], path) == 0)
			return paths[i];
	}
	assert_true(npaths < PATHS_MAX);
	paths[npaths] = strdup(path);
	assert_non_null(paths[npaths]);
	return paths[npaths++];
}

static FILE *create(const char *path)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	return file;
}

const char *certs_write_chain(const char *name, const struct cert *first, ...)
{
	const char *path = certs_path(name);
	FILE *file = create(path);
	va_list others;

	va_start(others, first);
	for (const struct cert *one = first; one; one = va_arg(others, const struct cert *))
		assert_int_equal(PEM_write_X509(file, one->certificate), 1);
	va_end(others);
	fclose(file);
	return path;
}

const char *certs_write_key(const char *name, const struct cert *cert)
{
	const char *path = certs_path(name);
	FILE *file = create(path);

	assert_int_equal(PEM_write_PrivateKey(file, cert->key, NULL, NULL, 0, NULL, NULL), 1);
	fclose(file);
	return path;
}

const char *certs_write_encrypted_key(const char *name, const struct cert *cert)
{
	static unsigned char passphrase[] = "secret";
	const char *path = certs_path(name);
	FILE *file = create(path);

	assert_int_equal(PEM_write_PrivateKey(file, cert->key, EVP_aes_256_cbc(), passphrase,
					      sizeof(passphrase) - 1, NULL, NULL),
			 1);
	fclose(file);
	return path;
}

const char *certs_write_text(const char *name, const char *text)
{
	const char *path = certs_path(name);
	FILE *file = create(path);

	fputs(text, file);
	fclose(file);
	return path;
}
