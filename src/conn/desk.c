/* SPDX-License-Identifier: MIT */
/* The memory of a desk and its descriptor. */
#include "conn/desk.h"

#include <stddef.h>
#include <sys/mman.h>

#include "net/socket.h"

_Static_assert(offsetof(struct stt_desk, worker) == 0, "freed through its worker");

/* Mapped memory, on pages of its own, which are returned to the system with the thread. malloc has
 * one arena for every few threads, and kept a part of each burst of threads. */
char *stt_desk_new_buffer(void)
{
	void *pages = mmap(NULL, STT_READ_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			   -1, 0);

	return pages == MAP_FAILED ? NULL : pages;
}

void stt_desk_free_buffer(char *buffer)
{
	if (buffer)
		munmap(buffer, STT_READ_SIZE);
}

bool stt_desk_open(struct stt_worker *worker)
{
	struct stt_desk *desk = stt_desk_of(worker);

	desk->waker = -1;
	desk->buffer = stt_desk_new_buffer();
	return desk->buffer;
}

void stt_desk_close(struct stt_worker *worker)
{
	struct stt_desk *desk = stt_desk_of(worker);

	stt_desk_free_buffer(desk->buffer);
	desk->buffer = NULL;
	stt_spares_fini(&desk->spares);
	stt_socket_close(desk->waker);
	desk->waker = -1;
}
