/* SPDX-License-Identifier: MIT */
/* Filling in a sentence about what is wrong. */
#include "tls/fault.h"

#include <stdarg.h>
#include <stdio.h>

int stt_fault(struct stt_fault *fault, int code, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(fault->text, sizeof(fault->text), format, arguments);
	va_end(arguments);
	fault->code = code;
	return code;
}
