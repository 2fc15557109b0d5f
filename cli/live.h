/* SPDX-License-Identifier: MIT */
/*
 * --stats: what a server is doing, once a second. On a terminal it is redrawn in
 * place; elsewhere it is a line, or with --json an object.
 */
#ifndef CLI_LIVE_H
#define CLI_LIVE_H

#include <stdbool.h>
#include <sttcp.h>

void live_begin(sttcp_server *server, bool json);
int live_wait_ms(void); /* until the next second */
void live_show(void);	/* nothing before live_begin, or when it is not yet time */
void live_end(void);

#endif
