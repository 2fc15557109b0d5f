/* SPDX-License-Identifier: MIT */
#include "support/left_out.h"

#ifndef CMOCKA_H

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Prints the reason; false: it is not in the list. */
static bool is_in_list(FILE *list, const char *name)
{
	char line[256];

	rewind(list);
	while (fgets(line, sizeof(line), list)) {
		size_t size = strcspn(line, " \t\n");

		if (size != strlen(name) || strncmp(line, name, size) != 0)
			continue;
		line[strcspn(line, "\n")] = '\0';
		print_message("[ LEFT OUT ] %s: %s\n", name,
			      line + size + strspn(line + size, " \t"));
		return true;
	}
	return false;
}

/* The list's entries for cases of this program. */
static size_t count_entries(FILE *list)
{
	char line[256];
	size_t count = 0, size = strlen(program_invocation_short_name);

	rewind(list);
	while (fgets(line, sizeof(line), list))
		count += strncmp(line, program_invocation_short_name, size) == 0 &&
			 line[size] == ':';
	return count;
}

/* Keeps those that run; false: the list names cases that are not there. */
static bool leave_out(const char *path, struct CMUnitTest *tests, size_t *count)
{
	FILE *list = fopen(path, "re");
	size_t kept = 0;
	char name[256];

	if (!list) {
		print_message("%s: %s\n", path, strerror(errno));
		return false;
	}
	for (size_t i = 0; i < *count; i++) {
		snprintf(name, sizeof(name), "%s:%s", program_invocation_short_name, tests[i].name);
		if (!is_in_list(list, name))
			tests[kept++] = tests[i];
	}
	size_t entries = count_entries(list);
	fclose(list);
	if (entries != *count - kept)
		print_message("%s has %zu cases of %s, %zu of them are there\n", path, entries,
			      program_invocation_short_name, *count - kept);
	bool all_there = entries == *count - kept;
	*count = kept;
	return all_there;
}

int left_out_run_tests(const char *const *lists, size_t nlists, const char *group,
		       const struct CMUnitTest *tests, size_t count, CMFixtureFunction setup,
		       CMFixtureFunction teardown)
{
	struct CMUnitTest *kept = calloc(count, sizeof(*kept));
	bool right = kept;
	int failed = 1;

	if (kept)
		memcpy(kept, tests, count * sizeof(*kept));
	for (size_t i = 0; right && i < nlists; i++)
		right = !lists[i] || leave_out(lists[i], kept, &count);
	if (right)
		failed = _cmocka_run_group_tests(group, kept, count, setup, teardown);
	free(kept);
	return failed;
}

#endif
