/* SPDX-License-Identifier: MIT */
/*
 * Turns, take-overs, heirs and the pool (turn.h, pool.c, heirs.c, monitor.c, and the
 * rounds of loop.c). One loop with its word, its batch of events and its lists;
 * handlers that are quick, or block until everything else stands still; threads
 * that cannot be had, and threads that leave.
 *
 * Proven: a loop is never without an owner and never has two; every event that
 * was fetched is handled exactly once, whoever owns the loop by then; with every
 * thread in a handler the loop still accepts; what waits for a thread gets one
 * as soon as there is one; and the threads stay under the cap. With DENIED no thread
 * can be created after the start: then those of the start do it all, and no heir
 * stands idle while something waits in the queue.
 */
#ifndef DENIED
#define DENIED 0
#endif
#ifndef MAX_THREADS
#define MAX_THREADS 1
#endif
#ifndef NFAILS
#define NFAILS 1		/* threads that cannot be created */
#endif
/* The tasks: what the kernel or another thread asks of the loop, each one once. */
#ifndef NBLOCK
#define NBLOCK 2		/* a message whose handler blocks */
#endif
#ifndef NRUN
#define NRUN 0			/* of these, how many another thread puts into the queue */
#endif
#ifndef NQUICK
#define NQUICK 1		/* one whose handler returns; its connection is requeued once */
#endif
#ifndef NACCEPT
#define NACCEPT 1		/* an event that needs no handler */
#endif
#define NTASKS (NBLOCK + NQUICK + NACCEPT)
#define BLOCKS(t) ((t) < NBLOCK)
#define ACCEPTS(t) ((t) >= NBLOCK + NQUICK && (t) < NTASKS)
#define BATCH 2

/* Neither owner nor heir, and with the owner, the heir and what a race may add: see Worker. */
#ifndef MORE
#define MORE 1
#endif
#define MOST (MAX_THREADS + 2 + MORE)
#define NONE MOST

/* enum stt_role */
#define STT_OWNER 0
#define STT_HEIR 1
#define STT_POOL 2
/* The record is free */
#define GONE 3

/* struct stt_worker */
byte role[MOST] = GONE;
byte after_heir[MOST];
bool parked[MOST];
byte sem[MOST];
bool started[MOST];
bool blocked[MOST];		/* asleep in a handler */

/* struct stt_loop: the word is twice the owner, and one more in a turn. */
#define IN_TURN(w) (2 * (w) + 1)
#define OUT_OF_TURN(w) (2 * (w))
byte word;
byte heir = NONE;
#define THE_BATCH byte events[BATCH]; byte nevents, next_event;
#ifdef DROP_EVENTS_IN_LOOP
#define BATCH_IS_LOCAL THE_BATCH
#define STANDS_STILL true
#else
#define BATCH_IS_LOCAL
#define STANDS_STILL (next_event == nevents)
THE_BATCH
#endif
/* The loop's `heir_wanted` stands on its lists beside the tasks. */
#define GIVE_HEIR NTASKS
bool asked_for_heir;
chan ready = [NTASKS + 1] of { byte };
#define THE_CHAIN chan chain = [NTASKS + 1] of { byte };
#ifdef DROP_CHAIN_IN_LOOP
#define CHAIN_IS_LOCAL THE_CHAIN
#define CHAIN_IS_EMPTY true
#else
#define CHAIN_IS_LOCAL
#define CHAIN_IS_EMPTY empty(chain)
THE_CHAIN
#endif

/* struct stt_pool: each step of it is under its lock. */
chan queue = [NTASKS] of { byte };
short nthreads;			/* for a moment it may lag behind a take-over */
byte nparked, waking;
bool starved;

bool taking_over;		/* the monitor has the heir in its hand */

/* The environment, and what the assertions look at */
chan kernel = [NTASKS] of { byte };
byte fails = NFAILS;
byte rounds[NTASKS];		/* that are still to come */
bool released;			/* handlers that block may return */

#ifdef DROP_HEIR_BEHIND
#define HEIR_STANDS true
#else
#define HEIR_STANDS (heir != NONE)
#endif
#ifdef DROP_BECOME_HEIR
#define BECOMES_HEIR false
#else
#define BECOMES_HEIR true
#endif

/* Only the owner touches the loop, and only outside turns. */
#define OWN(w) assert(word == OUT_OF_TURN(w))

