/* SPDX-License-Identifier: MIT */
/* Start and requests of the benchmark's echo servers. SIGTERM ends them by its default action. */
#include "echo.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

static void die(const char *what)
{
	perror(what);
	exit(1);
}

bool echo_by_line;
enum echo_lock echo_lock;
int echo_idle_ms;
int echo_queue_max;
const char *echo_tls;
bool echo_fibers;
bool echo_talks;
bool echo_naps;
int (*echo_nap)(int ms);

/* The number behind `name` in a word; 0 if it is another word, or no number. */
static int number_of(const char *word, const char *name)
{
	size_t len = strlen(name);

	return strncmp(word, name, len) == 0 ? atoi(word + len) : 0;
}

/* One word behind the port: whether it is known. */
static bool take_word(const char *word)
{
	int idle_ms = number_of(word, "idle-ms=");
	int queue_max = number_of(word, "queue-max=");

	if (!strcmp(word, "locked"))
		echo_lock = ECHO_LOCKED;
	else if (!strcmp(word, "unlocked"))
		echo_lock = ECHO_UNLOCKED;
	else if (idle_ms > 0)
		echo_idle_ms = idle_ms;
	else if (queue_max > 0)
		echo_queue_max = queue_max;
	else if (!strncmp(word, "tls=", 4))
		echo_tls = word + 4;
	else if (!strcmp(word, "fibers"))
		echo_fibers = true;
	else if (!strcmp(word, "talk"))
		echo_talks = true;
	else if (!strcmp(word, "nap"))
		echo_naps = true;
	else if (strcmp(word, "lines") != 0)
		return false;
	if (echo_lock || !strcmp(word, "lines"))
		echo_by_line = true;
	return true;
}

static void die_of_usage(const char *program)
{
	fprintf(stderr,
		"usage: %s [PORT [lines | locked | unlocked] [idle-ms=MS] [queue-max=BYTES] "
		"[tls=FILE] [fibers] [talk] [nap]]\n",
		program);
	exit(2);
}

int echo_start(int argc, char **argv)
{
	struct rlimit files;
	char *end = NULL;
	long port = argc > 1 ? strtol(argv[1], &end, 10) : 0;

	if ((end && *end) || port < 0 || port > 65535)
		die_of_usage(argv[0]);
	for (int i = 2; i < argc; i++) {
		if (!take_word(argv[i]))
			die_of_usage(argv[0]);
	}
	if (!getrlimit(RLIMIT_NOFILE, &files)) {
		files.rlim_cur = files.rlim_max < 20000 ? files.rlim_max : 20000;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	return (int)port;
}

int echo_listen(int port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	socklen_t len = sizeof(address);
	const int on = 1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
	    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) ||
	    bind(fd, (struct sockaddr *)&address, len) || listen(fd, 4096) ||
	    getsockname(fd, (struct sockaddr *)&address, &len))
		die("listen");
	echo_announce(ntohs(address.sin_port));
	return fd;
}

void echo_announce(int port)
{
	printf("port %d\n", port);
	fflush(stdout);
}

/* A function of its own: what asks for nothing does not pay for its registers. */
__attribute__((__noinline__)) static void pause_as_asked(const char *data, size_t size)
{
	struct timespec pause = {0};
	long us = 0;

	for (size_t i = 1; i < size && i < 9 && data[i] >= '0' && data[i] <= '9'; i++)
		us = us * 10 + (data[i] - '0');
	if (echo_nap) {
		echo_nap((int)(us / 1000));
		return;
	}
	pause.tv_sec = us / 1000000;
	pause.tv_nsec = us % 1000000 * 1000;
	nanosleep(&pause, NULL);
}

void echo_sleep(const char *data, size_t size)
{
	if (size && data[0] == 's')
		pause_as_asked(data, size);
}
