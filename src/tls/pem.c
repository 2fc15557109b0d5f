/* SPDX-License-Identifier: MIT */
/*
 * Reading PEM files. A file is read whole before OpenSSL sees it, so that its
 * own faults (missing, a directory, unreadable) are told as errno tells them,
 * and apart from those of what it contains.
 */
#include "tls/pem.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "tls/errors.h"

enum {
	FIRST_ROOM = 16 * 1024,
	/* The trust of a whole system is a quarter of a megabyte. */
	FILE_MAX = 16 * 1024 * 1024
};

/* What a file contains. Keys among it are wiped by `forget`. */
struct content {
	char *text;
	size_t size;
	size_t room;
};

static void forget(struct content *content)
{
	if (content->text)
		OPENSSL_cleanse(content->text, content->room);
	free(content->text);
}

/* By hand, because realloc would leave a copy behind. */
static int grow(struct content *content)
{
	size_t room = content->room ? content->room * 4 : FIRST_ROOM;
	char *text = room <= FILE_MAX ? malloc(room) : NULL;

	if (!text)
		return room <= FILE_MAX ? -ENOMEM : -EFBIG;
	if (content->size)
		memcpy(text, content->text, content->size);
	forget(content);
	content->text = text;
	content->room = room;
	return 0;
}

static int read_all(int fd, struct content *content)
{
	for (;;) {
		if (content->size == content->room) {
			int result = grow(content);

			if (result < 0)
				return result;
		}
		ssize_t got =
			read(fd, content->text + content->size, content->room - content->size);

		if (got == 0)
			return 0;
		if (got > 0)
			content->size += (size_t)got;
		else if (errno != EINTR)
			return -errno;
	}
}

static bool is_pipe(int fd)
{
	struct stat status;

	return fd >= 0 && fstat(fd, &status) == 0 && S_ISFIFO(status.st_mode);
}

/* A file is read when it is named, at a start and at each reload; a pipe, such as a shell makes of
 * <(command), has nothing the second time. O_NONBLOCK: nobody may ever write to one. */
static int read_file(const char *file, struct content *content, struct stt_fault *fault)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (is_pipe(fd)) {
		close(fd);
		return stt_fault(
			fault, -EINVAL,
			"%s is a pipe, and files are read more than once: write it to a file",
			stt_fault_show(file).text);
	}
	int result = fd < 0 ? -errno : read_all(fd, content);

	if (fd >= 0)
		close(fd);
	if (result < 0) {
		forget(content);
		return stt_fault(fault, result, "%s cannot be read: %s",
				 *file ? stt_fault_show(file).text : "a file without a name (\"\")",
				 sttcp_strerror(result));
	}
	return 0;
}

static BIO *open_content(const struct content *content)
{
	return BIO_new_mem_buf(content->size ? content->text : "", (int)content->size);
}

/* The password callback: OpenSSL's own would ask on the terminal. */
static int refuse(char *buffer, int size, int writing, void *asked)
{
	(void)buffer;
	(void)size;
	(void)writing;
	*(bool *)asked = true;
	return -1;
}

/* -------------------------------------------------------------- certificates */

/* All that follow one another; false when the last failure was anything but the end. */
static bool parse_certificates(BIO *bio, STACK_OF(X509) * certificates)
{
	bool asked = false;
	X509 *one;

	while ((one = PEM_read_bio_X509_AUX(bio, NULL, refuse, &asked))) {
		/* Has it parse the extensions now, not in the first handshakes of several threads.
		 */
		bool parsed = X509_check_purpose(one, -1, 0) == 1;

		/* Malformed ones are for the handshake to refuse. */
		if ((!parsed && stt_openssl_missed_memory()) || !sk_X509_push(certificates, one)) {
			X509_free(one);
			return false;
		}
	}
	return ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
}

static int take_certificates(const char *file, const struct content *content,
			     STACK_OF(X509) * certificates, struct stt_fault *fault)
{
	BIO *bio = open_content(content);
	bool parsed = bio && certificates && parse_certificates(bio, certificates);

	BIO_free(bio);
	if (parsed)
		return 0;
	if (!bio || !certificates || stt_openssl_missed_memory())
		return stt_fault(fault, -ENOMEM, "out of memory");
	return stt_fault(fault, -EINVAL, "certificate %d in %s is malformed: %s",
			 sk_X509_num(certificates) + 1, stt_fault_show(file).text,
			 stt_openssl_says("it is no PEM"));
}

int stt_pem_read_any(const char *file, STACK_OF(X509) * *certificates, struct stt_fault *fault)
{
	struct content content = {NULL, 0, 0};
	int result = read_file(file, &content, fault);

	if (result < 0)
		return result;
	*certificates = sk_X509_new_null();
	result = take_certificates(file, &content, *certificates, fault);
	if (result < 0) {
		sk_X509_pop_free(*certificates, X509_free);
		*certificates = NULL;
	}
	forget(&content);
	return result;
}

int stt_pem_read_certificates(const char *file, STACK_OF(X509) * *certificates,
			      struct stt_fault *fault)
{
	int result = stt_pem_read_any(file, certificates, fault);

	if (result < 0 || sk_X509_num(*certificates))
		return result;
	sk_X509_free(*certificates);
	*certificates = NULL;
	return stt_fault(fault, -EINVAL, "%s contains no certificate (PEM, \"BEGIN CERTIFICATE\")",
			 stt_fault_show(file).text);
}

/* ----------------------------------------------------------------------- keys */

static bool mentions_key(const struct content *content)
{
	static const char words[] = "PRIVATE KEY-----";

	return content->size && memmem(content->text, content->size, words, sizeof(words) - 1);
}

static int take_key(const char *file, const struct content *content, EVP_PKEY **key,
		    struct stt_fault *fault)
{
	BIO *bio = open_content(content);
	bool asked = false;

	if (!bio)
		return stt_fault(fault, -ENOMEM, "out of memory");
	*key = PEM_read_bio_PrivateKey(bio, NULL, refuse, &asked);
	BIO_free(bio);
	if (*key)
		return 0;
	if (asked)
		return stt_fault(
			fault, -EINVAL,
			"the key in %s is encrypted, and nobody is asked for its passphrase: "
			"decrypt it (openssl pkey -in %s -out FILE)",
			stt_fault_show(file).text, stt_fault_show(file).text);
	if (stt_openssl_missed_memory())
		return stt_fault(fault, -ENOMEM, "out of memory");
	if (mentions_key(content))
		return stt_fault(fault, -EINVAL, "the private key in %s is malformed: %s",
				 stt_fault_show(file).text, stt_openssl_says("it is no PEM"));
	return stt_fault(fault, -EINVAL, "%s contains no private key (PEM, \"BEGIN PRIVATE KEY\")",
			 stt_fault_show(file).text);
}

int stt_pem_read_key(const char *file, EVP_PKEY **key, struct stt_fault *fault)
{
	struct content content = {NULL, 0, 0};
	int result = read_file(file, &content, fault);

	if (result < 0)
		return result;
	result = take_key(file, &content, key, fault);
	forget(&content);
	return result;
}
