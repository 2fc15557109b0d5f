/* SPDX-License-Identifier: MIT */
/* G17: handlers have the signal mask of the thread that made the first start. What they fork or
 * spawn can be terminated, a fault handler and a profiler see them, and signals that interrupt a
 * thread of the library break nothing. Each case runs in a process of its own. */
#include "support/support.h"

#include <dirent.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>

extern char **environ;

static struct event inside = EVENT_INIT;
static struct event gate = EVENT_INIT;
static atomic_int result = -1;

static sttcp_server *listen_with(sttcp_receive_handler handler)
{
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, NULL);

	CHECK(server);
	CHECK(sttcp_server_on_receive(server, handler) == 0);
	CHECK(sttcp_server_start(server) == 0);
	return server;
}

static void echo(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	(void)context;
	sttcp_conn_send(conn, data, size);
}

static void set_handler(int number, void (*handler)(int))
{
	struct sigaction action = {.sa_handler = handler}; /* without SA_RESTART */

	sigemptyset(&action.sa_mask);
	CHECK(sigaction(number, &action, NULL) == 0);
}

/* ------------------------------------------------------------------ children */

/* How it ends on SIGTERM: 0 by that, else the status, or 1 when it had to be killed. */
static int end_of(pid_t pid)
{
	int status = 0;

	CHECK(kill(pid, SIGTERM) == 0);
	for (int64_t until = now_ms() + DEADLINE_MS; now_ms() < until; nap_ms(2)) {
		if (waitpid(pid, &status, WNOHANG) == pid)
			return WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM ? 0 : 2;
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return 1;
}

static void have_children(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	char *arguments[] = {"sleep", "60", NULL};
	pid_t pid;

	(void)conn;
	(void)data;
	(void)size;
	(void)context;
	CHECK(posix_spawnp(&pid, "sleep", NULL, NULL, arguments, environ) == 0);
	int spawned = end_of(pid);
	pid = process_fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		execvp("sleep", arguments);
		_exit(3);
	}
	atomic_store(&result, spawned * 10 + end_of(pid));
	event_raise(&inside);
}

static int terminate_children(void)
{
	sttcp_server *server = listen_with(have_children);
	int peer = peer_connect(sttcp_server_port(server));

	CHECK(peer_say(peer, "x"));
	CHECK(event_wait(&inside, 1));
	CHECK(atomic_load(&result) == 0);
	sttcp_server_free(server);
	return 0;
}

static void a_child_of_a_handler_dies_of_sigterm(void **state)
{
	(void)state;
	assert_int_equal(process_run("terminate_children"), 0);
}

static atomic_int told_of_children;
static atomic_int told_in_main;
static pthread_t main_thread;

static void note_child(int number)
{
	(void)number;
	atomic_fetch_add(&told_of_children, 1);
	if (pthread_equal(pthread_self(), main_thread))
		atomic_fetch_add(&told_in_main, 1);
}

static void run_ten_children(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	(void)conn;
	(void)data;
	(void)size;
	(void)context;
	for (int i = 0; i < 10; i++) {
		int ends[2];
		char byte;

		/* It ends after fork has returned here: musl's lets no signal through meanwhile. */
		CHECK(pipe(ends) == 0);
		pid_t pid = process_fork();

		CHECK(pid >= 0);
		if (pid == 0) {
			close(ends[1]);
			_exit(read(ends[0], &byte, 1) != 0);
		}
		close(ends[0]);
		close(ends[1]);
		while (waitpid(pid, NULL, 0) < 0)
			CHECK(errno == EINTR);
	}
	event_raise(&inside);
}

/* SIGCHLD goes to the thread that has forked, if it lets it through: main is left alone. */
static int be_told_of_children(void)
{
	main_thread = pthread_self();
	set_handler(SIGCHLD, note_child);
	sttcp_server *server = listen_with(run_ten_children);
	int peer = peer_connect(sttcp_server_port(server));

	CHECK(peer_say(peer, "x"));
	CHECK(event_wait(&inside, 1));
	CHECK(atomic_load(&told_of_children) > 0);
	CHECK(atomic_load(&told_in_main) == 0);
	sttcp_server_free(server);
	return 0;
}

static void a_child_of_a_handler_does_not_interrupt_main(void **state)
{
	(void)state;
	assert_int_equal(process_run("be_told_of_children"), 0);
}

/* ---------------------------------------------------------- faults, profiles */

static char *page;
static atomic_int faults;

static void grow(int number)
{
	(void)number;
	atomic_fetch_add(&faults, 1);
	mprotect(page, 4096, PROT_READ | PROT_WRITE);
}

