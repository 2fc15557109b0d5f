/* SPDX-License-Identifier: MIT */
/* Time, events, counting and child processes of the contract tests. */
#include "support/support.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "base/slabs.h"

int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void nap_ms(int ms)
{
	struct timespec time = {ms / 1000, (long)(ms % 1000) * 1000000};

	while (nanosleep(&time, &time) < 0 && errno == EINTR)
		;
}

/* Without those of proc(5): the directory that is read here, and what the library's monitor looks
 * at for a moment. */
int count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int count = 0;

	if (!dir)
		return -1;
	for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
		char target[16] = "";

		if (entry->d_name[0] != '.' &&
		    readlinkat(dirfd(dir), entry->d_name, target, sizeof(target) - 1) > 0 &&
		    strncmp(target, "/proc/", 6) != 0)
			count++;
	}
	closedir(dir);
	return count - free_port_fds();
}

/* What proc(5) tells about a thread of this process; false if it has gone. */
static bool stat_thread(const char *tid, char *state, unsigned *flags)
{
	char path[300];
	char stat[256] = "";

	snprintf(path, sizeof(path), "/proc/self/task/%s/stat", tid);

	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t size = fd < 0 ? 0 : read(fd, stat, sizeof(stat) - 1);
	const char *name_end = size > 0 ? strrchr(stat, ')') : NULL;

	if (fd >= 0)
		close(fd);
	return name_end && sscanf(name_end, ") %c %*d %*d %*d %*d %*d %u", state, flags) == 2;
}

/* Linux lists a thread that was joined for a moment more, and says that it is exiting. */
int count_threads(void)
{
	const unsigned exiting = 4; /* PF_EXITING of linux/sched.h */
	DIR *tasks = opendir("/proc/self/task");
	int count = 0;
	unsigned flags;
	char state;

	for (struct dirent *entry; tasks && (entry = readdir(tasks));)
		if (entry->d_name[0] != '.' && stat_thread(entry->d_name, &state, &flags))
			count += !(flags & exiting);
	if (tasks)
		closedir(tasks);
	return count - over_tls_threads();
}

bool thread_sleeps(int tid)
{
	char name[16];
	unsigned flags;
	char state;

	snprintf(name, sizeof(name), "%d", tid);
	return tid != 0 && stat_thread(name, &state, &flags) && state == 'S';
}

/* Under valgrind malloc is not the C library's. */
static bool malloc_is_measured(void)
{
	enum {
		SIZE = 1 << 20
	};
	size_t before = bytes_in_use();
	void *volatile memory = malloc(SIZE);
	bool measured = bytes_in_use() >= before + SIZE / 2;

	free(memory);
	return measured;
}

bool memory_is_measured(void)
{
	bool measured = STT_HAVE_MALLINFO2 && !UNDER_ASAN && !UNDER_TSAN && malloc_is_measured();

	if (!measured)
		print_message("nobody tells here how much memory is in use\n");
	return measured;
}

size_t bytes_in_use(void)
{
#if STT_HAVE_MALLINFO2
	struct mallinfo2 info = mallinfo2();

	return info.uordblks + info.hblkhd + stt_slabs_in_use();
#else
	return 0;
#endif
}

void fill_pattern(void *data, size_t size, uint32_t seed)
{
	unsigned char *bytes = data;
	uint32_t state = seed * 2654435761u + 1;

	for (size_t i = 0; i < size; i++)
		bytes[i] = (unsigned char)(next_random(&state) >> 24);
}

uint32_t next_random(uint32_t *state)
{
	uint32_t x = *state != 0 ? *state : 1;

	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	*state = x;
	return x;
}

uint32_t test_seed(void)
{
	const char *said = getenv("STTCP_TEST_SEED");
	uint32_t seed = said ? (uint32_t)strtoul(said, NULL, 10)
			     : (uint32_t)now_ms() * 2654435761u ^ (uint32_t)getpid();

	print_message("STTCP_TEST_SEED=%u\n", (unsigned)seed);
	return seed;
}

/* -------------------------------------------------------------------- events */

void event_raise(struct event *event)
{
	pthread_mutex_lock(&event->lock);
	event->count++;
	pthread_cond_broadcast(&event->changed);
	pthread_mutex_unlock(&event->lock);
}

