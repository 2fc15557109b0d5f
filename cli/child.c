/* SPDX-License-Identifier: MIT */
#include "child.h"

#include "clock.h"
#include "say.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	KILL_AFTER_S = 5, /* SIGTERM has not ended it */
	GRACE_S = 1	  /* for the same, where the program ends */
};

/* Those that have not ended, or whose end is still to be told. Before the lock of one. */
static pthread_mutex_t children_lock = PTHREAD_MUTEX_INITIALIZER;
static struct child *children;
static int nchildren;

void child_init(struct child *child)
{
	pthread_condattr_t attributes;

	pthread_mutex_init(&child->lock, NULL);
	pthread_condattr_init(&attributes);
	/* The wall clock may jump. */
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&child->ended, &attributes);
	pthread_condattr_destroy(&attributes);
}

void child_fini(struct child *child)
{
	pthread_cond_destroy(&child->ended);
	pthread_mutex_destroy(&child->lock);
}

static void kill_locked(const struct child *child, int number)
{
	if (child->pid == 0)
		return;
	kill(-child->pid, number);
	kill(-child->pid, SIGCONT); /* one that is stopped would not hear it */
}

void child_terminate(struct child *child)
{
	pthread_mutex_lock(&child->lock);
	if (!child->is_told)
		kill_locked(child, SIGTERM);
	child->is_told = true;
	pthread_mutex_unlock(&child->lock);
}

/* Waits for its end first without taking its number, which may not be another's while it is
 * killed. */
int child_wait(struct child *child)
{
	siginfo_t info;
	int status = 0;

	while (waitid(P_PID, (id_t)child->pid, &info, WEXITED | WNOWAIT) < 0 && errno == EINTR)
		;
	pthread_mutex_lock(&child->lock);
	waitpid(child->pid, &status, 0);
	child->pid = 0;
	pthread_cond_broadcast(&child->ended);
	pthread_mutex_unlock(&child->lock);
	return status;
}

void child_await_end(struct child *child, bool is_to_end)
{
	struct timespec patience;
	int error = 0;

	clock_gettime(CLOCK_MONOTONIC, &patience);
	patience.tv_sec += KILL_AFTER_S;
	pthread_mutex_lock(&child->lock);
	while (is_to_end && child->pid > 0 && error == 0)
		error = pthread_cond_timedwait(&child->ended, &child->lock, &patience);
	if (error == ETIMEDOUT)
		kill_locked(child, SIGKILL);
	while (child->pid > 0)
		pthread_cond_wait(&child->ended, &child->lock);
	pthread_mutex_unlock(&child->lock);
}

void child_add(struct child *child)
{
	pthread_mutex_lock(&children_lock);
	child->next = children;
	child->at = &children;
	if (children)
		children->at = &child->next;
	children = child;
	nchildren++;
	pthread_mutex_unlock(&children_lock);
}

void child_remove(struct child *child)
{
	pthread_mutex_lock(&children_lock);
	*child->at = child->next;
	if (child->next)
		child->next->at = child->at;
	nchildren--;
	pthread_mutex_unlock(&children_lock);
}

int child_count(void)
{
	int count;

	pthread_mutex_lock(&children_lock);
	count = nchildren;
	pthread_mutex_unlock(&children_lock);
	return count;
}

static void terminate_all(void)
{
	pthread_mutex_lock(&children_lock);
	for (struct child *child = children; child; child = child->next)
		child_terminate(child);
	pthread_mutex_unlock(&children_lock);
}

/* Those that live on: their numbers, and how many they are. */
static int list_living(FILE *out)
{
	int count = 0;

	pthread_mutex_lock(&children_lock);
	for (struct child *child = children; child; child = child->next) {
		pthread_mutex_lock(&child->lock);
		if (child->pid > 0)
			fprintf(out, "%s%d", count++ ? ", " : "", (int)child->pid);
		pthread_mutex_unlock(&child->lock);
	}
	pthread_mutex_unlock(&children_lock);
	return count;
}

static void tell_left_behind(void)
{
	char *pids = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&pids, &size);
	int count;

	if (!out)
		return;
	count = list_living(out);
	fclose(out);
	if (count == 1)
		say("a process has not ended, and is left behind: %s", pids);
	else if (count > 1)
		say("%d processes have not ended, and are left behind: %s", count, pids);
	free(pids);
}

void child_abandon_all(void)
{
	int64_t end_ns = now_ns() + INT64_C(1000000000) * GRACE_S;

	terminate_all();
	while (child_count() > 0 && now_ns() < end_ns)
		usleep(5000);
	tell_left_behind();
}
