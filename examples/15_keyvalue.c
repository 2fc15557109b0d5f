/* SPDX-License-Identifier: MIT */
/*
 * A key-value server that speaks the protocol of Redis (RESP), for redis-cli and
 * the client libraries: GET, SET, DEL, DBSIZE, ECHO and PING. It shows
 *
 *  - a frame function for a command of many parts, each with its length: `state`
 *    and `total` tell how far it has come, so that nothing is read twice;
 *  - one mutex around all data. Nothing is sent under it, because a client that
 *    does not read would hold up all the others. A value that is being sent is
 *    counted instead, and outlives its replacement;
 *  - a malformed handler, which answers before the connection ends.
 *
 * Usage: 15_keyvalue [PORT]. Try it with "redis-cli -p 7000 set a 1".
 */
#include <ctype.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include <sttcp.h>

enum {
	MOST_PARTS = 3, /* of a command that we know */
	BUCKETS = 1 << 20
};

/* A part of a command: "$5\r\nhello\r\n" is `whole`, and "hello" the text in it. */
struct part {
	const char *whole, *text;
	size_t whole_size, size;
};

/* A key with its value, which is the answer to GET: a whole part. It never changes. */
struct entry {
	struct entry *next;
	atomic_int users;
	size_t key_size, answer_size;
	char bytes[]; /* the key, then the answer */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of all entries */
static struct entry *table[BUCKETS];
static int count;
static uint64_t seed; /* a secret: else clients could choose keys that all fall into one bucket */

/* ------------------------------------------------------------------ protocol */

/* Reads "*3\r\n" or "$5\r\n". Returns its size; 0: more is needed; -1: it is none. */
static int read_header(const char *text, size_t size, char kind, uint32_t *number)
{
	size_t at = 1;

	if (size > 0 && text[0] != kind)
		return -1;
	for (*number = 0; at < size && at < 10 && isdigit((unsigned char)text[at]); at++)
		*number = *number * 10 + (uint32_t)(text[at] - '0');
	if (at + 2 > size)
		return 0;
	return at > 1 && memcmp(text + at, "\r\n", 2) == 0 ? (int)at + 2 : -1;
}

/* The state: where the next part begins, and in the upper half how many parts are to come. */
static int find_command(sttcp_conn *conn, const void *data, size_t size, sttcp_frame *frame,
			void *context)
{
	const char *text = data;
	size_t at = (uint32_t)frame->state;
	uint32_t left = (uint32_t)(frame->state >> 32), len;
	int header;

	(void)conn, (void)context;
	if (text[0] == '\r') { /* an empty line is no command */
		frame->total = 2;
		return size < 2 ? 0 : text[1] == '\n' ? 1 : -1;
	}
	if (at == 0) {
		header = read_header(text, size, '*', &left);
		if (header <= 0)
			return header;
		at = (size_t)header;
	}
	while (at <= size) {
		if (memcmp(text + at - 2, "\r\n", 2) != 0)
			return -1;
		if (left == 0) {
			frame->size = frame->total = at;
			return 1;
		}
		header = read_header(text + at, size - at, '$', &len);
		if (header < 0)
			return -1;
		if (header == 0)
			break;
		at += (size_t)header + len + 2;
		left--;
	}
	frame->state = (uint64_t)left << 32 | at;
	frame->total = at; /* no call before so much is there */
	return 0;
}

static size_t take_number(const char **text)
{
	size_t number = 0;

	while (*++*text != '\r')
		number = number * 10 + (size_t)(**text - '0');
	*text += 2;
	return number;
}

/* find_command has checked it. Returns the number of parts, of which MOST_PARTS are stored. */
static size_t split(const char *text, struct part parts[MOST_PARTS])
{
	size_t nparts = take_number(&text);

	for (size_t i = 0; i < nparts && i < MOST_PARTS; i++) {
		parts[i].whole = text;
		parts[i].size = take_number(&text);
		parts[i].text = text;
		text += parts[i].size + 2;
		parts[i].whole_size = (size_t)(text - parts[i].whole);
	}
	return nparts;
}

static void answer(sttcp_conn *conn, const char *text)
{
	sttcp_conn_send(conn, text, strlen(text));
}

/* ---------------------------------------------------------------------- data */

static struct entry *make_entry(const struct part *key, const struct part *value)
{
	struct entry *entry = malloc(sizeof(*entry) + key->size + value->whole_size);

	if (entry) {
		atomic_init(&entry->users, 1);
		entry->key_size = key->size;
		entry->answer_size = value->whole_size;
		memcpy(entry->bytes, key->text, key->size);
		memcpy(entry->bytes + key->size, value->whole, value->whole_size);
	}
	return entry;
}

static void let_go(struct entry *entry)
{
	if (entry && atomic_fetch_sub(&entry->users, 1) == 1)
		free(entry);
}

/* The pointer to the entry of this key, or the one where it would be added. */
static struct entry **find_locked(const struct part *key)
{
	uint64_t hash = seed;

