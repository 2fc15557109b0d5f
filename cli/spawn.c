/* SPDX-License-Identifier: MIT */
/*
 * Processes, and whose children they are.
 *
 * As process 1 of a container, or with PR_SET_CHILD_SUBREAPER, this process gets the children of
 * those that have ended before them, and has to take their statuses, or they stay as zombies. The
 * kernel gives them to the main thread, and the children of a thread that ends, too. So no thread
 * of the library may make a process, but one that stays to the end: then all that the main thread
 * has (__WNOTHREAD in waitpid(2)) is nobody's.
 */
#include "spawn.h"

#include "files.h"
#include "wait.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

struct order {
	const struct spawning *what;
	pid_t pid;
	int error;
	sem_t done;
	struct order *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t ordered = PTHREAD_COND_INITIALIZER;
/* Under the lock: first come, first served. */
static struct order *first, **last = &first;

/* In the child, which has the parent's memory: only system calls. In a group of its own: Ctrl+C is
 * for us, who let it come to its end. Returns where it cannot run, with errno. */
static void become_command(const struct spawning *what)
{
	if (setpgid(0, 0) < 0 || dup2(what->in, STDIN_FILENO) < 0 ||
	    dup2(what->out, STDOUT_FILENO) < 0 ||
	    (what->with_stderr && dup2(what->out, STDERR_FILENO) < 0))
		return;
	files_restore_limit();
	signal(SIGPIPE, SIG_DFL);
	sigprocmask(SIG_SETMASK, wait_old_mask(), NULL);
	execvpe(what->command[0], what->command, what->environment);
}

/* Not by posix_spawn(3), which knows nothing of limits: set from outside, one may come after the
 * command has begun. Until the child runs its own program no signal finds a handler. Returns 0 or
 * an errno. */
static int make(const struct spawning *what, pid_t *pid)
{
	volatile int error = 0; /* the child writes it */
	sigset_t all, old;
	pid_t child;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	child = vfork();
	if (child == 0) {
		become_command(what);
		error = errno;
		_exit(127);
	}
	if (child < 0)
		error = errno;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (child > 0 && error)
		waitpid(child, NULL, 0);
	else
		*pid = child;
	return error;
}

static struct order *take_order(void)
{
	struct order *order;

	pthread_mutex_lock(&lock);
	while (!first)
		pthread_cond_wait(&ordered, &lock);
	order = first;
	first = order->next;
	if (!first)
		last = &first;
	pthread_mutex_unlock(&lock);
	return order;
}

static void *run(void *unused)
{
	(void)unused;
	for (;;) {
		struct order *order = take_order();

		order->error = make(order->what, &order->pid);
		sem_post(&order->done);
	}
	return NULL;
}

bool spawn_begin(void)
{
	pthread_t thread;

	wait_reap();
	if (pthread_create(&thread, NULL, run, NULL) != 0)
		return false;
	pthread_detach(thread);
	return true;
}

int spawn(const struct spawning *what, pid_t *pid)
{
	struct order order = {.what = what};

	sem_init(&order.done, 0, 0);
	pthread_mutex_lock(&lock);
	*last = &order;
	last = &order.next;
	pthread_cond_signal(&ordered);
	pthread_mutex_unlock(&lock);
	while (sem_wait(&order.done) < 0)
		; /* a signal */
	sem_destroy(&order.done);
	*pid = order.pid;
	return order.error;
}
