/* SPDX-License-Identifier: MIT */
/* In place of load_tls.c where there is no OpenSSL: nothing comes past load_tls_start. */
#include "load_tls.h"

#include <errno.h>

bool load_tls_start(bool resume)
{
	(void)resume;
	errno = ENOSYS;
	return false;
}

struct load_tls *load_tls_new(int fd)
{
	(void)fd;
	return NULL;
}

void load_tls_free(struct load_tls *tls)
{
	(void)tls;
}

bool load_tls_wake(struct load_tls *tls, uint32_t events)
{
	(void)tls;
	(void)events;
	return false;
}

ssize_t load_tls_send(struct load_tls *tls, const void *data, size_t size)
{
	(void)tls;
	(void)data;
	(void)size;
	return -1;
}

ssize_t load_tls_recv(struct load_tls *tls, void *data, size_t size)
{
	(void)tls;
	(void)data;
	(void)size;
	return -1;
}
