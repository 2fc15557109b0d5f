/* SPDX-License-Identifier: MIT */
/* What is wrong with a TLS object: a code, and a sentence for whoever runs the program. */
#ifndef STT_TLS_FAULT_H
#define STT_TLS_FAULT_H

#include "sttcp.h"

struct stt_fault {
	int code; /* 0: nothing is wrong */
	char text[512];
};

/* Notes the fault and returns its code. */
int stt_fault(struct stt_fault *fault, int code, const char *format, ...) STTCP_PRINTF(3, 4);

#endif
