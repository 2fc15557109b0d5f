/* SPDX-License-Identifier: MIT */
/*
 * Stop and free of a server (group.c, stop.c, listener.c): the states of a group, the
 * listener that its own loop closes, the forced stop with its sweepers, the
 * deadline's alarm, references, and the release at the end. There are two loops:
 * the first has the alarm, the second the listener; connections are on both.
 * Whichever thread works on a connection is one process here; conn.pml has the
 * details of that.
 *
 * Proven: stop and free always return, inside a handler at once; what had been
 * accepted by the kernel when a graceful stop began is served; nobody accepts on
 * a closed listener; a forced stop's report leaves out nothing that could still
 * begin; nothing runs after the release, which comes once; the last handler of
 * each connection comes once; a start is refused while a handler of the run
 * before is running; and the group's memory is not touched after its end.
 */
#ifndef NCONNS
#define NCONNS 2
#endif
#ifndef NRUNS
#define NRUNS 1
#endif
/* What a handler of connection 0 does: 0 nothing, 1 stop, 2 free */
#ifndef INSIDE
#define INSIDE 0
#endif
/* Another thread stops, too. */
#ifndef SECOND
#define SECOND 0
#endif
/* A graceful stop ends who is idle (end_idle_at_stop), and peers never end. */
#ifndef END_IDLE
#define END_IDLE 0
#endif
#define NLOOPS 2
#define LISTENER_LOOP 1
/* Connection 0 lives on this loop, connection 1 on the other one. */
#ifndef FIRST_LOOP
#define FIRST_LOOP 0
#endif
#define LOOP_OF(c) (((c) + FIRST_LOOP) % NLOOPS)
#define CONN_OF(l) LOOP_OF(l)

/* enum stt_group_state */
mtype = { IDLE, STARTING, RUNNING, STOPPING, FORCING, LEFT };

/* Limits of a stop, and times */
#define NOW 0
#define SOON 1
#define LATER 2
#define NEVER 3

/* struct stt_group: each step on it is under its lock. */
mtype state = IDLE;
byte refs = 1;			/* the user's */
byte runs, nlisteners, live, open, unsettled;
byte stop_at = NEVER;		/* stop_at_ms */
bool stop_pending;
byte pending_limit;
bool alarm_armed, release_later, release_now;
#if END_IDLE
bool ends_idle;
byte unasked;
bool asking[NLOOPS];		/* the sweeper that asks is on its way */
#ifdef DROP_IDLE_FLAG_FIRST
bool flag_due;
#endif
#endif

/* Its alarm, and the list and the heap of loop 0. Time is free: what is in the heap may ring. */
byte due = NEVER;
bool listed, in_alarms, in_heap;

/* What stands on the ready list of a loop: connections by number, then */
#define LISTENER NCONNS
#define SETTLER (NCONNS + 1)
#define SWEEPER (NCONNS + 2)
#define ASKER (NCONNS + 3)
chan ready[NLOOPS] = [NCONNS + 3] of { byte };

/* struct stt_listener */
bool listens;			/* the descriptor is open */
bool accepts;			/* epoll tells of connections on it */
bool fetched;			/* an event of it stands in the loop's batch */
#define UNCOUNTED (NCONNS + 1)
byte to_accept = UNCOUNTED;	/* what may still be accepted while it is being closed */
chan backlog = [NCONNS] of { byte };
bool promised[NCONNS];		/* in the backlog when a graceful stop began */

/* struct sttcp_conn */
mtype = { NOT_THERE, BORN, OPEN, ENDED, DEAD };
mtype phase[NCONNS] = NOT_THERE;
bool busy[NCONNS], wished[NCONNS], ended[NCONNS], on_roster[NCONNS];
bool at_work[NCONNS];		/* a worker has it, or the pool's queue */
bool event[NCONNS];		/* its poller has an event */
bool opened[NCONNS], alive[NCONNS];
byte run_of[NCONNS];

/* What the assertions look at */
bool freed;			/* the group's memory */
byte released;
byte handlers;			/* that run */
byte last_handlers[NCONNS];
byte waits;			/* calls that must return though a handler blocks */
bool handlers_return;
bool rings_early = true;
bool users_done, releasing;
bool user_ready;			/* the other thread's calls have begun */
bool acted;			/* the handler that stops or frees has done so */

