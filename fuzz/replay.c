/* SPDX-License-Identifier: MIT */
/* Runs a target over all files of one directory, without libFuzzer: the corpus as a plain test. */
#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "properties.h"

enum {
	INPUT_MAX = 1 << 20
};

static bool replay(const char *directory, const char *name)
{
	char path[4096];
	FILE *file = NULL;
	uint8_t *data = NULL;
	bool fine = false;
	int len = snprintf(path, sizeof(path), "%s/%s", directory, name);

	if (len > 0 && (size_t)len < sizeof(path))
		file = fopen(path, "rb");
	if (file == NULL)
		goto out;
	data = malloc(INPUT_MAX);
	if (data == NULL)
		goto close;
	size_t size = fread(data, 1, INPUT_MAX, file);

	if (ferror(file))
		goto close;
	/* Told first: what fails aborts. */
	printf("%s\n", path);
	fflush(stdout);
	LLVMFuzzerTestOneInput(data, size);
	fine = true;
close:
	fclose(file);
out:
	free(data);
	if (!fine)
		perror(path);
	return fine;
}

int main(int argc, char **argv)
{
	DIR *directory = argc == 2 ? opendir(argv[1]) : NULL;
	int count = 0;
	bool fine = true;

	if (directory == NULL) {
		fprintf(stderr, "usage: %s DIRECTORY\n", argv[0]);
		return 2;
	}
	for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
		if (entry->d_name[0] == '.')
			continue;
		fine = replay(argv[1], entry->d_name) && fine;
		count++;
	}
	closedir(directory);
	/* A corpus that is not there must not pass as one without findings. */
	return fine && count > 0 ? 0 : 1;
}
