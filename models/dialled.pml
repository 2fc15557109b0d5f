/* SPDX-License-Identifier: MIT */
/*
 * Who reads a dialled connection (dialled.c, serve_dialled.c): two threads of the
 * program want to read, one at a time, while others give tasks, or end the
 * connection by force. Two workers are its loop in turns, and the pool, which has a
 * thread only while nobody waits to read: who reads may have the last one.
 *
 * Proven: it has one owner at a time; a reader waits for no thread of the pool; all
 * tasks run while it is open; it dies and is freed once it has ended, and nobody
 * touches it after that. Not in here: how a thread that waits is woken, and a task
 * that waits in the library (strand.pml).
 */
#ifndef WITH_END
#define WITH_END 0
#endif
#ifndef TIMEOUTS
#define TIMEOUTS 0		/* a read waits no longer, at any moment */
#endif
#ifndef NTASKS
#define NTASKS 2
#endif
#ifndef NREADS
#define NREADS 2
#endif

#define NOBODY 0
#define WANTED 1
#define GRANTED 2

/* struct stt_dialled */
byte state = NOBODY;
bool reading;			/* its `read` */

/* struct sttcp_conn */
bool busy, wish_recv, wish_tasks, wish_close;
bool in_ready, in_queue;
bool alarm;
bool has_fd = true;		/* under the output lock, as setting the alarm is */
bool ended, dead, freed;
byte refs = 3;			/* the library's, and the handle of each reader */
byte tasks;

byte owners;			/* threads */
bool loop_taken;		/* some worker is the loop */
byte waiting;			/* readers */

inline ref()
{
	atomic { assert(!freed); refs++ }
}

inline unref()
{
	atomic {
		refs--;
		if
		:: refs == 0 -> freed = true
		:: else
		fi
	}
}

/* A thread owns it; or does no longer. */
inline own()
{
	owners++;
	assert(owners == 1 && !freed)
}

inline push_to_loop()
{
	atomic { assert(!in_ready && !in_queue && !freed); in_ready = true }
}

inline push_to_pool()
{
	atomic { assert(!in_ready && !in_queue && !freed); in_queue = true }
}

/* stt_conn_ask */
inline ask(wish)
{
	atomic {
		wish = true;
		if
		:: !busy -> busy = true; push_to_loop()
		:: else
		fi
	}
}

/* stt_dialled_grant */
inline grant()
{
#ifndef DROP_GRANT_REF
	ref();
#endif
	atomic {
		granted = state == WANTED;
		if
		:: granted -> state = GRANTED; owners--
		:: else
		fi
	};
	if
	:: granted -> assert(!freed)	/* it wakes the reader */
	:: else
	fi;
#ifndef DROP_GRANT_REF
	unref()
#endif
}

/* stt_dialled_look_in_queue */
inline look_in_queue()
{
	do
	:: state != WANTED || ended -> break
	:: state == WANTED && !ended ->
		/* stt_pool_take */
		atomic {
			if
			:: in_queue -> in_queue = false; own(); took = true
			:: else -> took = false
			fi
		};
		if
		:: !took -> break
		:: took ->
			grant();
			if
			:: granted -> break
#ifndef DROP_PUSH_BACK
			:: else -> owners--; push_to_pool()
#else
			:: else -> owners--; break
#endif
			fi
		fi
	od
}

/* stt_dialled_give_to_pool */
inline give_to_pool()
{
	ref();
	owners--;
	push_to_pool();
#ifndef DROP_LOOK
	look_in_queue();
#endif
	unref()
}

/* stt_run_tasks. On the loop a task may block: then the loop goes on without it. */
inline run_tasks()
{
	if
	:: loops ->
		loops = false;
		loop_taken = false
	:: true
	fi;
	atomic {
		if
		:: tasks > 0 -> tasks--
		:: else
		fi;
		if
		:: tasks > 0 -> wish_tasks = true
		:: else
		fi
	}
}

/* The loop buries it. */
inline die()
{
	atomic { has_fd = false; tasks = 0 };
	dead = true;
	owners--;
	push_to_loop()
}

/* It may have last words, which may have to go to the pool: then that finds it again. */
inline end_it()
{
	if
	:: loops -> owners--; push_to_pool()
	:: true -> die()
	fi;
	left = true
}

inline take_wishes()
{
	atomic {
		recv = wish_recv; has_tasks = wish_tasks;
		wish_recv = false; wish_tasks = false; wish_close = false
	}
}

/* act() of serve_dialled.c: `left` when it is not to be touched any more. */
inline act()
{
	left = false;
	if
	:: has_tasks && !ended -> run_tasks()
	:: else
	fi;
	if
	:: ended -> end_it()
	:: !ended && loops && wish_tasks ->
#ifndef DROP_RECV_AGAIN
		wish_recv = wish_recv || recv;
#endif
		owners--;
		push_to_loop();
		left = true
	:: !ended && !(loops && wish_tasks) && recv -> grant(); left = granted
	:: !ended && !(loops && wish_tasks) && !recv
	fi
}

