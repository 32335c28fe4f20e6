/* SPDX-License-Identifier: Apache-2.0 */

/* What all publishers share: errors, the start gate, clocks, command mode. */

#ifndef PUBLISHER_H
#define PUBLISHER_H

#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>

/* die prints "program: message" and ends the program with status 1;
 * usage_error the same with a hint to --help and status 2. */
void die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
void usage_error(const char *format, ...)
	__attribute__((noreturn, format(printf, 1, 2)));

/* parse_number reads a whole decimal number between least and most. */
uint64_t parse_number(const char *option, const char *text, uint64_t least,
		      uint64_t most);

/* The start gate: it says "ready PID" on standard output and opens when a byte
 * (or the end) arrives on standard input, or when the file exists. */
struct gate {
	bool standard_input;
	const char *file;
};
void gate_pass(const struct gate *gate);

/* The options that all publishers have, which end the list of their own: --counts,
 * --wait, --wait-file and --help. */
#define COMMON_OPTIONS                                             \
	{ "counts", required_argument, NULL, OPTION_COUNTS },      \
	{ "wait", no_argument, NULL, OPTION_WAIT },                \
	{ "wait-file", required_argument, NULL, OPTION_WAIT_FILE }, \
	{ "help", no_argument, NULL, OPTION_HELP },                \
	{ 0 }

/* Above the values of the options of a publisher itself. */
enum { OPTION_COUNTS = 0x100, OPTION_WAIT, OPTION_WAIT_FILE, OPTION_HELP };

struct common {
	struct gate gate;
	const char *counts; /* the path for counts_open */
};

/* next_option returns the value of the next option of a publisher itself, -1 after
 * the last. It takes the common ones itself. */
int next_option(int argc, char **argv, const struct option *options,
		const char *help, struct common *common);

uint64_t clock_ns(void); /* monotonic */
uint64_t cpu_ns(void);   /* user and system time of the whole process */

/* sleep_until returns at once if that time has passed. */
void sleep_until(uint64_t ns);

/* command_loop reads lines "run N" from standard input, calls run(N, data) and
 * answers "cpu_us N wall_us N hits N values N", all of this run alone; CPU time
 * is user and system time of the process. "quit" or the end of the input ends
 * it. */
void command_loop(void (*run)(uint64_t n, void *data), void *data);

#endif
