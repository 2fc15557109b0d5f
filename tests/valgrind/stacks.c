/* SPDX-License-Identifier: MIT */
/* What test_valgrind_fibers.sh runs: stacks are taken, written to from end to end and given back.
 * "dangling": one is written to behind that. "guard": what lies below one is read. */
#include <stdbool.h>
#include <string.h>

#include "base/stacks.h"

enum {
	STACKS = 3
};

int main(int argc, char **argv)
{
	struct stt_stack stacks[STACKS];
	const char *how = argc > 1 ? argv[1] : "";

	for (int i = 0; i < STACKS; i++) {
		if (!stt_stack_take(&stacks[i], stt_stack_size(20000)))
			return 2;
		memset(stacks[i].low, i, stacks[i].size);
	}
	for (int i = 1; i < STACKS; i++)
		stt_stack_give(&stacks[i]);
	if (strcmp(how, "dangling") == 0)
		*(volatile char *)(stacks[1].low + 10000) = 1;
	if (strcmp(how, "guard") == 0)
		(void)*(volatile char *)(stacks[0].low - 1);
	return 0;
}