long event_count(struct event *event)
{
	pthread_mutex_lock(&event->lock);
	long count = event->count;
	pthread_mutex_unlock(&event->lock);
	return count;
}

bool event_wait(struct event *event, long count)
{
	return event_wait_ms(event, count, DEADLINE_MS);
}

bool event_wait_ms(struct event *event, long count, int ms)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += ms / 1000;
	until.tv_nsec += (long)(ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_mutex_lock(&event->lock);
	while (event->count < count) {
		if (pthread_cond_timedwait(&event->changed, &event->lock, &until) == ETIMEDOUT)
			break;
	}
	bool reached = event->count >= count;
	pthread_mutex_unlock(&event->lock);
	return reached;
}

/* ------------------------------------------------------------------ children */

int child_main(const struct child *children, const char *name)
{
	for (; children->name; children++) {
		if (strcmp(children->name, name) == 0)
			return children->run();
	}
	fprintf(stderr, "no child of this name: %s\n", name);
	return 98;
}

bool process_start(struct process *process, const char *name)
{
	int ends[2];
	/* By its name: under valgrind the link leads to that. */
	char path[PATH_MAX] = "";

	if (readlink("/proc/self/exe", path, sizeof(path) - 1) < 0 || pipe2(ends, O_CLOEXEC) < 0)
		return false;
	fflush(NULL);
	process->pid = fork();
	if (process->pid == 0) {
		/* Not left behind by a test that fails, with its output that CTest waits for. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(ends[1], STDOUT_FILENO);
		execl(path, "child", name, (char *)NULL);
		_exit(97);
	}
	close(ends[1]);
	process->out = ends[0];
	if (process->pid > 0)
		return true;
	close(ends[0]);
	return false;
}

bool process_line(struct process *process, char *line, size_t size)
{
	int64_t until = now_ms() + DEADLINE_MS;
	size_t len = 0;

	while (len + 1 < size) {
		struct pollfd wait = {.fd = process->out, .events = POLLIN};
		int64_t left = until - now_ms();

		if (left <= 0 || poll(&wait, 1, (int)left) <= 0)
			break;
		if (read(process->out, line + len, 1) != 1)
			break;
		if (line[len] == '\n') {
			line[len] = '\0';
			return true;
		}
		len++;
	}
	line[len] = '\0';
	return false;
}

int process_number(struct process *process, const char *word)
{
	char line[128];
	size_t len = strlen(word);

	if (!process_line(process, line, sizeof(line)) || strncmp(line, word, len) != 0)
		return -1;
	return atoi(line + len);
}

/* Whether all threads but the calling one are asleep (proc(5)). */
static bool others_sleep(void)
{
	DIR *tasks = opendir("/proc/self/task");
	bool sleep = tasks != NULL;

	for (struct dirent *entry; sleep && (entry = readdir(tasks));) {
		unsigned flags;
		char state;

		if (entry->d_name[0] == '.' || atoi(entry->d_name) == (int)syscall(SYS_gettid))
			continue;
		/* One that has gone meanwhile is in nobody's way. */
		sleep = !stat_thread(entry->d_name, &state, &flags) || state == 'S';
	}
	if (tasks)
		closedir(tasks);
	return sleep;
}

pid_t process_fork(void)
{
	int64_t until = now_ms() + DEADLINE_MS;

	while (UNDER_ASAN && !others_sleep() && now_ms() < until)
		sched_yield();
	return fork();
}

int process_wait_pid(pid_t pid)
{
	int64_t until = now_ms() + 3 * DEADLINE_MS;
	int status;

	for (;;) {
		pid_t done = waitpid(pid, &status, WNOHANG);

		if (done == pid)
			return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
		if (done < 0 && errno != EINTR)
			return -1;
		if (now_ms() >= until)
			break;
		nap_ms(2);
	}
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	return -1;
}

int process_wait(struct process *process)
{
	int status = process_wait_pid(process->pid);

	close(process->out);
	return status;
}

int process_run(const char *name)
{
	struct process process;

	return process_start(&process, name) ? process_wait(&process) : -1;
}

void check_that(bool holds, const char *text, const char *file, int line)
{
	if (holds)
		return;
	fprintf(stderr, "%s:%d: in a child: %s\n", file, line, text);
	_exit(99);
}

void tell(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	putchar('\n');
	fflush(stdout);
}
