/* SPDX-License-Identifier: MIT */
/*
 * Stores of trusted certificates. A program's own are anchors whatever they are:
 * an intermediate, or a server's own certificate, ends a chain as a root does.
 */
#include "tls/trust.h"

#include <dirent.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509_vfy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/mutex.h"
#include "tls/pem.h"

/* Where what is read goes. */
struct gathering {
	X509_STORE *store;
	STACK_OF(X509_NAME) * names; /* or NULL */
	int count;
};

static int out_of_memory(struct stt_fault *fault)
{
	return stt_fault(fault, -ENOMEM, "out of memory");
}

static bool add_name(STACK_OF(X509_NAME) * names, const X509 *certificate)
{
	X509_NAME *name = X509_NAME_dup(X509_get_subject_name(certificate));

	if (name && sk_X509_NAME_push(names, name))
		return true;
	X509_NAME_free(name);
	return false;
}

/* One that is there already is fine: a directory has each file and its hash link. */
static bool add_certificate(struct gathering *into, X509 *certificate)
{
	into->count++;
	return X509_STORE_add_cert(into->store, certificate) == 1 &&
	       (!into->names || add_name(into->names, certificate));
}

/* Takes the certificates. */
static int add_all(struct gathering *into, STACK_OF(X509) * certificates, struct stt_fault *fault)
{
	int result = 0;

	for (int i = 0; result == 0 && i < sk_X509_num(certificates); i++) {
		if (!add_certificate(into, sk_X509_value(certificates, i)))
			result = out_of_memory(fault);
	}
	sk_X509_pop_free(certificates, X509_free);
	return result;
}

static int add_file(struct gathering *into, const char *file, struct stt_fault *fault)
{
	STACK_OF(X509) *certificates = NULL;
	int result = stt_pem_read_certificates(file, &certificates, fault);

	return result < 0 ? result : add_all(into, certificates, fault);
}

/* A file of a directory: what contains no certificate, or is no file, does not matter there. */
static int add_entry(struct gathering *into, const char *directory, const char *name,
		     struct stt_fault *fault)
{
	size_t size = strlen(directory) + strlen(name) + 2;
	char *file = malloc(size);
	struct stat status;
	int result = 0;

	if (!file)
		return out_of_memory(fault);
	snprintf(file, size, "%s/%s", directory, name);
	if (stat(file, &status) == 0 && S_ISREG(status.st_mode)) {
		STACK_OF(X509) *certificates = NULL;

		result = stt_pem_read_any(file, &certificates, fault);
		if (result == 0)
			result = add_all(into, certificates, fault);
	}
	free(file);
	return result;
}

static int add_directory(struct gathering *into, const char *place, struct stt_fault *fault)
{
	DIR *directory = opendir(place);
	int before = into->count;
	int result = 0;

	if (!directory)
		return stt_fault(fault, -errno, "%s cannot be read: %s", stt_fault_show(place).text,
				 sttcp_strerror(-errno));
	for (struct dirent *entry; result == 0 && (entry = readdir(directory));)
		result = add_entry(into, place, entry->d_name, fault);
	closedir(directory);
	if (result == 0 && into->count == before)
		result = stt_fault(fault, -EINVAL, "no file in %s contains a certificate (PEM)",
				   stt_fault_show(place).text);
	return result;
}

static bool is_directory(const char *place)
{
	struct stat status;

	return stat(place, &status) == 0 && S_ISDIR(status.st_mode);
}

int stt_trust_read(char *const *places, int count, X509_STORE **store, STACK_OF(X509_NAME) * *names,
		   struct stt_fault *fault)
{
	struct gathering into = {X509_STORE_new(), names ? sk_X509_NAME_new_null() : NULL, 0};
	int result = 0;

