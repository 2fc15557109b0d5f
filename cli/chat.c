/* SPDX-License-Identifier: MIT */
/*
 * sttcp chat: rooms and nicknames, for people with nc.
 *
 * Everything that a guest types goes to other terminals: control characters are
 * made visible on the way in, once for all who hear it.
 */
#include "cli.h"
#include "files.h"
#include "json.h"
#include "say.h"
#include "serve.h"

#include <ctype.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum {
	MAX_NAME = 20,
	MAX_LINE = 2000
};

struct guest {
	char name[MAX_NAME + 1]; /* under `names` */
	char room[MAX_NAME + 1]; /* only its own handlers */
};

/* Held while a name is looked for among all guests, and taken. */
static pthread_mutex_t names = PTHREAD_MUTEX_INITIALIZER;
static bool as_json;

static void note(sttcp_conn *conn, const char *what, const char *text)
{
	const struct guest *guest = sttcp_conn_data(conn);
	struct json json;

	if (!as_json)
		return;
	json_begin(&json, what);
	json_text(&json, "address", sttcp_conn_address(conn));
	json_text(&json, "name", guest->name);
	json_text(&json, "room", guest->room);
	if (text)
		json_text(&json, "text", text);
	json_end(&json);
}

/* A line to the others in the room; returns how many they are. */
__attribute__((__format__(__printf__, 2, 3))) static int tell(sttcp_conn *conn, const char *format,
							      ...)
{
	const struct guest *guest = sttcp_conn_data(conn);
	va_list values;
	char *line;
	int len, heard;

	va_start(values, format);
	len = vasprintf(&line, format, values);
	va_end(values);
	if (len < 0)
		return 0;
	heard = sttcp_server_send_room(sttcp_conn_server(conn), guest->room, conn, line,
				       (size_t)len);
	free(line);
	return heard;
}

static bool is_name(const char *text)
{
	size_t length = strlen(text);

	for (size_t i = 0; i < length; i++)
		if (!isalnum((unsigned char)text[i]) && !strchr("_-.", text[i]))
			return false;
	return length >= 1 && length <= MAX_NAME;
}

struct wanted {
	const char *name;
	const sttcp_conn *by; /* who may have it already: ann may become Ann */
	bool is_taken;
};

static void compare_name(sttcp_conn *conn, void *argument)
{
	const struct guest *guest = sttcp_conn_data(conn);
	struct wanted *wanted = argument;

	if (guest && conn != wanted->by && !strcasecmp(guest->name, wanted->name))
		wanted->is_taken = true;
}

static bool take_name_locked(sttcp_conn *conn, const char *name)
{
	struct guest *guest = sttcp_conn_data(conn);
	struct wanted wanted = {.name = name, .by = conn};

	sttcp_server_each(sttcp_conn_server(conn), compare_name, &wanted);
	if (!wanted.is_taken)
		snprintf(guest->name, sizeof(guest->name), "%s", name);
	return !wanted.is_taken;
}

static bool take_name(sttcp_conn *conn, const char *name)
{
	bool taken;

	pthread_mutex_lock(&names);
	taken = take_name_locked(conn, name);
	pthread_mutex_unlock(&names);
	return taken;
}

/* The first that is free: others may have called themselves so. */
static void take_first_name(sttcp_conn *conn)
{
	unsigned long long number = sttcp_conn_id(conn);
	char name[MAX_NAME + 1];

	pthread_mutex_lock(&names);
	do
		snprintf(name, sizeof(name), "guest%llu", number++ % 1000000000);
	while (!take_name_locked(conn, name));
	pthread_mutex_unlock(&names);
}

static void enter(sttcp_conn *conn, const char *room)
{
	struct guest *guest = sttcp_conn_data(conn);
	int others;

	snprintf(guest->room, sizeof(guest->room), "%s", room);
	if (sttcp_conn_join(conn, room) < 0) {
		sttcp_conn_fail(conn, STTCP_EHANDLER, "cannot enter %s", room);
		return;
	}
	others = tell(conn, "* %s has come\n", guest->name);
	sttcp_conn_sendf(conn, "* you are %s, in %s with %d other%s\n", guest->name, guest->room,
			 others, others == 1 ? "" : "s");
	note(conn, "join", NULL);
}

static void leave(sttcp_conn *conn)
{
	const struct guest *guest = sttcp_conn_data(conn);

	tell(conn, "* %s has gone\n", guest->name);
	note(conn, "leave", NULL);
	sttcp_conn_leave(conn, guest->room);
}

/* Only now it is a member: whoever comes next is told to it, too. */
static void enter_lobby(sttcp_conn *conn, void *unused)
{
	(void)unused;
	take_first_name(conn);
	enter(conn, "lobby");
}

static bool welcome(sttcp_conn *conn, void *context)
{
	struct guest *guest = calloc(1, sizeof(*guest));

	(void)context;
	if (!guest)
		return false;
	snprintf(guest->name, sizeof(guest->name), "guest%llu",
		 (unsigned long long)sttcp_conn_id(conn));
	sttcp_conn_set_data(conn, guest, free);
	sttcp_conn_sendf(conn, "* welcome; /help tells what you can do\n");
	return sttcp_conn_run(conn, enter_lobby, NULL, NULL) == 0;
}

/* ------------------------------------------------------------------- commands */

