/* SPDX-License-Identifier: MIT */
/* Fixed sizes: cut, limit, size, then the bytes. */
#include "properties.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};
	size_t cut = take_byte(&input);
	struct stt_framing framing = {.kind = STTCP_FRAMING_FIXED,
				      .max_message = take_limit(&input)};

	framing.fixed_size = take_byte(&input);
	check_properties(&framing, input, cut);
	return 0;
}
