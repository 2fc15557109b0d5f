/* SPDX-License-Identifier: MIT */
/*
 * The common options, of which each verb takes some, and argp with them.
 */
#include "options.h"

#include "log.h"
#include "say.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	KEY_TLS = 0x100,
	KEY_CLIENT_CA,
	KEY_DIAL_TLS,
	KEY_CA,
	KEY_CERT,
	KEY_TLS_NAME,
	KEY_INSECURE,
	KEY_FRAMING,
	KEY_MAX_MESSAGE,
	KEY_IDLE,
	KEY_MAX,
	KEY_PER_IP,
	KEY_DRAIN,
	KEY_STATS,
	KEY_JSON,
	KEY_CONNECT_TIMEOUT,
	KEY_LOG,
};

static const struct {
	unsigned takes; /* 0: every verb */
	struct argp_option option;
} table[] = {
	{TAKES_TLS,
	 {"tls", KEY_TLS, "CERT,KEY", 0,
	  "Speak TLS, with this certificate and key "
	  "(files in PEM format; without ,KEY the key is in CERT)",
	  0}},
	{TAKES_TLS,
	 {"client-ca", KEY_CLIENT_CA, "FILE", 0,
	  "Ask clients for a certificate that one in FILE vouches for", 0}},
	{TAKES_DIAL_TLS, {"tls", KEY_DIAL_TLS, NULL, 0, "Speak TLS", 0}},
	{TAKES_DIAL_TLS,
	 {"ca", KEY_CA, "FILE", 0, "Trust the certificates in FILE instead of the system's", 0}},
	{TAKES_DIAL_TLS,
	 {"cert", KEY_CERT, "CERT,KEY", 0, "Show this certificate to a server that asks for one",
	  0}},
	{TAKES_DIAL_TLS,
	 {"tls-name", KEY_TLS_NAME, "NAME", 0,
	  "The name that the server's certificate has to have, if it is not the host", 0}},
	{TAKES_DIAL_TLS,
	 {"insecure", KEY_INSECURE, NULL, 0, "Do not check the server's certificate", 0}},
	{TAKES_TARGET_TLS, {"target-tls", KEY_DIAL_TLS, NULL, 0, "Speak TLS to the target", 0}},
	{TAKES_TARGET_TLS,
	 {"target-ca", KEY_CA, "FILE", 0, "Trust the certificates in FILE instead of the system's",
	  0}},
	{TAKES_TARGET_TLS,
	 {"target-name", KEY_TLS_NAME, "NAME", 0,
	  "The name that the target's certificate has to have, if it is not the host", 0}},
	{TAKES_TARGET_TLS,
	 {"target-insecure", KEY_INSECURE, NULL, 0, "Do not check the target's certificate", 0}},
	{TAKES_FRAMING,
	 {"framing", KEY_FRAMING, "FRAMING", 0,
	  "Where a message ends: raw (the default), line, delimiter:TEXT, "
	  "length:BYTES[:little][:self], length:varint[:self] or fixed:BYTES",
	  0}},
	{TAKES_FRAMING,
	 {"max-message", KEY_MAX_MESSAGE, "BYTES", 0, "The largest message; 1M by default", 0}},
	{TAKES_IDLE,
	 {"idle", KEY_IDLE, "SECONDS", 0,
	  "End a connection on which nothing has passed for so long", 0}},
	{TAKES_LIMITS,
	 {"max", KEY_MAX, "N", 0, "Serve so many connections at a time; others wait", 0}},
	{TAKES_LIMITS,
	 {"per-ip", KEY_PER_IP, "N", 0,
	  "Serve so many connections of one address at a time; others are closed", 0}},
	{TAKES_DRAIN,
	 {"drain", KEY_DRAIN, "SECONDS", 0,
	  "How long the first Ctrl+C waits for connections to end; 10 by default", 0}},
	{TAKES_CONNECT,
	 {"connect-timeout", KEY_CONNECT_TIMEOUT, "SECONDS", 0,
	  "How long connecting may take; 10 by default", 0}},
	{TAKES_STATS, {"stats", KEY_STATS, NULL, 0, "Show every second what is going on", 0}},
	{TAKES_JSON,
	 {"json", KEY_JSON, NULL, 0, "Print objects of JSON on standard output, one a line", 0}},
	{0,
	 {"log", KEY_LOG, "LEVEL", 0,
	  "What the library tells on standard error: none, error, "
	  "warning (the default), info or trace",
	  0}},
};

static const struct verb *current;
static struct argp_option *all; /* its options */
static struct common common;
static const char **words;
static int nwords;

