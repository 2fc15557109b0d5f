/* SPDX-License-Identifier: MIT */
/*
 * The load generator's command line. It runs one cell and prints one line of
 * key=value pairs; README.md beside this file tells the modes and the keys.
 * Exit status 1: the cell could not be run. Everything is bounded in time.
 */
#include "load.h"
#include "load_tls.h"

#include <argp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static const struct mode {
	const char *name;
	int (*run)(const char *mode, const struct load_options *options);
} modes[] = {
	{"echo", load_mode_loop},	   {"mixed", load_mode_loop},
	{"churn", load_mode_loop},	   {"blockchurn", load_mode_loop},
	{"paced", load_mode_loop},	   {"burst", load_mode_burst},
	{"surge", load_mode_burst},	   {"idle", load_mode_idle},
	{"bulk", load_mode_bulk},	   {"broadcast", load_mode_broadcast},
	{"lines", load_mode_loop},	   {"deaf", load_mode_deaf},
	{"visited", load_mode_loop},	   {"waves-asleep", load_mode_waves},
	{"waves-held", load_mode_waves},   {"waves-clients", load_mode_waves},
	{"waves-queued", load_mode_waves}, {"relay", load_mode_relay},
	{"room", load_mode_broadcast},	   {"beside", load_mode_loop},
	{"in", load_mode_oneway},	   {"out", load_mode_oneway},
};

enum {
	OPT_SLEEP = 256,
	OPT_PERIOD,
	OPT_BYTES,
	OPT_WINDOW,
	OPT_WAVES,
	OPT_TARGET,
	OPT_TLS,
	OPT_RESUME,
	OPT_WARM
};

static const struct argp_option option_table[] = {
	{"port", 'p', "PORT", 0, "Port of the server on 127.0.0.1", 0},
	{"pid", 'P', "PID", 0, "Process of the server, for CPU, memory and switches", 0},
	{"conns", 'n', "N", 0, "Quick connections (64)", 0},
	{"slow", 's', "N", 0,
	 "Connections that ask the handler to sleep; deaf: that never read; room: outside of it; "
	 "beside: that come and go (0)",
	 0},
	{"sleep-us", OPT_SLEEP, "US", 0, "That sleep, microseconds (50000)", 0},
	{"period-us", OPT_PERIOD, "US", 0,
	 "paced, beside: time between messages, of each connection (20000)", 0},
	{"size", 'z', "BYTES", 0, "Size of a message (64)", 0},
	{"bytes", OPT_BYTES, "BYTES", 0, "bulk: end after these (no limit)", 0},
	{"window", OPT_WINDOW, "BYTES", 0, "bulk: under way on a connection (no limit)", 0},
	{"waves", OPT_WAVES, "N", 0, "waves-...: how many (8)", 0},
	{"target", OPT_TARGET, "FD", 0, "relay: listens where the relay connects to", 0},
	{"tls", OPT_TLS, NULL, 0,
	 "Over TLS; not in bulk, broadcast, room, deaf, relay and waves-...", 0},
	{"resume", OPT_RESUME, NULL, 0, "The same; connections resume a session", 0},
	{"seconds", 't', "S", 0, "Measured time (2)", 0},
	{"warm", OPT_WARM, "S", 0, "Time before that (0.3; idle: rests that long)", 0},
	{0},
};

struct command {
	const struct mode *mode;
	struct load_options options;
};

static double number(struct argp_state *state, const char *text, double min, double max)
{
	char *end;
	double value = strtod(text, &end);

	if (*end || end == text || !(value >= min && value <= max))
		argp_error(state, "%s: not a number from %.0f to %.0f", text, min, max);
	return value;
}

static bool speaks_tls(const struct mode *mode)
{
	return mode->run == load_mode_loop || mode->run == load_mode_burst ||
	       mode->run == load_mode_idle || mode->run == load_mode_oneway;
}

