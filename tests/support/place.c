/* SPDX-License-Identifier: MIT */
/* The folder of a Unix socket. */
#include "support/place.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int make_place(void **state)
{
	struct place *place = calloc(1, sizeof(*place));
	const char *base = getenv("TMPDIR");

	if (!place)
		return -1;
	snprintf(place->dir, sizeof(place->dir), "%s/sttcp-XXXXXX",
		 base && strlen(base) < 40 ? base : "/tmp");
	if (!mkdtemp(place->dir)) {
		free(place);
		return -1;
	}
	snprintf(place->path, sizeof(place->path), "%s/socket", place->dir);
	snprintf(place->host, sizeof(place->host), "unix:%s", place->path);
	*state = place;
	return 0;
}

int remove_place(void **state)
{
	struct place *place = *state;

	unlink(place->path);
	rmdir(place->dir);
	free(place);
	return 0;
}

bool exists(const char *path)
{
	struct stat status;

	return lstat(path, &status) == 0;
}
