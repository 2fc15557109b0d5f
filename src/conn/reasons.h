/* SPDX-License-Identifier: MIT */
/* What the library has to say about an end that it decided itself: which option, and its value. */
#ifndef STT_CONN_REASONS_H
#define STT_CONN_REASONS_H

struct stt_service;

/* A text for the reason, to be freed; NULL when there is nothing to add to sttcp_strerror, or no
 * memory. Any thread. */
char *stt_reason_text(struct stt_service *service, int reason);

#endif
