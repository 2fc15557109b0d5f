/* SPDX-License-Identifier: MIT */
/* The switch of the suite over TLS, its certificate, its objects, and the cases that are left out.
 */
#include "support/over_tls.h"
#include "support/left_out.h"
#include "support/on_fibers.h"
#include "support/over_tls_inner.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/pem.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "support/certs.h"
#include "tls/context.h"

#undef sttcp_server_add_listener
#undef sttcp_server_new
#undef sttcp_client_new
#undef sttcp_dial

#define FILE_VARIABLE "STTCP_TEST_TLS_FILE"

static bool is_on;

bool over_tls(void)
{
	return is_on;
}

const char *over_tls_file(void)
{
	return getenv(FILE_VARIABLE);
}

/* ------------------------------------------------------------------ the certificate */

/* In memory: nothing is left of it, however the process ends. Its children read it there. */
static void make_file(void)
{
	const struct cert_spec spec = {
		.names = "DNS:localhost,IP:127.0.0.1,IP:::1",
	};
	struct cert cert = cert_make(&spec, NULL);
	int fd = memfd_create("certificate", MFD_CLOEXEC);
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	FILE *file = fdopen(copy, "w");
	char path[64];

	if (!file || !PEM_write_PrivateKey(file, cert.key, NULL, NULL, 0, NULL, NULL) ||
	    !PEM_write_X509(file, cert.certificate))
		abort();
	fclose(file);
	cert_free(&cert);
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)getpid(), fd);
	setenv(FILE_VARIABLE, path, 1);
}

/* ---------------------------------------------------------------------- objects */

/* Of this process; a child of fork(2) makes its own. They are kept. */
static struct {
	pthread_mutex_t lock;
	pid_t owner;
	sttcp_tls *server;
	sttcp_tls *client;
} objects = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void make_objects(void)
{
	objects.owner = getpid();
	objects.server = sttcp_tls_server(over_tls_file(), NULL);
	objects.client = sttcp_tls_client();
	if (!objects.server || !objects.client ||
	    (over_tls_is_12() && sttcp_tls_set_versions(objects.client, 12, 12) != 0) ||
	    sttcp_tls_trust(objects.client, over_tls_file()) != 0 ||
	    stt_tls_use(objects.client) != 0 || stt_tls_use(objects.server) != 0) {
		fprintf(stderr, "over TLS: %s%s\n", sttcp_tls_error(objects.client),
			sttcp_tls_error(objects.server));
		abort();
	}
}

bool over_tls_is_12(void)
{
	const char *wanted = getenv("STTCP_TEST_TLS");

	return wanted && strcmp(wanted, "12") == 0;
}

/* Before main: what a test counts as there at its beginning shall not change because of this. */
__attribute__((constructor)) static void begin(void)
{
	const char *wanted = getenv("STTCP_TEST_TLS");

	if (!wanted || !*wanted || strcmp(wanted, "0") == 0)
		return;
	/* As the library has it: nothing is torn down under its threads at exit. */
	OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, NULL);
	if (!over_tls_file())
		make_file();
	is_on = true;
	over_tls_open_peers();
	make_objects();
}

static sttcp_tls *object_of(bool server)
{
	pthread_mutex_lock(&objects.lock);
	if (objects.owner != getpid())
		make_objects();
	sttcp_tls *tls = server ? objects.server : objects.client;
	pthread_mutex_unlock(&objects.lock);
	return tls;
}

enum {
	/* A thousand peers, which have one thread for their handshakes, may be on their way. */
	HANDSHAKE_MS = 120000
};

/* False for options that are none, or have their own. */
static bool add_tls(sttcp_options *copy, const sttcp_options *options, bool server)
{
	sttcp_options_init(copy, sizeof(*copy));
	if (options && (options->size < sizeof(options->size) || options->size > sizeof(*copy)))
		return false;
	if (options)
		memcpy(copy, options, options->size);
	copy->size = sizeof(*copy);
	if (copy->tls)
		return false;
	copy->tls = object_of(server);
	if (!copy->tls_handshake_timeout_ms)
		copy->tls_handshake_timeout_ms = HANDSHAKE_MS;
	if (!server && !copy->tls_name)
		copy->tls_name = "localhost";
	return true;
}

sttcp_server *over_tls_server_new(const char *host, int port, const sttcp_options *options)
{
	sttcp_options copy;
	sttcp_options second;

	options = on_fibers(&second, options);
	return sttcp_server_new(host, port,
				is_on && add_tls(&copy, options, true) ? &copy : options);
}

sttcp_client *over_tls_client_new(const char *host, int port, const sttcp_options *options)
{
	sttcp_options copy;
	sttcp_options second;

	options = on_fibers(&second, options);
	return sttcp_client_new(host, port,
				is_on && add_tls(&copy, options, false) ? &copy : options);
}

sttcp_conn *over_tls_dial(const char *host, int port, const sttcp_options *options, int *code)
{
	sttcp_options copy;

	return sttcp_dial(host, port, is_on && add_tls(&copy, options, false) ? &copy : options,
			  code);
}

int over_tls_server_add_listener(sttcp_server *server, int fd)
{
	over_tls_forget(fd);
	return sttcp_server_add_listener(server, fd);
}

/* ------------------------------------------------------------------------ cases */

int over_tls_run_tests(const char *group, const struct CMUnitTest *tests, size_t count,
		       CMFixtureFunction setup, CMFixtureFunction teardown)
{
	const char *lists[] = {is_on ? STTCP_PLAIN_ONLY : NULL,
			       on_fibers_wanted() ? STTCP_THREADS_ONLY : NULL};

	return left_out_run_tests(lists, 2, group, tests, count, setup, teardown);
}
