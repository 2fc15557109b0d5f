/* SPDX-License-Identifier: MIT */
/* The log of a child that was forked while other threads of the parent logged, or inside the log
 * function. */
#include "support/support.h"

#include <fcntl.h>
#include <time.h>

#include "base/log.h"

static void note_line(int level, const char *text, void *context)
{
	bool *came = context;

	(void)level;
	*came = !strcmp(text, "child");
}

static void fork_inside(int level, const char *text, void *context)
{
	pid_t *child = context;

	(void)level;
	if (!strcmp(text, "fork"))
		*child = process_fork();
}

static void *say_until_told(void *argument)
{
	atomic_bool *stop = argument;

	while (!atomic_load(stop))
		stt_log(STT_LOG_INFO, "again");
	return NULL;
}

static void ignore_line(int level, const char *text, void *context)
{
	(void)level;
	(void)text;
	(void)context;
}

static int fork_in_the_midst(void)
{
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, NULL);
	atomic_bool stop = false;
	pthread_t saying;

	sttcp_set_log(ignore_line, NULL);
	CHECK(pthread_create(&saying, NULL, say_until_told, &stop) == 0);
	for (int i = 0; i < 50; i++) {
		pid_t child = fork();

		if (child == 0) {
			bool came = false;

			/* Neither the lock nor a call of a thread that is not there holds it up. */
			sttcp_set_log(note_line, &came);
			stt_log(STT_LOG_INFO, "child");
			_exit(came ? 0 : 1);
		}
		CHECK(process_wait_pid(child) == 0);
	}
	atomic_store(&stop, true);
	pthread_join(saying, NULL);

	/* In the function itself, and on from there. */
	pid_t child = -1;

	sttcp_set_log(fork_inside, &child);
	stt_log(STT_LOG_INFO, "fork");
	stt_log(STT_LOG_INFO, "more");
	sttcp_set_log(NULL, NULL);
	if (child == 0)
		_exit(0);
	CHECK(process_wait_pid(child) == 0);
	sttcp_server_free(server);
	return 0;
}

static atomic_bool lines_end;

static void *print_lines(void *argument)
{
	while (!atomic_load(&lines_end))
		stt_log(STT_LOG_ERROR, "line");
	return argument;
}

/* The lock of the C library's that is taken for a line's time is no parent's in the child. */
static int fork_beside_lines(void)
{
	int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
	int before = dup(STDERR_FILENO);
	pthread_t threads[3];
	int status = 0;

	CHECK(nowhere >= 0 && before >= 0);
	dup2(nowhere, STDERR_FILENO);
	sttcp_log_to_stderr(1);
	for (int i = 0; i < 3; i++)
		CHECK(pthread_create(&threads[i], NULL, print_lines, NULL) == 0);
	for (int i = 0; i < (UNDER_TSAN ? 30 : 300) && status == 0; i++) {
		pid_t child = process_fork();

		if (child == 0) {
			struct tm at;
			time_t now = 0;

			alarm(5);
			_exit(localtime_r(&now, &at) ? 0 : 1);
		}
		status = process_wait_pid(child);
	}
	atomic_store(&lines_end, true);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	sttcp_log_to_stderr(0);
	dup2(before, STDERR_FILENO);
	CHECK(status == 0);
	return 0;
}

static void log_holds_no_lock_of_a_forked_child(void **state)
{
	(void)state;
	if (UNDER_ASAN) {
		print_message(
			"left out: a lock of the sanitizer may be held in a child for ever\n");
		skip();
	}
	assert_int_equal(process_run("fork_beside_lines"), 0);
}

static void log_works_in_a_forked_child(void **state)
{
	(void)state;
	assert_int_equal(process_run("fork_in_the_midst"), 0);
}

static const struct child children[] = {
	{"fork_in_the_midst", fork_in_the_midst},
	{"fork_beside_lines", fork_beside_lines},
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(log_works_in_a_forked_child),
		cmocka_unit_test(log_holds_no_lock_of_a_forked_child),
	};

	if (argc > 1)
		return child_main(children, argv[1]);
	unsetenv("STTCP_LOG");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