/* stt_pool_spawn: `w` is NONE when no thread is to be had. */
inline spawn(w, as)
{
	w = 0;
	do
	:: role[w] == GONE -> break
	:: else -> w++; assert(w < MOST)
	od;
	if
	:: !DENIED -> role[w] = as; started[w] = true
	:: DENIED -> w = NONE
	:: !DENIED && fails > 0 -> fails--; w = NONE
	fi
}

/* call_worker_locked: `need` is a thread. The code wakes the last one that parked, this the first one found. */
inline call_worker_locked(need, w)
{
	need = false;
	if
	:: len(queue) == 0 || waking > 0
	:: len(queue) > 0 && waking == 0 && nparked > 0 ->
		select_parked(w);
		waking++;
		role[w] = STT_POOL;
		sem[w]++;
		w = 0
	:: len(queue) > 0 && waking == 0 && nparked == 0 && nthreads < MAX_THREADS ->
		nthreads++;
		waking++;
		need = true
	:: else
	fi
}

inline select_parked(w)
{
	w = 0;
	do
	:: parked[w] -> parked[w] = false; nparked--; break
	:: else -> w++
	od
}

/* stt_pool_ask_for_heir: true if the loop was asked. */
inline ask_for_heir(asked)
{
	asked = false;
#ifdef DROP_GIVE_OUTSIDE_TURN
	/* Takes it, in the midst of a turn or not. */
	atomic {
		if
		:: heir != NONE -> asked = true; nthreads++; after_heir[heir] = STT_POOL; sem[heir]++; heir = NONE
		:: else
		fi
	}
#else
#ifndef DROP_ASK_FOR_HEIR
	if
	:: heir != NONE ->
		asked = true;
		atomic {
			if
			:: !asked_for_heir -> asked_for_heir = true; ready!GIVE_HEIR
			:: else
			fi
		}
	:: else
	fi
#endif
#endif
}

/* give_heir */
inline give_heir(w)
{
	OWN(me);
#ifndef DROP_FLAG_FIRST
	asked_for_heir = false;
#endif
	atomic {
		if
		:: len(queue) > 0 && waking == 0 -> w = 1
		:: else -> w = 0
		fi
	}
#ifdef DROP_FLAG_FIRST
	asked_for_heir = false;
#endif
	if
	:: w == 1 ->
		atomic { w = heir; heir = NONE }
		if
		:: w != NONE -> return_heir(w)
		:: else ->
			/* stt_pool_call_worker: it went to a take-over. */
			w = 0;
#ifndef DROP_CALL_AGAIN
			atomic { call_worker_locked(need, w) }
			serve_need(need, w)
#endif
		fi
	:: else
	fi;
	w = 0
}

/* serve_need and starve */
inline serve_need(need, w)
{
	if
	:: need ->
		atomic { spawn(w, STT_POOL) }
		if
		:: w == NONE ->
			atomic { nthreads--; waking--; need = len(queue) > 0 }
			if
			:: need ->
				ask_for_heir(need);
				if
				:: !need -> starved = true
				:: else
				fi
			:: else
			fi
		:: else
		fi;
		w = 0;
		need = false
	:: else
	fi
}

/* stt_pool_find_heir */
inline find_heir(w)
{
	atomic {
		if
		:: nparked > 0 ->
			select_parked(w);
			nthreads--;
			role[w] = STT_HEIR;
			sem[w]++
		:: nparked == 0 && nthreads < MAX_THREADS -> w = MOST + 1
		:: else -> w = NONE
		fi
	}
	if
	:: w == MOST + 1 -> atomic { spawn(w, STT_HEIR) }
	:: else
	fi
}

/* stt_pool_return_heir */
inline return_heir(w)
{
	if
	:: w == NONE
	:: else -> atomic { nthreads++ } atomic { after_heir[w] = STT_POOL; sem[w]++ }
	fi
}

/* The connection of a task is worked on by a worker that owns it: its handlers and what follows. */
inline serve()
{
	if
	:: has_loop ->
		OWN(me);
		word = IN_TURN(me)			/* stt_turn_begin */
	:: else
	fi;
#ifdef DROP_TURN_SCOPE
	finish();
#endif
	if
	:: BLOCKS(task) && !released ->
		blocked[me] = true;
		released;
		blocked[me] = false
	:: else
	fi;
	/* stt_turn_end */
	if
	:: has_loop ->
		atomic {
			if
			:: word == IN_TURN(me) -> word = OUT_OF_TURN(me)
			:: else -> has_loop = false
			fi
		}
	:: else
	fi;
#ifndef DROP_TURN_SCOPE
	finish()
#endif
}

