/* SPDX-License-Identifier: MIT */
/* What is wrong with a TLS object: a code, and a sentence for whoever runs the program. */
#ifndef STT_TLS_FAULT_H
#define STT_TLS_FAULT_H

#include "sttcp.h"

enum {
	STT_SHOWN_SIZE = 96
};

/* A file as a sentence names it. */
struct stt_shown {
	char text[STT_SHOWN_SIZE];
};

struct stt_fault {
	int code; /* 0: nothing is wrong */
	char text[512];
};

/* A long path without its middle: the sentence is to end with what is to be done. */
struct stt_shown stt_fault_show(const char *file);

/* Notes the fault and returns its code. */
int stt_fault(struct stt_fault *fault, int code, const char *format, ...) STTCP_PRINTF(3, 4);

#endif
