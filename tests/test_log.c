/* SPDX-License-Identifier: MIT */
/* The log itself: who gets which lines, and when the function from before is done. What is said is
 * in test_trace.c and test_trace_ends.c, and forks are in test_log_forks.c. */
#include "support/support.h"

#include <fcntl.h>
#include <regex.h>
#include <signal.h>

#include "base/log.h"

/* ------------------------------------------------------------------ function */

struct lines {
	struct event came;
	int level;
	char text[600];
};

static void keep_line(int level, const char *text, void *context)
{
	struct lines *lines = context;

	lines->level = level;
	snprintf(lines->text, sizeof(lines->text), "%s", text);
	event_raise(&lines->came);
}

static int turn_off(void **state)
{
	(void)state;
	sttcp_set_log(NULL, NULL);
	sttcp_log_level(STT_LOG_INFO);
	return 0;
}

static void function_gets_up_to_level_three(void **state)
{
	struct lines lines = {.came = EVENT_INIT};

	(void)state;
	sttcp_set_log(keep_line, &lines);
	stt_log(STT_LOG_TRACE, "no");
	assert_int_equal(event_count(&lines.came), 0);
	stt_log(STT_LOG_INFO, "three %d", 3);
	assert_int_equal(lines.level, 3);
	assert_string_equal(lines.text, "three 3");
	sttcp_log_level(4);
	stt_log(STT_LOG_TRACE, "four");
	assert_string_equal(lines.text, "four");
	sttcp_log_level(1);
	stt_log(STT_LOG_WARNING, "two");
	assert_string_equal(lines.text, "four");
	stt_log(STT_LOG_ERROR, "one");
	assert_string_equal(lines.text, "one");
	sttcp_log_level(0);
	stt_log(STT_LOG_ERROR, "none");
	sttcp_log_level(99);
	stt_log(STT_LOG_TRACE, "all");
	sttcp_log_level(-99);
	stt_log(STT_LOG_ERROR, "none");
	assert_string_equal(lines.text, "all");
}

/* The level is that of whichever function is set. */
static void level_stays_over_set_log(void **state)
{
	struct lines lines = {.came = EVENT_INIT};

	(void)state;
	sttcp_log_level(4);
	stt_log(STT_LOG_ERROR, "nobody listens");
	sttcp_set_log(keep_line, &lines);
	stt_log(STT_LOG_TRACE, "trace");
	assert_string_equal(lines.text, "trace");
}

static int evaluated(int *times)
{
	return ++*times;
}

static void line_that_nobody_wants_is_not_made(void **state)
{
	struct lines lines = {.came = EVENT_INIT};
	int times = 0;

	(void)state;
	stt_log(STT_LOG_ERROR, "%d", evaluated(&times));
	sttcp_set_log(keep_line, &lines);
	stt_log(STT_LOG_TRACE, "%d", evaluated(&times));
	assert_int_equal(times, 0);
	stt_log(STT_LOG_INFO, "%d", evaluated(&times));
	assert_int_equal(times, 1);
}

/* A peer may have sent it: it cannot make a second line, nor a terminal do anything. */
static void line_is_one_line(void **state)
{
	struct lines lines = {.came = EVENT_INIT};
	char longest[2000];

	(void)state;
	sttcp_set_log(keep_line, &lines);
	stt_log(STT_LOG_INFO, "a\nb\r\033[2Jc\t\177 \xc3\xa4");
	assert_string_equal(lines.text, "a?b??[2Jc?? \xc3\xa4");
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	stt_log(STT_LOG_INFO, "%s", longest);
	assert_int_equal(strlen(lines.text), 511);
}

static void say_more(int level, const char *text, void *context)
{
	errno = EPIPE;
	stt_log(STT_LOG_ERROR, "about %s", text);
	keep_line(level, text, context);
}

/* What is said because of what the function does is not told, and what it does to errno neither. */
static void function_is_not_called_within_itself(void **state)
{
	struct lines lines = {.came = EVENT_INIT};

	(void)state;
	sttcp_set_log(say_more, &lines);
	errno = ENOENT;
	stt_log(STT_LOG_INFO, "once");
	assert_int_equal(errno, ENOENT);
	assert_int_equal(event_count(&lines.came), 1);
	assert_string_equal(lines.text, "once");
}