/* Lets go of the connection, or stt_loop_push. */
inline finish()
{
	assert(rounds[task] > 0);
	if
	:: atomic { rounds[task] == 1 -> rounds[task] = 0 }
	:: atomic { rounds[task] > 1 && has_loop -> rounds[task]--; OWN(me); chain!task }
	:: atomic { rounds[task] > 1 && !has_loop -> rounds[task]--; ready!task }
	fi
}

/* stt_loop_run, and then work_pool until the thread is to be an heir or leaves. */
proctype Worker(byte me)
{
	byte task, w;
	bool has_loop, need, called;
	BATCH_IS_LOCAL
	CHAIN_IS_LOCAL

gone:
end_gone:
	started[me];
	atomic { started[me] = false; called = role[me] == STT_POOL }

	do
	:: role[me] == STT_HEIR ->
end_heir:	atomic { sem[me] > 0 -> sem[me]--; role[me] = after_heir[me]; after_heir[me] = 0; called = false }
	:: role[me] == STT_OWNER ->
		/* The old owner is in a turn that it has lost, or is this very worker. */
		has_loop = true;
		do
		:: !has_loop -> break
		:: has_loop && next_event < nevents ->
			/* work_events */
			atomic {
				OWN(me);
				task = events[next_event];
				events[next_event] = 0;
				next_event++;
				if
				:: next_event == nevents -> next_event = 0; nevents = 0
				:: else
				fi
			}
			goto dispatch
		:: has_loop && next_event == nevents ->
			/* take_ready and work_chain */
			atomic {
				OWN(me);
				do
				:: len(ready) > 0 -> ready?task; chain!task
				:: else -> break
				od;
				task = 0
			}
			if
			:: len(chain) > 0 -> chain?task; goto dispatch
			:: len(chain) == 0 || len(kernel) > 0
			fi;
			/* wait_for_events */
end_wait:		atomic {
				len(kernel) > 0 || len(chain) > 0 || len(ready) > 0 ->
				OWN(me);
				nevents = 0;
				next_event = 0;
				do
				:: nevents < BATCH && len(kernel) > 0 -> kernel?task; events[nevents] = task; nevents++
				:: nevents > 0 || len(kernel) == 0 -> break
				od;
				task = 0
			}
			goto next;
dispatch:
			/* serve, with stt_loop_storm_now: a storm may come at any time. */
			if
			:: task == GIVE_HEIR -> give_heir(w)
			:: ACCEPTS(task) -> atomic { OWN(me); rounds[task]-- }
			:: task < GIVE_HEIR && !ACCEPTS(task) && HEIR_STANDS -> serve()
			:: task < GIVE_HEIR && !ACCEPTS(task) ->
				/* stt_pool_push */
				atomic { queue!task; call_worker_locked(need, w) }
				serve_need(need, w)
			fi;
			task = 0;
next:			skip
		od;
		role[me] = STT_POOL;
		called = false
	:: role[me] == STT_POOL ->
		atomic {
			if
			:: called -> waking--; called = false
			:: else
			fi;
			if
			:: len(queue) > 0 -> queue?task; call_worker_locked(need, w); w = 1
			:: len(queue) == 0 && heir == NONE && BECOMES_HEIR ->
				/* become_heir_locked */
				role[me] = STT_HEIR;
				heir = me;
				nthreads--;
				w = 2
			:: else ->
				/* park_locked */
				assert(heir != NONE || taking_over);
				parked[me] = true;
				nparked++;
				w = 3
			fi
		}
		if
		:: w == 1 ->
			w = 0;
			serve_need(need, w);
			serve();				/* conn_on_pool */
			task = 0
		:: w == 2 -> w = 0
		:: w == 3 ->
			w = 0;
			if
			:: atomic { sem[me] > 0 -> sem[me]--; called = role[me] == STT_POOL }
			:: atomic {
					/* Five seconds have passed. */
					parked[me] ->
					parked[me] = false;
					nparked--;
					nthreads--;
					role[me] = GONE
				}
				goto gone
			fi
		fi
	od
}

