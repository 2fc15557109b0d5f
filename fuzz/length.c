/* SPDX-License-Identifier: MIT */
/* Lengths: cut, limit, the prefix's size, its flags (1 little endian, 2 varint, 4 includes itself,
 * 8 an offset of a byte follows, 16 an adjustment of a byte, 32 one of four), then the bytes. */
#include "properties.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};
	size_t cut = take_byte(&input);
	struct stt_framing framing = {.kind = STTCP_FRAMING_LENGTH,
				      .max_message = take_limit(&input)};

	framing.prefix_size = take_byte(&input) & 0xf;
	uint8_t flags = take_byte(&input);

	framing.prefix_little_endian = (flags & 1) != 0;
	framing.prefix_varint = (flags & 2) != 0;
	framing.prefix_includes_itself = (flags & 4) != 0;
	if (flags & 8)
		framing.prefix_offset = take_byte(&input);
	if (flags & 16)
		framing.prefix_adjust = (int8_t)take_byte(&input);
	for (int i = 0; flags & 32 && i < 4; i++)
		framing.prefix_adjust =
			(int32_t)((uint32_t)framing.prefix_adjust << 8 | take_byte(&input));
	check_properties(&framing, input, cut);
	return 0;
}
