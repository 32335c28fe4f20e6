// SPDX-License-Identifier: Apache-2.0

/* A process whose first hit has strings on a page that is not mapped yet; see
 * README.md. */

#define _GNU_SOURCE
#include "fresh.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "publisher.h"

static const char help[] =
"Usage: fresh [OPTIONS]\n"
"Fires one probe whose literals are on a page that is not mapped yet, and fails if\n"
"that page turns out to be mapped.\n"
"\n"
"  --program         with the program's own literals, not those of libfresh.so\n"
"  --uncached        also drop the page from the page cache\n"
"  --context N       context id of the hit (default: the process id)\n"
"  --counts FILE     count the hit and its values in FILE\n"
"  --wait            fire when a byte arrives on standard input\n"
"  --wait-file FILE  fire when FILE exists\n";

static const struct fresh_literals program_literals
	__attribute__((aligned(FRESH_PAGE))) = FRESH_LITERALS("program");

/* An entry of /proc/self/pagemap (Documentation/admin-guide/mm/pagemap.rst). */
#define PAGEMAP_PRESENT ((uint64_t)1 << 63)
#define PAGEMAP_SWAPPED ((uint64_t)1 << 62)

static bool page_mapped(const char *page)
{
	uint64_t entry;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	off_t offset = (off_t)((uintptr_t)page / FRESH_PAGE * sizeof(entry));

	if (fd < 0 || pread(fd, &entry, sizeof(entry), offset) != sizeof(entry))
		die("cannot read /proc/self/pagemap: %s", strerror(errno));
	close(fd);
	return (entry & (PAGEMAP_PRESENT | PAGEMAP_SWAPPED)) != 0;
}

/* For a page that is not mapped, mincore reports whether it is in the page cache. */
static bool page_cached(const char *page)
{
	unsigned char resident;

	if (mincore((void *)(uintptr_t)page, FRESH_PAGE, &resident) < 0)
		die("cannot query the page cache: %s", strerror(errno));
	return resident & 1;
}

/* Opens the file that is mapped at an address, and returns the address's offset in
 * it. */
static int open_mapped_file(const char *address, off_t *offset)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[4352], path[4097];

	if (maps == NULL)
		die("cannot read /proc/self/maps: %s", strerror(errno));
	while (fgets(line, sizeof(line), maps) != NULL) {
		uintptr_t start, end, file_offset;

		if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %*s %" SCNxPTR
			   " %*s %*s %4096[^\n]", &start, &end, &file_offset,
			   path) != 4)
			continue;
		if ((uintptr_t)address < start || (uintptr_t)address >= end)
			continue;
		fclose(maps);
		*offset = (off_t)((uintptr_t)address - start + file_offset);
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			die("cannot open %s: %s", path, strerror(errno));
		return fd;
	}
	die("cannot find the file of the literals in /proc/self/maps");
}

static void drop_from_cache(const char *page)
{
	off_t offset;
	int fd = open_mapped_file(page, &offset);

	/* A dirty page cannot be dropped. The file system may cache units larger
	 * than a page: drop the padding, too. */
	if (fsync(fd) < 0 && errno != EINVAL && errno != EROFS)
		die("cannot sync the file of the literals: %s",
		    strerror(errno));
	int error = posix_fadvise(fd, offset - FRESH_PADDING,
				  2 * FRESH_PADDING + FRESH_PAGE,
				  POSIX_FADV_DONTNEED);
	if (error != 0)
		die("cannot drop a page from the page cache: %s", strerror(error));
	close(fd);
}

/* The padding protects the page from fault-around, but a kernel may also map a
 * whole large folio of the page cache when any part of it is touched. */
static void unmap(const struct fresh_literals *literals)
{
	if (madvise((void *)(uintptr_t)literals, sizeof(*literals),
		    MADV_DONTNEED) < 0)
		die("cannot unmap the literals: %s", strerror(errno));
}

int main(int argc, char **argv)
{
	enum { PROGRAM = 1, UNCACHED, CONTEXT };
	static const struct option options[] = {
		{ "program", no_argument, NULL, PROGRAM },
		{ "uncached", no_argument, NULL, UNCACHED },
		{ "context", required_argument, NULL, CONTEXT },
		COMMON_OPTIONS,
	};
	struct common common = { 0 };
	uint64_t context = (uint64_t)getpid();
	bool program = false, uncached = false;
	int option;

	while ((option = next_option(argc, argv, options, help, &common)) != -1) {
		switch (option) {
		case PROGRAM:
			program = true;
			break;
		case UNCACHED:
			uncached = true;
			break;
		case CONTEXT:
			context = parse_number("--context", optarg, 0, UINT64_MAX);
			break;
		}
	}
	if (optind != argc)
		usage_error("unexpected argument %s", argv[optind]);

	counts_open(common.counts);
	struct counts_slot *slot = counts_slot();
	const struct fresh_literals *literals =
		program ? &program_literals : fresh_library_literals();
	const char *page = literals->name_key;

	gate_pass(&common.gate);
	unmap(literals);
	if (uncached)
		drop_from_cache(page);
	counts_state(STATE_FIRING);
	counts->pages_checked = 1;
	counts->pages_unmapped = !page_mapped(page);
	counts->pages_uncached = counts->pages_unmapped && !page_cached(page);
	counts_begin(slot, PROBE_NEW_CONTEXT_WITH_DATA, FRESH_VALUES);
	if (program)
		fresh_fire(literals, context);
	else
		fresh_library_fire(context);
	counts_end(slot, PROBE_NEW_CONTEXT_WITH_DATA, FRESH_VALUES);
	counts->operations = 1;
	counts_state(STATE_DONE);

	printf("hits 1 values %d unmapped %" PRIu64 " uncached %" PRIu64 "\n",
	       FRESH_VALUES, counts->pages_unmapped, counts->pages_uncached);
	if (counts->pages_unmapped == 0)
		die("the page of the literals was mapped");
	if (uncached && counts->pages_uncached == 0)
		die("the page of the literals was in the page cache");
	return 0;
}