static int read_level(struct argp_state *state, const char *text)
{
	int level = log_read_level(text);

	if (level < 0)
		argp_error(state, "a level is none, error, warning, info or trace, not '%s'", text);
	return level;
}

/* "CERT,KEY" in two. */
static const char *split_key(char *text)
{
	char *comma = strchr(text, ',');

	if (!comma)
		return NULL;
	*comma = '\0';
	return comma + 1;
}

/* What is wrong with a file is told where it is read, with the name of the file in it. */
static void check_tls(const sttcp_tls *tls, int code)
{
	if (code < 0)
		exit(fail(STATUS_START, "%s",
			  *sttcp_tls_error(tls) ? sttcp_tls_error(tls) : sttcp_strerror(code)));
}

static sttcp_tls *dial_tls(void)
{
	if (!common.client_tls)
		common.client_tls = sttcp_tls_client();
	return common.client_tls;
}

static void set_dial_tls(int key, char *value)
{
	sttcp_tls *tls = dial_tls();

	switch (key) {
	case KEY_DIAL_TLS:
		common.client.tls = tls;
		break;
	case KEY_CA:
		check_tls(tls, sttcp_tls_trust(tls, value));
		break;
	case KEY_CERT: {
		const char *private_key = split_key(value);

		check_tls(tls, sttcp_tls_set_certificate(tls, value, private_key));
		break;
	}
	case KEY_TLS_NAME:
		common.client.tls_name = value;
		break;
	default:
		check_tls(tls, sttcp_tls_require_peer(tls, STTCP_TLS_PEER_NONE));
	}
}

/* Options may come in any order, and the object is made by one of them. */
static const char *client_ca;

static void set_server_tls(char *value)
{
	const char *private_key = split_key(value);

	sttcp_tls_unref(common.server_tls);
	common.server_tls = sttcp_tls_server(value, private_key);
	common.server.tls = common.server_tls;
}

