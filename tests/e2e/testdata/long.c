// SPDX-License-Identifier: Apache-2.0

/* Fires literals of the maximum length of a record, and one byte longer, as keys and as
 * values: "mapped", or "unmapped" while no page table has their pages. */

#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "crau/macros.h"

#define PAGE 4096
#define A1 "a"
#define A2 A1 A1
#define A4 A2 A2
#define A8 A4 A4
#define A16 A8 A8
#define A32 A16 A16
#define A64 A32 A32
#define A128 A64 A64
#define A256 A128 A128
#define A512 A256 A256
#define A127 A64 A32 A16 A8 A4 A2 A1
#define A511 A256 A128 A127

/* The padding covers the pages that the kernel maps around a touched page. */
static const struct {
	char before[16 * PAGE];
	char text[4][PAGE / 4];
	char after[16 * PAGE];
} literals __attribute__((aligned(PAGE))) = { .text = { A127, A128, A511, A512 } };
static const unsigned long lengths[] = { 127, 128, 511, 512 };

/* See Documentation/admin-guide/mm/pagemap.rst in the kernel. */
static int mapped(const void *page)
{
	uint64_t entry = 0;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	off_t offset = (off_t)((uintptr_t)page / PAGE * sizeof(entry));
	ssize_t n = pread(fd, &entry, sizeof(entry), offset);

	close(fd);
	return n != sizeof(entry) || entry >> 63;
}

int main(int argc, char **argv)
{
	if (argc != 2)
		return 2;
	int unmapped = strcmp(argv[1], "unmapped") == 0;

	for (int i = 0; i < 4; i++) {
		if (unmapped)
			madvise((void *)(uintptr_t)literals.text, PAGE, MADV_DONTNEED);
		else
			for (int j = 0; j < 4; j++)
				(void)*(const volatile char *)literals.text[j];
		if (mapped(literals.text) == unmapped) {
			fprintf(stderr, "the page is not %s\n", argv[1]);
			return 1;
		}
		crau_fire_word_data(1, literals.text[i], lengths[i]);
		crau_fire_string_data(1, "long::string", literals.text[i]);
		crau_fire_blob_data(1, "long::blob", literals.text[2], lengths[i] + 1);
	}
	return 0;
}
