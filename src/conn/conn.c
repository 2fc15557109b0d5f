/* SPDX-License-Identifier: MIT */
/* What others ask of a connection: its attention, its names, what it has ended with. */
#include "conn/conn.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "conn/rare.h"
#include "conn/service.h"
#include "engine/loop.h"
#include "net/socket.h"

struct stt_names {
	char host[STT_ADDR_TEXT];
	char address[STT_ADDR_TEXT];
};

static struct stt_names *make_names(const struct stt_addr *addr)
{
	struct stt_names *names = malloc(sizeof(*names));

	if (names) {
		stt_addr_host(addr, names->host);
		stt_addr_text(addr, names->address);
	}
	return names;
}

void stt_conn_set_peer(struct sttcp_conn *conn, const struct stt_addr *peer)
{
	if (peer->sa.sa_family == AF_INET || peer->sa.sa_family == AF_INET6)
		memcpy(&conn->peer, &peer->sa,
		       peer->sa.sa_family == AF_INET ? sizeof(peer->in) : sizeof(peer->in6));
	else if (!atomic_load(&conn->names))
		/* A path does not fit into `peer`; without memory it is told as unnamed. */
		atomic_store(&conn->names, make_names(peer));
}

void stt_conn_ask(struct sttcp_conn *conn, unsigned wish)
{
	/* A child that was forked in a callback meanwhile has no thread to ask. */
	if (!stt_forked_since(conn->service->fork_count) && stt_conn_wish(conn, wish))
		stt_loop_push(conn->loop, &conn->actor);
}

bool stt_conn_is_forced(struct sttcp_conn *conn)
{
	stt_lock(&conn->output.lock);
	bool forced = conn->output.by_force;

	stt_unlock(&conn->output.lock);
	return forced;
}

const char *stt_conn_fail_text(const struct sttcp_conn *conn)
{
	/* The reason first, for it is set last: who finds it here finds the text, too. */
	int reason = atomic_load(&conn->reason);
	const char *text = atomic_load(&conn->fail_text);

	if (text && *text)
		return text;
	return stt_error_is_told(reason) ? sttcp_strerror(reason) : "";
}

static const struct stt_names *names_of(struct sttcp_conn *conn)
{
	struct stt_names *names = atomic_load_explicit(&conn->names, memory_order_acquire);

	if (names || conn->peer.sin6_family == AF_UNSPEC)
		return names;

	struct stt_addr addr = {.len = sizeof(conn->peer)};

	memcpy(&addr.in6, &conn->peer, sizeof(conn->peer));

	struct stt_names *made = make_names(&addr);

	if (made && !atomic_compare_exchange_strong(&conn->names, &names, made))
		free(made);
	else
		names = made;
	return names;
}

const char *stt_conn_host(struct sttcp_conn *conn)
{
	const struct stt_names *names = names_of(conn);

	return names ? names->host : conn->service->host;
}

const char *stt_conn_address(struct sttcp_conn *conn)
{
	const struct stt_names *names = names_of(conn);

	return names ? names->address : conn->service->given;
}

const char *stt_conn_local(struct sttcp_conn *conn)
{
	struct stt_rare *rare = stt_rare_make(conn);
	struct stt_addr addr;
	int result = -1;

	if (!rare)
		return "";

	char *name = atomic_load_explicit(&rare->local_name, memory_order_acquire);

	if (name)
		return name;

	/* Under the lock the descriptor stays what it is. */
	stt_lock(&conn->output.lock);
	int fd = atomic_load_explicit(&conn->fd, memory_order_relaxed);

	if (fd >= 0)
		result = stt_socket_local(fd, &addr);
	stt_unlock(&conn->output.lock);
	if (result < 0)
		return "";

	char *made = malloc(STT_ADDR_TEXT);

	if (!made)
		return "";
	stt_addr_text(&addr, made);
	if (atomic_compare_exchange_strong(&rare->local_name, &name, made))
		return made;
	free(made);
	return name;
}
