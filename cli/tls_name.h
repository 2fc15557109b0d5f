/* SPDX-License-Identifier: MIT */
/* Whom TLS asks for. */
#ifndef CLI_TLS_NAME_H
#define CLI_TLS_NAME_H

#include <stdbool.h>
#include <sttcp.h>

/* Whether these options have a name for the target, if they ask for TLS. False: why not is told.
 * The library would say so at each start, but in the words of its own interface; `tls` and `name`
 * are the command's. */
bool tls_name_fits(const sttcp_options *options, const char *target, const char *tls,
		   const char *name);

#endif
