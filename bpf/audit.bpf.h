/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The interface between the BPF programs and the agent: the ring record, the
 * site map and the control block. src/internal/probe uses the same layout;
 * a test there compares the two through BTF.
 */
#ifndef CRAU_AUDIT_BPF_H
#define CRAU_AUDIT_BPF_H

/*
 * Values of record.kind: the probe that was hit, or another source of the record.
 * All records have their length and kind at the offsets of struct record.
 */
enum record_kind {
	RECORD_NEW_CONTEXT = 1,
	RECORD_WORD_DATA,
	RECORD_STRING_DATA,
	RECORD_BLOB_DATA,
	RECORD_DATA,
	RECORD_NEW_CONTEXT_WITH_DATA,
	RECORD_WIRE,	/* struct piece */
	RECORD_OWNER,	/* struct owner */
	RECORD_CALL,	/* struct call */
};

/* Bits of record.flags. */
enum record_flags {
	/* The arguments could not be read; only time and task are valid. */
	RECORD_NO_ARGUMENTS = 1,
	/* The array, or its tail, could not be read: dropped counts the missing elements. */
	RECORD_NO_ARRAY = 2,
	/* The name of the executable exceeded the size of the record. */
	RECORD_EXECUTABLE_CUT = 4,
};

/*
 * One probe hit: 44 bytes, followed by exe_len bytes with the base name of the
 * executable and by count elements, each a struct element with its key and value.
 * There is no alignment.
 */
struct record {
	__u64 time;	/* CLOCK_BOOTTIME, ns */
	__u64 pid_tgid;
	__u64 context;
	__u64 parent;	/* valid for the two new_context kinds */
	__u32 site;	/* index into the site map */
	__u16 length;	/* bytes used, including this head */
	__u8 kind;
	__u8 count;	/* number of elements that follow */
	__u16 dropped;	/* number of elements passed to the probe that do not follow */
	__u8 exe_len;
	__u8 flags;
} __attribute__((packed));

#define UNIT_MAX 128

/*
 * The owner of the process whose next hit opens a context, if the agent requests it.
 * The length and the kind are at the offsets of struct record.
 */
struct owner {
	__u64 time;
	__u64 pid_tgid;
	__u64 unused[2];
	__u32 user;	/* the real user id */
	__u16 length;
	__u8 kind;
	__u8 padding;
	char unit[UNIT_MAX];	/* as in struct names */
};

/* Values of the low bits of element.type. */
enum element_type {
	ELEMENT_WORD = 0,	/* value: eight bytes */
	ELEMENT_STRING = 1,	/* value: bytes without the NUL */
	ELEMENT_BLOB = 2,
	ELEMENT_TYPE = 3,
};

/*
 * Bits of element.type. The agent reads a part that is "away" from the library's
 * file: a string among the library's constants, or memory that could not be read
 * without a page fault. Such a part consists of the eight bytes of its address,
 * relative to the load address of the probed library, followed for a blob by the
 * eight bytes of its size.
 */
enum element_flags {
	ELEMENT_KEY_AWAY = 4,
	ELEMENT_VALUE_AWAY = 8,
	ELEMENT_KEY_CUT = 16,
	ELEMENT_VALUE_CUT = 32,
	ELEMENT_VALUE_NULL = 64,
};

struct element {
	__u8 type;
	__u8 key_len;
	__u16 value_len;
} __attribute__((packed));

/* Values of argument.kind: the location of an argument. */
enum argument_kind {
	ARGUMENT_CONSTANT = 0,	/* offset is the value */
	ARGUMENT_REGISTER,	/* register + offset */
	ARGUMENT_MEMORY,	/* at register + offset */
	ARGUMENT_INDEXED,	/* at register + (index << shift) + offset */
};

#define ARGUMENT_NO_REGISTER 0xffff
/* Instead of a register: the load address of the library minus its link-time address. */
#define ARGUMENT_BIAS 0xfffe

struct argument {
	__s64 offset;
	__u16 reg;	/* offset of the register in struct pt_regs */
	__u16 index;
	__u8 kind;
	__u8 bits;	/* width of the value: 8, 16, 32 or 64 */
	__u8 is_signed;
	/* ARGUMENT_INDEXED: left shift of the index; ARGUMENT_REGISTER: right shift of the value */
	__u8 shift;
};

#define SITE_ARGUMENTS 4

/* A site, selected by the cookie of its attachment. */
struct site {
	__u64 address;	/* link-time address of the probe */
	__u64 constants;	/* link-time addresses whose contents are in the library's file */
	__u64 constants_size;
	/* Arguments that the probe does not have are constants. */
	struct argument arguments[SITE_ARGUMENTS];
	__u64 kind;	/* of probe: enum record_kind */
};

/* The reasons for losses in the kernel: indices of the loss map. */
enum loss_reason {
	LOSS_RING_FULL,
	LOSS_NO_SITE,
	LOSS_RATE_LIMIT,
	LOSS_REASONS,
};

struct loss {
	__u64 hits;
	__u64 events;
};

/*
 * Shared with the agent, which maps it.
 *
 * wake_at: a producer that finds at least that many bytes in the ring wakes the
 * reader. The reader writes 1 before it sleeps because the ring is empty, a higher
 * mark when it sleeps to let records collect, and the first producer that wakes it
 * writes WAKE_NEVER.
 */
#define WAKE_NEVER (~0ULL)

struct control_block {
	__u64 wake_at;
	__u64 own_tgid;	/* the agent's id in the first pid namespace; set by "whoami" */
	/*
	 * The limit for the records of a process per RATE_PERIOD, in bytes; 0
	 * disables it. All processes of a user together may use USER_SHARE
	 * times as much.
	 */
	__u64 rate_limit;
	/*
	 * Processes and users that used less than light_bytes in the present period
	 * may fill the ring. Once crowded_bytes wait for the reader, the ring is full
	 * for processes that used more; once shared_bytes wait, also for processes of
	 * a user whose processes together used more.
	 */
	__u64 light_bytes;
	__u64 crowded_bytes;
	__u64 shared_bytes;
	__u64 connection_limit;	/* connections that a process may begin per RATE_PERIOD; 0: unlimited */
	__u64 seed;	/* random, so that a process cannot choose with which ids it shares a counter */
	/* Set to 1 after a loss was counted; the agent clears it before it reads the counters. */
	__u64 lossy;
	__u64 owners;	/* not 0: write a struct owner before a hit that opens a context */
};

/* The period over which bytes are counted, in ns. */
#define RATE_PERIOD 250000000ULL

/* The smallest number of bytes charged for a record, sufficient for most. */
#define RATE_RECORD 192

#define USER_SHARE 4

#endif /* CRAU_AUDIT_BPF_H */