/* ------------------------------------------------------------------- waiting */

struct gate {
	struct event entered;
	struct event open;
	struct event left;
	atomic_bool done;
};

static void wait_at_gate(int level, const char *text, void *context)
{
	struct gate *gate = context;

	(void)level;
	(void)text;
	event_raise(&gate->entered);
	event_wait(&gate->open, 1);
	event_raise(&gate->left);
}

static void *say_something(void *argument)
{
	(void)argument;
	stt_log(STT_LOG_INFO, "something");
	return NULL;
}

static void *turn_off_and_tell(void *argument)
{
	struct gate *gate = argument;

	sttcp_set_log(NULL, NULL);
	atomic_store(&gate->done, true);
	return NULL;
}

static void *turn_to_stderr_and_tell(void *argument)
{
	struct gate *gate = argument;

	sttcp_log_to_stderr(0);
	atomic_store(&gate->done, true);
	return NULL;
}

/* Two threads at once, and each of the two calls: the function has left when they are back. */
static void setting_waits_for_the_function_from_before(void **state)
{
	struct gate gate = {.entered = EVENT_INIT, .open = EVENT_INIT, .left = EVENT_INIT};
	struct lines lines = {.came = EVENT_INIT};
	pthread_t saying;
	pthread_t setting[2];

	(void)state;
	sttcp_set_log(wait_at_gate, &gate);
	assert_int_equal(pthread_create(&saying, NULL, say_something, NULL), 0);
	assert_true(event_wait(&gate.entered, 1));
	assert_int_equal(pthread_create(&setting[0], NULL, turn_off_and_tell, &gate), 0);
	EVENTUALLY(!stt_log_wants(STT_LOG_ERROR));
	assert_int_equal(pthread_create(&setting[1], NULL, turn_to_stderr_and_tell, &gate), 0);
	/* It has had its chance: what comes too early in one of many runs is found by the many. */
	nap_ms(20);
	assert_false(atomic_load(&gate.done));
	event_raise(&gate.open);
	pthread_join(setting[0], NULL);
	assert_int_equal(event_count(&gate.left), 1);
	pthread_join(setting[1], NULL);
	pthread_join(saying, NULL);
	/* And the next one is not held up by what was. */
	sttcp_set_log(keep_line, &lines);
	stt_log(STT_LOG_INFO, "next");
	assert_string_equal(lines.text, "next");
}

struct swap {
	struct lines lines;
	struct gate *other;
};

static void swap_inside(int level, const char *text, void *context)
{
	struct swap *swap = context;

	(void)level;
	(void)text;
	sttcp_set_log(NULL, NULL);
	sttcp_set_log(keep_line, &swap->lines);
}

/* Also while it runs on another thread, which waits for this one. */
static void function_may_replace_itself(void **state)
{
	struct gate gate = {.entered = EVENT_INIT, .open = EVENT_INIT, .left = EVENT_INIT};
	struct swap swap = {.lines = {.came = EVENT_INIT}};
	pthread_t saying;

	(void)state;
	sttcp_set_log(wait_at_gate, &gate);
	assert_int_equal(pthread_create(&saying, NULL, say_something, NULL), 0);
	assert_true(event_wait(&gate.entered, 1));
	pthread_t setting;
	assert_int_equal(pthread_create(&setting, NULL, turn_off_and_tell, &gate), 0);
	EVENTUALLY(!stt_log_wants(STT_LOG_ERROR));
	event_raise(&gate.open);
	pthread_join(setting, NULL);
	pthread_join(saying, NULL);

	sttcp_set_log(swap_inside, &swap);
	stt_log(STT_LOG_INFO, "swap");
	stt_log(STT_LOG_INFO, "new");
	assert_string_equal(swap.lines.text, "new");
	assert_int_equal(event_count(&swap.lines.came), 1);
}

/* ------------------------------------------------------------ standard error */

