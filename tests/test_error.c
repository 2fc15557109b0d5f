/* SPDX-License-Identifier: MIT */
/* Codes, events and the version: what they are called. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>

#include "base/error.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct {
	int code;
	const char *name;
} own_codes[] = {
	{STTCP_EDESTROYED, "STTCP_EDESTROYED"},
	{STTCP_ECLOSED, "STTCP_ECLOSED"},
	{STTCP_ESTOPPED, "STTCP_ESTOPPED"},
	{STTCP_EHANDLER, "STTCP_EHANDLER"},
	{STTCP_EFRAME, "STTCP_EFRAME"},
	{STTCP_ELIMIT, "STTCP_ELIMIT"},
	{STTCP_ESLOW, "STTCP_ESLOW"},
	{STTCP_ERESOLVE, "STTCP_ERESOLVE"},
	{STTCP_ETLS, "STTCP_ETLS"},
	{STTCP_ETIME_CONNECT, "STTCP_ETIME_CONNECT"},
	{STTCP_ETIME_FIRST_BYTE, "STTCP_ETIME_FIRST_BYTE"},
	{STTCP_ETIME_IDLE, "STTCP_ETIME_IDLE"},
	{STTCP_ETIME_MESSAGE, "STTCP_ETIME_MESSAGE"},
	{STTCP_ETIME_WRITE, "STTCP_ETIME_WRITE"},
	{STTCP_ETIME_LIFETIME, "STTCP_ETIME_LIFETIME"},
	{STTCP_EDEAD_PEER, "STTCP_EDEAD_PEER"},
	{STTCP_EFORK, "STTCP_EFORK"},
	{STTCP_ETIME_HANDSHAKE, "STTCP_ETIME_HANDSHAKE"},
	{STTCP_ECUT, "STTCP_ECUT"},
};

/* Numbers that stand for nothing: INT_MIN has no positive counterpart. */
static const int no_codes[] = {1, ECONNRESET, 5001, INT_MAX, INT_MIN, INT_MIN + 1, -4095, -5000};

static void own_code_has_its_name(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(own_codes); i++)
		assert_string_equal(sttcp_error_name(own_codes[i].code), own_codes[i].name);
}

static void own_codes_go_down_from_5001_without_a_gap(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(own_codes); i++)
		assert_int_equal(own_codes[i].code, -5001 - (int)i);
	assert_string_equal(sttcp_error_name(-5001 - (int)COUNT(own_codes)), "UNKNOWN");
}

static void own_code_has_a_sentence_of_its_own(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(own_codes); i++) {
		const char *text = sttcp_strerror(own_codes[i].code);

		assert_string_not_equal(text, "");
		assert_string_not_equal(text, "unknown error");
		for (size_t k = 0; k < i; k++)
			assert_string_not_equal(text, sttcp_strerror(own_codes[k].code));
	}
}

static void zero_is_no_error(void **state)
{
	(void)state;
	assert_string_equal(sttcp_strerror(0), "no error");
	assert_string_equal(sttcp_error_name(0), "OK");
}

static void errno_has_the_systems_name_and_sentence(void **state)
{
	(void)state;
	assert_string_equal(sttcp_error_name(-ECONNRESET), "ECONNRESET");
	assert_string_equal(sttcp_error_name(-EADDRINUSE), "EADDRINUSE");
	assert_string_equal(sttcp_error_name(-EPERM), "EPERM");
	assert_string_equal(sttcp_strerror(-ECONNRESET), "Connection reset by peer");
	assert_string_equal(sttcp_strerror(-EADDRINUSE), "Address already in use");
}

static void unknown_code_is_told_as_such(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(no_codes); i++) {
		assert_string_equal(sttcp_error_name(no_codes[i]), "UNKNOWN");
		assert_string_equal(sttcp_strerror(no_codes[i]), "unknown error");
	}
}

static void sentence_stays_when_another_is_asked_for(void **state)
{
	const char *reset = sttcp_strerror(-ECONNRESET);
	const char *unknown = sttcp_strerror(-5000);

	(void)state;
	sttcp_strerror(-EPIPE);
	sttcp_strerror(-4999);
	assert_string_equal(reset, "Connection reset by peer");
	assert_string_equal(unknown, "unknown error");
}