#define TOUCH assert(!freed)
#define IN_BACKLOG(c) (backlog??[eval(c)])
#define HAS_STOPPED (state == IDLE || state == LEFT)
#ifdef DROP_INSIDE
#define RETURNS_INSIDE false
#else
#define RETURNS_INSIDE inside
#endif
#ifdef DROP_BUSY
#define MAY_START HAS_STOPPED
#else
#define MAY_START (state == IDLE)
#endif
#ifdef DROP_LISTENERS_FIRST
#define ALL_CLOSED true
#else
#define ALL_CLOSED (nlisteners == 0)
#endif
#if END_IDLE
#ifdef DROP_UNASKED
#define ALL_ASKED true
#else
#define ALL_ASKED (unasked == 0)
#endif
#else
#define ALL_ASKED true
#endif
#ifdef DROP_FREE_WAITS
#define MAY_FREE HAS_STOPPED
#else
#define MAY_FREE (state == IDLE)
#endif

inline ref()
{
	TOUCH;
	refs++
}

/* stt_group_unref */
inline unref()
{
	TOUCH;
	refs--;
	if
	:: refs == 0 -> freed = true; assert(released == 1)
	:: else
	fi
}

/* stt_alarm_set: within the steps of this model, since all that set it hold the group's lock. */
inline stt_alarm_set(at)
{
	if
	:: at < due ->
		due = at;
		in_alarms = in_alarms || !listed;
		listed = true
	:: else
	fi
}

/* stt_group_enter_locked */
inline enter_locked(next)
{
	state = next;
	if
	:: next == IDLE ->
		if
		:: alarm_armed -> stt_alarm_set(NOW)
		:: else
		fi;
#if END_IDLE
		ends_idle = false;
#endif
		release_now = release_later; release_later = false
	:: else
	fi
}

/* stt_group_check_locked */
inline check_locked()
{
	TOUCH;
	if
	:: state == STOPPING && ALL_CLOSED && ALL_ASKED && !live && !open -> enter_locked(IDLE)
	:: state == FORCING && !unsettled && ALL_CLOSED && ALL_ASKED ->
		/* The report: what is left is in a handler or waits for a thread. */
		k = 0;
		do
		:: k < NCONNS -> assert(!alive[k] || (ended[k] && at_work[k])); k++
		:: else -> break
		od;
		k = 0;
		if
#ifdef DROP_LEFT
		:: true -> enter_locked(IDLE)
#else
		:: live > 0 -> enter_locked(LEFT)
		:: live == 0 -> enter_locked(IDLE)
#endif
		fi
	:: state == LEFT && !live -> enter_locked(IDLE)
	:: else
	fi
}

/* stt_group_unlock: at the end of a step */
inline unlock_group()
{
	releasing = releasing || release_now;
	release_now = false
}

/* stt_conn_ask: for the owner, or onto the loop's ready list. */
inline ask(c)
{
	wished[c] = true;
	if
	:: busy[c]
	:: else -> busy[c] = true; ready[LOOP_OF(c)]!c
	fi
}

/* stt_conn_end */
inline end_conn(c)
{
	ended[c] = true;
	ask(c)
}

#if END_IDLE
/* Those that ask, to each loop */
inline send_askers()
{
	unasked = NLOOPS;
#ifdef DROP_IDLE_FLAG_FIRST
	flag_due = true;
#else
	ends_idle = true;
#endif
	do
	:: c < NLOOPS -> assert(!asking[c]); asking[c] = true; ref(); ready[c]!ASKER; c++
	:: else -> c = 0; break
	od
}
#endif

/* begin_force_locked */
inline begin_force_locked()
{
#ifdef DROP_SETTLERS
	unsettled = 0;
#else
	unsettled = NLOOPS;
#endif
	enter_locked(FORCING)
}

/* force: without the lock */
inline force()
{
	/* send_sweepers */
	do
	:: c < NLOOPS -> atomic { ref(); ready[c]!SWEEPER; c++ }
	:: else -> c = 0; break
	od
#ifdef DROP_SETTLERS
	;
	atomic { check_locked(); unlock_group() }
#endif
}

/* arm_locked */
inline arm_locked()
{
	if
	:: stop_at != NEVER ->
		if
		:: !alarm_armed -> ref()
		:: else
		fi;
		alarm_armed = true;
		stt_alarm_set(stop_at)
	:: else
	fi
}