/* What the calls of `fn` have written to standard error. */
static char *written(void (*fn)(void *argument), void *argument)
{
	static char text[4096];
	int ends[2];
	int before = dup(STDERR_FILENO);

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	dup2(ends[1], STDERR_FILENO);
	close(ends[1]);
	fn(argument);
	dup2(before, STDERR_FILENO);
	close(before);

	ssize_t size = read(ends[0], text, sizeof(text) - 1);

	text[size > 0 ? size : 0] = '\0';
	close(ends[0]);
	return text;
}

static bool matches(const char *text, const char *pattern)
{
	regex_t regex;

	assert_int_equal(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB), 0);
	int result = regexec(&regex, text, 0, NULL, 0);

	regfree(&regex);
	return result == 0;
}

static void say_all_levels(void *argument)
{
	sttcp_log_to_stderr(*(const int *)argument);
	stt_log(STT_LOG_ERROR, "first");
	stt_log(STT_LOG_WARNING, "second");
	stt_log(STT_LOG_INFO, "third");
	stt_log(STT_LOG_TRACE, "fourth");
	sttcp_log_to_stderr(0);
	stt_log(STT_LOG_ERROR, "off");
}

#define STAMP                                                                                      \
	"[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}[+-][0-9]{2}:[0-9]{2}"

static void standard_error_gets_lines_with_time_and_level(void **state)
{
	static const char *const patterns[] = {
		"^$",
		"^" STAMP " sttcp error: first\n$",
		"^" STAMP " sttcp error: first\n" STAMP " sttcp warning: second\n$",
		"^" STAMP " sttcp error: first\n" STAMP " sttcp warning: second\n" STAMP
		" sttcp info: third\n$",
		"^" STAMP " sttcp error: first\n" STAMP " sttcp warning: second\n" STAMP
		" sttcp info: third\n" STAMP " sttcp trace: fourth\n$",
	};

	(void)state;
	for (int level = 0; level <= 4; level++) {
		const char *text = written(say_all_levels, &level);

		if (!matches(text, patterns[level]))
			fail_msg("level %d: %s", level, text);
	}
}

static void say_to_both(void *argument)
{
	struct lines *lines = argument;

	sttcp_set_log(keep_line, lines);
	sttcp_log_to_stderr(3);
	stt_log(STT_LOG_INFO, "printed");
	sttcp_set_log(keep_line, lines);
	stt_log(STT_LOG_INFO, "kept");
	/* Off is a setting like the others. */
	sttcp_log_to_stderr(0);
	stt_log(STT_LOG_INFO, "lost");
}

static void last_setting_counts(void **state)
{
	struct lines lines = {.came = EVENT_INIT};

	(void)state;
	const char *text = written(say_to_both, &lines);

	assert_true(matches(text, "^" STAMP " sttcp info: printed\n$"));
	assert_string_equal(lines.text, "kept");
	assert_int_equal(event_count(&lines.came), 1);
}

/* G17: SIGPIPE never reaches the program. */
static int print_to_nobody(void)
{
	int ends[2];

	signal(SIGPIPE, SIG_DFL);
	CHECK(pipe2(ends, O_CLOEXEC) == 0);
	int before = dup(STDERR_FILENO);

	dup2(ends[1], STDERR_FILENO);
	close(ends[1]);
	close(ends[0]);
	sttcp_log_to_stderr(1);
	stt_log(STT_LOG_ERROR, "nobody reads this");
	dup2(before, STDERR_FILENO);

	sigset_t pending;

	sigpending(&pending);
	CHECK(!sigismember(&pending, SIGPIPE));
	return 0;
}

static void printing_to_nobody_raises_no_signal(void **state)
{
	(void)state;
	assert_int_equal(process_run("print_to_nobody"), 0);
}