static error_t parse(int key, char *text, struct argp_state *state)
{
	struct command *command = state->input;
	struct load_options *options = &command->options;

	switch (key) {
	case 'p':
		options->port = (int)number(state, text, 1, 65535);
		break;
	case 'P':
		options->pid = (pid_t)number(state, text, 1, 1 << 30);
		break;
	case 'n':
		options->conns = (int)number(state, text, 0, LOAD_MAX_CONNS);
		break;
	case 's':
		options->slow = (int)number(state, text, 0, LOAD_MAX_CONNS);
		break;
	case OPT_SLEEP:
		options->sleep_us = (long)number(state, text, 0, 10e6);
		break;
	case OPT_PERIOD:
		options->period_us = (long)number(state, text, 1000, 10e6);
		break;
	case 'z':
		options->size = (size_t)number(state, text, 16, LOAD_MAX_SIZE);
		break;
	case OPT_BYTES:
		options->bytes = (uint64_t)number(state, text, 1, 1e12);
		break;
	case OPT_WINDOW:
		options->window = (uint64_t)number(state, text, 1, 1e9);
		break;
	case OPT_WAVES:
		options->waves = (int)number(state, text, 1, 1000);
		break;
	case OPT_TARGET:
		options->target = (int)number(state, text, 0, 1 << 20);
		break;
	case OPT_RESUME:
		options->resume = true;
		options->tls = true;
		break;
	case OPT_TLS:
		options->tls = true;
		break;
	case 't':
		options->seconds = number(state, text, 0, LOAD_MAX_SECONDS);
		break;
	case OPT_WARM:
		options->warm = number(state, text, 0, LOAD_MAX_SECONDS);
		break;
	case ARGP_KEY_ARG:
		for (size_t i = 0; i < sizeof(modes) / sizeof(*modes); i++) {
			if (!strcmp(text, modes[i].name))
				command->mode = &modes[i];
		}
		if (state->arg_num || !command->mode)
			argp_error(state, "%s: no such mode", text);
		break;
	case ARGP_KEY_END:
		if (!command->mode || !options->port)
			argp_error(state, "a mode and --port are needed");
		if (options->conns + options->slow > LOAD_MAX_CONNS)
			argp_error(state, "more than %d connections", LOAD_MAX_CONNS);
		if (options->conns < 1 && (command->mode->run == load_mode_broadcast ||
					   command->mode->run == load_mode_bulk ||
					   command->mode->run == load_mode_oneway))
			argp_error(state, "%s needs a connection", command->mode->name);
		if (options->tls && !speaks_tls(command->mode))
			argp_error(state, "%s does not speak TLS", command->mode->name);
		if (options->target < 0 && command->mode->run == load_mode_relay)
			argp_error(state, "relay needs --target");
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

int main(int argc, char **argv)
{
	static const struct argp argp = {
		.options = option_table,
		.parser = parse,
		.args_doc = "MODE",
		.doc = "Loads a server with one cell of a benchmark.\vModes: echo, mixed, churn, "
		       "blockchurn, paced, burst, surge, idle, bulk, broadcast, lines, deaf, "
		       "visited, waves-asleep, waves-held, waves-queued, waves-clients, relay, "
		       "room, beside, in, out.",
	};
	struct command command = {
		.options = {.conns = 64,
			    .sleep_us = 50000,
			    .period_us = 20000,
			    .size = 64,
			    .waves = 8,
			    .target = -1,
			    .seconds = 2,
			    .warm = 0.3},
	};
	struct rlimit files;

	argp_parse(&argp, argc, argv, 0, NULL, &command);
	if (!getrlimit(RLIMIT_NOFILE, &files)) {
		files.rlim_cur = files.rlim_max < 20000 ? files.rlim_max : 20000;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	/* A server that does not answer must not hold up the run: the default action ends it. */
	alarm((unsigned)(command.options.seconds + 2 * command.options.warm + 30) +
	      (command.mode->run == load_mode_waves ? 30U * (unsigned)command.options.waves : 0));
	if (command.options.tls && !load_tls_start(command.options.resume)) {
		perror("TLS");
		return 1;
	}
	if (command.mode->run(command.mode->name, &command.options)) {
		perror(command.mode->name);
		return 1;
	}
	return fflush(stdout) ? 1 : 0;
}
