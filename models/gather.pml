/* SPDX-License-Identifier: MIT */
/*
 * Gathering (read.c, output.c, flush.c, loop.c): a worker delivers several messages of
 * one read, and what their handlers send is queued until the end; a handler may
 * block at any message, until its peer has all that was sent before. The monitor
 * may take the loop over in any turn, blocked or not.
 *
 * Proven: whoever blocks gets what it waits for, also when it sends and waits
 * once more; nothing stays queued; and the heir touches no connection that is
 * gone.
 */
#ifndef NMESSAGES
#define NMESSAGES 3
#endif
#ifndef NBLOCKS
#define NBLOCKS 2		/* how often handlers block, at most */
#endif

bool owned = true;		/* loop->word: the worker's, else the heir's */
bool in_turn;
bool current;			/* loop->current */
bool lock;			/* output.lock */
bool gathers;			/* output.gathers */
byte queued, sent, all;
bool closed, freed, done;

inline acquire() { atomic { !lock -> lock = true } }
inline release() { lock = false }

inline stop_gathering()
{
	assert(!freed);
	acquire();
#ifdef DROP_CLEAR_FLAG
	if
	:: done_here -> gathers = false
	:: else
	fi;
#else
	gathers = false;
#endif
	sent = sent + queued;
	queued = 0;
	release()
}

inline send()
{
	acquire();
	if
	:: gathers -> queued++
	:: else -> assert(queued == 0); sent++
	fi;
	all++;
	release()
}

active proctype worker()
{
	byte n, blocks;
	bool lost;		/* worker->loop is NULL */
	bool done_here;

#ifndef DROP_CURRENT_FIRST
	current = true;
#endif
	acquire();
	gathers = true;
	release();
	do
	:: n < NMESSAGES ->
		if
		:: !lost -> in_turn = true
		:: else
		fi;
#ifdef DROP_CURRENT_FIRST
		if
		:: !lost && owned && n == 0 -> current = true
		:: else
		fi;
#endif
		send();
		do
		:: blocks < NBLOCKS ->
			blocks++;
			sent == all;	/* blocks until its peer has it all */
			send()
		:: break
		od;
		atomic {
			if
			:: !lost && owned -> in_turn = false
			:: else -> lost = true
			fi
		};
		n++
	:: else -> break
	od;
	if
	:: !lost -> current = false
	:: else
	fi;
	done_here = true;
#ifndef DROP_TURN_END
	stop_gathering();
#endif
	/* It may close the connection, which the loop drops when it works its lists. */
	closed = true;
	done = true
}

active proctype monitor()
{
	do
	:: atomic { in_turn && owned -> owned = false; in_turn = false } ->
		run heir();
		break
	:: done -> break
	od
}

proctype heir()
{
	bool done_here;

#ifdef DROP_FLUSH_FIRST
	if
	:: closed -> freed = true
	:: true
	fi;
#endif
#ifndef DROP_HEIR_FLUSH
	if
	:: current -> stop_gathering()
	:: else
	fi;
#endif
	current = false;
	if
	:: closed -> freed = true
	:: true
	fi
}

active proctype end()
{
	done -> assert(queued == 0 && sent == all)
}
