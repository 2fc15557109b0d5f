/* SPDX-License-Identifier: MIT */
/*
 * A service: what all connections of a server or client share, and only read -
 * handlers, settings, counters under a cap - and whom they tell of their life.
 * It is the first member of a group (group.h), of which nothing else is known
 * here.
 */
#ifndef STT_CONN_SERVICE_H
#define STT_CONN_SERVICE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "codec/framing.h"
#include "engine/fork.h"
#include "sttcp.h"

struct stt_resumption;
struct stt_service;

enum stt_side {
	STT_SERVER,
	STT_CLIENT
};

/* The events of sttcp_event, with the same values, and behind them those that the universal handler
 * does not see. The data of MALFORMED is the code, an int. OWN_MESSAGE is for everybody else a
 * RECEIVE or RESPONSE that a connection's own handler gets. */
enum stt_event {
	STT_CONNECTION = STTCP_CONNECTION,
	STT_RECEIVE = STTCP_RECEIVE,
	STT_RESPONSE = STTCP_RESPONSE,
	STT_END = STTCP_END,
	STT_DISCONNECTION = STTCP_DISCONNECTION,
	STT_UNCONNECTED = STTCP_UNCONNECTED,
	STT_DRAINED,
	STT_MALFORMED,
	STT_OWN_MESSAGE,
	STT_TASK /* no handler: what a task runs as */
};

struct stt_handlers {
	sttcp_connection_handler connection;
	sttcp_receive_handler receive;	 /* servers */
	sttcp_response_handler response; /* clients */
	sttcp_end_handler end;
	sttcp_disconnection_handler disconnection;
	sttcp_unconnected_handler unconnected;
	sttcp_universal_handler universal;
	sttcp_drained_handler drained;
	sttcp_malformed_handler malformed;
	void (*release)(void *context);
	void *context;
	/* A bit for each event: which have a handler of their own, and which have any. */
	unsigned specific;
	unsigned wanted;
	unsigned direct; /* have any, which runs on the stack of its thread */
};

/* Options after their defaults were filled in: -1 is off or unlimited, nothing is 0 by default. */
struct stt_settings {
	int64_t send_queue_max; /* INT64_MAX: unlimited; so are the next three */
	int64_t high_water;
	int64_t low_water;
	int64_t total_queue_max;
	struct stt_framing framing; /* its context stands in the handlers */
	int backlog;
	const char *local_host; /* NULL: any */
	int local_port;		/* 0: any */
	int connect_timeout_ms;
	int reconnect_ms;
	int reconnect_max_ms;
	int reconnect_tries;
	int drain_timeout_ms;
	int signal_drain_ms; /* the same after a signal */
	int write_timeout_ms;
	int linger_timeout_ms;
	int first_byte_timeout_ms;
	int idle_timeout_ms;
	int message_timeout_ms;
	int lifetime_ms;
	int lifetime_jitter_ms;
	int dead_peer_timeout_ms;
	int max_connections;
	int max_connections_per_ip;
	int accept_rate;
	int unix_mode;	  /* 0: as the umask leaves it */
	bool rejects;	  /* what is over max_connections or accept_rate */
	bool times_input; /* there is a deadline that depends on when input arrives */
	bool broadcast_skips;
	bool end_idle_at_stop;
	bool reuse_port;
	bool ipv6_only;
	bool nagle;
	bool half_close;
	bool fibers;
	size_t fiber_stack_size; /* as stt_stack_size says */
	sttcp_tls *tls;		 /* a reference, or NULL */
	int tls_handshake_timeout_ms;
	const char *tls_name; /* NULL: the host */
};

/* By a connection's owner, outside turns: each once in its life, and cold. */
struct stt_service_calls {
	/* Its connection handler has taken it: it is a member, until it has left. */
	void (*joined)(struct stt_service *service, struct sttcp_conn *conn);
	/* Its disconnection handler is about to run; also for one that has not joined. */
	void (*left)(struct stt_service *service, struct sttcp_conn *conn);
	/* Its last handler has returned, or none will run. */
	void (*ended)(struct stt_service *service, struct sttcp_conn *conn);
	/* Its descriptor is closed. The caller holds a reference to the service. */
	void (*closed)(struct stt_service *service, struct sttcp_conn *conn);
	/* Its last reference is gone. */
	void (*free)(struct stt_service *service);
};

struct stt_service {
	/* Set before anybody can find it. */
	const struct stt_service_calls *calls;
	bool is_client;
	bool dialled; /* a client of one connection without handlers: sttcp_dial */
	unsigned fork_count;
	char *host;
	char *local_host; /* to which the settings point; the next, too */
	char *tls_name;
	int port;
	char *given; /* host and port as the user gave them */
	struct stt_settings settings;

	/* Changed only while there is no connection; read by workers. */
	struct stt_handlers handlers;

	atomic_int refs;
	/* Atomic: what a client keeps of its last TLS session; NULL before the first. */
	_Atomic(struct stt_resumption *) resumption;
	/* Atomic: a stop is in progress that ends idle connections. */
	atomic_bool ends_idle;
	/* Atomic: how long a flush after a forced end may take; -1: no limit. */
	atomic_int flush_ms;
	/* Atomic: how long connections had to end by themselves before they were ended by force;
	 * -1 while they are not. */
	atomic_int forced_after_ms;
	/* Atomic, relaxed: bytes queued on all connections; kept only where they have a cap. */
	_Atomic int64_t total_queued;
};

static inline struct stt_service *stt_service_ref(struct stt_service *service)
{
	/* Relaxed: whoever takes a reference has one, or a lock under which one stands. */
	atomic_fetch_add_explicit(&service->refs, 1, memory_order_relaxed);
	return service;
}

static inline void stt_service_unref(struct stt_service *service)
{
	/* Release and acquire: whoever frees it has seen what all others did to it. A child that
	 * was forked in a call that holds a reference has none of its own. */
	if (!stt_forked_since(service->fork_count) &&
	    atomic_fetch_sub_explicit(&service->refs, 1, memory_order_acq_rel) == 1)
		service->calls->free(service);
}

/* How many bytes all connections of a service with a total_queue_max may still queue. Relaxed: only
 * what is gathered at the same moment on several loops may exceed it, see stt_room_claim_locked. */
static inline int64_t stt_service_room(const struct stt_service *service)
{
	return service->settings.total_queue_max -
	       atomic_load_explicit(&service->total_queued, memory_order_relaxed);
}

#endif
