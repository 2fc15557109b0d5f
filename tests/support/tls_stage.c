/* SPDX-License-Identifier: MIT */
/* The stage of tests with TLS. */
#include "support/tls_stage.h"

#include <openssl/err.h>
#include <signal.h>
#include <sys/socket.h>

#include "support/support.h"

struct tls_stage stage;

static sttcp_tls *shared_server;
static sttcp_tls *shared_client;

int stage_open(void **state)
{
	const struct cert_spec authority = {.subject = "stage authority", .authority = true};
	const struct cert_spec server = {.names = "DNS:localhost,IP:127.0.0.1"};

	(void)state;
	/* OpenSSL's own sockets raise it. */
	signal(SIGPIPE, SIG_IGN);
	certs_open();
	stage.authority = cert_make(&authority, NULL);
	stage.trust = certs_write_chain("authority.pem", &stage.authority, NULL);
	stage_write("server", &server, &stage.chain, &stage.key);
	shared_server = stage_server();
	shared_client = stage_client();
	return 0;
}

int stage_close(void **state)
{
	(void)state;
	sttcp_tls_unref(shared_server);
	sttcp_tls_unref(shared_client);
	cert_free(&stage.authority);
	certs_close();
	return 0;
}

void stage_write(const char *name, const struct cert_spec *spec, const char **chain,
		 const char **key)
{
	struct cert cert = cert_make(spec, &stage.authority);
	char file[64];

	snprintf(file, sizeof(file), "%s.pem", name);
	*chain = certs_write_chain(file, &cert, NULL);
	snprintf(file, sizeof(file), "%s.key", name);
	*key = certs_write_key(file, &cert);
	cert_free(&cert);
}

sttcp_tls *stage_server(void)
{
	sttcp_tls *tls = sttcp_tls_server(stage.chain, stage.key);

	assert_non_null(tls);
	assert_string_equal(sttcp_tls_error(tls), "");
	return tls;
}

sttcp_tls *stage_client(void)
{
	sttcp_tls *tls = sttcp_tls_client();

	assert_non_null(tls);
	assert_int_equal(sttcp_tls_trust(tls, stage.trust), 0);
	return tls;
}

sttcp_tls *stage_shared_server(void)
{
	return shared_server;
}

sttcp_tls *stage_shared_client(void)
{
	return shared_client;
}

/* -------------------------------------------------------------------- peers */

static void set_patience(int fd)
{
	struct timeval patience = {.tv_sec = DEADLINE_MS / 1000};

	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)), 0);
}

void tls_peer_adopt(struct tls_peer *peer, int fd, bool server, int version)
{
	assert_true(fd >= 0);
	set_patience(fd);
	peer->fd = fd;
	peer->context = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
	assert_non_null(peer->context);
	if (version) {
		SSL_CTX_set_min_proto_version(peer->context, version);
		SSL_CTX_set_max_proto_version(peer->context, version);
	}
	if (server) {
		assert_int_equal(SSL_CTX_use_certificate_chain_file(peer->context, stage.chain), 1);
		assert_int_equal(
			SSL_CTX_use_PrivateKey_file(peer->context, stage.key, SSL_FILETYPE_PEM), 1);
	}
	peer->ssl = SSL_new(peer->context);
	assert_non_null(peer->ssl);
	assert_int_equal(SSL_set_fd(peer->ssl, fd), 1);
	if (server)
		SSL_set_accept_state(peer->ssl);
	else
		SSL_set_connect_state(peer->ssl);
}

void tls_peer_prepare(struct tls_peer *peer, int port, int version)
{
	tls_peer_adopt(peer, peer_connect(port), false, version);
}

bool tls_peer_shake(struct tls_peer *peer)
{
	ERR_clear_error();
	return SSL_do_handshake(peer->ssl) == 1;
}

void tls_peer_open(struct tls_peer *peer, int port)
{
	tls_peer_prepare(peer, port, 0);
	assert_true(tls_peer_shake(peer));
}

bool tls_peer_send(struct tls_peer *peer, const void *data, size_t size)
{
	size_t sent;

	ERR_clear_error();
	return !size || (SSL_write_ex(peer->ssl, data, size, &sent) == 1 && sent == size);
}

bool tls_peer_say(struct tls_peer *peer, const char *text)
{
	return tls_peer_send(peer, text, strlen(text));
}

bool tls_peer_recv(struct tls_peer *peer, void *data, size_t size)
{
	size_t got = 0, now;

	ERR_clear_error();
	while (got < size && SSL_read_ex(peer->ssl, (char *)data + got, size - got, &now) == 1)
		got += now;
	return got == size;
}

bool tls_peer_expect(struct tls_peer *peer, const char *text)
{
	size_t size = strlen(text);
	char got[256];

	assert_true(size < sizeof(got));
	return tls_peer_recv(peer, got, size) && memcmp(got, text, size) == 0;
}

int tls_peer_end(struct tls_peer *peer)
{
	static char dropped[16 * 1024];
	size_t now;

	ERR_clear_error();
	errno = 0;
	while (SSL_read_ex(peer->ssl, dropped, sizeof(dropped), &now) == 1)
		;

	int number = errno;
	int error = SSL_get_error(peer->ssl, 0);

	if (error == SSL_ERROR_ZERO_RETURN)
		return 0;
	if (error == SSL_ERROR_SYSCALL)
		return number ? -number : STTCP_ECUT;
	if (error == SSL_ERROR_SSL &&
	    ERR_GET_REASON(ERR_peek_last_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING)
		return STTCP_ECUT;
	return error == SSL_ERROR_SSL ? STTCP_ETLS : -ETIMEDOUT;
}

void tls_peer_notify(struct tls_peer *peer)
{
	ERR_clear_error();
	assert_int_equal(SSL_shutdown(peer->ssl), 0);
}

void tls_peer_close(struct tls_peer *peer)
{
	SSL_free(peer->ssl);
	SSL_CTX_free(peer->context);
	if (peer->fd >= 0)
		peer_close(peer->fd);
	*peer = (struct tls_peer){.fd = -1};
}
