/* SPDX-License-Identifier: MIT */
/* Forms of a host: Unix sockets without a file, "unix:@name" (unix(7)), and IPv6 in brackets. */
#include "support/support.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

/* A name that no other test and no other run has. */
static const char *fresh_host(void)
{
	static char host[64];
	static int count;

	snprintf(host, sizeof(host), "unix:@sttcp-test-%ld-%d", (long)getpid(), ++count);
	return host;
}

/* What any other program would do: the length is that of the name. */
static int connect_abstract(const char *host)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	const char *name = strchr(host, '@') + 1;
	size_t len = strlen(name);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	memcpy(addr.sun_path + 1, name, len);
	assert_true(fd >= 0);
	if (connect(fd, (struct sockaddr *)&addr,
		    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + len)) == 0) {
		over_tls_begin(fd, false);
		return fd;
	}
	close(fd);
	return -1;
}

static void abstract_server_answers_and_starts_again(void **state)
{
	const char *host = fresh_host();
	struct probe *probe = probe_new();
	sttcp_server *server = probe_server(probe, host, 4711, NULL);

	(void)state;
	probe->data = echo_data;
	for (int i = 1; i <= 3; i++) {
		assert_int_equal(sttcp_server_start(server), 0);
		assert_int_equal(sttcp_server_port(server), 0);
		int peer = connect_abstract(host);
		assert_true(peer >= 0);
		assert_true(peer_say(peer, "hello"));
		assert_true(peer_expect(peer, "hello"));
		peer_shutdown(peer);
		assert_int_equal(peer_end(peer), 0);
		peer_close(peer);
		assert_true(probe_wait(probe, STTCP_DISCONNECTION, i));
		assert_string_equal(probe_address(probe), "unix:");
		assert_int_equal(sttcp_server_stop(server), 0);
		assert_int_equal(connect_abstract(host), -1);
	}
	sttcp_server_free(server);
	probe_free(probe);
}

static void abstract_client_and_server_talk(void **state)
{
	const char *host = fresh_host();
	struct probe *serving = probe_new();
	struct probe *calling = probe_new();
	sttcp_server *server = probe_server(serving, host, 0, NULL);
	sttcp_client *client = probe_client(calling, host, 0, NULL);

	(void)state;
	serving->data = echo_data;
	assert_int_equal(sttcp_server_start(server), 0);
	assert_int_equal(sttcp_client_start(client), 0);
	assert_true(probe_wait(calling, STTCP_CONNECTION, 1));
	assert_string_equal(sttcp_client_address(client), host);
	sttcp_conn *conn = client_conn(client);
	assert_string_equal(sttcp_conn_address(conn), host);
	assert_int_equal(sttcp_conn_send(conn, "meow", 4), 0);
	assert_true(probe_wait_bytes(calling, 4));
	sttcp_conn_unref(conn);
	sttcp_client_free(client);
	sttcp_server_free(server);
	probe_free(calling);
	probe_free(serving);
}

/* No path of that name, and none that begins with "@". */
static void abstract_server_has_no_file(void **state)
{
	const char *host = fresh_host();
	sttcp_server *server = sttcp_server_new(host, 0, NULL);
	struct stat status;

	(void)state;
	assert_int_equal(sttcp_server_start(server), 0);
	assert_int_equal(lstat(strchr(host, '@'), &status), -1);
	assert_int_equal(lstat(strchr(host, '@') + 1, &status), -1);
	sttcp_server_free(server);
}

static void abstract_name_in_use_is_refused(void **state)
{
	const char *host = fresh_host();
	struct probe *probe = probe_new();
	sttcp_server *server = probe_server(probe, host, 0, NULL);
	sttcp_server *second = sttcp_server_new(host, 0, NULL);

	(void)state;
	assert_int_equal(sttcp_server_start(server), 0);
	assert_int_equal(sttcp_server_start(second), -EADDRINUSE);
	assert_non_null(strstr(sttcp_server_error(second), host));
	int peer = connect_abstract(host);
	assert_true(peer >= 0);
	assert_true(probe_wait(probe, STTCP_CONNECTION, 1));
	peer_close(peer);
	sttcp_server_free(server);
	assert_int_equal(sttcp_server_start(second), 0);
	sttcp_server_free(second);
	probe_free(probe);
}

static void abstract_name_that_cannot_be_fails(void **state)
{
	char host[128] = "unix:@";
	sttcp_server *server = sttcp_server_new(host, 0, NULL);

	(void)state;
	assert_int_equal(sttcp_server_start(server), -EINVAL);
	assert_non_null(strstr(sttcp_server_error(server), host));
	sttcp_server_free(server);

	memset(host + 6, 'n', 108);
	server = sttcp_server_new(host, 0, NULL);
	assert_int_equal(sttcp_server_start(server), -ENAMETOOLONG);
	sttcp_server_free(server);

	/* One less fits. */
	host[6 + 107] = '\0';
	server = sttcp_server_new(host, 0, NULL);
	assert_int_equal(sttcp_server_start(server), 0);
	int peer = connect_abstract(host);
	assert_true(peer >= 0);
	peer_close(peer);
	sttcp_server_free(server);
}

static void abstract_client_without_a_server_is_refused(void **state)
{
	struct probe *probe = probe_new();
	sttcp_client *client = probe_client(probe, fresh_host(), 0, NULL);

	(void)state;
	assert_int_equal(sttcp_client_start(client), 0);
	assert_true(probe_wait(probe, STTCP_UNCONNECTED, 1));
	assert_int_equal(probe_reason(probe), -ECONNREFUSED);
	sttcp_client_free(client);
	probe_free(probe);
}

static void brackets_around_ipv6_are_as_without(void **state)
{
	struct probe *serving = probe_new();
	struct probe *calling = probe_new();

	(void)state;
	if (!have_ipv6())
		skip();
	sttcp_server *server = probe_server(serving, "[::1]", 0, NULL);
	assert_int_equal(sttcp_server_start(server), 0);
	sttcp_client *client = probe_client(calling, "[::1]", sttcp_server_port(server), NULL);
	assert_int_equal(sttcp_client_start(client), 0);
	assert_true(probe_wait(calling, STTCP_CONNECTION, 1));
	sttcp_conn *conn = client_conn(client);
	assert_string_equal(sttcp_conn_host(conn), "::1");
	assert_string_equal(sttcp_conn_address(conn), sttcp_client_address(client));
	sttcp_conn_unref(conn);
	sttcp_client_free(client);
	sttcp_server_free(server);
	probe_free(calling);
	probe_free(serving);
}

static void brackets_around_anything_else_do_not_resolve(void **state)
{
	sttcp_server *server = sttcp_server_new("[127.0.0.1]", 0, NULL);

	(void)state;
	assert_int_equal(sttcp_server_start(server), STTCP_ERESOLVE);
	assert_non_null(strstr(sttcp_server_error(server), "[127.0.0.1]:0"));
	assert_non_null(strstr(sttcp_server_error(server), "brackets"));
	sttcp_server_free(server);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(abstract_server_answers_and_starts_again),
		cmocka_unit_test(abstract_client_and_server_talk),
		cmocka_unit_test(abstract_server_has_no_file),
		cmocka_unit_test(abstract_name_in_use_is_refused),
		cmocka_unit_test(abstract_name_that_cannot_be_fails),
		cmocka_unit_test(abstract_client_without_a_server_is_refused),
		cmocka_unit_test(brackets_around_ipv6_are_as_without),
		cmocka_unit_test(brackets_around_anything_else_do_not_resolve),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