static void write_to_page(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	(void)context;
	*(volatile char *)page = *(const char *)data;
	sttcp_conn_send(conn, page, size);
}

static int fault_in_a_handler(void)
{
	struct rlimit none = {0, 0};

	setrlimit(RLIMIT_CORE, &none);
	page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(page != MAP_FAILED);
	set_handler(SIGSEGV, grow);
	sttcp_server *server = listen_with(write_to_page);
	int peer = peer_connect(sttcp_server_port(server));

	CHECK(peer_say(peer, "x"));
	CHECK(peer_expect(peer, "x"));
	CHECK(atomic_load(&faults) == 1);
	sttcp_server_free(server);
	return 0;
}

static void a_fault_in_a_handler_is_seen_by_the_programs_own(void **state)
{
	(void)state;
	assert_int_equal(process_run("fault_in_a_handler"), 0);
}

static _Thread_local volatile sig_atomic_t ticks;

static void tick(int number)
{
	(void)number;
	ticks++;
}

/* ITIMER_PROF counts the time of all threads, and is told to the one that runs. */
static void work_until_seen(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	int64_t until = now_ms() + DEADLINE_MS;

	(void)conn;
	(void)data;
	(void)size;
	(void)context;
	while (!ticks && now_ms() < until)
		;
	atomic_store(&result, ticks > 0);
	event_raise(&inside);
}

static int profile_a_handler(void)
{
	struct itimerval every = {{0, 5000}, {0, 5000}};

	set_handler(SIGPROF, tick);
	sttcp_server *server = listen_with(work_until_seen);
	int peer = peer_connect(sttcp_server_port(server));

	CHECK(setitimer(ITIMER_PROF, &every, NULL) == 0);
	CHECK(peer_say(peer, "x"));
	CHECK(event_wait_ms(&inside, 1, DEADLINE_MS * 2));
	CHECK(atomic_load(&result) == 1);
	sttcp_server_free(server);
	return 0;
}

static void a_profiler_sees_what_handlers_do(void **state)
{
	(void)state;
	assert_int_equal(process_run("profile_a_handler"), 0);
}

/* --------------------------------------------------------------------- masks */

/* Of the library's threads: in which SIGUSR1 and SIGUSR2 are blocked. */
struct masks {
	int workers;
	int others;
	int wrong;
};

static void look_at_mask(int tid, struct masks *masks)
{
	char line[256];
	unsigned long long mask = 0;
	const unsigned long long usr1 = 1ULL << (SIGUSR1 - 1);
	unsigned long long all = ~0ULL;

	snprintf(line, sizeof(line), "/proc/self/task/%d/status", tid);
	FILE *file = tid == getpid() ? NULL : fopen(line, "re");
	if (!file)
		return;

	/* Not a sanitizer's own, which the library did not make. */
	bool worker = fgets(line, sizeof(line), file) && strcmp(line, "Name:\tsttcp\n") == 0;
	bool other = !worker && strncmp(line, "Name:\tsttcp", 11) == 0;

	while (fgets(line, sizeof(line), file)) {
		if (strncmp(line, "SigBlk:", 7) == 0)
			mask = strtoull(line + 7, NULL, 16);
	}
	fclose(file);
	for (int number = 1; number <= 64; number++) {
		if (number == SIGKILL || number == SIGSTOP || (number > 31 && number < SIGRTMIN))
			all &= ~(1ULL << (number - 1)); /* the C library's own */
	}
	masks->workers += worker;
	masks->others += other;
	masks->wrong += worker && mask != usr1;
	masks->wrong += other && (mask & all) != all;
}

static void look_at_masks(struct masks *masks)
{
	DIR *folder = opendir("/proc/self/task");

	*masks = (struct masks){0};
	CHECK(folder);
	for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
		if (entry->d_name[0] != '.')
			look_at_mask(atoi(entry->d_name), masks);
	}
	closedir(folder);
}

static atomic_int wrong_masks;

static void check_mask(void)
{
	sigset_t mask;

	CHECK(pthread_sigmask(SIG_BLOCK, NULL, &mask) == 0);
	for (int number = 1; number < SIGRTMIN; number++) {
		if (number < 32 && (sigismember(&mask, number) == 1) != (number == SIGUSR1))
			atomic_fetch_add(&wrong_masks, 1);
	}
}

static void check_and_block(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	(void)conn;
	(void)data;
	(void)size;
	(void)context;
	check_mask();
	event_raise(&inside);
	event_wait(&gate, 1);
	check_mask();
}

