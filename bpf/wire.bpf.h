/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The interface between the programs at the sockets and the agent: their ring
 * record and their counters.
 */
#ifndef CRAU_WIRE_BPF_H
#define CRAU_WIRE_BPF_H

#define WIRE_EXECUTABLE_MAX 64
#define WIRE_UNIT_MAX 128

/* Values of piece.protocol. */
enum protocol {
	WIRE_UNDECIDED,
	WIRE_TLS,
	WIRE_SSH,
	WIRE_QUIC,
};

/* Bits of piece.flags. */
enum piece_flags {
	WIRE_RECEIVED = 1,	/* else sent */
	WIRE_NAMES = 2,		/* struct names follows the head */
	WIRE_END = 4,		/* what follows in this direction is encrypted */
	WIRE_INVALID = 8,	/* the connection does not follow its protocol and was given up */
	WIRE_CUT = 16,		/* the connection was given up, for the reason */
	WIRE_CLOSED = 32,	/* the connection was closed; the task may be any */
};

/*
 * Why the handshake of a connection was lost, or is not whole. The same are
 * indices of the map of counters.
 */
enum counter {
	WIRE_SEEN,		/* connections whose first byte was seen */
	WIRE_NO_HANDSHAKE,	/* of those: given up, or closed, before one began */
	WIRE_BEGUN,		/* of those: the first record went into the ring */
	WIRE_RECORDS,		/* put into the ring, or refused by it */
	WIRE_RING_FULL,
	WIRE_RATE_LIMIT,
	WIRE_TOO_LONG,
	WIRE_UNREADABLE,
	WIRE_UNSUPPORTED,
	WIRE_COUNTS,
};

/*
 * A piece of the plaintext beginning of a connection, as one task sent or
 * received it: 48 bytes, then the names if the flags say so, then data up to
 * `length`. The kind is where struct record has it.
 */
struct piece {
	__u64 time;		/* CLOCK_BOOTTIME, ns */
	__u64 pid_tgid;
	__u64 cgroup;
	__u64 connection;	/* the cookie of the socket; for one end */
	__u32 offset;		/* of the data in its direction, from where the protocol began */
	__u16 length;		/* bytes used, this head included */
	__u8 kind;
	__u8 protocol;
	__u32 pair;		/* 24 bits, the same for both ends of a connection */
	__u8 flags;
	__u8 reason;		/* enum counter, with WIRE_CUT */
	__u16 padding;
} __attribute__((packed));

/* In the first record that a task makes of a connection. */
struct names {
	char executable[WIRE_EXECUTABLE_MAX];
	char unit[WIRE_UNIT_MAX];	/* the nearest service or scope above the task; may be empty */
	__u32 user;	/* the real user id */
	__u32 padding;
};

#endif /* CRAU_WIRE_BPF_H */
