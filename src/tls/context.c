/* SPDX-License-Identifier: MIT */
/*
 * The TLS object. Its settings are text; `credentials` is what was made of them.
 * Files are read with `building` held alone, so that of two reloads the later
 * one wins; `lock` is held for moments, to change settings or the pointer.
 */
#include "tls/context.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mutex.h"
#include "tls/ciphers.h"
#include "tls/credentials.h"
#include "tls/process.h"
#include "tls/session.h"
#include "tls/settings.h"
#include "tls/trust.h"

/* What can be set, and be wrong. */
enum setting {
	/* Files, which a start reads again. */
	SETTING_PAIRS,
	SETTING_TRUST,
	/* What is not among the settings, since it was refused, or there was no memory for it. */
	SETTING_NO_PAIR,
	SETTING_NO_TRUST,
	SETTING_PEER,
	SETTING_ALPN,
	SETTING_VERSIONS,
	SETTING_CIPHERS,
	NSETTINGS
};

/* A sentence that a program was given. */
struct told {
	struct told *next;
	char text[];
};

struct sttcp_tls {
	atomic_int refs;
	atomic_uint owner; /* set before anybody else can find it; relaxed */
	struct stt_tls_left left;

	/* Under `building`, which is held while files are read, and is taken before `lock`. */
	struct stt_mutex building;
	struct stt_tls_settings settings;

	/* Under `lock`; what changes under both may be read under either. */
	struct stt_mutex lock;
	bool used;
	struct stt_credentials *credentials; /* changes under both */
	struct stt_fault last;		     /* of the last call */
	struct stt_fault wrong[NSETTINGS];   /* until they are set right; changes under both */
	struct told *told;		     /* each sentence once */
};

/* ------------------------------------------------------------------------ life */

/* What a program gets where there is no memory for an object: NULL, which it may hand on as the
 * option `tls`, would be no TLS at all. All threads share them, and nothing in them changes but the
 * owner: a child may be forked at any time, and must find no lock held. */
static struct sttcp_tls no_server;
static struct sttcp_tls no_client;
static const char no_memory[] = "there was no memory for the TLS object: make another one";

bool stt_tls_is_missing(const struct sttcp_tls *tls)
{
	return tls == &no_server || tls == &no_client;
}

static struct sttcp_tls *new_tls(bool server)
{
	struct sttcp_tls *tls = calloc(1, sizeof(*tls));

	if (!tls)
		return server ? &no_server : &no_client;
	atomic_init(&tls->refs, 1);
	stt_mutex_init(&tls->building);
	stt_mutex_init(&tls->lock);
	stt_tls_settings_init(&tls->settings, server);
	return tls;
}

struct sttcp_tls *stt_tls_ref(struct sttcp_tls *tls)
{
	if (!stt_tls_is_missing(tls))
		atomic_fetch_add_explicit(&tls->refs, 1, memory_order_relaxed);
	return tls;
}

static void forget_told(struct told *told)
{
	while (told) {
		struct told *next = told->next;

		free(told);
		told = next;
	}
}

void stt_tls_unref(struct sttcp_tls *tls)
{
	struct stt_visit visit;

	if (!tls || stt_tls_is_missing(tls))
		return;
	/* acq_rel: whoever frees it has seen the last uses of all the others. */
	if (atomic_fetch_sub_explicit(&tls->refs, 1, memory_order_acq_rel) != 1)
		return;
	if (!stt_tls_enter(&visit, tls)) {
		stt_tls_leave_to_the_end(&tls->left);
		return;
	}
	stt_credentials_unref(tls->credentials);
	stt_tls_leave(&visit);
	stt_tls_settings_fini(&tls->settings);
	forget_told(tls->told);
	stt_mutex_fini(&tls->lock);
	stt_mutex_fini(&tls->building);
	free(tls);
}

bool stt_tls_is_server(const struct sttcp_tls *tls)
{
	return tls == &no_server || tls->settings.server;
}

void stt_tls_set_owner(struct sttcp_tls *tls, unsigned owner)
{
	atomic_store_explicit(&tls->owner, owner, memory_order_relaxed);
}

unsigned stt_tls_owner(const struct sttcp_tls *tls)
{
	return atomic_load_explicit(&tls->owner, memory_order_relaxed);
}

/* --------------------------------------------------------------------- building */

static void conclude(struct sttcp_tls *tls, const struct stt_fault *fault)
{
	stt_lock(&tls->lock);
	tls->last = *fault;
	stt_unlock(&tls->lock);
}

