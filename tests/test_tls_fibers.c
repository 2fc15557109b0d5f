/* SPDX-License-Identifier: MIT */
/* Handshakes inside handlers that have a stack of their own. */
#include <sys/socket.h>

#include "conn/conn.h"
#include "support/support.h"
#include "support/tls_stage.h"

enum {
	NAMES = 1000,
	SMALL = 4096
};

static sttcp_tls *large;
static _Atomic(sttcp_conn *) shaking;
static _Atomic int started;
static struct event start_done;

/* A server whose first flight is larger than what the sockets take from it. */
static sttcp_tls *make_large(void)
{
	static char names[NAMES * 48];
	size_t size = 0;
	const char *chain, *key;

	for (int i = 0; i < NAMES; i++)
		size += (size_t)snprintf(names + size, sizeof(names) - size,
					 "%sDNS:host-%d.a-long-name.example", i ? "," : "", i);
	stage_write("large", &(struct cert_spec){.names = names}, &chain, &key);
	return sttcp_tls_server(chain, key);
}

static bool start_tls(sttcp_conn *conn, void *context)
{
	int small = SMALL;

	(void)context;
	setsockopt(sttcp_conn_fd(conn), SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	atomic_store(&shaking, sttcp_conn_ref(conn));
	atomic_store(&started, sttcp_conn_start_tls(conn, large, NULL));
	event_raise(&start_done);
	return true;
}

static bool waits_for_the_socket(sttcp_conn *conn)
{
	stt_lock(&conn->output.lock);
	bool waits = conn->output.receiver == STT_RECEIVER_PARKED;

	stt_unlock(&conn->output.lock);
	return waits;
}

/* Its first flight, and not a byte is read. */
static void say_hello(struct tls_peer *peer, int port)
{
	const int small = SMALL;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	assert_true(peer_connect_with(fd, port));
	tls_peer_adopt(peer, fd, false, 0);
	SSL_set0_rbio(peer->ssl, BIO_new(BIO_s_mem()));
	assert_false(tls_peer_shake(peer));
	SSL_set0_rbio(peer->ssl, BIO_new_socket(peer->fd, BIO_NOCLOSE));
}

/* Whatever is done to the output meanwhile: the event that the socket takes bytes again is not
 * missed. */
static void handshake_goes_on_when_the_socket_does(void **state)
{
	struct event fresh = EVENT_INIT;
	struct tls_peer peer;

	(void)state;
	start_done = fresh;
	large = make_large();
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, STTCP_OPTIONS(.fibers = true));
	assert_int_equal(sttcp_server_on_connection(server, start_tls), 0);
	assert_int_equal(sttcp_server_start(server), 0);
	say_hello(&peer, sttcp_server_port(server));
	EVENTUALLY(atomic_load(&shaking));
#ifdef __GLIBC__ /* others have no fibers */
	EVENTUALLY(waits_for_the_socket(atomic_load(&shaking)));
#endif
	assert_int_equal(sttcp_conn_shutdown(atomic_load(&shaking)), 0);
	assert_true(tls_peer_shake(&peer));
	assert_true(event_wait(&start_done, 1));
	assert_int_equal(atomic_load(&started), 0);
	assert_int_equal(tls_peer_end(&peer), 0);
	tls_peer_close(&peer);
	sttcp_conn_unref(atomic_load(&shaking));
	sttcp_server_free(server);
	sttcp_tls_unref(large);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(handshake_goes_on_when_the_socket_does),
	};

	return cmocka_run_group_tests(tests, stage_open, stage_close);
}