static void *ask_sentence(void *code)
{
	return (void *)(uintptr_t)sttcp_strerror(*(const int *)code);
}

/* A sentence that lived in a thread's own memory would be gone here. */
static void sentence_outlives_the_thread_that_asked(void **state)
{
	static const int codes[] = {-ECONNRESET, STTCP_ESLOW, -5000};

	(void)state;
	for (size_t i = 0; i < COUNT(codes); i++) {
		pthread_t thread;
		void *text;

		assert_int_equal(
			pthread_create(&thread, NULL, ask_sentence, (void *)(uintptr_t)&codes[i]),
			0);
		assert_int_equal(pthread_join(thread, &text), 0);
		assert_ptr_equal(text, sttcp_strerror(codes[i]));
	}
}

static void errno_is_left_alone(void **state)
{
	(void)state;
	errno = ENOENT;
	sttcp_strerror(-5000);
	sttcp_error_name(-5000);
	sttcp_strerror(-ECONNRESET);
	assert_int_equal(errno, ENOENT);
}

static void peer_timeout_is_a_dead_peer(void **state)
{
	(void)state;
	assert_int_equal(stt_error_of_peer(-ETIMEDOUT), STTCP_EDEAD_PEER);
}

static void other_peer_errors_stay_what_they_are(void **state)
{
	static const int codes[] = {0,		 1,
				    ETIMEDOUT,	 -ECONNRESET,
				    -EPIPE,	 -EHOSTUNREACH,
				    STTCP_ESLOW, STTCP_ETIME_CONNECT};

	(void)state;
	for (size_t i = 0; i < COUNT(codes); i++)
		assert_int_equal(stt_error_of_peer(codes[i]), codes[i]);
}

static void event_has_its_name(void **state)
{
	(void)state;
	assert_string_equal(sttcp_event_name(STTCP_CONNECTION), "connection");
	assert_string_equal(sttcp_event_name(STTCP_RECEIVE), "receive");
	assert_string_equal(sttcp_event_name(STTCP_RESPONSE), "response");
	assert_string_equal(sttcp_event_name(STTCP_END), "end");
	assert_string_equal(sttcp_event_name(STTCP_DISCONNECTION), "disconnection");
	assert_string_equal(sttcp_event_name(STTCP_UNCONNECTED), "unconnected");
}

static void event_that_is_none_is_unknown(void **state)
{
	static const unsigned int numbers[] = {0, STTCP_UNCONNECTED + 1, INT_MAX};

	(void)state;
	for (size_t i = 0; i < COUNT(numbers); i++)
		assert_string_equal(sttcp_event_name((sttcp_event)numbers[i]), "unknown");
}

static void version_is_that_of_the_header(void **state)
{
	char text[64];

	(void)state;
	snprintf(text, sizeof(text), "%d.%d.%d", STTCP_VERSION_MAJOR, STTCP_VERSION_MINOR,
		 STTCP_VERSION_PATCH);
	assert_string_equal(sttcp_version(), text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(own_code_has_its_name),
		cmocka_unit_test(own_codes_go_down_from_5001_without_a_gap),
		cmocka_unit_test(own_code_has_a_sentence_of_its_own),
		cmocka_unit_test(zero_is_no_error),
		cmocka_unit_test(errno_has_the_systems_name_and_sentence),
		cmocka_unit_test(unknown_code_is_told_as_such),
		cmocka_unit_test(sentence_stays_when_another_is_asked_for),
		cmocka_unit_test(sentence_outlives_the_thread_that_asked),
		cmocka_unit_test(errno_is_left_alone),
		cmocka_unit_test(peer_timeout_is_a_dead_peer),
		cmocka_unit_test(other_peer_errors_stay_what_they_are),
		cmocka_unit_test(event_has_its_name),
		cmocka_unit_test(event_that_is_none_is_unknown),
		cmocka_unit_test(version_is_that_of_the_header),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