/* look_at and take_over; stt_pool_retry. A look that can change nothing is left out. */
#define CAN_SPAWN (!DENIED && nthreads < MAX_THREADS)
#ifdef DROP_ASK_FOR_HEIR
#define CAN_GIVE false
#else
#define CAN_GIVE (heir != NONE)
#endif
#define CAN_FIND (nparked > 0 || CAN_SPAWN)
proctype Monitor()
{
	byte owner, old, next;
	bool need;

end_look:
	do
	:: (word & 1) && (heir != NONE || CAN_FIND) ->
		atomic { owner = word / 2; taking_over = true }
		find_heir(next);
		atomic { old = heir; heir = next }
		if
		:: old == NONE -> taking_over = false
		:: old != NONE ->
			atomic {
				if
				:: word == IN_TURN(owner) -> word = OUT_OF_TURN(old); owner = NONE
				:: else
				fi
			}
			if
			:: owner == NONE ->
				/* stt_pool_promote_heir */
				nthreads++;
				atomic {
					taking_over = false;
					after_heir[old] = STT_OWNER;
					sem[old]++
				}
			:: else ->
				/* The handler has just returned. */
				atomic {
					if
					:: heir == next -> heir = old
					:: else -> next = old
					fi;
					taking_over = false
				}
				return_heir(next)
			fi
		fi;
		atomic { owner = 0; old = 0; next = 0 }
#ifndef DROP_RETRY
	:: heir == NONE && CAN_FIND ->
		find_heir(next);
		if
		:: atomic { heir == NONE && next != NONE -> heir = next }
		:: else -> return_heir(next)
		fi;
		next = 0
	:: starved && (!DENIED || CAN_GIVE || nparked > 0 || len(queue) == 0) ->
		starved = false;
		atomic { call_worker_locked(need, next) }
		serve_need(need, next)
#endif
	od
}

#if NRUN
/* sttcp_run */
proctype Program()
{
	byte task, w;
	bool need;

	for (task : 0 .. NRUN - 1) {
		atomic { queue!task; call_worker_locked(need, w) }
		serve_need(need, w)
	}
}
#endif

bool judged;
#ifdef LIVE
ltl comes_to_rest { <> judged }
#endif

/* Nothing moves any more while the handlers block; then they return. */
proctype Judge()
{
	byte t;

	timeout;
	assert(empty(kernel) && empty(ready) && CHAIN_IS_EMPTY && STANDS_STILL);
	for (t : NBLOCK + NQUICK .. NTASKS - 1) {
		assert(rounds[t] == 0)
	}
	/* Only handlers wait, and only for want of threads. */
	assert(empty(queue) || nthreads >= MAX_THREADS || DENIED);
	assert(heir != NONE || nthreads >= MAX_THREADS || DENIED);
	assert(empty(queue) || nthreads >= MAX_THREADS || (heir == NONE && nparked == 0));
	released = true;

	timeout;
	for (t : 0 .. NTASKS - 1) {
		assert(rounds[t] == 0)
	}
	assert(empty(queue) && waking == 0 && nthreads == nparked && heir != NONE);
	judged = true
}

init {
	byte i, nblock, nquick, naccept;

	atomic {
		/* The tasks come in any order. */
		do
		:: nblock < NRUN -> rounds[nblock] = 1; nblock++
		:: nblock >= NRUN && nblock < NBLOCK -> kernel!nblock; rounds[nblock] = 1; nblock++
		:: nquick < NQUICK -> i = NBLOCK + nquick; kernel!i; rounds[i] = 2; nquick++
		:: naccept < NACCEPT ->
			i = NBLOCK + NQUICK + naccept;
			kernel!i;
			rounds[i] = 1;
			naccept++
		:: else -> break
		od;
		/* start_threads: an heir may be missing. */
		role[0] = STT_OWNER;
		started[0] = true;
		word = OUT_OF_TURN(0);
		if
		:: heir = 1; role[1] = STT_HEIR; started[1] = true
		:: !DENIED && fails > 0 -> fails--
		fi;
		for (i : 0 .. MOST - 1) {
			run Worker(i)
		}
		run Monitor();
#if NRUN
		run Program();
#endif
		run Judge()
	}
}
