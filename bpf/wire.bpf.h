/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The interface between the programs at the sockets and the agent: the ring
 * record and the counters.
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
	WIRE_DTLS,
};

/* Bits of piece.flags. */
enum piece_flags {
	WIRE_RECEIVED = 1,	/* received rather than sent */
	WIRE_NAMES = 2,		/* struct names follows the head */
	WIRE_END = 4,		/* the direction is encrypted from here */
	WIRE_INVALID = 8,	/* the connection does not follow its protocol and is no longer followed */
	WIRE_CUT = 16,		/* the connection is no longer followed, because of the reason */
	WIRE_CLOSED = 32,	/* the connection was closed; it may be any task */
};

/*
 * The reasons why the handshake of a connection was lost or is incomplete. They are
 * also indices of the map of counters.
 */
enum counter {
	WIRE_SEEN,		/* connections with a first byte */
	WIRE_NO_HANDSHAKE,	/* of those: ignored, or closed, before a handshake began */
	WIRE_BEGUN,		/* of those: the first record was written to the ring */
	WIRE_RECORDS,		/* records written to the ring, or refused by it */
	WIRE_RING_FULL,
	WIRE_RATE_LIMIT,
	WIRE_TOO_LONG,
	WIRE_UNREADABLE,
	WIRE_UNSUPPORTED,
	WIRE_COUNTS,
};

/*
 * A piece of the plaintext beginning of a connection that one task sent or
 * received: 48 bytes, then the names if WIRE_NAMES is set, then data up to
 * `length`. The kind is at the offset of struct record.
 */
struct piece {
	__u64 time;		/* CLOCK_BOOTTIME, ns */
	__u64 pid_tgid;
	__u64 cgroup;
	__u64 connection;	/* the cookie of the socket, which is one end */
	/* Of the data in its direction, from the beginning of the protocol. With DTLS: a hash of the peer's address. */
	__u32 offset;
	__u16 length;		/* bytes used, including this head */
	__u8 kind;
	__u8 protocol;
	__u32 pair;		/* 24 bits, the same for both ends of a connection */
	__u8 flags;
	__u8 reason;		/* enum counter, with WIRE_CUT */
	__u16 padding;
} __attribute__((packed));

/* In the first record of a connection by each task. */
struct names {
	char executable[WIRE_EXECUTABLE_MAX];
	char unit[WIRE_UNIT_MAX];	/* the nearest service or scope above the task; may be empty */
	__u32 user;	/* the real user id */
	__u32 padding;
};

#endif /* CRAU_WIRE_BPF_H */