static const struct stt_fault *first_wrong_locked(const struct sttcp_tls *tls)
	STT_REQUIRES(tls->lock)
{
	for (int i = 0; i < NSETTINGS; i++) {
		if (tls->wrong[i].code)
			return &tls->wrong[i];
	}
	return NULL;
}

/* A copy that lives as long as the object: a thread that reads it does not know what others, which
 * share the object, make it fail with meanwhile. There are as many sentences as there are ways in
 * which its files can be wrong. */
static const char *tell_locked(struct sttcp_tls *tls, const char *text) STT_REQUIRES(tls->lock)
{
	size_t size = strlen(text) + 1;
	struct told *told = tls->told;

	while (told && strcmp(told->text, text) != 0)
		told = told->next;
	if (told)
		return told->text;
	told = malloc(sizeof(*told) + size);
	if (!told)
		return "there is no memory to say what is wrong";
	memcpy(told->text, text, size);
	told->next = tls->told;
	tls->told = told;
	return told->text;
}

const char *stt_tls_error(struct sttcp_tls *tls)
{
	if (stt_tls_is_missing(tls))
		return no_memory;
	stt_lock(&tls->lock);
	const struct stt_fault *fault = tls->last.code ? &tls->last : first_wrong_locked(tls);
	const char *text = fault ? tell_locked(tls, fault->text) : "";

	stt_unlock(&tls->lock);
	return text;
}

void stt_tls_copy_error(struct sttcp_tls *tls, char *text, size_t size)
{
	if (stt_tls_is_missing(tls)) {
		snprintf(text, size, "%s", no_memory);
		return;
	}
	stt_lock(&tls->lock);
	const struct stt_fault *fault = tls->last.code ? &tls->last : first_wrong_locked(tls);

	snprintf(text, size, "%s", fault ? fault->text : "");
	stt_unlock(&tls->lock);
}

void stt_tls_note(struct sttcp_tls *tls, int code, const char *text)
{
	struct stt_fault fault;

	stt_fault(&fault, code, "%s", text);
	conclude(tls, &fault);
}

/* Puts credentials in the place of those that counted: all files were good. */
static void swap(struct sttcp_tls *tls, struct stt_credentials *credentials)
{
	stt_lock(&tls->lock);
	struct stt_credentials *old = tls->credentials;

	tls->credentials = credentials;
	tls->wrong[SETTING_PAIRS].code = tls->wrong[SETTING_TRUST].code = 0;
	stt_unlock(&tls->lock);
	stt_credentials_unref(old);
}

/* Ended by stt_tls_leave. */
static bool begin_openssl(struct sttcp_tls *tls, struct stt_visit *visit, struct stt_fault *fault)
{
	if (stt_tls_begin() && stt_tls_enter(visit, tls))
		return true;
	stt_fault(fault, -ECANCELED, "OpenSSL cannot be used in this process any more");
	return false;
}

/* A value that was refused is not among the settings, so what would be built is not what was asked
 * for. Files may have come right meanwhile: they are read again. */
static bool is_asked_for_locked(struct sttcp_tls *tls, struct stt_fault *fault)
	STT_REQUIRES(tls->building)
{
	for (int i = SETTING_NO_PAIR; i < NSETTINGS; i++) {
		if (tls->wrong[i].code) {
			*fault = tls->wrong[i];
			return false;
		}
	}
	return true;
}

/* Makes credentials of the settings and has them count; on a failure all stays as it was. *built:
 * with a reference, for warn_of. */
static int build_locked(struct sttcp_tls *tls, bool anew, struct stt_credentials **built,
			struct stt_fault *fault) STT_REQUIRES(tls->building)
{
	struct stt_credentials *made = NULL;
	struct stt_visit visit;

	if (!is_asked_for_locked(tls, fault) || !begin_openssl(tls, &visit, fault))
		return fault->code;
	/* Only a holder of `building` changes the pointer, so this one stays. */
	if (stt_credentials_new(&made, &tls->settings, tls->credentials, anew, fault) == 0) {
		stt_session_attach(made);
		*built = stt_credentials_ref(made);
		swap(tls, made);
	}
	stt_tls_leave(&visit);
	return fault->code;
}

/* Behind the locks: a callback for the log may call whatever it likes, even for this object. What
 * is only tried is not logged, so each file is warned of once when it begins to count. */
static void warn_of(struct sttcp_tls *tls, struct stt_credentials *built)
{
	struct stt_visit visit;

	if (!built)
		return;
	stt_credentials_warn(built);
	if (stt_tls_enter(&visit, tls)) {
		stt_credentials_unref(built);
		stt_tls_leave(&visit);
	}
}

