/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The interface between the programs at the functions of unmodified libraries
 * and the agent: chains of loads, sites, and the ring record.
 */
#ifndef CRAU_FUNCTION_BPF_H
#define CRAU_FUNCTION_BPF_H

#define CALL_EXECUTABLE_MAX 64
#define CALL_UNIT_MAX 128
#define CALL_TYPE_MAX 32
#define CALL_NAME_MAX 24

/* What a hit of a site is. The numbers are those of layout.Role. */
enum call_role {
	ROLE_HANDSHAKE_SERVER = 1,
	ROLE_HANDSHAKE_CLIENT,
	ROLE_HANDSHAKE,
	ROLE_HANDSHAKE_END,
	ROLE_CONNECTION_FREE,
	ROLE_CONTEXT_OPERATION,
	ROLE_DIGEST_OPERATION,
	ROLE_DIGEST_ONE_SHOT,
	ROLE_CHAIN_VERIFICATION,
	ROLE_KEY_OPERATION,
	ROLE_SET_DIGEST,
	ROLE_RESET_CONTEXT,
	ROLE_SET_GROUP,
	ROLE_SET_CURVE,
	ROLE_SET_BITS,
};

/* The public-key operation of a site that matters here, as layout.Operation. */
#define OPERATION_GENERATE 8

/*
 * Values, by which chains are found and records are filled. The numbers are
 * those of layout.ValueID.
 */
enum call_value {
	VALUE_VERSION = 1,
	VALUE_SERVER,
	VALUE_CIPHER_SUITE,
	VALUE_GROUP,
	VALUE_SESSION_GROUP,
	VALUE_KEY_EXCHANGED,
	VALUE_PEER_SCHEME,
	VALUE_OWN_SCHEME,
	VALUE_SERVER_SCHEME,
	VALUE_CLIENT_SCHEME,
	VALUE_RESUMED,
	VALUE_HAND_STATE,
	VALUE_FLOW_STATE,
	VALUE_VERIFY_RESULT,
	VALUE_SERVER_RANDOM,
	VALUE_COMPLETED,
	VALUE_KEY_TYPE,
	VALUE_KEY_ID,
	VALUE_KEY_BITS,
	VALUE_KEY_CURVE,
	VALUE_LEGACY_CURVE,
	VALUE_LEGACY_MODULUS_WORDS,
	VALUE_CONTEXT_KEY,
	VALUE_CONTEXT_KEY_TYPE,
	VALUE_CONTEXT_OPERATION_CODE,
	VALUE_DIGEST_CONTEXT_KEY,
	VALUE_DIGEST_CONTEXT_NAME,
	VALUE_DIGEST_CONTEXT_NID,
	VALUE_DIGEST_NAME,
	VALUE_DIGEST_TYPE_NID,
	VALUE_CURVE,
	VALUE_MODULUS_WORDS,
	VALUE_COUNT = 40,
};

#define CHAIN_LOADS 5

/* Leads from an object to a value: layout.Chain. Without loads there is none. */
struct chain {
	__u8 loads;
	__u8 width;	/* of the value in bytes */
	__u16 offsets[CHAIN_LOADS];
};

/* What was decoded of a library. */
struct layout {
	__u64 text;	/* addresses of code, as linked */
	__u64 text_size;
	struct chain chains[VALUE_COUNT];
};

#define CALL_NO_REGISTER 0xffff

/* One place of a function, as the cookie of its attachment names it. */
struct call_site {
	__u64 address;		/* where the program is attached, as linked */
	__u32 layout;		/* index into the layouts */
	__u32 stack_delta;	/* the stack pointer was higher at the function's entry by so many bytes */
	__u64 reach;		/* ROLE_HANDSHAKE_END: that of the beginning is nearer than this */
	/* Registers, as offsets of the context, or CALL_NO_REGISTER. */
	__u16 object;
	__u16 output;
	__u16 length;
	__u16 digest;
	__u16 digest_nid;
	__u16 command;
	__u16 bits;
	__u16 curve;
	__u16 text_at;
	__u8 role;
	__u8 operation;
	__u8 external;
	__u8 key;		/* of ROLE_KEY_OPERATION: the value of object that is read, enum call_value */
	__u8 padding[2];
};

/* What a record reports. */
enum call_event {
	CALL_COMPLETED = 1,	/* a handshake */
	CALL_FAILED,
	CALL_ABANDONED,		/* the connection was freed before one of the two */
	CALL_OVER,		/* an exchange after the handshake in which there were operations */
	CALL_CHAIN,		/* the verification of a certificate chain begins */
	CALL_OPERATION,		/* of a public key */
};

/* Bits of call.flags. */
enum call_flags {
	CALL_LATE = 1,		/* the handshake had begun before the first hit */
	CALL_EXECUTABLE_CUT = 2,
};

/*
 * A ring record. Time to kind are where struct record has them. A value is
 * valid if its bit of `have` is set; its bit of `unreadable` is set if there is a
 * chain and memory on its way could not be read.
 */
struct call {
	__u64 time;		/* CLOCK_BOOTTIME, ns */
	__u64 pid_tgid;
	__u64 connection;	/* one handshake of one connection; 0: none */
	__u64 start;		/* when the handshake began */
	__u32 site;
	__u16 length;		/* of this record */
	__u8 kind;
	__u8 event;
	__u8 flags;
	__u8 executable_length;
	__u8 role;	/* of the site */
	__u8 operation;
	__u32 chain;		/* the verification of a chain that an operation belongs to; 0: none */
	__u64 have;
	__u64 unreadable;
	__u32 input;		/* length of what is signed or verified; 0: unknown */
	__u32 set_digest;	/* NID of the digest that was set on the context */
	__u32 set_curve;	/* NID of the curve, likewise */
	__u32 set_bits;
	__u32 values[VALUE_COUNT];
	char executable[CALL_EXECUTABLE_MAX];
	char unit[CALL_UNIT_MAX];	/* the nearest service or scope above the task; may be empty */
	char type[CALL_TYPE_MAX];	/* name of the key's type; empty: not known */
	char digest[CALL_NAME_MAX];	/* name of the digest */
	char group[CALL_NAME_MAX];	/* that was set on the context */
} __attribute__((packed));

#endif /* CRAU_FUNCTION_BPF_H */
