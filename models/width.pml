/* SPDX-License-Identifier: MIT */
/*
 * The width (width.c, pool.c, monitor.c): of handlers that are not known to
 * block one is worked on at a time, and each waits for what stands behind it.
 *
 * Proven: whatever is put into the queue is worked on, although a handler waits
 * for one that is held back; and one that is known to block is not held back for
 * good when what stood in front of it is taken out.
 */
#ifndef NWORKERS
#define NWORKERS 3
#endif

#define FIRST 0			/* its handler waits until the other two are done with */
#define HELD 1			/* the loop may take it out again: its limit has passed */
#define PROVEN 2		/* known to block */
#define NACTORS 3

chan queue = [NACTORS] of { byte };
bool done[NACTORS];
byte nunproven, width = 1, nparked = NWORKERS, calls, ntaken, seen;
byte nwaiting;			/* handlers that wait */
bool waking, is_held, asleep = true;

/* What would be first in the queue, where the three come in this order. */
#define HEAD_PROVEN (len(queue) == 1 && queue??[PROVEN])
/* With no thread to be had it would wait in any case. */
#define HOLDS (len(queue) > 0 && nparked > 0 && nunproven >= width && !HEAD_PROVEN)

/* call_worker_locked, and what follows from it. */
inline call_worker()
{
	if
	:: HOLDS && !waking ->
		is_held = true;
#ifndef DROP_WAKE_MONITOR
		asleep = false
#endif
	:: len(queue) > 0 && !HOLDS && !waking && nparked > 0 ->
		nparked--;
		waking = true;
		calls++
	:: else
	fi
}

inline push(c)
{
	atomic { queue!c; call_worker() }
}

active [NWORKERS] proctype worker()
{
	byte c;

end:	do
	:: atomic { calls > 0 -> calls-- };
		waking = false;
	next:	atomic {
			if
			:: nempty(queue) ->
				queue?c;
				ntaken++;
				nunproven = nunproven + (c != PROVEN);
#ifndef DROP_CHAIN
				call_worker()
#endif
			:: empty(queue) -> nparked++; c = NACTORS
			fi
		};
		if
		:: c == FIRST ->
			nwaiting++;
			atomic { done[HELD] && done[PROVEN] -> nwaiting-- }
		:: else
		fi;
		if
		:: c < NACTORS ->
			atomic {
				done[c] = true;
				nunproven = nunproven - (c != PROVEN)
			};
			goto next
		:: else
		fi
	od
}

/* Looks only where it would find something new: the model has no time. */
active proctype monitor()
{
end:	do
	:: atomic { !asleep && is_held && !HOLDS -> is_held = false }
	:: atomic { !asleep && is_held && HOLDS && ntaken != seen -> seen = ntaken }
#ifndef DROP_WIDEN
	:: atomic { !asleep && is_held && HOLDS && ntaken == seen && nwaiting == nunproven ->
			width++;
			call_worker()
		}
#endif
	:: atomic { !asleep && !is_held -> asleep = true }
	od
}

active proctype loop()
{
	push(FIRST);
	push(HELD);
	push(PROVEN);
	if
	:: atomic { queue??[HELD] ->
			queue??eval(HELD);
			done[HELD] = true;
#ifndef DROP_TAKE_CALLS
			call_worker()
#endif
		}
	:: skip
	fi
}

active proctype at_rest()
{
	timeout -> assert(done[FIRST] && done[HELD] && done[PROVEN] && nunproven == 0)
}