/* ---------------------------------------------------------------------- setting */

static bool is_used(struct sttcp_tls *tls)
{
	stt_lock(&tls->lock);
	bool used = tls->used;

	stt_unlock(&tls->lock);
	return used;
}

/* Begins a change of settings: false when it is too late for one. Ended by end_setting. */
static bool begin_setting(struct sttcp_tls *tls, struct stt_fault *fault) STT_ACQUIRE(tls->building)
{
	*fault = (struct stt_fault){.code = 0};
	stt_lock(&tls->building);
	if (!is_used(tls))
		return true;
	stt_fault(fault, -EBUSY,
		  "the TLS object is in use, and takes no more settings: make another one, or "
		  "change its files and reload");
	return false;
}

/* A call that could not be made changes nothing. */
static int leave_setting(struct sttcp_tls *tls, const struct stt_fault *fault)
	STT_RELEASE(tls->building)
{
	conclude(tls, fault);
	stt_unlock(&tls->building);
	return fault->code;
}

/* What is wrong stays wrong until it is set right, so that the start tells it, too: an object whose
 * trust could not be read must not fall back to trusting others. */
static int end_setting(struct sttcp_tls *tls, enum setting setting, const struct stt_fault *fault)
	STT_RELEASE(tls->building)
{
	/* One good certificate does not make up for another. */
	if (fault->code || setting != SETTING_PAIRS || !tls->settings.server) {
		stt_lock(&tls->lock);
		tls->wrong[setting] = *fault;
		if (!fault->code && setting == SETTING_PAIRS)
			tls->wrong[SETTING_NO_PAIR].code = 0;
		if (!fault->code && setting == SETTING_TRUST)
			tls->wrong[SETTING_NO_TRUST].code = 0;
		stt_unlock(&tls->lock);
	}
	return leave_setting(tls, fault);
}

/* Adds a certificate and a key, and tries them; returns what a fault is of. Those that there was no
 * memory for are not among the settings, where a start would try them again. */
static enum setting add_pair(struct sttcp_tls *tls, const char *certificate, const char *key,
			     struct stt_fault *fault)
{
	struct stt_visit visit;

	if (stt_tls_settings_add_pair(&tls->settings, certificate, key) < 0) {
		stt_fault(fault, -ENOMEM, "out of memory");
		return SETTING_NO_PAIR;
	}
	if (begin_openssl(tls, &visit, fault)) {
		stt_credentials_try(&tls->settings, &tls->settings.pairs[tls->settings.npairs - 1],
				    fault);
		stt_tls_leave(&visit);
	}
	return SETTING_PAIRS;
}

struct sttcp_tls *stt_tls_new_server(const char *certificate, const char *key)
{
	struct sttcp_tls *tls = new_tls(true);
	struct stt_fault fault;

	if (stt_tls_is_missing(tls))
		return tls;
	begin_setting(tls, &fault);
	end_setting(tls, add_pair(tls, certificate, key, &fault), &fault);
	return tls;
}

struct sttcp_tls *stt_tls_new_client(void)
{
	return new_tls(false);
}

int stt_tls_add_certificate(struct sttcp_tls *tls, const char *certificate, const char *key)
{
	struct stt_fault fault;

	if (!begin_setting(tls, &fault))
		return leave_setting(tls, &fault);
	if (!tls->settings.server || !certificate) {
		stt_fault(&fault, -EINVAL,
			  certificate ? "a client has one certificate: sttcp_tls_set_certificate"
				      : "no certificate was given");
		return end_setting(tls, SETTING_NO_PAIR, &fault);
	}
	return end_setting(tls, add_pair(tls, certificate, key, &fault), &fault);
}

int stt_tls_set_certificate(struct sttcp_tls *tls, const char *certificate, const char *key)
{
	struct stt_fault fault;

	if (!begin_setting(tls, &fault))
		return leave_setting(tls, &fault);
	/* It is not among what a server can be asked for, and no later call could set it right. */
	if (tls->settings.server) {
		stt_fault(&fault, -EINVAL,
			  "a server's certificates are given to sttcp_tls_server and "
			  "sttcp_tls_add_certificate");
		return leave_setting(tls, &fault);
	}
	if (!certificate) {
		stt_fault(&fault, -EINVAL, "no certificate was given");
		return end_setting(tls, SETTING_NO_PAIR, &fault);
	}
	stt_tls_settings_remove_pairs(&tls->settings);
	return end_setting(tls, add_pair(tls, certificate, key, &fault), &fault);
}

