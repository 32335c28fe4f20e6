// SPDX-License-Identifier: Apache-2.0

/*
 * Loads a library and compares its code in memory with its file. Only probes may
 * differ: a breakpoint in place of a nop. Prints the number of probes; exits with
 * status 1 at any other difference.
 */

#include <dlfcn.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "publisher.h"

#define NOP 0x90
#define BREAKPOINT 0xcc

static unsigned int compare(const unsigned char *memory, size_t size, int file,
			    off_t offset)
{
	unsigned int probes = 0;
	unsigned char *bytes = malloc(size);
	ssize_t n = pread(file, bytes, size, offset);

	if (!bytes || n < 0)
		die("cannot read the library");
	for (ssize_t i = 0; i < n; i++) {
		if (memory[i] == bytes[i])
			continue;
		if (memory[i] != BREAKPOINT || bytes[i] != NOP)
			die("the byte at offset %#jx is %#x, in the file %#x",
			    (uintmax_t)offset + i, memory[i], bytes[i]);
		probes++;
	}
	free(bytes);
	return probes;
}

int main(int argc, char **argv)
{
	char line[4096];
	unsigned int mappings = 0, probes = 0;

	if (argc != 2)
		die("usage: unchanged LIBRARY");
	if (!dlopen(argv[1], RTLD_NOW))
		die("cannot load %s: %s", argv[1], dlerror());
	int file = open(argv[1], O_RDONLY | O_CLOEXEC);
	FILE *maps = fopen("/proc/self/maps", "re");
	if (file < 0 || !maps)
		die("cannot open %s or the list of mappings", argv[1]);
	while (fgets(line, sizeof(line), maps)) {
		uintptr_t start, end;
		uintmax_t offset;
		char access[5];
		const char *path = strchr(line, '/');

		line[strcspn(line, "\n")] = 0;
		if (!path || strcmp(path, argv[1]) ||
		    sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s %jx", &start,
			   &end, access, &offset) != 4 || access[2] != 'x')
			continue;
		mappings++;
		probes += compare((const unsigned char *)start, end - start,
				  file, offset);
	}
	if (mappings == 0)
		die("no code of %s is mapped", argv[1]);
	printf("probes %u\n", probes);
	return 0;
}
