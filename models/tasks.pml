/* SPDX-License-Identifier: MIT */
/*
 * The tasks of a connection (tasks.c, run_tasks.c, and what serve.c, deadlines.c
 * and ending.c do with them). One thread gives a task to be run, and a handler of
 * the connection gives one for later; another thread gives one for a still later
 * time, and may cancel it; a third ends the connection at any moment, or never.
 *
 * Proven: a task that was taken is freed exactly once, and not while it runs; all
 * is freed before the release; what is due runs while the connection is open; and
 * nothing is taken after the end.
 */
#ifndef WITH_END
#define WITH_END 1
#endif

#define RUN 0
#define OWN 1		/* for time 1: given in the handler of a message */
#define OTHER 2		/* for time 2 */
#define NTASKS 3
#define NEVER 3

/* What a task is */
#define NOT_GIVEN 0
#define REFUSED 1
#define QUEUED 2
#define TIMED 3
#define RUNNING 4
#define OVER 5		/* its free_fn is about to run, or runs */
#define FREED 6

byte state[NTASKS];
byte frees[NTASKS];
bool ran[NTASKS];
bool cancelled;		/* OTHER */
byte now;

/* struct sttcp_conn. All but the word and the alarm's time is under the output lock. */
bool busy, wish_read, wish_tasks, wish_close;
bool ended, released;
byte nfreeing;
byte due = NEVER;	/* of the alarm */

bool in_ready;
byte at[NTASKS];

#define QUEUE (state[RUN] == QUEUED || state[OWN] == QUEUED || state[OTHER] == QUEUED)
#define WAITS(t) (state[t] == QUEUED || state[t] == TIMED)

/* stt_conn_ask */
inline ask(wish)
{
	atomic {
		wish = true;
		if
		:: !busy -> busy = true; assert(!in_ready); in_ready = true
		:: else
		fi
	}
}

/* The free_fn of one that is over. */
inline free_it(t)
{
	assert(state[t] == OVER);
	frees[t]++;
	assert(frees[t] == 1 && !released);
	state[t] = FREED
}

inline set_alarm(when)
{
	if
	:: when < due -> due = when
	:: else
	fi
}

active proctype peer()
{
	ask(wish_read)
}

active proctype giver()
{
	bool tells;

	atomic {
#ifdef DROP_ENDED
		tells = !QUEUE; state[RUN] = QUEUED
#else
		if
		:: ended -> state[RUN] = REFUSED
		:: else -> tells = !QUEUE; state[RUN] = QUEUED
		fi
#endif
	};
#ifndef DROP_TELL_QUEUED
	if
	:: tells -> ask(wish_tasks)
	:: else
	fi
#endif
}

active proctype canceller()
{
	bool mine, last;

	atomic {
		if
		:: state[OTHER] = REFUSED	/* it does nothing at all */
		:: ended -> state[OTHER] = REFUSED
		:: !ended -> state[OTHER] = TIMED; set_alarm(2)
		fi
	};
	atomic {
		if
		:: WAITS(OTHER) ->
			state[OTHER] = OVER; mine = true;
#ifndef DROP_FREEING
			nfreeing++
#endif
		:: state[OTHER] == RUNNING ->
			cancelled = true;
#ifdef DROP_RUNNING
			state[OTHER] = OVER; mine = true; nfreeing++
#endif
		:: true		/* it does not, or it is over already */
		fi
	};
	if
	:: mine ->
		free_it(OTHER);
#ifndef DROP_FREEING
		atomic { nfreeing--; last = !nfreeing && ended };
#ifndef DROP_TELL_FREED
		if
		:: last -> ask(wish_close)
		:: else
		fi
#endif
#endif
	:: else
	fi
}

#if WITH_END
active proctype ender()
{
	ended = true;
	ask(wish_close)
}
#endif

active proctype clock()
{
	now = 1;
	now = 2
}