/* The same with a place, and tries all of them: one that cannot be read stays among them, since a
 * start without it would trust others than the program wanted. */
static enum setting add_trust(struct sttcp_tls *tls, const char *place, struct stt_fault *fault)
{
	X509_STORE *store = NULL;
	struct stt_visit visit;

	if (stt_tls_settings_add_trust(&tls->settings, place) < 0) {
		stt_fault(fault, -ENOMEM, "out of memory");
		return SETTING_NO_TRUST;
	}
	if (begin_openssl(tls, &visit, fault)) {
		stt_trust_read(tls->settings.trust, tls->settings.ntrust, &store, NULL, fault);
		X509_STORE_free(store);
		stt_tls_leave(&visit);
	}
	return SETTING_TRUST;
}

int stt_tls_trust(struct sttcp_tls *tls, const char *file_or_directory)
{
	struct stt_fault fault;

	if (!begin_setting(tls, &fault))
		return leave_setting(tls, &fault);
	if (!file_or_directory) {
		stt_fault(&fault, -EINVAL, "no file or directory was given to trust");
		return end_setting(tls, SETTING_NO_TRUST, &fault);
	}
	return end_setting(tls, add_trust(tls, file_or_directory, &fault), &fault);
}

int stt_tls_require_peer(struct sttcp_tls *tls, int who)
{
	struct stt_fault fault;

	if (!begin_setting(tls, &fault))
		return leave_setting(tls, &fault);
	stt_tls_settings_set_peer(&tls->settings, who, &fault);
	return end_setting(tls, SETTING_PEER, &fault);
}

int stt_tls_set_alpn(struct sttcp_tls *tls, const char *protocols)
{
	struct stt_fault fault;

	if (!begin_setting(tls, &fault))
		return leave_setting(tls, &fault);
	stt_tls_settings_set_alpn(&tls->settings, protocols, &fault);
	return end_setting(tls, SETTING_ALPN, &fault);
}

int stt_tls_set_versions(struct sttcp_tls *tls, int least, int most)
{
	struct stt_fault fault;

	if (!begin_setting(tls, &fault))
		return leave_setting(tls, &fault);
	stt_tls_settings_set_versions(&tls->settings, least, most, &fault);
	return end_setting(tls, SETTING_VERSIONS, &fault);
}

int stt_tls_set_ciphers(struct sttcp_tls *tls, const char *ciphers)
{
	struct stt_fault fault;
	struct stt_visit visit;

	if (!begin_setting(tls, &fault))
		return leave_setting(tls, &fault);
	if (stt_tls_settings_set_ciphers(&tls->settings, ciphers) < 0) {
		stt_fault(&fault, -ENOMEM, "out of memory");
	} else if (begin_openssl(tls, &visit, &fault)) {
		stt_ciphers_check(tls->settings.ciphers, tls->settings.suites, &fault);
		stt_tls_leave(&visit);
	}
	return end_setting(tls, SETTING_CIPHERS, &fault);
}

/* ------------------------------------------------------------------------ using */

int stt_tls_reload(struct sttcp_tls *tls)
{
	struct stt_fault fault = {.code = 0};
	struct stt_credentials *built = NULL;

	stt_lock(&tls->building);
	build_locked(tls, true, &built, &fault);
	leave_setting(tls, &fault);
	warn_of(tls, built);
	return fault.code;
}

int stt_tls_use(struct sttcp_tls *tls)
{
	struct stt_fault fault = {.code = 0};
	struct stt_credentials *built = NULL;

	if (stt_tls_is_missing(tls))
		return -ENOMEM;
	/* Another start, or a start_tls in a handler, waits for nothing. */
	if (is_used(tls))
		return 0;
	stt_lock(&tls->building);
	/* Or waits for the first, and has nothing left to do. */
	if (!is_used(tls) && build_locked(tls, false, &built, &fault) == 0) {
		stt_lock(&tls->lock);
		tls->used = true;
		stt_unlock(&tls->lock);
	}
	leave_setting(tls, &fault);
	warn_of(tls, built);
	return fault.code;
}

int stt_tls_start(struct sttcp_tls *tls)
{
	const struct stt_fault none = {.code = 0};
	int result = stt_tls_use(tls);

	if (result == 0)
		conclude(tls, &none);
	return result;
}

struct stt_credentials *stt_tls_take_credentials(struct sttcp_tls *tls)
{
	stt_lock(&tls->lock);
	struct stt_credentials *credentials = tls->credentials;

	if (credentials)
		stt_credentials_ref(credentials);
	stt_unlock(&tls->lock);
	return credentials;
}
