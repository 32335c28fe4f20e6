/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The interface between the BPF programs and the agent: the ring record, the
 * site map and the control block. src/internal/probe reads the same layout;
 * a test there compares the two through BTF.
 */
#ifndef CRAU_AUDIT_BPF_H
#define CRAU_AUDIT_BPF_H

/*
 * Values of record.kind: the probe that fired, or what else made the record.
 * All records have their length and kind where struct record has them.
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
	/* The arguments could not be read; nothing but time and task is valid. */
	RECORD_NO_ARGUMENTS = 1,
	/* The array, or its tail, could not be read: dropped says how much. */
	RECORD_NO_ARRAY = 2,
	/* The name of the executable was longer than the record holds. */
	RECORD_EXECUTABLE_CUT = 4,
};

/*
 * One probe hit, 44 bytes, followed by exe_len bytes of the executable's base
 * name and by count elements, each a struct element with its key and value.
 * Nothing is aligned.
 */
struct record {
	__u64 time;	/* CLOCK_BOOTTIME, ns */
	__u64 pid_tgid;
	__u64 context;
	__u64 parent;	/* valid for the two new_context kinds */
	__u32 site;	/* index into the site map */
	__u16 length;	/* bytes used, this head included */
	__u8 kind;
	__u8 count;	/* elements that follow */
	__u16 dropped;	/* elements that the probe gave and that do not follow */
	__u8 exe_len;
	__u8 flags;
} __attribute__((packed));

#define UNIT_MAX 128

/*
 * Whose program it is that opens a context with the next hit of the process, if the
 * agent asks for it. The length and the kind are where struct record has them.
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
 * Bits of element.type. What is "away" is for the agent to read from the
 * library's file: a string among its constants, or what could not be read
 * without a page fault. Its bytes are then the eight of its address, relative
 * to the load address of the probed library, followed for a blob by the eight
 * of its size.
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

/* Values of argument.kind: where an argument of a probe is found. */
enum argument_kind {
	ARGUMENT_CONSTANT = 0,	/* offset is the value */
	ARGUMENT_REGISTER,	/* register + offset */
	ARGUMENT_MEMORY,	/* at register + offset */
	ARGUMENT_INDEXED,	/* at register + (index << shift) + offset */
};

#define ARGUMENT_NO_REGISTER 0xffff
/* In place of a register: where the library is loaded, minus where it was linked. */
#define ARGUMENT_BIAS 0xfffe

struct argument {
	__s64 offset;
	__u16 reg;	/* offset of the register in struct pt_regs */
	__u16 index;
	__u8 kind;
	__u8 bits;	/* width of the value: 8, 16, 32 or 64 */
	__u8 is_signed;
	/* ARGUMENT_INDEXED: of the index; ARGUMENT_REGISTER: of the value, to the right */
	__u8 shift;
};

#define SITE_ARGUMENTS 4

/* One place a probe fires from, as the cookie of its attachment names it. */
struct site {
	__u64 address;	/* where the probe is attached, as linked */
	__u64 constants;	/* addresses, as linked, that hold what the library file says */
	__u64 constants_size;
	/* Those that the probe does not have are constants. */
	struct argument arguments[SITE_ARGUMENTS];
	__u64 kind;	/* of probe: enum record_kind */
};

/* Why hits were lost in the kernel: indices of the loss map. */
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
 * wake_at: a producer that finds at least so many bytes in the ring wakes the
 * reader. The reader writes 1 before it sleeps for want of work, a high mark
 * when it sleeps to let records gather, and the first producer that wakes it
 * writes WAKE_NEVER.
 */
#define WAKE_NEVER (~0ULL)

struct control_block {
	__u64 wake_at;
	__u64 own_tgid;	/* the agent's, in the kernel's numbering; set by "whoami" */
	/*
	 * What the records of a process may take of the ring in RATE_PERIOD, in
	 * bytes; 0: no limit. All processes of a user together may take
	 * USER_SHARE times as much.
	 */
	__u64 rate_limit;
	/*
	 * Those that took less than light_bytes in the present period may fill the
	 * ring. Once crowded_bytes of it wait for the reader, it is full for
	 * processes that took more; once shared_bytes wait, also for processes of
	 * a user whose processes together took more.
	 */
	__u64 light_bytes;
	__u64 crowded_bytes;
	__u64 shared_bytes;
	__u64 connection_limit;	/* of those that a process may begin in RATE_PERIOD; 0: none */
	__u64 seed;	/* random, so that a process cannot choose with whom it shares a counter */
	/* Not 0 after a loss was counted; the agent clears it before it reads the counters. */
	__u64 lossy;
	__u64 owners;	/* not 0: the agent wants a struct owner before a hit that opens a context */
};

/* The period over which bytes are counted, ns. */
#define RATE_PERIOD 250000000ULL

/* A record takes at least so many bytes of a limit: most are that small. */
#define RATE_RECORD 192

#define USER_SHARE 4

#endif /* CRAU_AUDIT_BPF_H */
