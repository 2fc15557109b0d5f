/* SPDX-License-Identifier: MIT */
/*
 * The `sttcp` command: a table of verbs, each in a file of its own. It uses the
 * library as any program does, by <sttcp.h> alone.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <argp.h>
#include <stdbool.h>
#include <stdint.h>
#include <sttcp.h>

/* Exit statuses; sttcp(1) explains them. */
enum {
	STATUS_FAILED = 1,	  /* it began, and did not come to a good end */
	STATUS_USAGE = 2,	  /* the command line is wrong */
	STATUS_START = 3,	  /* it could not begin: an address, a file, a peer */
	STATUS_INTERRUPTED = 130, /* a signal has ended it before it was done: 128 + SIGINT */
};

/* Which of the common options a verb takes. */
enum {
	TAKES_TLS = 1 << 0,	   /* listens: --tls CERT,KEY, --client-ca */
	TAKES_DIAL_TLS = 1 << 1,   /* connects: --tls, --ca, --cert, --tls-name, --insecure */
	TAKES_TARGET_TLS = 1 << 2, /* both: the same for the far side, --target-tls */
	TAKES_FRAMING = 1 << 3,
	TAKES_IDLE = 1 << 4,
	TAKES_LIMITS = 1 << 5, /* --max, --per-ip */
	TAKES_DRAIN = 1 << 6,
	TAKES_STATS = 1 << 7,
	TAKES_JSON = 1 << 8,
	TAKES_CONNECT = 1 << 9, /* --connect-timeout */
};

/* What the common options have set. */
struct common {
	sttcp_options server; /* for sttcp_server_new */
	sttcp_options client; /* for sttcp_client_new */
	sttcp_tls *server_tls, *client_tls;
	int drain_ms; /* how long a first signal waits for connections */
	bool stats;
	bool json;
};

struct verb {
	const char *name;
	const char *words; /* as the usage shows them: "[HOST:]PORT" */
	int least, most;   /* how many words; most 0: no limit, and options end at the second one */
	const char *about; /* one line */
	const char *more;  /* what --help adds at its end */
	unsigned takes;
	const struct argp_option *options; /* its own; may be NULL */
	error_t (*set)(int key, char *value, struct argp_state *state);
	int (*run)(struct common *common, char **words, int nwords);
};

extern const struct verb verb_echo, verb_chat, verb_listen, verb_connect, verb_exec, verb_proxy,
	verb_dump, verb_receive, verb_send, verb_bench;

#endif