static void do_nick(sttcp_conn *conn, const char *name)
{
	const struct guest *guest = sttcp_conn_data(conn);
	char old[MAX_NAME + 1];

	snprintf(old, sizeof(old), "%s", guest->name);
	if (!is_name(name)) {
		sttcp_conn_sendf(conn, "* a name has 1 to %d letters, digits, '_', '-' and '.'\n",
				 MAX_NAME);
	} else if (!take_name(conn, name)) {
		sttcp_conn_sendf(conn, "* somebody else is called %s\n", name);
	} else {
		tell(conn, "* %s is now %s\n", old, guest->name);
		sttcp_conn_sendf(conn, "* you are %s\n", guest->name);
		note(conn, "nick", old);
	}
}

static void do_join(sttcp_conn *conn, const char *room)
{
	const struct guest *guest = sttcp_conn_data(conn);

	if (!is_name(room)) {
		sttcp_conn_sendf(conn,
				 "* a room's name has 1 to %d letters, digits, '_', '-' and '.'\n",
				 MAX_NAME);
	} else if (!strcmp(room, guest->room)) {
		sttcp_conn_sendf(conn, "* you are in %s\n", room);
	} else {
		leave(conn);
		enter(conn, room);
	}
}

static void tell_name(sttcp_conn *conn, void *to)
{
	const struct guest *guest = sttcp_conn_data(conn);
	char name[MAX_NAME + 1];

	pthread_mutex_lock(&names);
	snprintf(name, sizeof(name), "%s", guest->name);
	pthread_mutex_unlock(&names);
	sttcp_conn_sendf(to, "* %s\n", name);
}

static void do_who(sttcp_conn *conn, const char *rest)
{
	const struct guest *guest = sttcp_conn_data(conn);

	(void)rest;
	sttcp_server_each_in(sttcp_conn_server(conn), guest->room, tell_name, conn);
}

static void do_me(sttcp_conn *conn, const char *text)
{
	const struct guest *guest = sttcp_conn_data(conn);

	tell(conn, "* %s %s\n", guest->name, text);
	note(conn, "me", text);
}

static void do_quit(sttcp_conn *conn, const char *rest)
{
	(void)rest;
	sttcp_conn_sendf(conn, "* goodbye\n");
	sttcp_conn_close(conn);
}

static void do_help(sttcp_conn *conn, const char *rest)
{
	(void)rest;
	sttcp_conn_sendf(conn, "* /nick NAME   take another name\n"
			       "* /join ROOM   go to another room\n"
			       "* /who         who is in this room\n"
			       "* /me TEXT     say what you do\n"
			       "* /quit        leave\n"
			       "* all other lines go to the others in the room\n");
}

static void obey(sttcp_conn *conn, const char *line)
{
	static const struct {
		const char *word;
		void (*run)(sttcp_conn *conn, const char *rest);
	} commands[] = {{"/nick", do_nick}, {"/join", do_join}, {"/who", do_who},
			{"/me", do_me},	    {"/quit", do_quit}, {"/help", do_help}};
	size_t length = strcspn(line, " ");
	const char *rest = line + length + strspn(line + length, " ");

	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++) {
		if (strlen(commands[i].word) == length &&
		    !strncmp(line, commands[i].word, length)) {
			commands[i].run(conn, rest);
			return;
		}
	}
	sttcp_conn_sendf(conn, "* there is no such command; /help lists them\n");
}

static void take_line(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	const struct guest *guest = sttcp_conn_data(conn);
	char *text = NULL;
	size_t length = 0;
	FILE *out = open_memstream(&text, &length);

	(void)context;
	if (!out)
		return;
	print_escaped(out, data, size, ESCAPE_NEWLINES);
	fclose(out);
	if (text[0] == '/') {
		obey(conn, text);
	} else if (length > 0) {
		tell(conn, "%s: %s\n", guest->name, text);
		note(conn, "say", text);
	}
	free(text);
}

static void refuse(sttcp_conn *conn, int code, void *context)
{
	(void)code;
	(void)context;
	sttcp_conn_sendf(conn, "* a line has at most %d bytes\n", MAX_LINE);
}

static void say_goodbye(sttcp_conn *conn, int reason, void *context)
{
	const struct guest *guest = sttcp_conn_data(conn);

	(void)reason;
	(void)context;
	tell(conn, "* %s has gone\n", guest->name);
	note(conn, "leave", NULL);
}

static void announce_stop(sttcp_server *server)
{
	static const char text[] = "* the chat is closing\n";

	sttcp_server_broadcast(server, text, sizeof(text) - 1);
}

static int run(struct common *common, char **words, int nwords)
{
	sttcp_server *server;

	(void)nwords;
	as_json = common->json;
	common->server.framing = STTCP_FRAMING_LINE;
	common->server.rest_at_end = true;
	common->server.max_message = MAX_LINE;
	common->server.end_idle_at_stop = true;
	files_raise_limit();
	server = serve_new(common, words[0]);
	must(sttcp_server_on_connection(server, welcome));
	must(sttcp_server_on_receive(server, take_line));
	must(sttcp_server_on_malformed(server, refuse));
	must(sttcp_server_on_disconnection(server, say_goodbye));
	return serve(common, server, &(struct serving){.stopping = announce_stop});
}

const struct verb verb_chat = {
	.name = "chat",
	.words = "[HOST:]PORT",
	.least = 1,
	.most = 1,
	.about = "a chat with rooms and nicknames",
	.more = "Guests come with 'nc HOST PORT' or 'sttcp connect HOST:PORT'; /help tells them "
		"what "
		"they can do.",
	.takes = TAKES_TLS | TAKES_IDLE | TAKES_LIMITS | TAKES_DRAIN | TAKES_STATS | TAKES_JSON,
	.run = run,
};
