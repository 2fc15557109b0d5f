/* SPDX-License-Identifier: MIT */
/*
 * What the library's codes and the system's errno values are called. One table
 * gives the name and the sentence of each code of the library. Nothing here has
 * state: any thread, at any time.
 */
#include "base/error.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "base/portable.h"
#if !STT_HAVE_STRERRORNAME_NP
#include "base/errno_table.h"
#endif

struct code {
	int number;
	const char *name;
	const char *text;
};

/* A code and its name, so that they cannot drift apart. */
#define CODE(number) (number), #number

static const struct code codes[] = {
	{CODE(STTCP_EDESTROYED), "the client was closed by its owner"},
	{CODE(STTCP_ECLOSED), "closed on this side"},
	{CODE(STTCP_ESTOPPED), "the server is stopping"},
	{CODE(STTCP_EHANDLER), "a handler failed the connection"},
	{CODE(STTCP_EFRAME), "malformed message"},
	{CODE(STTCP_ELIMIT), "over a limit"},
	{CODE(STTCP_ESLOW), "the peer reads too slowly"},
	{CODE(STTCP_ERESOLVE), "the host name could not be resolved"},
	{CODE(STTCP_ETLS), "TLS failed"},
	{CODE(STTCP_ETIME_CONNECT), "connecting took too long"},
	{CODE(STTCP_ETIME_FIRST_BYTE), "no first byte in time"},
	{CODE(STTCP_ETIME_IDLE), "nothing sent or received for too long"},
	{CODE(STTCP_ETIME_MESSAGE), "a message took too long to arrive"},
	{CODE(STTCP_ETIME_WRITE), "the peer took no byte for too long"},
	{CODE(STTCP_ETIME_LIFETIME), "the connection reached its age limit"},
	{CODE(STTCP_EDEAD_PEER), "the peer no longer answers"},
	{CODE(STTCP_EFORK), "the object belongs to the parent process"},
	{CODE(STTCP_ETIME_HANDSHAKE), "the TLS handshake took too long"},
	{CODE(STTCP_ECUT), "the peer ended without TLS's close_notify"},
};

static const struct code *find_code(int number)
{
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		if (codes[i].number == number)
			return &codes[i];
	}
	return NULL;
}

/* The errno value in `code`, or -1, which no errno is. INT_MIN has no positive counterpart. */
static int errno_of(int code)
{
	return code < 0 && code > INT_MIN ? -code : -1;
}

/* strerror(3) may use a buffer that other threads share; these are constants. */
#if STT_HAVE_STRERRORNAME_NP

static const char *name_of_errno(int number)
{
	return strerrorname_np(number);
}

static const char *text_of_errno(int number)
{
	return strerrordesc_np(number);
}

#else

static const char *name_of_errno(int number)
{
	const struct stt_errno *found = stt_find_errno(number);

	return found ? found->name : NULL;
}

static const char *text_of_errno(int number)
{
	const struct stt_errno *found = stt_find_errno(number);

	return found ? found->text : NULL;
}

#endif

const char *sttcp_strerror(int code)
{
	if (code == 0)
		return "no error";

	const struct code *own = find_code(code);

	if (own)
		return own->text;

	const char *text = text_of_errno(errno_of(code));

	return text ? text : "unknown error";
}

const char *sttcp_error_name(int code)
{
	if (code == 0)
		return "OK";

	const struct code *own = find_code(code);

	if (own)
		return own->name;

	const char *name = name_of_errno(errno_of(code));

	return name ? name : "UNKNOWN";
}

bool stt_error_is_told(int code)
{
	return code != STTCP_ECLOSED && code != STTCP_EDESTROYED && find_code(code);
}

int stt_error_of_peer(int code)
{
	return code == -ETIMEDOUT ? STTCP_EDEAD_PEER : code;
}
