/* SPDX-License-Identifier: MIT */
/* What each option may be, whose it is, and what it contradicts: one row of a table each. */
#ifndef STT_API_OPTION_RULES_H
#define STT_API_OPTION_RULES_H

#include "sttcp.h"

/* Whose options they are. */
enum stt_option_user {
	STT_FOR_SERVER = 1,
	STT_FOR_CLIENT = 2,
	STT_FOR_FRAMING = 4, /* of sttcp_conn_set_framing: only what frames is looked at */
	STT_FOR_DIAL = 8
};

/* A sentence that names what is wrong. */
struct stt_option_fault {
	char text[160];
};

/* 0, or -EINVAL and the fault that was found first. `given` is of this library's version. */
int stt_options_check(const sttcp_options *given, enum stt_option_user user,
		      struct stt_option_fault *fault);

/* Writes the sentence, and returns -EINVAL. */
int stt_option_wrong(struct stt_option_fault *fault, const char *format, ...) STTCP_PRINTF(2, 3);

#endif
