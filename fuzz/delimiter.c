/* SPDX-License-Identifier: MIT */
/* Delimiters: cut, limit, the delimiter's size (modulo 18, so that wrong ones come, too), the
 * delimiter, then the bytes. */
#include "properties.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};
	size_t cut = take_byte(&input);
	struct stt_framing framing = {.kind = STTCP_FRAMING_DELIMITER,
				      .max_message = take_limit(&input)};

	framing.delimiter_size = take_byte(&input) % (STT_DELIMITER_MAX + 2);
	for (size_t i = 0; i < framing.delimiter_size && i < STT_DELIMITER_MAX; i++)
		framing.delimiter[i] = take_byte(&input);
	check_properties(&framing, input, cut);
	return 0;
}
