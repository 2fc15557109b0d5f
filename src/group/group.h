/* SPDX-License-Identifier: MIT */
/*
 * A group: the connections of one server or client, with what they share:
 * handlers, settings, counters, and what stop, wait and free wait for. It is
 * reference-counted: the user's handle, every connection and every waiting
 * call hold a reference, so that it outlives them all.
 */
#ifndef STT_GROUP_GROUP_H
#define STT_GROUP_GROUP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/mutex.h"
#include "base/table.h"
#include "conn/conn.h"
#include "conn/service.h"
#include "engine/actor.h"
#include "group/backoff.h"
#include "group/signals.h"
#include "sttcp.h"

struct stt_addresses;
struct stt_endpoint;
struct stt_engine;
struct stt_listener;
struct stt_loop;
struct stt_rooms;
struct stt_sweeper;

/* Whom a walk over connections visits. */
enum stt_whom {
	STT_MEMBERS, /* those that the user sees: from connection to disconnection handler */
	STT_ALL	     /* from accept to close */
};

/* The connections of a group that live on one loop. */
struct stt_roster {
	struct stt_mutex lock;
	/* Under the lock. */
	struct stt_node conns; /* from accept to close, by their `place` */
	uint64_t last_place;
	struct stt_table members; /* by id */
};

/* One a loop; a client needs one alone. */
struct stt_rosters {
	struct stt_rosters *previous;
	int count;
	struct stt_roster all[];
};

/* Who may come in, see admission.h. */
struct stt_admission {
	int64_t reserved;    /* places promised to connections that are being accepted */
	int64_t tokens;	     /* thousandths of connections that may be accepted now */
	int64_t refilled_ms; /* when `tokens` was right; 0: never yet */
	struct stt_table addresses;
};

enum stt_place {
	STT_PLACE_FREE,		/* reserved, until it is used or given back */
	STT_PLACE_OVER_NUMBER,	/* there are as many connections as there may be */
	STT_PLACE_OVER_RATE,	/* too many have come of late; `again_ms` tells when one more may */
	STT_PLACE_OVER_ADDRESS, /* there are as many of its address as there may be */
	STT_PLACE_CLOSED	/* the group takes none any more */
};

/*
 *	state		  next		    when
 *	IDLE		  STARTING	    start
 *	STARTING	  RUNNING	    all is set up
 *	STARTING, RUNNING STOPPING	    stop
 *	STOPPING	  IDLE		    listeners, connections and sweepers are gone
 *	STOPPING	  FORCING	    the deadline has come
 *	FORCING		  LEFT		    each loop has worked what was forced; the report is out
 *	LEFT		  IDLE		    the last handler has returned
 *	RUNNING		  IDLE		    a client's connection has ended for good
 *	RUNNING		  STOPPING, IDLE    a client between two attempts is closed
 *
 * A client that connects again stays RUNNING between two attempts: `retry_at_ms` is set then, and
 * `live` is 0.
 */
enum stt_group_state {
	STT_IDLE,
	STT_STARTING,
	STT_RUNNING,
	STT_STOPPING,
	STT_FORCING,
	STT_LEFT
};

/* A call that waits for the end of a run, on its stack. When it wakes up, the next run may have
 * begun, or have ended, too: so whoever ends a run leaves here what came of it. Under the group's
 * lock. */
struct stt_waiter {
	struct stt_node in_group; /* until the run is over */
	bool over;
	/* Once it is over. */
	sttcp_stop_report report;
	int reason;	/* end_reason */
	uint64_t opens; /* of a client's connections until then */

	/* The connection whose handler waits has been ended by force: its code. */
	int forced;
};

struct stt_group {
	struct stt_service service; /* first: its settings, handlers, references */

	/* Set before anybody can find it. */
	char bad_options[160];	 /* a sentence for start to tell; "" when they are good */
	struct stt_rooms *rooms; /* NULL for a client */

	/* Changed only while IDLE, under the lock; read by workers after start. */
	struct stt_engine *engine;  /* the one that it was started with last */
	struct stt_endpoint *added; /* to a server's own address, see addresses.h */
	int nadded;
	/* Atomic: those of the last start, NULL before the first one. Earlier ones stay as long as
	 * the group, for whoever is walking over them. */
	_Atomic(struct stt_rosters *) rosters;

	/* Atomic: free has taken effect, and handles no longer lead to the user's object. */
	atomic_bool released;
	/* Atomic: the port that it listens on; 0 before. */
	atomic_int port_bound;
	/* Atomic: for sttcp_conn_stopping. */
	atomic_bool stopping;
	/* Atomic: of a dialled connection, that nobody is going to use it any more. */
	atomic_bool closing;
	/* Atomic, set in signal handlers, too: this run is to stop as after a first signal. */
	atomic_bool stop_requested;