	if (!into.store || (names && !into.names) ||
	    X509_STORE_set_flags(into.store, X509_V_FLAG_PARTIAL_CHAIN) != 1)
		result = out_of_memory(fault);
	for (int i = 0; result == 0 && i < count; i++) {
		if (is_directory(places[i]))
			result = add_directory(&into, places[i], fault);
		else
			result = add_file(&into, places[i], fault);
	}
	if (result < 0) {
		X509_STORE_free(into.store);
		sk_X509_NAME_pop_free(into.names, X509_NAME_free);
		return result;
	}
	*store = into.store;
	if (names)
		*names = into.names;
	return 0;
}

static bool has_same(STACK_OF(X509_OBJECT) * objects, X509 *certificate)
{
	for (int i = 0; i < sk_X509_OBJECT_num(objects); i++) {
		X509 *one = X509_OBJECT_get0_X509(sk_X509_OBJECT_value(objects, i));

		if (one && X509_cmp(one, certificate) == 0)
			return true;
	}
	return false;
}

/* `one` is locked. */
static bool has_the_same(X509_STORE *one, X509_STORE *other)
{
	STACK_OF(X509_OBJECT) *objects = X509_STORE_get0_objects(one);
	STACK_OF(X509_OBJECT) *others = X509_STORE_get0_objects(other);

	if (sk_X509_OBJECT_num(objects) != sk_X509_OBJECT_num(others))
		return false;
	for (int i = 0; i < sk_X509_OBJECT_num(objects); i++) {
		X509 *certificate = X509_OBJECT_get0_X509(sk_X509_OBJECT_value(objects, i));

		if (!certificate || !has_same(others, certificate))
			return false;
	}
	return true;
}

bool stt_trust_is_same(X509_STORE *one, X509_STORE *other)
{
	if (one == other)
		return true;
	if (!one || !other)
		return false;
	/* It may be in use: the first search in a store sorts it. */
	if (X509_STORE_lock(one) != 1)
		return false;

	bool same = has_the_same(one, other);

	X509_STORE_unlock(one);
	return same;
}

/* ------------------------------------------------------------------ the system */

/* Under its lock, which is held while the file is read: whoever comes meanwhile needs it, too. */
static struct {
	struct stt_mutex lock;
	X509_STORE *store;
	struct stat status; /* of the file when it was read */
} shared = {.lock = STT_MUTEX_INIT};

/* As X509_STORE_set_default_paths finds it. */
static struct stat status_of_system(void)
{
	const char *file = secure_getenv(X509_get_default_cert_file_env());
	struct stat status = {.st_size = 0};

	if (stat(file ? file : X509_get_default_cert_file(), &status) < 0)
		memset(&status, 0, sizeof(status));
	return status;
}

static bool is_unchanged(const struct stat *status)
{
	return status->st_ino == shared.status.st_ino && status->st_size == shared.status.st_size &&
	       status->st_mtim.tv_sec == shared.status.st_mtim.tv_sec &&
	       status->st_mtim.tv_nsec == shared.status.st_mtim.tv_nsec;
}

static X509_STORE *read_system(void)
{
	X509_STORE *store = X509_STORE_new();

	errno = 0;
	/* A system without such a file has an empty store: then nobody is trusted, and each
	 * verification says so. OpenSSL says the same where it had no memory for the rest of it. */
	if (store && (X509_STORE_set_default_paths(store) != 1 || errno == ENOMEM)) {
		X509_STORE_free(store);
		store = NULL;
	}
	return store;
}

int stt_trust_system(X509_STORE **store, bool anew, struct stt_fault *fault)
{
	stt_lock(&shared.lock);
	struct stat status = status_of_system();

	if (anew || !shared.store || !is_unchanged(&status)) {
		X509_STORE *read = read_system();

		if (read) {
			X509_STORE_free(shared.store);
			shared.store = read;
			shared.status = status;
		} else {
			stt_unlock(&shared.lock);
			return out_of_memory(fault);
		}
	}
	*store = shared.store;
	X509_STORE_up_ref(shared.store);
	stt_unlock(&shared.lock);
	return 0;
}

void stt_trust_forget(void)
{
	stt_lock(&shared.lock);
	X509_STORE_free(shared.store);
	shared.store = NULL;
	stt_unlock(&shared.lock);
}
