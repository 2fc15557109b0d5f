/* SPDX-License-Identifier: MIT */
/*
 * Another protocol's client inside a handler: each line is a name, which is counted
 * in a Redis server by hiredis. hiredis speaks the protocol, and gives its
 * descriptor away; sttcp_poll waits for that, for two seconds, or until a stop by
 * force ends the connection. Each connection has a Redis connection of its own, so
 * nothing needs a lock.
 *
 * Usage: 22_redis PORT SOCKET-OF-REDIS. Port 0 lets the kernel choose. It is built
 * where hiredis is (Debian: libhiredis-dev).
 */
#include <stdio.h>
#include <stdlib.h>

#include <sttcp.h>

#ifdef HAVE_HIREDIS
#include <errno.h>
#include <hiredis/hiredis.h>
#include <poll.h>
#include <signal.h>

enum {
	REDIS_MS = 2000
};

static const char *path;

/* hiredis writes and reads what it can; this waits for its descriptor in between. */
static redisReply *talk(redisContext *redis, int *code)
{
	void *reply = NULL;
	int written = 0;

	*code = 1;
	while (!written && *code > 0 && redisBufferWrite(redis, &written) == REDIS_OK)
		if (!written)
			*code = sttcp_poll(redis->fd, POLLOUT, REDIS_MS);
	while (written && *code > 0 && redisGetReplyFromReader(redis, &reply) == REDIS_OK &&
	       !reply) {
		*code = sttcp_poll(redis->fd, POLLIN, REDIS_MS);
		if (*code > 0 && redisBufferRead(redis) != REDIS_OK)
			break;
	}
	if (!reply && *code > 0)
		*code = -EPIPE;
	return reply;
}

static void forget(void *redis)
{
	redisFree(redis);
}

static bool begin(sttcp_conn *conn, void *context)
{
	redisContext *redis = redisConnectUnixNonBlock(path);

	(void)context;
	sttcp_conn_set_data(conn, redis, forget); /* NULL is fine for redisFree */
	if (redis && !redis->err)
		return true;
	sttcp_conn_fail(conn, 0, "Redis: %s", redis ? redis->errstr : "no memory");
	return false;
}

static void count(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	redisContext *redis = sttcp_conn_data(conn);
	int code;

	(void)context;
	redisAppendCommand(redis, "INCR %b", data, size);

	redisReply *reply = talk(redis, &code);

	if (reply && reply->type == REDIS_REPLY_INTEGER)
		sttcp_conn_sendf(conn, "%.*s: %lld\n", (int)size, (const char *)data,
				 reply->integer);
	else
		sttcp_conn_fail(conn, code, "Redis: %s",
				reply	     ? reply->str
				: redis->err ? redis->errstr
					     : sttcp_strerror(code));
	if (reply)
		freeReplyObject(reply);
}

static void tell(sttcp_conn *conn, int reason, void *context)
{
	(void)context;
	if (reason)
		printf("%s: %s\n", sttcp_conn_address(conn), sttcp_conn_fail_text(conn));
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return fprintf(stderr, "usage: %s PORT SOCKET-OF-REDIS\n", argv[0]) != 0;
	path = argv[2];
	signal(SIGPIPE, SIG_IGN); /* hiredis writes to a Redis that may have gone */
	setvbuf(stdout, NULL, _IOLBF, BUFSIZ);

	sttcp_server *server =
		sttcp_server_new("127.0.0.1", atoi(argv[1]),
				 STTCP_OPTIONS(.framing = STTCP_FRAMING_LINE, .max_message = 100));
	bool started = sttcp_server_on_connection(server, begin) == 0 &&
		       sttcp_server_on_receive(server, count) == 0 &&
		       sttcp_server_on_disconnection(server, tell) == 0 &&
		       sttcp_server_start(server) == 0;

	if (!started)
		fprintf(stderr, "%s\n", sttcp_server_error(server));
	else if (printf("listening on %d\n", sttcp_server_port(server)) > 0)
		sttcp_server_keep_alive(server);
	sttcp_server_free(server);
	return started ? EXIT_SUCCESS : EXIT_FAILURE;
}
#else
int main(int argc, char **argv)
{
	(void)argc;
	return fprintf(stderr, "%s was built without hiredis\n", argv[0]) != 0;
}
#endif
