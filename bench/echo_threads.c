/* SPDX-License-Identifier: MIT */
/* Thread per connection: the echo server whose handlers may block at the price of a thread each. */
#include "echo.h"

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static int send_all(int fd, const char *data, size_t size)
{
	while (size) {
		ssize_t n = send(fd, data, size, MSG_NOSIGNAL);

		if (n < 0)
			return -1;
		data += n;
		size -= (size_t)n;
	}
	return 0;
}

/* A send for each line, as the handler of such a server does it. */
static void serve_lines(int fd)
{
	FILE *in = fdopen(fd, "r");
	char *line = NULL;
	size_t room = 0;
	ssize_t size;

	while (in && (size = getline(&line, &room, in)) > 0)
		if (send_all(fd, line, (size_t)size))
			break;
	free(line);
	if (in)
		fclose(in);
	else
		close(fd);
}

static void *serve(void *argument)
{
	int fd = (int)(intptr_t)argument;
	char buffer[60 * 1024];

	if (echo_by_line) {
		serve_lines(fd);
		return NULL;
	}
	for (;;) {
		ssize_t n = recv(fd, buffer, sizeof(buffer), 0);

		if (n <= 0)
			break;
		echo_sleep(buffer, (size_t)n);
		if (send_all(fd, buffer, (size_t)n))
			break;
	}
	close(fd);
	return NULL;
}

int main(int argc, char **argv)
{
	int listener = echo_listen(echo_start(argc, argv));
	pthread_attr_t detached;

	pthread_attr_init(&detached);
	pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		pthread_t thread;

		if (fd < 0)
			usleep(1000); /* out of files */
		else if (pthread_create(&thread, &detached, serve, (void *)(intptr_t)fd))
			close(fd);
	}
}