static bool check_in_connection(sttcp_conn *conn, void *context)
{
	(void)conn;
	(void)context;
	check_mask();
	return true;
}

static void check_in_disconnection(sttcp_conn *conn, int reason, void *context)
{
	(void)conn;
	(void)reason;
	(void)context;
	check_mask();
}

/* Main blocks SIGUSR1, and another thread that starts a second server blocks nothing. */
static void *start_another(void *server)
{
	sigset_t none;

	sigemptyset(&none);
	pthread_sigmask(SIG_SETMASK, &none, NULL);
	CHECK(sttcp_server_start(server) == 0);
	return NULL;
}

static int look_at_all_masks(void)
{
	sttcp_server *servers[2];
	struct masks masks;
	int peers[20];
	sigset_t usr1;
	sigset_t after;
	pthread_t thread;

	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	pthread_sigmask(SIG_SETMASK, &usr1, NULL);
	for (int i = 0; i < 2; i++) {
		servers[i] = sttcp_server_new("127.0.0.1", 0, NULL);
		CHECK(sttcp_server_on_connection(servers[i], check_in_connection) == 0);
		CHECK(sttcp_server_on_receive(servers[i], check_and_block) == 0);
		CHECK(sttcp_server_on_disconnection(servers[i], check_in_disconnection) == 0);
	}
	CHECK(sttcp_server_start(servers[0]) == 0);
	CHECK(pthread_create(&thread, NULL, start_another, servers[1]) == 0);
	pthread_join(thread, NULL);
	for (int i = 0; i < 20; i++) {
		peers[i] = peer_connect(sttcp_server_port(servers[i % 2]));
		CHECK(peer_say(peers[i], "x"));
	}
	CHECK(event_wait(&inside, 20));
	/* A thread has its name a moment after it was made. */
	look_at_masks(&masks);
	for (int64_t until = now_ms() + DEADLINE_MS; masks.workers < 20 || !masks.others;) {
		CHECK(now_ms() < until);
		look_at_masks(&masks);
	}
	CHECK(masks.wrong == 0);
	event_raise(&gate);
	for (int i = 0; i < 20; i++)
		peer_close(peers[i]);
	sttcp_server_free(servers[0]);
	sttcp_server_free(servers[1]);
	CHECK(atomic_load(&wrong_masks) == 0);
	pthread_sigmask(SIG_BLOCK, NULL, &after);
	for (int i = 1; i <= 64; i++)
		CHECK(sigismember(&usr1, i) == sigismember(&after, i));
	return 0;
}

static void handlers_have_the_mask_of_the_first_start(void **state)
{
	(void)state;
	assert_int_equal(process_run("look_at_all_masks"), 0);
}

/* --------------------------------------------------------------- interrupted */

static atomic_long interruptions;

static void note_interruption(int number)
{
	(void)number;
	atomic_fetch_add(&interruptions, 1);
}

static atomic_bool interrupting;

/* Interrupts every thread but its own, as fast as it can. */
static void *interrupt_all(void *unused)
{
	pid_t own = gettid();

	(void)unused;
	while (atomic_load(&interrupting)) {
		DIR *folder = opendir("/proc/self/task");

		CHECK(folder);
		for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
			int tid = atoi(entry->d_name);

			if (tid > 0 && tid != own && tid != getpid())
				syscall(SYS_tgkill, getpid(), tid, SIGUSR1);
		}
		closedir(folder);
	}
	return NULL;
}

/* Reads the rest of its six bytes itself, then naps: in recv, on its loop and in the pool. */
static void read_and_nap(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	char word[6];
	size_t have = size;

	(void)context;
	CHECK(size <= sizeof(word));
	memcpy(word, data, size);
	while (have < sizeof(word)) {
		ssize_t got = sttcp_conn_recv(conn, word + have, sizeof(word) - have, -1);

		CHECK(got > 0);
		have += (size_t)got;
	}
	struct timespec nap = {0, 3000000};

	while (nanosleep(&nap, &nap) < 0)
		CHECK(errno == EINTR);
	CHECK(sttcp_conn_send(conn, word, sizeof(word)) == 0);
}

