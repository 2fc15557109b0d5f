/* SPDX-License-Identifier: MIT */
/* Filling in a sentence about what is wrong. */
#include "tls/fault.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct stt_shown stt_fault_show(const char *file)
{
	static const char dots[] = "...";
	const size_t head = STT_SHOWN_SIZE / 4;
	const size_t tail = STT_SHOWN_SIZE - head - sizeof(dots);
	size_t len = strlen(file);
	struct stt_shown shown;

	if (len < STT_SHOWN_SIZE)
		snprintf(shown.text, sizeof(shown.text), "%s", file);
	else
		snprintf(shown.text, sizeof(shown.text), "%.*s%s%s", (int)head, file, dots,
			 file + len - tail);
	return shown;
}

int stt_fault(struct stt_fault *fault, int code, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(fault->text, sizeof(fault->text), format, arguments);
	va_end(arguments);
	fault->code = code;
	return code;
}
