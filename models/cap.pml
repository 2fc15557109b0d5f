/* SPDX-License-Identifier: MIT */
/*
 * At max_threads (serve.c, pool.c): one thread for all. Two talkers always have
 * more to say; one handler blocks until a silent peer has been timed out; and a
 * newcomer waits in the pool's queue for its connection handler.
 *
 * Proven: nobody is worked on by two; who waits for the thread is not passed by
 * more than once by the same talker; and what says nothing is ended although no
 * thread is to be had.
 */
#ifndef NSAYS
#define NSAYS 3			/* how often a talker speaks */
#endif

#define TALKER_A 0
#define TALKER_B 1
#define BLOCKS 2		/* its handler waits until SILENT has ended */
#define SILENT 3		/* open, idle */
#define NEWCOMER 4		/* not opened yet */
#define NCONNS 5

chan queue = [NCONNS] of { byte };
bool queued[NCONNS];
bool busy[NCONNS];
bool wish[NCONNS];
byte owners[NCONNS];
byte passed[2];			/* by the other talker, while it waits */
bool silent_ended, newcomer_ended;

inline push(c)
{
	atomic { assert(!queued[c]); queued[c] = true; queue!c }
}

/* conn_event: a wish, and who finds it free hands it to the pool. */
inline speak(c)
{
	atomic {
		wish[c] = true;
		if
		:: !busy[c] -> busy[c] = true; push(c)
		:: else
		fi
	}
}

active proctype worker()
{
	byte c;

end:	do
	:: atomic { queue?c -> queued[c] = false; owners[c]++; assert(owners[c] == 1) };
	again:
		wish[c] = false;
		if
		:: c <= TALKER_B ->
			atomic {
				if
				:: queued[1 - c] ->
					passed[1 - c]++;
					assert(passed[1 - c] <= 1)
				:: else
				fi;
				passed[c] = 0
			}
		:: c == BLOCKS -> silent_ended	/* blocks */
#ifdef DROP_JUDGE_ON_LOOP
		:: c == SILENT -> silent_ended = true
#endif
		:: c == NEWCOMER -> newcomer_ended = true
		fi;
		/* It lets go, or goes round again, or gives the thread to those that wait. */
		if
		:: atomic { !wish[c] -> owners[c]--; busy[c] = false }
		:: wish[c] ->
			if
#ifndef DROP_YIELD
			:: nempty(queue) ->
				owners[c]--;
				push(c)
			:: empty(queue) -> goto again
#else
			:: goto again
#endif
			fi
		fi
	od
}

active [2] proctype talker()
{
	byte n;

	do
	:: n < NSAYS -> speak(_pid - 1); n++
	:: else -> break
	od
}

active proctype loop()
{
	speak(BLOCKS);
	/* Accepted while there is no thread. */
	atomic { busy[NEWCOMER] = true; push(NEWCOMER) };

	/* Their limits pass. */
	atomic { busy[SILENT] = true; owners[SILENT]++; assert(owners[SILENT] == 1) };
#ifdef DROP_JUDGE_ON_LOOP
	owners[SILENT]--;
	push(SILENT);
#else
	silent_ended = true;
	owners[SILENT]--;
	busy[SILENT] = false;
#endif
#ifdef DROP_TAKE_FROM_QUEUE
	/* As if a look at the queue would do. */
	if
	:: queued[NEWCOMER] -> owners[NEWCOMER]++; assert(owners[NEWCOMER] == 1); newcomer_ended = true; owners[NEWCOMER]--
	:: else
	fi
#else
	if
	:: atomic { queued[NEWCOMER] ->
			queue??eval(NEWCOMER);
			queued[NEWCOMER] = false;
			owners[NEWCOMER]++;
			assert(owners[NEWCOMER] == 1)
		};
		newcomer_ended = true;
		owners[NEWCOMER]--
	:: else
	fi
#endif
}

active proctype at_rest()
{
	timeout -> assert(silent_ended && newcomer_ended && empty(queue))
}
