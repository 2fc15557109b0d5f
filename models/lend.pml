/* SPDX-License-Identifier: MIT */
/*
 * Gathering in the pool (lend.c): a worker that owns no loop shows in its
 * record what it gathers, with a reference; the monitor may swap it for LENT at
 * any time and ask the connection's loop to let go of it.
 *
 * Proven: whoever blocks gets what it waits for, also when it sends and waits
 * once more; nothing stays queued; the reference is dropped exactly once; and
 * nobody touches a connection that is gone.
 */
#ifndef NTURNS
#define NTURNS 2
#endif
#ifndef NMESSAGES
#define NMESSAGES 2
#endif
#ifndef NBLOCKS
#define NBLOCKS 2		/* how often handlers block, at most */
#endif

#define NULL 0
#define CONN 1
#define LENT 2

byte record;			/* worker->lends */
byte asked;			/* how often worker->lender stands on the loop's list */
byte refs = 1;			/* the loop's */
bool lock;			/* output.lock */
bool gathers;			/* output.gathers */
byte queued, sent, all;
bool dead, freed;

inline acquire() { atomic { !lock -> lock = true } }
inline release() { lock = false }

inline unref()
{
	atomic {
		assert(refs > 0);
		refs--;
		if
		:: refs == 0 -> freed = true
		:: else
		fi
	}
}

inline stop_gathering()
{
	assert(!freed);
	acquire();
	gathers = false;
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
	byte turn, n, blocks;

	do
	:: turn < NTURNS ->
#ifdef DROP_LENT_WAITS
		if
		:: true ->
#else
		if
		:: record == NULL ->
#endif
#ifndef DROP_FLAG_FIRST
			acquire();
			gathers = true;
			release();
#endif
#ifndef DROP_REFERENCE
			refs++;
#endif
			record = CONN;
#ifdef DROP_FLAG_FIRST
			acquire();
			gathers = true;
			release()
#endif
		:: record != NULL	/* it does without */
		fi;
		n = 0;
		do
		:: n < NMESSAGES ->
			send();
			do
			:: blocks < NBLOCKS ->
				blocks++;
				sent == all;	/* blocks until its peer has it all */
				send()
			:: break
			od;
			n++
		:: else -> break
		od;
#ifdef DROP_COMPARE
		record = NULL;
		unref();
#else
		atomic {
			if
			:: record == CONN -> record = NULL; unref()
			:: else
			fi
		};
#endif
		stop_gathering();
		turn++
	:: else -> break
	od;
	assert(queued == 0 && sent == all);
	/* Closed, it goes onto the loop's list, and is dropped there. */
	dead = true
}

active proctype monitor()
{
end:	do
	:: atomic { record == CONN -> record = LENT };
#ifndef DROP_ASK
		atomic { asked++; assert(asked == 1) }
#endif
	od
}

active proctype loop()
{
	bool dropped;

end:	do
	:: asked > 0 ->
		asked--;
#ifdef DROP_LET_GO_CLEARS
		acquire();
		sent = sent + queued;
		queued = 0;
		release();
#else
		stop_gathering();
#endif
		record = NULL;
#ifndef DROP_REFERENCE
		unref()
#endif
	:: dead && !dropped ->
		dropped = true;
		unref()
	od
}

/* At rest: nobody holds it any more. */
active proctype at_rest()
{
	timeout -> assert(dead && freed && record == NULL)
}