	struct stt_mutex lock;
	struct stt_cond changed; /* state, or anything that state depends on */
	/* Under the lock. */
	enum stt_group_state state;
	struct stt_node waiters; /* for the end of the present run; none once it is over */
	bool started_once;
	uint64_t runs;	   /* starts so far */
	int signals;	   /* that have come in this run, while somebody was in keep_alive */
	int watchers;	   /* calls of keep_alive that wait for this group */
	bool stop_pending; /* a stop came while STARTING, with this limit */
	int pending_timeout_ms;
	bool release_later;	 /* freed inside a handler: the pool calls the release function */
	bool release_now;	 /* and it is time: for stt_group_unlock */
	bool releasing;		 /* which needs the engine for that, though the group is IDLE */
	struct sttcp_conn *next; /* a client's, started from inside its last handler */
	/* A client's server, if it is no name: a path as of the start, which no change of the
	 * working directory moves. */
	struct stt_addr place;
	int end_reason;		    /* of a client's last connection or attempt */
	struct sttcp_conn *current; /* a client's connection while it is open */
	uint64_t opens;		    /* of a client's connections so far */
	int64_t left_ms;	    /* when the last one was no longer open */
	int64_t retry_at_ms;	    /* when a client connects again; STT_NEVER: it need not */
	struct stt_backoff backoff;
	int nlisteners;
	struct stt_listener *listeners;
	struct stt_addresses *addresses;      /* of the last start, or NULL if that failed */
	struct stt_addresses *last_addresses; /* of the last start that did not, and before it */
	struct stt_admission admission;
	int64_t live; /* connections whose last handler has not returned */
	int64_t open; /* connections of this run whose descriptor is not closed */
	int64_t stop_at_ms;
	int stop_limit_ms; /* that stop_at_ms came of; 0 at once */
	int64_t forced_of; /* live when the deadline came */
	int unsettled;	   /* loops that have not yet worked what was forced */
	int unasked;	   /* loops whose connections have not all been asked to end when idle */
	sttcp_stop_report report;
	sttcp_stats totals;	/* of connections that have ended */
	sttcp_conn_counts told; /* the most that was told of each, see stats.c */
	bool alarm_armed;	/* holds a reference */
	char error[512];

	/* The deadline of a stop, or a client's next attempt. */
	struct stt_alarm alarm;
	struct stt_sweeper *sweepers; /* one a loop, by force; then one a loop, by asking */
	int nsweepers;
	struct stt_actor releaser;

	/* Under the registry's lock: all groups of the process. */
	struct stt_node in_registry;
};

/* For stt_all_make. 0 or -ENOMEM. `host` is copied; the settings are there already. */
int stt_group_init(struct stt_group *group, enum stt_side side, const char *host, int port);

/* The group of a connection. */
static inline struct stt_group *stt_group_of(const struct sttcp_conn *conn)
{
	return stt_container_of(conn->service, struct stt_group, service);
}

static inline struct stt_group *stt_group_ref(struct stt_group *group)
{
	stt_service_ref(&group->service);
	return group;
}

/* The last one frees it with free(3). */
static inline void stt_group_unref(struct stt_group *group)
{
	stt_service_unref(&group->service);
}

/* Keeps a sentence for _error, and returns `code`; STTCP_EFORK in a child that was forked in a log
 * callback, this one or one before. */
int stt_group_tell(struct stt_group *group, int code, const char *format, ...) STTCP_PRINTF(3, 4);

/* The checks of a start that need nothing but what was given to new. */
int stt_group_check_start(struct stt_group *group);

/* Its last reference is gone. */
void stt_group_destroy(struct stt_service *service);

/* Moves to a state, and tells those who wait. */
void stt_group_enter_locked(struct stt_group *group, enum stt_group_state state)
	STT_REQUIRES(group->lock);

/* Whether its run is over: by its end, or by the report of a forced stop. */
static inline bool stt_group_is_over_locked(const struct stt_group *group) STT_REQUIRES(group->lock)
{
	return group->state == STT_IDLE || group->state == STT_LEFT;
}

/* For the present run, which may be over already. */
void stt_group_add_waiter_locked(struct stt_group *group, struct stt_waiter *waiter)
	STT_REQUIRES(group->lock);

/* Before its stack is left. */
void stt_group_remove_waiter_locked(struct stt_group *group, struct stt_waiter *waiter)
	STT_REQUIRES(group->lock);

/* Until something of the group may have changed. False once it is `until_ms`, or `forced` is set:
 * then the caller is to wait no more. Without the lock meanwhile. */
bool stt_group_wait_locked(struct stt_group *group, struct stt_waiter *waiter, int64_t until_ms)
	STT_REQUIRES(group->lock);

/* Has its alarm ring at `at` at the latest; it keeps a reference until then. */
void stt_group_arm_locked(struct stt_group *group, int64_t at) STT_REQUIRES(group->lock);

/* Must be called when something has been counted down: enters the state that follows from it. */
void stt_group_check_locked(struct stt_group *group) STT_REQUIRES(group->lock);

/* Replaces a plain unlock wherever the state may have changed: what a stop inside a handler left to
 * do is done here, without the lock. The caller holds a reference. */
void stt_group_unlock(struct stt_group *group) STT_RELEASE(group->lock);

/* The user's handle is gone: makes the last call, and drops its reference. */
void stt_group_release(struct stt_group *group);

#endif
