/* SPDX-License-Identifier: MIT */
/*
 * A wait that the monitor ends (relief.h, relief.c, wait.c): one worker,
 * whose handler waits for its peer in step after step, and whose thread then
 * leaves and closes its eventfd.
 *
 * Proven: only that wait ends which the monitor has chosen, and no peer's that
 * has spoken; the monitor writes to no closed descriptor; and what it has chosen
 * comes to an end.
 */
#ifndef NWAITS
#define NWAITS 3		/* silent, or not: so often the peer speaks */
#endif
#ifndef NLOOKS
#define NLOOKS 2
#endif

bool locked;			/* the pool's lock */
byte number;			/* odd: it waits */
byte unwanted;
bool posted;			/* the eventfd */
bool fd_open = true;
bool spoken;			/* there is input */
byte chosen;			/* the wait that the monitor means */
bool gone;			/* the connection has ended by that */

inline lock()
{
	atomic { !locked -> locked = true }
}

inline unlock()
{
	locked = false
}

active proctype worker()
{
	byte n;
	bool told;

	do
	:: n < NWAITS && !gone ->
		number++;
end:		/* poll */
		if
		:: posted
		:: spoken
		fi;
		number++;
#ifdef DROP_NUMBER
		told = unwanted != 0;
		unwanted = 0;
#else
		told = unwanted == number - 1;
#endif
		posted = false;
		atomic {
			if
#ifdef DROP_READY
			:: told ->
#else
			:: told && !spoken ->
#endif
				assert(chosen == number - 1 && !spoken);
				gone = true
			:: else
			fi
		};
		/* It reads; or has been woken for nothing, and waits again. */
		if
		:: spoken -> spoken = false; n++
		:: else
		fi
	:: else -> break
	od;
	/* The thread leaves. */
#ifndef DROP_LOCK
	lock();
	unlock();
#endif
	fd_open = false
}

active proctype peer()
{
	byte n;

end:	do
	:: atomic { n < NWAITS && !spoken -> spoken = true; n++ }
	:: break		/* from now on it is silent */
	od
}

active proctype monitor()
{
	byte n, listed;

	do
	:: n < NLOOKS ->
		n++;
		listed = number;	/* without the lock */
		if
		:: listed % 2 == 1 ->
			lock();
			if
#ifdef DROP_LOOK_AGAIN
			:: true ->
#else
			:: number != listed
			:: number == listed ->
#endif
				chosen = listed;
				unwanted = listed;
				assert(fd_open);
				posted = true
			fi;
			unlock()
		:: else
		fi
	:: else -> break
	od
}

/* It may rest in a wait that nobody has chosen. */
active proctype at_rest()
{
	timeout -> assert(number % 2 == 0 || chosen != number)
}