/* The number may be a connection's by now, whose peer is not to read the log. */
static int print_behind_close(void)
{
	int before = dup(STDERR_FILENO);
	int ends[2];
	char text[8];

	sttcp_log_to_stderr(1);
	close(STDERR_FILENO);
	stt_log(STT_LOG_ERROR, "nobody is there");
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
	int peer = ends[0] == STDERR_FILENO ? ends[1] : ends[0];

	CHECK(ends[0] == STDERR_FILENO || ends[1] == STDERR_FILENO);
	stt_log(STT_LOG_ERROR, "a peer is there");
	ssize_t got = recv(peer, text, sizeof(text), 0);

	/* Who turns it on now wants it there. */
	sttcp_log_to_stderr(1);
	stt_log(STT_LOG_ERROR, "wanted");
	ssize_t wanted = recv(peer, text, sizeof(text), 0);

	/* So does who redirects it, to rotate a log. */
	CHECK(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
	dup2(ends[1], STDERR_FILENO);
	stt_log(STT_LOG_ERROR, "redirected");
	ssize_t redirected = read(ends[0], text, sizeof(text));

	dup2(before, STDERR_FILENO);
	CHECK(got == -1);
	CHECK(wanted > 0);
	CHECK(redirected > 0);
	return 0;
}

static void line_goes_to_no_other_file(void **state)
{
	(void)state;
	assert_int_equal(process_run("print_behind_close"), 0);
}

/* ------------------------------------------------------------------- outside */

/* A start that is refused has something to say. */
static void fail_a_start(void)
{
	sttcp_server *server = sttcp_server_new("127.0.0.1", 65536, NULL);

	CHECK(sttcp_server_start(server) == -EINVAL);
	sttcp_server_free(server);
}

static int start_only(void)
{
	fail_a_start();
	return 0;
}

/* The environment counts once, at the first start. */
static int start_and_change(void)
{
	fail_a_start();
	setenv("STTCP_LOG", "4", 1);
	fail_a_start();
	return 0;
}

static int turn_off_first(void)
{
	sttcp_log_to_stderr(0);
	fail_a_start();
	return 0;
}

static int turn_function_off_first(void)
{
	sttcp_set_log(NULL, NULL);
	fail_a_start();
	return 0;
}

/* The level of a function is none of the two. */
static int set_level_first(void)
{
	sttcp_log_level(0);
	fail_a_start();
	return 0;
}

static void run_child(void *name)
{
	assert_int_equal(process_run(name), 0);
}

static void environment_counts_at_the_first_start(void **state)
{
	static const struct {
		const char *value;
		char *child;
		bool says;
	} cases[] = {
		{NULL, "start_only", false},	{"0", "start_only", false},
		{"1", "start_only", true},	{"4", "start_only", true},
		{"5", "start_only", false},	{"", "start_only", false},
		{"all", "start_only", false},	{"14", "start_only", false},
		{"4", "turn_off_first", false}, {"4", "turn_function_off_first", false},
		{"4", "set_level_first", true}, {NULL, "start_and_change", false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (cases[i].value)
			setenv("STTCP_LOG", cases[i].value, 1);
		const char *text = written(run_child, cases[i].child);

		unsetenv("STTCP_LOG");
		if (!matches(text, cases[i].says ? "^" STAMP
						   " sttcp error: 127\\.0\\.0\\.1:65536.*\n$"
						 : "^$"))
			fail_msg("case %zu: %s", i, text);
	}
}

static const struct child children[] = {
	{"print_to_nobody", print_to_nobody}, {"print_behind_close", print_behind_close},
	{"start_only", start_only},	      {"start_and_change", start_and_change},
	{"turn_off_first", turn_off_first},   {"turn_function_off_first", turn_function_off_first},
	{"set_level_first", set_level_first}, {NULL, NULL},
};

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(function_gets_up_to_level_three, turn_off),
		cmocka_unit_test_teardown(level_stays_over_set_log, turn_off),
		cmocka_unit_test_teardown(line_that_nobody_wants_is_not_made, turn_off),
		cmocka_unit_test_teardown(line_is_one_line, turn_off),
		cmocka_unit_test_teardown(function_is_not_called_within_itself, turn_off),
		cmocka_unit_test_teardown(setting_waits_for_the_function_from_before, turn_off),
		cmocka_unit_test_teardown(function_may_replace_itself, turn_off),
		cmocka_unit_test_teardown(standard_error_gets_lines_with_time_and_level, turn_off),
		cmocka_unit_test_teardown(last_setting_counts, turn_off),
		cmocka_unit_test(printing_to_nobody_raises_no_signal),
		cmocka_unit_test(line_goes_to_no_other_file),
		cmocka_unit_test(environment_counts_at_the_first_start),
	};

	if (argc > 1)
		return child_main(children, argv[1]);
	unsetenv("STTCP_LOG");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