/* stt_deadlines_ring, on the loop, also while the owner is at work in the pool. */
active proctype ring()
{
	byte next;

end:	do
	:: due <= now ->
		next = NEVER;
#ifndef DROP_FORGET_FIRST
		due = NEVER;
#endif
		atomic {
			if
			:: !ended && state[OWN] == TIMED -> next = 1
			:: !ended && state[OWN] != TIMED && state[OTHER] == TIMED -> next = 2
			:: else
			fi
		};
#ifdef DROP_FORGET_FIRST
		due = NEVER;
#endif
		if
		:: next <= now -> ask(wish_tasks)
		:: next > now && next < NEVER -> atomic { set_alarm(next) }
		:: else
		fi
	od
}

/* By the connection's own handler: nothing can run before it returns, and so the owner sets the
 * alarm. */
inline give_own()
{
	atomic {
		if
		:: ended -> state[OWN] = REFUSED
		:: else ->
			state[OWN] = TIMED;
#ifndef DROP_OWN_WISH
			if
			:: 1 < due -> wish_tasks = true
			:: else
			fi
#endif
		fi
	}
}

/* In the call of a task, and what follows it. */
inline call(t)
{
	assert(state[t] == RUNNING && frees[t] == 0 && !released);
	ran[t] = true;
	atomic {
		if
		:: state[t] == RUNNING -> state[t] = OVER
		:: else
		fi
	};
	free_it(t)
}

/* stt_tasks_take: what is due goes to the queue, and the first comes off it. */
inline take()
{
	atomic {
		if
		:: state[OWN] == TIMED && now >= 1 -> state[OWN] = QUEUED
		:: else
		fi;
		if
		:: state[OTHER] == TIMED && now >= 2 -> state[OTHER] = QUEUED
		:: else
		fi;
		if
		:: state[RUN] == QUEUED -> t = RUN
		:: state[OWN] == QUEUED -> t = OWN
		:: state[OTHER] == QUEUED -> t = OTHER
		:: else -> t = NTASKS
		fi;
		if
		:: t < NTASKS -> state[t] = RUNNING
		:: else
		fi
	}
}

/* Its share, of one task, is used up. */
inline settle()
{
	atomic {
		if
		:: QUEUE || (state[OWN] == TIMED && now >= 1) || (state[OTHER] == TIMED && now >= 2) ->
#ifndef DROP_WISH_AGAIN
			wish_tasks = true
#else
			skip
#endif
		:: else ->
#ifndef DROP_SETTLE
			if
			:: state[OWN] == TIMED -> set_alarm(1)
			:: state[OWN] != TIMED && state[OTHER] == TIMED -> set_alarm(2)
			:: else
			fi
#else
			skip
#endif
		fi
	}
}

/* stt_tasks_drop */
inline drop()
{
	atomic {
		if
		:: WAITS(RUN) -> t = RUN
		:: WAITS(OWN) -> t = OWN
		:: WAITS(OTHER) -> t = OTHER
		:: else -> t = NTASKS
		fi;
		if
		:: t < NTASKS -> state[t] = OVER
		:: else
		fi
	}
}

active proctype owner()
{
	byte t;
	bool reads;

end:	do
	:: atomic { in_ready -> in_ready = false };
	again:
		atomic {
			reads = wish_read;
			wish_read = false; wish_tasks = false; wish_close = false
		};
		if
		:: ended ->
			do
			:: drop();
				if
				:: t < NTASKS -> free_it(t)
				:: else -> break
				fi
			od;
			if
			:: nfreeing == 0 -> released = true; break	/* busy for ever */
			:: else
			fi
		:: else ->
			take();
			if
			:: t < NTASKS -> call(t)
			:: else
			fi;
			settle();
			/* Then comes the input, with a handler. */
			if
			:: reads -> give_own()
			:: else
			fi
		fi;
		if
		:: atomic { !wish_read && !wish_tasks && !wish_close -> busy = false }
		:: wish_read || wish_tasks || wish_close -> goto again
		fi
	od
}

active proctype at_rest()
{
	byte t;

	timeout;
#if WITH_END
	assert(released);
#else
	assert(state[RUN] == FREED && state[OWN] == FREED);
	assert(state[OTHER] == FREED || state[OTHER] == REFUSED);
	assert(ran[RUN] && ran[OWN]);
#endif
	do
	:: t < NTASKS ->
		assert(state[t] <= REFUSED || frees[t] == 1);
		t++
	:: else -> break
	od
}