inline work()
{
	take_wishes();
	do
	:: act();
	   if
	   :: left -> break
	   :: else
	   fi;
	   atomic {
		if
		:: !wish_recv && !wish_tasks && !wish_close -> busy = false; owners--; left = true
		:: else
		fi
	   };
	   if
	   :: left -> break
	   :: !left && !loops ->
		/* Others wait for this thread. */
		owners--;
#ifdef DROP_YIELD
		push_to_pool();
#else
		push_to_loop();
#endif
		break
	   :: !left -> take_wishes()
	   fi
	od
}

active [2] proctype worker()
{
	bool loops, left, granted, took, recv, has_tasks;

end:
	do
	:: atomic { !loop_taken && in_ready -> loop_taken = true; in_ready = false; own() };
	   loops = true;
	   if
	   :: dead ->
		/* stt_conn_bury */
		alarm = false;
		owners--;
		unref()
	   /* needs_pool: the loop lacks an heir, or the tasks are known to block. */
	   :: !dead && (wish_tasks || ended) -> give_to_pool()
	   :: !dead -> work()
	   fi;
	   if
	   :: loops -> loop_taken = false; loops = false
	   :: else
	   fi
	:: atomic { !loop_taken && alarm -> loop_taken = true; alarm = false };
	   assert(!freed);
	   look_in_queue();
	   loop_taken = false
	:: atomic { in_queue && !waiting -> in_queue = false; own() };
	   work()
	od
}

/* stt_dialled_begin: true in `mine` when this thread is the owner. */
inline take_over()
{
#ifndef DROP_WANTED_FIRST
	state = WANTED;
#endif
	atomic {
		wish_recv = true;
		if
		:: !busy -> busy = true; own(); mine = true
		:: else
		fi
	};
#ifdef DROP_WANTED_FIRST
	state = WANTED;
#endif
	if
	:: mine -> state = NOBODY
	:: else ->
#ifndef DROP_ASK_LOOP
		atomic {
			if
#ifdef DROP_FD
			:: true -> alarm = true
#else
			:: has_fd -> alarm = true
			:: else
#endif
			fi
		};
#endif
		waiting++;
		if
		:: state == GRANTED
		:: ended
		:: TIMEOUTS
		fi;
		waiting--;
#ifdef DROP_EXCHANGE
		mine = state == GRANTED;
		state = NOBODY;
		if
		:: mine -> atomic { own() }
		:: else
		fi
#else
		atomic {
			mine = state == GRANTED;
			state = NOBODY;
			if
			:: mine -> own()
			:: else
			fi
		}
#endif
	fi
}

/* let_go() of dialled.c */
inline leave()
{
	do
	:: atomic {
		left = !wish_recv && !wish_tasks && !wish_close;
		if
		:: left -> busy = false; owners--
		:: else ->
			loop_work = wish_tasks || wish_close;
#ifdef DROP_FOR_LOOP
			loop_work = false;
#endif
			wish_recv = false;
			has_tasks = wish_tasks; end_asked = wish_close;
			wish_tasks = false; wish_close = false
		fi
	   };
	   if
	   :: left -> break
	   :: !left && loop_work ->
		atomic {
			wish_tasks = wish_tasks || has_tasks;
			wish_close = wish_close || end_asked
		};
		owners--;
		push_to_loop();
		break
	   :: !left && !loop_work
	   fi
	od
}

active [2] proctype reader()
{
	byte n;
	bool mine, left, loop_work, has_tasks, end_asked, other;

	do
	:: n < NREADS && !ended ->
		n++;
		atomic { other = reading; reading = true };
		if
		:: other		/* -EBUSY */
		:: else ->
			ref();
			mine = false;
			atomic {
				if
				:: !busy -> busy = true; own(); mine = true
				:: else
				fi
			};
			if
			:: mine
			:: else -> take_over()
			fi;
#ifdef DROP_FLAG_LAST
			reading = false;
#endif
			if
			:: mine -> leave()
			:: else
			fi;
			reading = false;
			unref()
		fi
	:: else -> break
	od;
	unref()			/* its handle */
}

active proctype giver()
{
	byte n;
	bool is_first;

	do
	:: n < NTASKS ->
		n++;
		atomic {
			is_first = false;
			if
			:: ended
			:: else -> is_first = tasks == 0; tasks++
			fi
		};
		if
		:: is_first -> ask(wish_tasks)
		:: else
		fi
	:: else -> break
	od
}

#if WITH_END
active proctype ender()
{
	ended = true;
	ask(wish_close)
}
#endif

active proctype outcome()
{
	timeout ->
#if WITH_END
	assert(freed)
#else
	assert(!busy && !owners && !tasks && !in_ready && !in_queue && !freed && refs == 1)
#endif
}