/* stt_group_begin_stop */
inline stt_group_begin_stop(limit)
{
	atomic {
		TOUCH;
		this_run = runs;
		if
		:: state == STARTING ->
			if
			:: !stop_pending || limit < pending_limit -> pending_limit = limit
			:: else
			fi;
			stop_pending = true
		:: state == RUNNING ->
			/* begin_stop_locked, stt_listener_close */
			do
			:: c < NCONNS -> promised[c] = IN_BACKLOG(c); c++
			:: else -> c = 0; break
			od;
#ifdef DROP_LISTENER_LOOP
			listens = false;
			accepts = false;
			nlisteners--;
			unref();
#else
			ready[LISTENER_LOOP]!LISTENER;
#endif
#if END_IDLE
			send_askers();
#endif
			enter_locked(STOPPING)
		:: else
		fi;
		if
		:: state == STOPPING ->
			forces = limit == NOW;
			stop_at = (limit < stop_at && limit != NOW -> limit : stop_at);
			if
			:: forces -> begin_force_locked()
			:: else -> arm_locked()
			fi;
#ifndef DROP_SETTLERS
			check_locked()
#endif
		:: else
		fi;
		unlock_group()
	}
#ifdef DROP_IDLE_FLAG_FIRST
	atomic {
		ends_idle = ends_idle || flag_due;
		flag_due = false
	}
#endif
	if
	:: forces -> forces = false; force()
	:: else
	fi
}

/* stt_group_stop */
inline stt_group_stop(limit)
{
	atomic {
#ifndef DROP_WAITER_REF
		ref();
#endif
		waits = waits + (limit != NEVER);
		user_ready = user_ready || !inside
	}
	stt_group_begin_stop(limit);
#ifdef DROP_RUN_OF_STOP
	this_run = runs;
#endif
	atomic {
		/* waiter.over: whoever enters IDLE or LEFT sets it, and all that wait then are of
		 * that run. */
		HAS_STOPPED || this_run != runs || RETURNS_INSIDE ->
		waits = waits - (limit != NEVER);
		assert(!listens || this_run != runs || inside);
		this_run = 0;
#ifndef DROP_WAITER_REF
		unref()
#else
		TOUCH
#endif
	}
}

/* release */
inline release()
{
	atomic {
		TOUCH;
		assert(handlers == 0 && !released);
		released++;
#ifdef DROP_INNER_BLOCK
		freed = true
#else
		unref()
#endif
	}
}

/* stt_group_free */
inline stt_group_free()
{
	stt_group_begin_stop(NOW);
	atomic {
		MAY_FREE || RETURNS_INSIDE ->
		TOUCH;
		release_later = !MAY_FREE
	}
	if
	:: !release_later && !inside -> release()
	:: else
	fi
}

/* accept_some of one connection: take_connection, stt_group_admit */
inline accept_one(c)
{
	atomic {
		assert(listens);
		backlog?c;
		TOUCH;
		if
		:: state == RUNNING || state == STOPPING ->
			ref();
			live++;
			open++;
			phase[c] = BORN;
			run_of[c] = runs;
			on_roster[c] = true;
			alive[c] = true
		:: else -> assert(state == FORCING)	/* closed again */
		fi;
		promised[c] = false
	}
	/* stt_poller_add */
	atomic {
		event[c] = phase[c] != NOT_THERE;
		c = 0
	}
}

