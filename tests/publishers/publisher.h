/* SPDX-License-Identifier: Apache-2.0 */

/* Functions for all publishers: errors, the start gate, clocks, command mode. */

#ifndef PUBLISHER_H
#define PUBLISHER_H

#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>

/* die prints "program: message" and exits with status 1; usage_error also refers
 * to --help and exits with status 2. */
void die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
void usage_error(const char *format, ...)
	__attribute__((noreturn, format(printf, 1, 2)));

/* parse_number parses a decimal number from least to most. */
uint64_t parse_number(const char *option, const char *text, uint64_t least,
		      uint64_t most);

/* The start gate: it prints "ready PID" and opens when a byte or the end of file
 * arrives on standard input, or when the file exists. */
struct gate {
	bool standard_input;
	const char *file;
};
void gate_pass(const struct gate *gate);

/* The options of all publishers, at the end of the list of options: --counts,
 * --wait, --wait-file and --help. */
#define COMMON_OPTIONS                                             \
	{ "counts", required_argument, NULL, OPTION_COUNTS },      \
	{ "wait", no_argument, NULL, OPTION_WAIT },                \
	{ "wait-file", required_argument, NULL, OPTION_WAIT_FILE }, \
	{ "help", no_argument, NULL, OPTION_HELP },                \
	{ 0 }

/* Greater than the values of a publisher's own options. */
enum { OPTION_COUNTS = 0x100, OPTION_WAIT, OPTION_WAIT_FILE, OPTION_HELP };

struct common {
	struct gate gate;
	const char *counts; /* the path for counts_open */
};

/* next_option returns the value of the next option that is not a common one, -1
 * after the last. It handles the common options. */
int next_option(int argc, char **argv, const struct option *options,
		const char *help, struct common *common);

uint64_t clock_ns(void); /* monotonic */
uint64_t cpu_ns(void);   /* user and system time of the whole process */

/* sleep_until sleeps until a time of clock_ns; it does not sleep if that has passed. */
void sleep_until(uint64_t ns);

/* command_loop reads lines "run N" from standard input, calls run(N, data) and
 * answers "cpu_us N wall_us N hits N values N", all for this run only; CPU time is
 * user and system time of the process. It returns at "quit" or the end of file. */
void command_loop(void (*run)(uint64_t n, void *data), void *data);

#endif