	for (size_t i = 0; i < key->size; i++) {
		hash = (hash ^ (unsigned char)key->text[i]) * 0xff51afd7ed558ccdU;
		hash ^= hash >> 33;
	}

	struct entry **at = &table[hash % BUCKETS];

	while (*at &&
	       ((*at)->key_size != key->size || memcmp((*at)->bytes, key->text, key->size) != 0))
		at = &(*at)->next;
	return at;
}

/* Puts an entry (NULL: none) in the place of another one, which it returns. */
static struct entry *replace(const struct part *key, struct entry *entry)
{
	pthread_mutex_lock(&lock);
	struct entry **at = find_locked(key);
	struct entry *old = *at, *next = old ? old->next : NULL;

	if (entry)
		entry->next = next;
	*at = entry ? entry : next;
	count += (entry != NULL) - (old != NULL);
	pthread_mutex_unlock(&lock);
	return old;
}

/* ------------------------------------------------------------------ commands */

static void get(sttcp_conn *conn, const struct part *parts)
{
	pthread_mutex_lock(&lock);
	struct entry *entry = *find_locked(&parts[1]);

	if (entry)
		atomic_fetch_add(&entry->users, 1);
	pthread_mutex_unlock(&lock);

	if (entry)
		sttcp_conn_send(conn, entry->bytes + entry->key_size, entry->answer_size);
	else
		answer(conn, "$-1\r\n");
	let_go(entry);
}

static void set(sttcp_conn *conn, const struct part *parts)
{
	struct entry *entry = make_entry(&parts[1], &parts[2]);

	if (entry)
		let_go(replace(&parts[1], entry));
	answer(conn, entry ? "+OK\r\n" : "-OOM out of memory\r\n");
}

static void del(sttcp_conn *conn, const struct part *parts)
{
	struct entry *old = replace(&parts[1], NULL);

	answer(conn, old ? ":1\r\n" : ":0\r\n");
	let_go(old);
}

static void dbsize(sttcp_conn *conn, const struct part *parts)
{
	(void)parts;
	pthread_mutex_lock(&lock);
	int now = count;

	pthread_mutex_unlock(&lock);
	sttcp_conn_sendf(conn, ":%d\r\n", now);
}

static void echo(sttcp_conn *conn, const struct part *parts)
{
	sttcp_conn_send(conn, parts[1].whole, parts[1].whole_size);
}

static void ping(sttcp_conn *conn, const struct part *parts)
{
	(void)parts;
	answer(conn, "+PONG\r\n");
}

static const struct command {
	const char *name;
	size_t nparts;
	void (*run)(sttcp_conn *conn, const struct part *parts);
} commands[] = {{"GET", 2, get},       {"SET", 3, set},	  {"DEL", 2, del},
		{"DBSIZE", 1, dbsize}, {"ECHO", 2, echo}, {"PING", 1, ping}};

static void serve(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	struct part parts[MOST_PARTS];
	size_t nparts = size > 0 ? split(data, parts) : 0;

	(void)context;
	if (nparts == 0)
		return;
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++) {
		const struct command *command = &commands[i];

		if (strlen(command->name) != parts[0].size ||
		    strncasecmp(command->name, parts[0].text, parts[0].size) != 0)
			continue;
		if (command->nparts == nparts)
			command->run(conn, parts);
		else
			answer(conn, "-ERR wrong number of arguments\r\n");
		return;
	}
	answer(conn, "-ERR unknown command\r\n");
}

static void complain(sttcp_conn *conn, int code, void *context)
{
	(void)context;
	sttcp_conn_sendf(conn, "-ERR Protocol error: %s\r\n", sttcp_strerror(code));
}

int main(int argc, char **argv)
{
	sttcp_server *server =
		sttcp_server_new("127.0.0.1", argc > 1 ? atoi(argv[1]) : 7000,
				 STTCP_OPTIONS(.framing = STTCP_FRAMING_CUSTOM,
					       .frame_fn = find_command, .end_idle_at_stop = true));

	setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
	bool started = getrandom(&seed, sizeof(seed), 0) == (ssize_t)sizeof(seed) &&
		       sttcp_server_on_receive(server, serve) == 0 &&
		       sttcp_server_on_malformed(server, complain) == 0 &&
		       sttcp_server_start(server) == 0;

	if (started) {
		printf("listening on %d\n", sttcp_server_port(server));
		sttcp_server_keep_alive(server);
	} else {
		fprintf(stderr, "%s\n", sttcp_server_error(server));
	}
	sttcp_server_free(server);
	return started ? EXIT_SUCCESS : EXIT_FAILURE;
}
