/* SPDX-License-Identifier: MIT */
/* From the options of a user, who may have been compiled with another version, to settings. */
#ifndef STT_API_OPTIONS_H
#define STT_API_OPTIONS_H

#include "api/option_rules.h"
#include "group/group.h"

enum {
	STT_DEFAULT_MESSAGE = 1024 * 1024,
	STT_DEFAULT_RECONNECT_MAX_MS = 30000,
	STT_LEAST_FIBER_STACK = 16 * 1024
};

/* Fills `settings`: with the defaults for NULL, and where something is wrong. 0, or -EINVAL and
 * what it is. */
int stt_options_read(const sttcp_options *options, enum stt_option_user user,
		     struct stt_settings *settings, struct stt_option_fault *fault);

/* The framing that they ask for: 0, or -EINVAL and what is wrong. */
int stt_options_read_framing(const sttcp_options *options, struct stt_framing *framing,
			     struct stt_option_fault *fault);

/* For numbers that are good. A size in bytes, where 0 is the default and -1 INT64_MAX. */
int64_t stt_options_bytes(int64_t given, int64_t ordinary);

struct stt_marks {
	int64_t cap;
	int64_t high;
	int64_t low;
};

/* send_queue_max, high_water and low_water, which depend on each other. */
struct stt_marks stt_options_marks(const sttcp_options *given);

#endif
