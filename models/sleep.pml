/* SPDX-License-Identifier: MIT */
/*
 * The monitor's sleep (monitor.c, monitor.h, loop.c), with the store buffers of
 * x86 made explicit: a store enters the buffer of the CPU that makes it, and
 * reaches the memory some time later. A sequentially consistent store and every
 * read-modify-write wait until that buffer is empty. A load sees the memory; no
 * process here loads what it has a store on the way for.
 *
 * Proven: a handler that blocks is always seen, so that a sleeping monitor never
 * leaves a loop standing; what starves is always tried again; a post is never
 * left over; and when there is nothing to do the monitor sleeps.
 */
#ifndef NLOOPS
#define NLOOPS 1
#endif
#ifndef NEVENTS
#define NEVENTS 2		/* for each loop */
#endif
#ifndef NSTARVES
#define NSTARVES 1
#endif
#define QUIET_LOOKS 1
#ifdef DROP_WAKE
#define DROPPED_WAKE true
#else
#define DROPPED_WAKE false
#endif

/* The processes that have a buffer. */
#define MONITOR NLOOPS
#define STARVER (NLOOPS + 1)
#define NCPUS (NLOOPS + 2)

/* The variables. WORD is 1 while the loop's word has the bit IN_TURN. */
#define WAITING(l) (l)
#define WORD(l) (NLOOPS + (l))
#define ASLEEP (2 * NLOOPS)
#define STARVED (2 * NLOOPS + 1)
#define NVARS (2 * NLOOPS + 2)

byte mem[NVARS];
chan buffer[NCPUS] = [3] of { byte, byte };

byte sem;			/* monitor.wake */
byte taken[NLOOPS];		/* the turn was taken over */
byte starves;			/* of the pool, that nobody has tried again */

#define STORE(cpu, var, val) buffer[cpu]!var, val
#define FENCE(cpu) empty(buffer[cpu])

/* Stores leave a buffer in order, at any time. */
proctype Drain(byte cpu)
{
	byte var, val;
end:
	do
	:: atomic { buffer[cpu]?var, val -> mem[var] = val; var = 0; val = 0 }
	od
}

/* stt_monitor_wake */
inline stt_monitor_wake(cpu)
{
	if
	:: DROPPED_WAKE -> skip
	:: !DROPPED_WAKE && mem[ASLEEP] ->
		atomic {
			FENCE(cpu) ->
			if
			:: mem[ASLEEP] -> mem[ASLEEP] = 0; posts = true
			:: else
			fi
		}
		if
		:: posts -> sem++; assert(sem <= 1); posts = false
		:: else
		fi
	:: else
	fi
}

/* stir */
inline stir(l)
{
	STORE(l, WAITING(l), 0);
#ifndef DROP_LOOP_FENCE
	FENCE(l);
#endif
	stt_monitor_wake(l)
}

/* stt_loop_run: wait_for_events, then a turn. Whoever takes over goes on in this process. */
proctype Loop(byte l)
{
	byte events = NEVENTS;
	bool posts = false;

	do
	:: STORE(l, WAITING(l), 1);		/* a release store */
end_wait:	events > 0;			/* stt_poller_wait */
		events--;
		if
		:: stir(l)			/* an event of an actor */
		:: goto end_wait		/* the timer alone, and no alarm has brought work */
		:: skip				/* one has: stir_late, in ring_alarms or take_ready */
#ifndef DROP_LATE_STIR
			stir(l)
#endif
		fi;

		STORE(l, WORD(l), 1);		/* stt_turn_begin: a release store */
		if
		:: skip -> taken[l]		/* a handler that blocks: nothing else ends it */
		:: skip				/* or a quick one */
		fi;
		/* stt_turn_end: a compare-and-swap, which fails after a take-over. */
		atomic { FENCE(l) -> mem[WORD(l)] = 0; taken[l] = 0 }
	od
}

/* A thread that wants another one from the pool and cannot have it: starve in pool.c. */
proctype Starver()
{
	byte left = NSTARVES;
	bool posts = false;

	do
	:: left > 0 ->
		left--;
		starves++;
		STORE(STARVER, STARVED, 1);
#ifndef DROP_STARVED_FENCE
		FENCE(STARVER);
#endif
		stt_monitor_wake(STARVER)
	:: else -> break
	od
}

/* look, look_at and take_over: the latter needs an heir, which stands ready here. */
inline look()
{
	busy = false;
	l = 0;
	do
	:: l < NLOOPS ->
		if
		:: mem[WORD(l)] ->
			busy = true;
			atomic {
				FENCE(MONITOR) ->
				if
				:: mem[WORD(l)] -> taken[l] = 1
				:: else
				fi
			}
		:: else ->
			if
			:: !mem[WAITING(l)] -> busy = true
			:: else
			fi
		fi;
		l++
	:: else -> break
	od;
	l = 0
}

/* run_monitor and sleep_until_woken */
proctype Monitor()
{
	byte l, quiet;
	bool busy, waits;

	do
	:: look();
		if
		:: busy -> quiet = 0
		:: else -> quiet++
		fi;
		/* stt_pool_retry */
		if
		:: mem[STARVED] -> atomic { FENCE(MONITOR) -> mem[STARVED] = 0; starves = 0 }
		:: else
		fi;
		if
		:: quiet < QUIET_LOOKS -> skip
		:: else ->
			quiet = 0;
			STORE(MONITOR, ASLEEP, 1);
#ifndef DROP_MONITOR_FENCE
			FENCE(MONITOR);
#endif
#ifdef DROP_LAST_LOOK
			busy = false;
			waits = true;
#else
			look();
			waits = false;
			if
			:: busy
			:: else ->
				if
				:: mem[STARVED]
				:: else -> waits = true
				fi
			fi;
#endif
			if
			:: waits ->
end_sleep:			sem > 0;
				sem--
			:: else ->
				/* Whoever clears the flag posts. */
				atomic {
					FENCE(MONITOR) ->
					waits = !mem[ASLEEP];
					mem[ASLEEP] = 0
				}
#ifndef DROP_POST
				if
				:: waits -> sem > 0; sem--
				:: else
				fi
#endif
			fi;
			waits = false;
			busy = false
		fi
	od
}

bool judged;
#ifdef LIVE
ltl comes_to_rest { <> judged }
#endif

/* Nothing can move any more: everybody waits for events, and the monitor sleeps. A loop that stands
 * in a handler is an invalid end state. */
proctype Judge()
{
	byte l;

	timeout;
	assert(starves == 0);
	assert(mem[ASLEEP]);
	assert(sem == 0);
	for (l : 0 .. NLOOPS - 1) {
		assert(mem[WAITING(l)])
	};
	judged = true
}

init {
	byte i;

	atomic {
		for (i : 0 .. NCPUS - 1) {
			run Drain(i)
		}
		for (i : 0 .. NLOOPS - 1) {
			run Loop(i)
		}
		run Starver();
		run Monitor();
		run Judge()
	}
}