/* stt_loop_run */
proctype Loop(byte l)
{
	byte c, k, item;
	bool forces, rings_again;
	bool inside = false;

end_wait:
	do
	:: fetched && l == LISTENER_LOOP ->
		/* accept_event */
		accept_one(c);
		fetched = false
	:: !(fetched && l == LISTENER_LOOP) && len(ready[l]) > 0 ->
		ready[l]?item;
		if
		:: item < NCONNS ->
			/* serve, of conn/serve.c */
			atomic { assert(!at_work[item]); at_work[item] = true }
		:: item == LISTENER ->
			/* close_listener, empty_queue: a turn takes one of those that it counted */
#ifndef DROP_FINAL_ACCEPT
			atomic {
				accepts = false;
				to_accept = (to_accept == UNCOUNTED -> len(backlog) : to_accept)
			}
			if
			:: to_accept > 0 ->
				accept_one(c);
				to_accept--;
				ready[l]!LISTENER;
				goto next
			:: else
			fi;
#endif
			/* forget. The kernel resets what is in the backlog now. */
			atomic {
				listens = false;
				accepts = false;
				do
				:: len(backlog) > 0 ->
					backlog?c;
					assert(!promised[c] || state != STOPPING)
				:: else -> break
				od;
				c = 0;
				to_accept = UNCOUNTED;
				nlisteners--;
				check_locked();
				unlock_group();
				unref()
			}
		:: item == SWEEPER ->
			/* sweep_by_force: one is as many as live here. It goes over the list
			 * once more, as SETTLER. */
			atomic {
				TOUCH;
				if
				:: CONN_OF(l) < NCONNS && on_roster[CONN_OF(l)] ->
					end_conn(CONN_OF(l))
				:: else
				fi
			}
#ifdef DROP_SETTLERS
			atomic { unref() }
#else
#ifdef DROP_SETTLER_BEHIND
			atomic { unsettled--; check_locked(); unlock_group() }
			atomic { unref() }
#else
			ready[l]!SETTLER
#endif
#endif
#if END_IDLE
		:: item == ASKER ->
			/* sweep_by_asking */
			atomic {
				TOUCH;
				if
				:: CONN_OF(l) < NCONNS && on_roster[CONN_OF(l)] -> ask(CONN_OF(l))
				:: else
				fi
			}
			atomic { asking[l] = false; unasked--; check_locked(); unlock_group() }
			atomic { unref() }
#endif
		:: item == SETTLER ->
			/* sweep_by_force, when all have been ended */
			atomic { unsettled--; check_locked(); unlock_group() }
			atomic { unref() }
		fi;
next:		item = 0
	:: l == LISTENER_LOOP && !fetched && accepts && len(backlog) > 0 -> fetched = true
	:: CONN_OF(l) < NCONNS && event[CONN_OF(l)] ->
		/* conn_event */
		atomic {
			item = CONN_OF(l);
			event[item] = false;
			if
			:: phase[item] == DEAD
			:: phase[item] != DEAD && busy[item] -> wished[item] = true
			:: phase[item] != DEAD && !busy[item] ->
				busy[item] = true;
				wished[item] = true;
				at_work[item] = true
			fi;
			item = 0
		}
	:: l == 0 && in_alarms ->
		/* take_alarms */
		atomic { TOUCH; in_alarms = false }
		atomic { TOUCH; listed = false; in_heap = false }
		atomic { TOUCH; in_heap = due != NEVER }
	:: l == 0 && !in_alarms && in_heap ->
		/* ring_alarms, stt_stop_ring */
		atomic { TOUCH; in_heap = false; due = NEVER }
		atomic {
			TOUCH;
#ifdef DROP_ALARM_REF
			alarm_armed = false;
#endif
			if
			:: state == STOPPING -> begin_force_locked(); forces = true
			:: state == STOPPING && rings_early -> rings_early = false; arm_locked()
			:: state != STOPPING
			fi;
#ifndef DROP_ALARM_REF
#ifndef DROP_ALARM_LISTED
			if
			:: listed && due == NEVER -> stt_alarm_set(NOW)
			:: else
			fi;
#endif
			rings_again = due != NEVER;
			alarm_armed = rings_again
#endif
		}
		if
		:: forces -> forces = false; force()
		:: else
		fi;
		atomic {
			if
			:: !rings_again -> unref()
			:: else
			fi;
			rings_again = false
		}
	od
}

/* Runs a handler of connection `me`. */
inline handle()
{
	atomic { TOUCH; assert(!released); handlers++ }
	if
	:: handlers_return
	:: skip
	fi;
#if INSIDE
	if
	:: me == 0 && !acted && phase[me] != ENDED ->
		acted = true;
#if INSIDE == 1
		if
		:: stt_group_stop(NOW)
		:: stt_group_stop(NEVER)
		fi
#else
		user_ready;
		stt_group_free()
#endif
	:: else
	fi;
#endif
	atomic { assert(!released); handlers-- }
}

