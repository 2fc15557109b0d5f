/* SPDX-License-Identifier: MIT */
/* Two threads may need the first of them at the same time: the block of one of the two is freed. */
#include "conn/rare.h"

#include <stdlib.h>

struct stt_rare *stt_rare_make(struct sttcp_conn *conn)
{
	struct stt_rare *rare = stt_rare_of(conn);

	if (rare)
		return rare;

	struct stt_rare *made = calloc(1, sizeof(*made));

	if (!made)
		return NULL;
	if (atomic_compare_exchange_strong(&conn->rare, &rare, made))
		return made;
	free(made);
	return rare;
}