static int work_under_signals(void)
{
	sttcp_server *quick = listen_with(echo);
	sttcp_server *slow = listen_with(read_and_nap);
	pthread_t thread;

	set_handler(SIGUSR1, note_interruption);
	atomic_store(&interrupting, true);
	CHECK(pthread_create(&thread, NULL, interrupt_all, NULL) == 0);
	for (int i = 0; i < 40 || atomic_load(&interruptions) <= 1000; i++) {
		int peer = peer_connect(sttcp_server_port(quick));
		int late = peer_connect(sttcp_server_port(slow));

		CHECK(peer_say(late, "s"));
		CHECK(peer_say(peer, "quick") && peer_expect(peer, "quick"));
		CHECK(peer_say(late, "lower") && peer_expect(late, "slower"));
		peer_close(peer);
		peer_close(late);
	}
	CHECK(sttcp_server_stop(quick) == 0);
	CHECK(sttcp_server_start(quick) == 0);
	int peer = peer_connect(sttcp_server_port(quick));

	CHECK(peer_say(peer, "again") && peer_expect(peer, "again"));
	CHECK(sttcp_server_stop_within(quick, 50, NULL) == 0);
	CHECK(peer_end(peer) == 0);
	sttcp_server_free(quick);
	sttcp_server_free(slow);
	atomic_store(&interrupting, false);
	pthread_join(thread, NULL);
	return 0;
}

static void signals_that_interrupt_the_library_break_nothing(void **state)
{
	(void)state;
	assert_int_equal(process_run("work_under_signals"), 0);
}

/* ---------------------------------------------------------------- keep_alive */

static int keep_with_signals_blocked(void)
{
	sttcp_server *server = NULL;
	sigset_t mask;
	sigset_t after;
	sigset_t pending;

	sigemptyset(&mask);
	sigaddset(&mask, SIGINT);
	sigaddset(&mask, SIGTERM);
	sigaddset(&mask, SIGUSR2);
	pthread_sigmask(SIG_SETMASK, &mask, NULL);
	server = listen_with(echo);
	tell("port %d", sttcp_server_port(server));
	CHECK(sttcp_server_keep_alive(server) == 0);
	/* One that waits already is as good as one that comes. */
	CHECK(sttcp_server_start(server) == 0);
	raise(SIGTERM);
	CHECK(sttcp_keep_alive() == 0);
	CHECK(sttcp_server_wait(server, 0) == 0);
	pthread_sigmask(SIG_BLOCK, NULL, &after);
	for (int i = 1; i <= 64; i++)
		CHECK(sigismember(&mask, i) == sigismember(&after, i));
	/* The mask is back before the dispositions: this one kills nobody. */
	raise(SIGINT);
	sigpending(&pending);
	CHECK(sigismember(&pending, SIGINT) == 1);
	/* Nothing to wait for: then nothing is let through. */
	CHECK(sttcp_server_keep_alive(server) == 0);
	CHECK(sttcp_keep_alive() == -EINVAL);
	sigpending(&pending);
	CHECK(sigismember(&pending, SIGINT) == 1);
	sttcp_server_free(server);
	return 0;
}

static bool catches(pid_t pid, int number)
{
	char line[256];
	unsigned long long mask = 0;

	snprintf(line, sizeof(line), "/proc/%d/status", (int)pid);
	FILE *file = fopen(line, "re");
	if (!file)
		return false;
	while (fgets(line, sizeof(line), file)) {
		if (strncmp(line, "SigCgt:", 7) == 0)
			mask = strtoull(line + 7, NULL, 16);
	}
	fclose(file);
	return (mask >> (number - 1) & 1) != 0;
}

static void keep_alive_lets_blocked_signals_through(void **state)
{
	struct process process;

	(void)state;
	assert_true(process_start(&process, "keep_with_signals_blocked"));
	assert_true(process_number(&process, "port ") > 0);
	EVENTUALLY(catches(process.pid, SIGTERM));
	kill(process.pid, SIGTERM);
	assert_int_equal(process_wait(&process), 0);
}

static const struct child children[] = {
	{"terminate_children", terminate_children},
	{"be_told_of_children", be_told_of_children},
	{"fault_in_a_handler", fault_in_a_handler},
	{"profile_a_handler", profile_a_handler},
	{"look_at_all_masks", look_at_all_masks},
	{"work_under_signals", work_under_signals},
	{"keep_with_signals_blocked", keep_with_signals_blocked},
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_child_of_a_handler_dies_of_sigterm),
		cmocka_unit_test(a_child_of_a_handler_does_not_interrupt_main),
		cmocka_unit_test(a_fault_in_a_handler_is_seen_by_the_programs_own),
		cmocka_unit_test(a_profiler_sees_what_handlers_do),
		cmocka_unit_test(handlers_have_the_mask_of_the_first_start),
		cmocka_unit_test(signals_that_interrupt_the_library_break_nothing),
		cmocka_unit_test(keep_alive_lets_blocked_signals_through),
	};

	if (argc == 2)
		return child_main(children, argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
