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

/* The role of a site. The numbers are those of layout.Role. */
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
	ROLE_SESSION_OPERATION,
	ROLE_SET_SIGNATURE,
};

/* The public-key operations that the programs distinguish, as in layout.Operation. */
#define OPERATION_VERIFY 2
#define OPERATION_GENERATE 8

/*
 * Values: indices of chains and of values in records. The numbers are those of
 * layout.ValueID.
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
	VALUE_PARAMETERS_CURVE,
	VALUE_PARAMETERS_MODULUS_WORDS,
	VALUE_PSS_DIGEST,
	VALUE_DSA_DIGEST,
	VALUE_SIGNATURE,
	VALUE_COUNT = 40,
};

/*
 * A record has room for so many values from its first one on: those of a
 * handshake, or those of an operation. What a record takes of the ring is not in
 * any cache when it is written.
 */
#define CALL_VALUES 16

#define CHAIN_LOADS 5

/* Leads from an object to a value, see layout.Chain. A chain without loads is not set. */
struct chain {
	__u8 loads;
	__u8 width;	/* of the value in bytes */
	__u16 offsets[CHAIN_LOADS];
};

/* The properties decoded from a library. */
struct layout {
	__u64 text;	/* link-time address of the code */
	__u64 text_size;
	struct chain chains[VALUE_COUNT];
};

#define CALL_NO_REGISTER 0xffff

/* A site in a function, selected by the cookie of its attachment. */
struct call_site {
	__u64 address;		/* link-time address of the site */
	__u32 layout;		/* index into the layouts */
	__u32 stack_delta;	/* bytes by which the stack pointer was higher at the function's entry */
	__u64 reach;		/* ROLE_HANDSHAKE_END: upper bound of the distance to the beginning's stack pointer */
	/* Registers, as offsets in the context, or CALL_NO_REGISTER. */
	__u16 object;
	__u16 output;
	__u16 length;
	__u16 digest;
	__u16 digest_nid;
	__u16 command;
	__u16 bits;
	__u16 curve;
	__u16 text_at;
	__u16 result;		/* of the function, at ROLE_HANDSHAKE_END */
	/* ROLE_SESSION_OPERATION and ROLE_SET_SIGNATURE; object has the key's parameters. */
	__u16 algorithm;	/* number of the key's algorithm, or of the signature's */
	__u16 data;		/* the signed data, a gnutls_datum_t */
	__u16 signing;		/* the parameters of a signature */
	__u16 signature;	/* the signature, a gnutls_datum_t */
	__u8 role;
	__u8 operation;
	__u8 external;
	__u8 key;		/* ROLE_KEY_OPERATION: the value of object to read, enum call_value */
};

/* The events of records. */
enum call_event {
	CALL_COMPLETED = 1,	/* a handshake completed */
	CALL_FAILED,
	CALL_ABANDONED,		/* the connection was freed before its handshake ended */
	CALL_OVER,		/* an exchange after the handshake, with operations, ended */
	CALL_CHAIN,		/* the verification of a certificate chain begins */
	CALL_OPERATION,		/* a public-key operation */
};

/* Bits of call.flags. */
enum call_flags {
	CALL_LATE = 1,		/* the handshake began before the first hit */
	CALL_EXECUTABLE_CUT = 2,
};

/*
 * A ring record. Time to kind are at the offsets of struct record. A value is
 * valid if its bit of `have` is set; its bit of `unreadable` is set if it has a
 * chain and memory along the chain could not be read.
 */
struct call {
	__u64 time;		/* CLOCK_BOOTTIME, ns */
	__u64 pid_tgid;
	__u64 connection;	/* number of a handshake of a connection; 0: none */
	__u64 start;		/* time of the beginning of the handshake */
	__u32 site;
	__u16 length;		/* of this record */
	__u8 kind;
	__u8 event;
	__u8 flags;
	__u8 executable_length;
	__u8 role;	/* of the site */
	__u8 operation;
	__u32 chain;		/* number of the chain verification that includes an operation; 0: none */
	__u64 have;
	__u64 unreadable;
	__u32 input;		/* length of the signed or verified data; 0: unknown */
	__u32 set_digest;	/* NID of the digest set on the context */
	__u32 set_curve;	/* NID of the curve set on the context */
	__u32 set_bits;
	__u32 first;		/* the value that values[0] is */
	__u32 algorithm;	/* ROLE_SESSION_OPERATION: number of the key's algorithm */
	__u32 values[CALL_VALUES];
	char executable[CALL_EXECUTABLE_MAX];
	char unit[CALL_UNIT_MAX];	/* the nearest service or scope above the task; may be empty */
	/* Name of the key's type; empty: unknown. ROLE_SESSION_OPERATION: the first bytes of the signed data. */
	char type[CALL_TYPE_MAX];
	char digest[CALL_NAME_MAX];	/* name of the digest */
	char group[CALL_NAME_MAX];	/* name of the group set on the context */
} __attribute__((packed));

#endif /* CRAU_FUNCTION_BPF_H */
