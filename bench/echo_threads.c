/* SPDX-License-Identifier: MIT */
/* Thread per connection: the echo server whose handlers may block at the price of a thread each. */
#include "echo.h"

#include <pthread.h>
#include <stdint.h>
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

static void *serve(void *argument)
{
	int fd = (int)(intptr_t)argument;
	char buffer[60 * 1024];

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
