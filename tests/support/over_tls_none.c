/* SPDX-License-Identifier: MIT */
/* Where the library is built without TLS, the suite cannot run over it. */
#include "support/over_tls.h"
#include "support/left_out.h"
#include "support/on_fibers.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#undef sttcp_server_add_listener
#undef sttcp_server_new
#undef sttcp_client_new
#undef sttcp_dial
#undef recv
#undef send

bool over_tls(void)
{
	if (getenv("STTCP_TEST_TLS")) {
		fprintf(stderr, "STTCP_TEST_TLS is set, and the library is built without TLS\n");
		abort();
	}
	return false;
}

int over_tls_threads(void)
{
	return 0;
}

bool over_tls_is_inside(void)
{
	return false;
}

void over_tls_begin(int fd, bool answers)
{
	(void)fd;
	(void)answers;
	over_tls();
}

void over_tls_listen(int fd)
{
	(void)fd;
}

bool over_tls_listens(int fd)
{
	(void)fd;
	return false;
}

int over_tls_accept(int fd, int64_t until_ms)
{
	(void)until_ms;
	return accept4(fd, NULL, NULL, SOCK_CLOEXEC);
}

bool over_tls_settle(int fd, int64_t until_ms)
{
	(void)fd;
	(void)until_ms;
	return true;
}

bool over_tls_pending(int fd)
{
	(void)fd;
	return false;
}

ssize_t over_tls_recv(int fd, void *data, size_t size, int flags)
{
	return recv(fd, data, size, flags);
}

ssize_t over_tls_send(int fd, const void *data, size_t size, int flags)
{
	return send(fd, data, size, flags);
}

void over_tls_shutdown(int fd)
{
	shutdown(fd, SHUT_WR);
}

void over_tls_close(int fd)
{
	close(fd);
}

void over_tls_forget(int fd)
{
	(void)fd;
}

sttcp_server *over_tls_server_new(const char *host, int port, const sttcp_options *options)
{
	sttcp_options copy;

	over_tls();
	return sttcp_server_new(host, port, on_fibers(&copy, options));
}

sttcp_client *over_tls_client_new(const char *host, int port, const sttcp_options *options)
{
	sttcp_options copy;

	over_tls();
	return sttcp_client_new(host, port, on_fibers(&copy, options));
}

sttcp_conn *over_tls_dial(const char *host, int port, const sttcp_options *options, int *code)
{
	return sttcp_dial(host, port, options, code);
}

int over_tls_server_add_listener(sttcp_server *server, int fd)
{
	return sttcp_server_add_listener(server, fd);
}

#ifndef CMOCKA_H
int over_tls_run_tests(const char *group, const struct CMUnitTest *tests, size_t count,
		       CMFixtureFunction setup, CMFixtureFunction teardown)
{
	const char *list = on_fibers_wanted() ? STTCP_THREADS_ONLY : NULL;

	over_tls();
	return left_out_run_tests(&list, 1, group, tests, count, setup, teardown);
}
#endif