static error_t set_common(int key, char *value, struct argp_state *state)
{
	switch (key) {
	case KEY_TLS:
		set_server_tls(value);
		break;
	case KEY_CLIENT_CA:
		client_ca = value;
		break;
	case KEY_DIAL_TLS:
	case KEY_CA:
	case KEY_CERT:
	case KEY_TLS_NAME:
	case KEY_INSECURE:
		set_dial_tls(key, value);
		break;
	case KEY_FRAMING:
		read_framing(state, value, &common.server);
		break;
	case KEY_MAX_MESSAGE:
		common.server.max_message =
			read_size(state, "the largest message", value, 1, INT32_MAX);
		break;
	case KEY_IDLE:
		common.server.idle_timeout_ms = read_time_ms(state, "--idle", value);
		break;
	case KEY_MAX:
		common.server.max_connections =
			(int32_t)read_number(state, "--max", value, 1, INT32_MAX);
		break;
	case KEY_PER_IP:
		common.server.max_connections_per_ip =
			(int32_t)read_number(state, "--per-ip", value, 1, INT32_MAX);
		break;
	case KEY_DRAIN:
		common.drain_ms = read_wait_ms(state, "--drain", value);
		break;
	case KEY_CONNECT_TIMEOUT:
		common.client.connect_timeout_ms = read_time_ms(state, "--connect-timeout", value);
		break;
	case KEY_STATS:
		common.stats = true;
		break;
	case KEY_JSON:
		common.json = true;
		break;
	case KEY_LOG:
		log_set_level(read_level(state, value));
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

/* With no limit on words the second one begins a command of others, options and all. */
static void take_word(char *word, struct argp_state *state)
{
	if (current->most > 0 && nwords == current->most)
		argp_error(state, "'%s' is one word too many", word);
	/* Most often a variable that is not set; an empty name of a file would be a name of its
	 * own. */
	if (!*word && (current->most > 0 || nwords == 0))
		argp_error(state, "a word is empty: %s", current->words);
	words[nwords++] = word;
	if (current->most == 0 && nwords == 2)
		while (state->next < state->argc)
			words[nwords++] = state->argv[state->next++];
}

/* No option has a meaning for an empty value. */
static void refuse_empty(int key, struct argp_state *state)
{
	for (const struct argp_option *option = all; option->name; option++)
		if (option->key == key)
			argp_error(state, "--%s is empty", option->name);
}

static error_t set_any(int key, char *value, struct argp_state *state)
{
	error_t result;

	if (value && !*value && key != ARGP_KEY_ARG)
		refuse_empty(key, state);
	switch (key) {
	case ARGP_KEY_ARG:
		take_word(value, state);
		return 0;
	case ARGP_KEY_END:
		if (nwords < current->least)
			argp_error(state, nwords ? "a word is missing: %s" : "what is missing: %s",
				   current->words);
		break;
	default:
		break;
	}
	result = current->set ? current->set(key, value, state) : ARGP_ERR_UNKNOWN;
	return result == ARGP_ERR_UNKNOWN ? set_common(key, value, state) : result;
}

/* What a client has in common with the server beside it. */
static void copy_to_client(void)
{
	sttcp_options *client = &common.client;
	const sttcp_options *server = &common.server;

	client->framing = server->framing;
	client->delimiter = server->delimiter;
	client->delimiter_size = server->delimiter_size;
	client->rest_at_end = server->rest_at_end;
	client->prefix_size = server->prefix_size;
	client->prefix_little_endian = server->prefix_little_endian;
	client->prefix_varint = server->prefix_varint;
	client->prefix_includes_itself = server->prefix_includes_itself;
	client->fixed_size = server->fixed_size;
	client->max_message = server->max_message;
	client->idle_timeout_ms = server->idle_timeout_ms;
}

static void check_common(void)
{
	sttcp_tls *tls = common.server_tls;
	int64_t most = common.server.max_message;

	if (most && common.server.fixed_size > most)
		exit(fail(STATUS_USAGE, "--framing fixed:%lld has messages over --max-message %lld",
			  (long long)common.server.fixed_size, (long long)most));
	if (!most && common.server.fixed_size > 1 << 20)
		common.server.max_message = common.server.fixed_size;

	if (common.server.max_message && !common.server.framing)
		exit(fail(STATUS_USAGE, "--max-message needs a --framing other than raw"));
	if (common.server.max_connections_per_ip && !strncmp(words[0], "unix:", 5))
		exit(fail(STATUS_USAGE, "--per-ip: a Unix socket has no addresses to tell apart"));
	if (client_ca && !tls)
		exit(fail(STATUS_USAGE, "--client-ca needs --tls CERT,KEY"));
	if (client_ca) {
		check_tls(tls, sttcp_tls_trust(tls, client_ca));
		check_tls(tls, sttcp_tls_require_peer(tls, STTCP_TLS_PEER_REQUIRED));
	}
	if (common.client_tls && !common.client.tls)
		exit(fail(STATUS_USAGE, "what is said of certificates needs --%stls",
			  current->takes & TAKES_TARGET_TLS ? "target-" : ""));
}

/* A verb's own options, then those of the common ones that it takes. */
static struct argp_option *make_options(const struct verb *verb)
{
	const size_t ncommon = sizeof(table) / sizeof(*table);
	size_t nown = 0, count = 0;
	struct argp_option *options;

	while (verb->options && (verb->options[nown].name || verb->options[nown].doc))
		nown++;
	options = calloc(nown + ncommon + 1, sizeof(*options));
	if (!options)
		exit(fail(STATUS_START, "out of memory"));
	for (size_t i = 0; i < nown; i++)
		options[count++] = verb->options[i];
	for (size_t i = 0; i < ncommon; i++)
		if (!table[i].takes || table[i].takes & verb->takes)
			options[count++] = table[i].option;
	return options;
}

static char *join(const char *first, const char *second, const char *third)
{
	char *text;

	if (asprintf(&text, "%s%s%s", first, second, third) < 0)
		exit(fail(STATUS_START, "out of memory"));
	return text;
}

/* What is made here stays to the very end: work that nobody waits for may look at words when main
 * has returned. */
int options_run(const struct verb *verb, int argc, char **argv)
{
	static struct argp argp;
	static char *name;
	int status;

	current = verb;
	name = join("sttcp ", verb->name, "");
	argp.options = all = make_options(verb);
	argp.parser = set_any;
	argp.args_doc = verb->words;
	argp.doc = join(verb->about, verb->more ? "\v" : "", verb->more ? verb->more : "");
	words = calloc((size_t)argc + 1, sizeof(*words));
	if (!words)
		return fail(STATUS_START, "out of memory");
	sttcp_options_init(&common.server, sizeof(common.server));
	sttcp_options_init(&common.client, sizeof(common.client));
	common.drain_ms = 10000;
	argv[0] = name;
	say_name(name);
	argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, NULL);
	check_common();
	copy_to_client();
	log_start();
	status = verb->run(&common, (char **)words, nwords);
	sttcp_tls_unref(common.server_tls);
	sttcp_tls_unref(common.client_tls);
	return status;
}