/* Whoever works on connection `me`: act in serve.c */
proctype Conn(byte me)
{
	byte c, k, this_run;
	bool forces;
	bool inside = true;
#ifdef DROP_LOOK_AGAIN
	bool just_opened;
#endif

end_idle:
	do
	:: at_work[me] ->
		do
		:: wished[me] = false;
			if
			:: phase[me] == BORN && !ended[me] ->
				opened[me] = true;
				handle();
#ifdef DROP_LOOK_AGAIN
				just_opened = true;
#endif
				phase[me] = OPEN
			:: else
			fi;
#if END_IDLE
			/* end_if_idle */
#ifdef DROP_LOOK_AGAIN
			if
			:: phase[me] == OPEN && ends_idle && !just_opened -> ended[me] = true
			:: else
			fi;
			just_opened = false;
#else
			if
			:: phase[me] == OPEN && ends_idle -> ended[me] = true
			:: else
			fi;
#endif
#endif
			if
			:: ended[me] && phase[me] != ENDED ->
				/* run_last_handler */
				phase[me] = ENDED;
				if
				:: opened[me] -> last_handlers[me]++; handle()
				:: else
				fi;
				/* note_ended */
				atomic {
					alive[me] = false;
					live--;
					check_locked();
					unlock_group()
				}
				/* stt_conn_die: when it has lingered for long enough */
				atomic {
					on_roster[me] = false;
					open = open - (run_of[me] == runs);
					check_locked();
					unlock_group()
				}
				phase[me] = DEAD;
				atomic { at_work[me] = false; unref(); break }
			:: else
			fi;
			/* stt_conn_let_go */
			if
			:: atomic { !wished[me] -> busy[me] = false; at_work[me] = false; break }
			:: wished[me]
			fi
		od
	od
}

/* Connects, while somebody listens; it sends FIN now, or when everything else stands still. */
proctype Peer(byte me)
{
	if
	:: atomic { listens -> backlog!me }
		if
		:: skip
		:: handlers_return
		fi;
#if !END_IDLE
end_open:	atomic { phase[me] == OPEN -> ended[me] = true; event[me] = true }
#endif
	:: skip
	fi
}

/* sttcp_server_start: stt_group_begin */
inline start()
{
	atomic {
		ref();
		if
		:: MAY_START ->
			assert(handlers == 0);
			runs++;
			open = 0;
			stop_at = NEVER;
			stop_pending = false;
			enter_locked(STARTING);
			started = true
		:: else -> started = false	/* -EBUSY */
		fi
	}
	if
	:: started ->
		/* stt_listener_join, stt_listener_add: the kernel takes connections. */
		atomic { ref(); nlisteners++; listens = true }
#ifdef DROP_ACCEPT_LATER
		accepts = true;
#endif
		/* stt_group_run */
		atomic { TOUCH; started = stop_pending; enter_locked(RUNNING); accepts = true }
		if
		:: started -> stt_group_begin_stop(pending_limit)
		:: else
		fi;
		started = true
	:: else
	fi;
	atomic { unref() }
}

/* The thread that has the handle */
proctype User()
{
	byte c, k, this_run;
	bool forces, started;
	bool inside = false;

	do
	:: runs < NRUNS ->
		start();
		if
		:: !started -> break
		:: else
		fi;
#if INSIDE == 2
		/* The handle is the handler's now, but a call that has begun goes on. */
		if
		:: stt_group_stop(NEVER)
		:: user_ready = true
		fi;
		break
#else
		/* And so on, or straight to free */
		if
		:: stt_group_stop(NOW)
		:: stt_group_stop(LATER)
		:: stt_group_stop(NEVER)
		:: skip -> break
		fi
#endif
	:: else -> break
	od;
#if INSIDE != 2
	users_done || !SECOND;
	stt_group_free()
#endif
}

/* Another thread, that stops, too */
proctype SecondUser()
{
	byte c, k, this_run;
	bool forces;
	bool inside = false;

	if
	:: stt_group_stop(NOW)
	:: stt_group_stop(SOON)
	:: skip
	fi;
	users_done = true
}

/* release_on_pool */
proctype Pool()
{
end_idle:
	do
	:: releasing -> releasing = false; release()
	od
}

bool judged;
#ifdef LIVE
ltl comes_to_rest { <> judged }
#endif

/* Nothing moves while the handlers block; then they return. */
proctype Judge()
{
	byte i;

	timeout;
	assert(waits == 0);
	handlers_return = true;

	timeout;
	for (i : 0 .. NCONNS - 1) {
		assert(last_handlers[i] == opened[i] || !released);
		assert(phase[i] == NOT_THERE || phase[i] == DEAD || !released);
		assert(last_handlers[i] <= 1)
	}
	assert(released == (INSIDE != 2 || acted));
	assert(freed || !released);
	assert(!releasing && handlers == 0);
	judged = true
}

init {
	byte i;

	atomic {
		for (i : 0 .. NLOOPS - 1) {
			run Loop(i)
		}
		for (i : 0 .. NCONNS - 1) {
			run Conn(i);
			run Peer(i)
		}
		run User();
#if SECOND
		run SecondUser();
#endif
		run Pool();
		run Judge()
	}
}
