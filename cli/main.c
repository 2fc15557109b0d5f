/* SPDX-License-Identifier: MIT */
/*
 * sttcp VERB ...: finds the verb, and leaves the rest to it.
 */
#include "cli.h"
#include "options.h"
#include "output.h"
#include "say.h"
#include "wait.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct verb *const verbs[] = {
	&verb_echo,  &verb_chat, &verb_listen,	&verb_connect, &verb_exec,
	&verb_proxy, &verb_dump, &verb_receive, &verb_send,    &verb_bench,
};
enum {
	NVERBS = sizeof(verbs) / sizeof(*verbs)
};

static void print_version(FILE *stream, struct argp_state *state)
{
	(void)state;
	fprintf(stream, "sttcp %s\n", sttcp_version());
}

static void print_help(FILE *stream)
{
	fputs("Usage: sttcp VERB [OPTION...] ...\n"
	      "TCP servers and clients in one line each.\n\n",
	      stream);
	for (int i = 0; i < NVERBS; i++)
		fprintf(stream, "  %-8s %-22s %s\n", verbs[i]->name, verbs[i]->words,
			verbs[i]->about);
	fputs("\n'sttcp VERB --help' tells more, and so do the manual pages sttcp(1) and "
	      "sttcp-VERB(1).\n"
	      "An address is PORT, HOST:PORT, [::1]:PORT or unix:/path; a server without a HOST "
	      "listens\non all interfaces, and with port 0 on any that is free.\n",
	      stream);
}

static const struct verb *find(const char *name)
{
	for (int i = 0; i < NVERBS; i++)
		if (!strcmp(verbs[i]->name, name))
			return verbs[i];
	return NULL;
}

/* sttcp help [VERB] */
static int help(const char *name)
{
	char *words[] = {NULL, (char *)"--help", NULL};
	const struct verb *verb = name ? find(name) : NULL;

	if (verb)
		return options_run(verb, 2, words);
	if (name)
		return fail(STATUS_USAGE, "there is no verb '%s'; 'sttcp --help' lists them", name);
	print_help(stdout);
	return 0;
}

static int run(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : NULL;
	const struct verb *verb;

	if (!name) {
		print_help(stderr);
		return STATUS_USAGE;
	}
	if (!strcmp(name, "--help") || !strcmp(name, "-?") || !strcmp(name, "-h") ||
	    !strcmp(name, "help"))
		return help(argc > 2 ? argv[2] : NULL);
	if (!strcmp(name, "--version") || !strcmp(name, "-V")) {
		print_version(stdout, NULL);
		return 0;
	}
	verb = find(name);
	if (!verb)
		return fail(STATUS_USAGE, "there is no verb '%s'; 'sttcp --help' lists them", name);
	return options_run(verb, argc - 1, argv + 1);
}

/* What is opened next gets the lowest number, and would be read and written as if it were standard
 * input, output or error. In place of a closed one there is nothing to read; writing to the output
 * fails, so that nobody takes lost bytes for written ones; what is said to people is lost. */
static bool open_standard_files(void)
{
	static const int modes[] = {O_RDONLY, O_RDONLY, O_WRONLY};

	for (int fd = 0; fd < 3; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", modes[fd]) != fd)
			return false;
	return true;
}

/* At the end of the program, which argp makes itself after --help. What fails with another status
 * keeps that: it has nothing on standard output. */
static void check_help(void)
{
	if (fflush(stdout))
		_exit(fail(STATUS_FAILED, "standard output: %s", strerror(errno)));
	if (ferror(stdout))
		_exit(fail(STATUS_FAILED, "standard output: not all could be written"));
}

int main(int argc, char **argv)
{
	int status;

	if (!open_standard_files())
		return STATUS_START;

	argp_err_exit_status = STATUS_USAGE;
	argp_program_version_hook = print_version;
	atexit(check_help);
	wait_prepare();
	status = run(argc, argv);
	if (!output_is_good() && status == 0)
		status = STATUS_FAILED;
	return status;
}
