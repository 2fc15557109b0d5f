/* SPDX-License-Identifier: MIT */
/* From the options of a user, who may have been compiled with another version, to settings. */
#ifndef STT_API_OPTIONS_H
#define STT_API_OPTIONS_H

#include "engine/group.h"

/* Fills `settings`: with the defaults for NULL, and for what is wrong as well. 0 or -EINVAL. */
int stt_options_read(const sttcp_options *options, bool is_client, struct stt_settings *settings);

/* The framing that they ask for: 0 or -EINVAL. */
int stt_options_copy_framing(const sttcp_options *options, struct stt_framing *framing);

#endif
