//go:build ignore
/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The programs at the sockets. They copy the plaintext beginning of a TLS or
 * SSH connection into ring records. They only follow the lengths of records and
 * packets, to detect the end of the plaintext; the agent does everything else.
 *
 * The programs have two front ends, of which the agent loads one: at the entry
 * and exit of kernel functions ("trampoline"), and at tracepoints. Both determine
 * the bytes that a call moved and pass them to the same core.
 *
 * Programs can be preempted and several threads may use a socket concurrently.
 * If that corrupts the state of a connection, the connection ends as invalid;
 * all accesses remain in bounds. User memory is read without faulting.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_tracing.h>
#include "ring.bpf.h"
#include "task.bpf.h"
#include "tree.bpf.h"
#include "wire.bpf.h"

char _license[] SEC("license") = "GPL";

_Static_assert(WIRE_EXECUTABLE_MAX == EXECUTABLE_MAX && WIRE_UNIT_MAX == UNIT_MAX, "the names fit");

/* The highest number of segments of a call. */
#define SEGMENTS_MAX 128
/* The highest number of headers in a segment, of records and messages. */
#define STEPS_MAX 8192
/* A direction is given up after that many bytes; later with a certificate in plaintext. */
#define DIRECTION_MAX 20000
#define DIRECTION_MAX_CERTIFICATE 65536
/* The number of bytes of a Certificate message that are copied. */
#define CERTIFICATE_MAX 4096
/* The highest number of ring records per connection: some programs read or write single bytes. */
#define RECORDS_MAX 1000
/* Where a protocol may begin: calls and bytes of a connection that can switch to TLS. */
#define WATCH_CALLS 4096
#define WATCH_BYTES 16384
/* The same for other connections, per direction. */
#define OTHER_CALLS 2
#define OTHER_BYTES 64
/* Datagrams with a client's Initial packet of QUIC are larger, a server's may be as small. */
#define INITIAL_MIN 64
/* A DTLS record with one byte. */
#define DTLS_MIN 14
/* The longest datagram of DTLS that is copied: one with the longest record in plaintext, and a little more. */
#define DTLS_MAX 16640
/* Bytes of the lines up to and including the identification of SSH. */
#define BANNER_MAX 8192

#define AF_INET 2
#define AF_INET6 10
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_MPTCP 262
#define MSG_OOB 1
#define MSG_PEEK 2
#define MSG_TRUNC 0x20
#define MSG_ERRQUEUE 0x2000
#define PF_KTHREAD 0x00200000

struct in6_addr {
	union {
		__u32 u6_addr32[4];
	} in6_u;
};
struct sock_common {
	unsigned short skc_family;
	__be16 skc_dport;
	__u16 skc_num;
	__u32 skc_daddr, skc_rcv_saddr;
	struct in6_addr skc_v6_daddr, skc_v6_rcv_saddr;
} __attribute__((preserve_access_index));
struct sock {
	struct sock_common __sk_common;
	void *sk_bpf_storage;
	__u16 sk_protocol;
} __attribute__((preserve_access_index));
struct tcp_sock {
	__u32 rcv_nxt, copied_seq, snd_una, write_seq;
	__u64 bytes_received, bytes_acked;
} __attribute__((preserve_access_index));
struct mptcp_sock {
	struct sock *first;
	__u64 bytes_sent, bytes_received;
} __attribute__((preserve_access_index));
struct socket {
	struct sock *sk;
} __attribute__((preserve_access_index));
/* These two have the same layout in all programs, too. */
struct iovec {
	__u64 iov_base;
	__u64 iov_len;
};
struct user_msghdr {
	__u64 name;
	__u64 name_length;
	__u64 iov;
	__u64 iov_length;
};
/* An address of IPv4 or IPv6, as a system call has it. */
struct address {
	__u16 family;
	__be16 port;
	__u32 ipv4;
	__u32 ipv6[4];
};
struct iov_iter {
	__u8 iter_type;
	unsigned long iov_offset;
	const struct iovec *__iov;
	void *ubuf;
} __attribute__((preserve_access_index));
struct iov_iter___before_6_4 {
	const struct iovec *iov;
} __attribute__((preserve_access_index));
/* The numbers differ between kernels. */
enum iter_type___any {
	ITER_UBUF = 100,
	ITER_IOVEC = 101,
};
struct msghdr {
	void *msg_name;
	struct iov_iter msg_iter;
} __attribute__((preserve_access_index));

enum { SENT, RECEIVED };

enum phase {
	BANNER,		/* SSH: before the end of the identification line */
	HEADERS,
	LAST,		/* SSH: in the last plaintext packet */
	DONE,
};

/* Bits of direction.flags. */
enum {
	CIPHER_CHANGED = 1,	/* TLS: after ChangeCipherSpec */
	IN_CERTIFICATE = 2,	/* the current message is a Certificate */
	HAS_CERTIFICATE = 4,
};

/* Bits of connection.flags. */
enum {
	UPGRADES = 1,		/* its first bytes are of a protocol that can switch to TLS */
	BEGUN = 2,		/* the agent received a record of it */
	UNORDERED = 4,		/* the sequence numbers are unknown */
};

struct direction {
	/* The bytes seen of the next header; before a protocol: bytes that may belong to its beginning. */
	__u64 head;
	__u32 expected;		/* sequence number of the next byte */
	__u32 message;		/* of the current TLS message: bytes left, or the bytes seen of its header */
	__u32 seen;		/* bytes since the beginning of the protocol; before that: bytes examined */
	__u16 left;		/* bytes left of the current record or packet */
	__u16 copied;		/* bytes of the current Certificate */
	__u8 have;		/* number of bytes in head */
	__u8 message_have;	/* bytes seen of the message's header, 4: all */
	__u8 phase;
	__u8 flags;
	__u8 type;		/* of the current TLS record */
	__u8 line;		/* SSH: number of bytes at the line's beginning that match "SSH-"; OTHER_LINE */
	__u8 calls;		/* calls before a protocol, at most OTHER_CALLS */
};
#define OTHER_LINE 255

struct connection {
	__u64 id;
	struct direction directions[2];
	__u32 pair;
	__s32 process;		/* whose names were sent to the agent */
	__u16 records;		/* number of records; before a protocol: calls */
	__u8 protocol;
	__u8 flags;
	__u8 lost;		/* reason for giving it up, not yet reported to the agent */
};
/* The state is charged to the program's own option memory of the socket. */
_Static_assert(sizeof(struct connection) < 100, "small");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct connection);
} connections SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, WIRE_COUNTS);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

/* Connections that processes begin in a period, counted in the field "bytes". */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PROCESS_BUCKETS);
	__type(key, __u32);
	__type(value, struct bucket);
} openers SEC(".maps");

/*
 * Is 0, which is unknown to the verifier. The verifier processes a loop once for each
 * constant that a variable may have, but only once if the value is unknown.
 */
volatile __u32 some_zero;

/* Keep the types of the interface in the object's BTF. */
const struct piece *type_piece __attribute__((unused));
const struct names *type_names __attribute__((unused));
const enum protocol *type_protocol __attribute__((unused));
const enum piece_flags *type_piece_flags __attribute__((unused));
const enum counter *type_counter __attribute__((unused));

/* Using the result of the addition makes it a full barrier: see wake_flags. */
static __always_inline void count(__u32 index)
{
	__u64 *n = bpf_map_lookup_elem(&counts, &index);

	if (n) {
		__u64 before = __sync_fetch_and_add(n, 1);

		barrier_var(before);
	}
}

/* The description of a piece, packed for the functions that the verifier checks separately. */
static __always_inline __u64 describe(const struct connection *c, __u8 flags, __u8 reason)
{
	return (__u64)c->pair << 32 | (__u64)reason << 16 | (__u64)c->protocol << 8 | flags;
}

static __always_inline void begin(struct piece *r, __u64 connection, __u32 offset, __u64 description)
{
	const struct task_struct *task = bpf_get_current_task_btf();

	r->time = bpf_ktime_get_boot_ns();
	r->pid_tgid = (__u64)task->tgid << 32 | (__u32)task->pid;
	r->cgroup = bpf_get_current_cgroup_id();
	r->connection = connection;
	r->offset = offset;
	r->kind = RECORD_WIRE;
	r->protocol = description >> 8;
	r->pair = description >> 32;
	r->flags = description;
	r->reason = description >> 16;
	r->padding = 0;
}

static __always_inline void add_names(struct names *names)
{
	const struct task_struct *task = bpf_get_current_task_btf();

	names->executable[0] = 0;
	read_executable((__u8 *)names->executable, task);
	read_unit(names->unit, task);
	names->user = bpf_get_current_uid_gid();
	names->padding = 0;
}

/*
 * Writes n bytes, at most size, to the ring. Returns 0, or the reason of the failure.
 * names is 0 or the size of the names.
 */
static __always_inline int put(const __u32 size, const __u32 names, __u64 connection, __u64 from, __u32 n,
			       __u32 offset, __u64 description)
{
	struct piece *r = bpf_ringbuf_reserve(&ring, sizeof(*r) + names + size, 0);

	count(WIRE_RECORDS);
	if (!r)
		return WIRE_RING_FULL;
	begin(r, connection, offset, description);
	if (names)
		add_names((void *)(r + 1));
	barrier_var(n);
	if (n > size)
		n = size;
	if (n && bpf_probe_read_user((void *)(r + 1) + names, n, (void *)from)) {
		bpf_ringbuf_discard(r, BPF_RB_NO_WAKEUP);
		return WIRE_UNREADABLE;
	}
	r->length = sizeof(*r) + names + n;
	bpf_ringbuf_submit(r, wake_flags());
	return 0;
}

#define PIECE_MAX 4000

/*
 * Writes a piece of at most PIECE_MAX bytes of user memory to the ring. Returns
 * 0, or the reason of the failure. The function is global, so that the verifier
 * checks it separately.
 */
__noinline int emit(__u64 connection, __u64 from, __u32 n, __u32 offset, __u64 description)
{
	const __u32 names = sizeof(struct names);

	if (n) {
		__u32 reason = refusal(bpf_get_current_pid_tgid() >> 32, bpf_ktime_get_boot_ns(), n + RATE_RECORD);

		if (reason < LOSS_REASONS)
			return reason == LOSS_RATE_LIMIT ? WIRE_RATE_LIMIT : WIRE_RING_FULL;
	}
	if (description & WIRE_NAMES) {
		if (n <= 320)
			return put(320, names, connection, from, n, offset, description);
		if (n <= 720)
			return put(720, names, connection, from, n, offset, description);
		if (n <= 2000)
			return put(2000, names, connection, from, n, offset, description);
		return put(PIECE_MAX, names, connection, from, n, offset, description);
	}
	if (!n)
		return put(0, 0, connection, from, n, offset, description);
	if (n <= 64)
		return put(64, 0, connection, from, n, offset, description);
	if (n <= 320)
		return put(320, 0, connection, from, n, offset, description);
	if (n <= 720)
		return put(720, 0, connection, from, n, offset, description);
	if (n <= 2000)
		return put(2000, 0, connection, from, n, offset, description);
	return put(PIECE_MAX, 0, connection, from, n, offset, description);
}

/*
 * Is emit for a datagram of at most DTLS_MAX bytes that is longer than a piece, with
 * names: that one has no room on the stack left.
 */
__noinline int emit_long(__u64 connection, __u64 from, __u32 n, __u32 offset, __u64 description)
{
	__u32 reason = refusal(bpf_get_current_pid_tgid() >> 32, bpf_ktime_get_boot_ns(), n + RATE_RECORD);

	if (reason < LOSS_REASONS)
		return reason == LOSS_RATE_LIMIT ? WIRE_RATE_LIMIT : WIRE_RING_FULL;
	return put(DTLS_MAX, sizeof(struct names), connection, from, n, offset, description);
}

/*
 * Writes a beginning of n bytes, at most 7, that were held back to the ring, always
 * with names. Returns 0, or the reason of the failure.
 */
__noinline int emit_held(__u64 connection, __u64 bytes, __u32 n, __u64 description)
{
	struct piece *r = bpf_ringbuf_reserve(&ring, sizeof(*r) + sizeof(struct names) + sizeof(bytes), 0);

	count(WIRE_RECORDS);
	if (!r)
		return WIRE_RING_FULL;
	begin(r, connection, 0, description);
	add_names((void *)(r + 1));
	__builtin_memcpy((void *)(r + 1) + sizeof(struct names), &bytes, sizeof(bytes));
	r->length = sizeof(*r) + sizeof(struct names) + (n & 7);
	bpf_ringbuf_submit(r, wake_flags());
	return 0;
}

/* The state of a call in the core. The front end sets the bytes that it moved. */
struct work {
	struct connection *c;
	/* The stack has no room for both. */
	union {
		struct direction *d;
		__u64 peer;	/* a datagram's struct address, in memory as the array of iovec; 0: unknown */
	};
	__u64 iov;		/* the next struct iovec; 0: one segment */
	__u64 skip;		/* bytes at the first segment's beginning that do not belong to the call */
	__u64 base;		/* of the current segment */
	__u32 total;		/* bytes of the call */
	__u32 remaining;	/* bytes of the call after the current segment */
	__u32 length;		/* of the current segment's part that belongs to the call */
	__u32 from, at;		/* the bytes of the segment between these are yet to be copied */
	__u32 unwanted;		/* number of bytes at their end that are not copied */
	__u8 user;		/* the array of iovec is in user memory */
	__u8 direction;
	__u8 reason;		/* reason for giving up the connection */
	__u8 flags;		/* of the next record: END, INVALID */
};

static __always_inline int read_iovec(const struct work *w, struct iovec *v, __u64 from)
{
	return w->user ? bpf_probe_read_user(v, sizeof(*v), (void *)from) :
			 bpf_probe_read_kernel(v, sizeof(*v), (void *)from);
}

/* Reads at most eight bytes. The verifier of Linux 6.1 requires a check of this same n. */
static __always_inline long read_few(__u64 *bytes, __u32 n, __u64 from)
{
	barrier_var(n);
	if (n > sizeof(*bytes))
		return -1;
	return bpf_probe_read_user(bytes, n, (void *)from);
}

/* Sends n bytes at `from` to the agent with flags. */
static __always_inline int emit_piece(struct work *w, __u64 from, __u32 n, __u8 flags)
{
	const struct task_struct *task = bpf_get_current_task_btf();
	struct connection *c = w->c;
	__u32 process = task->tgid;
	int reason;

	flags |= w->direction == RECEIVED ? WIRE_RECEIVED : 0;
	if ((__u32)c->process != process)
		flags |= WIRE_NAMES;
	if (c->records >= RECORDS_MAX)
		return WIRE_TOO_LONG;
	reason = emit(c->id, from, n, w->d->seen, describe(c, flags, 0));
	if (reason)
		return reason;
	c->records++;
	c->process = process;
	if (!(c->flags & BEGUN)) {
		c->flags |= BEGUN;
		count(WIRE_BEGUN);
	}
	return 0;
}

/* Sends a piece of the bytes yet to be copied to the agent. Returns 1 after the last. */
static long piece_step(__u32 i, struct work *w)
{
	__u32 left = w->at - w->from, n = left > PIECE_MAX ? PIECE_MAX : left;

	w->reason = emit_piece(w, w->base + w->from, n, n == left ? w->flags : 0);
	if (w->reason)
		return 1;
	w->d->seen += n;
	w->from += n;
	return n == left;
}

/* Sends the bytes yet to be copied, or the end of a direction without more bytes. */
static __always_inline void flush(struct work *w)
{
	if (w->reason || !(w->at != w->from || w->flags))
		return;
	bpf_loop(DIRECTION_MAX_CERTIFICATE / PIECE_MAX + 2, piece_step, w, 0);
}

/* Ends the direction at the end of the bytes to be copied. */
static __always_inline long end(struct work *w)
{
	w->d->phase = DONE;
	w->flags |= WIRE_END;
	return 1;
}

static __always_inline long invalid(struct work *w)
{
	w->d->phase = DONE;
	w->flags |= WIRE_INVALID;
	return 1;
}

/* Adds bytes of the segment to a header that has `have` of `want` bytes. Returns 1 if it is complete. */
static __always_inline int gather(struct work *w, __u64 *head, __u8 *have, __u32 want, __u32 available)
{
	__u32 n = want - *have;
	__u64 bytes = 0;

	if (n > available)
		n = available;
	if (read_few(&bytes, n, w->base + w->at)) {
		w->reason = WIRE_UNREADABLE;
		return 0;
	}
	*head |= bytes << ((*have & 7) * 8);
	*have += n;
	w->at += n;
	return *have >= want;
}

/* Reports a ClientHello or ServerHello after ChangeCipherSpec, as follows a HelloRetryRequest. */
static __always_inline int is_second_hello(const struct direction *d, __u8 type, __u32 length)
{
	return (type == 1 || type == 2) && length < 16384 && length >= d->left;
}

/* Processes bytes in the body of a handshake record. */
static __always_inline long message_step(struct work *w, __u32 rest)
{
	struct direction *d = w->d;
	__u32 n = d->left < rest ? d->left : rest;

	if (d->message_have < 4) {
		__u64 head = d->message;
		__u32 before = w->at, length;
		__u8 type;
		int complete = gather(w, &head, &d->message_have, 4, n);

		if (w->reason)
			return 1;
		d->message = head;
		d->left -= w->at - before;
		type = head;
		length = (head & 0xff00) << 8 | (head >> 8 & 0xff00) | head >> 24;
		if (d->flags & CIPHER_CHANGED && !(complete ? is_second_hello(d, type, length) : type == 1 || type == 2)) {
			/* Encrypted: only the header of the record is needed. */
			w->at = before;
			return end(w);
		}
		if (!complete)
			return 0;
		d->flags &= ~IN_CERTIFICATE;
		d->message = length;
		if (!length)
			d->message_have = 0;
		if (type == 11) {
			d->flags |= IN_CERTIFICATE | HAS_CERTIFICATE;
			d->copied = 0;
		}
		return 0;
	}
	if (n > d->message)
		n = d->message;
	if (d->flags & IN_CERTIFICATE) {
		__u32 room = d->copied < CERTIFICATE_MAX ? CERTIFICATE_MAX - d->copied : 0;

		if (room) {
			if (n > room)
				n = room;
			d->copied += n;
		} else {
			w->unwanted = n;
		}
	}
	w->at += n;
	d->left -= n;
	d->message -= n;
	if (!d->message)
		d->message_have = 0;
	return w->unwanted != 0;
}

static __always_inline long tls_step(struct work *w, __u32 rest)
{
	struct direction *d = w->d;
	__u32 length;
	__u8 type;

	if (d->left) {
		if (d->type == 22)
			return message_step(w, rest);
		length = d->left < rest ? d->left : rest;
		w->at += length;
		d->left -= length;
		return 0;
	}
	if (!gather(w, &d->head, &d->have, 5, rest))
		return w->reason != 0;
	type = d->head;
	length = (d->head >> 16 & 0xff00) | (d->head >> 32 & 0xff);
	if (type < 20 || type > 23 || (d->head >> 8 & 0xff) != 3 || length > 16384 + 2048 || (!length && type != 23))
		return invalid(w);
	d->head = 0;
	d->have = 0;
	d->type = type;
	/* An alert is encrypted unless it has two bytes. */
	if (type == 23 || (d->flags & CIPHER_CHANGED && ((type == 21 && length != 2) || (type == 22 && length < 4))))
		return end(w);
	if (type == 20) {
		d->flags |= CIPHER_CHANGED;
		/* A message must not span a change of keys. */
		d->message_have = 0;
		d->message = 0;
	}
	d->left = length;
	return 0;
}

static __always_inline long ssh_step(struct work *w, __u32 rest)
{
	struct direction *d = w->d;
	__u32 n;

	if (d->left) {
		n = d->left < rest ? d->left : rest;
		w->at += n;
		d->left -= n;
		return !d->left && d->phase == LAST ? end(w) : 0;
	}
	/* The length of the packet and of its padding, and its type. */
	if (!gather(w, &d->head, &d->have, 6, rest))
		return w->reason != 0;
	n = bpf_ntohl((__u32)d->head);
	if (n < 5 || n > 35000)
		return invalid(w);
	if (d->head >> 40 == 21) /* SSH_MSG_NEWKEYS */
		d->phase = LAST;
	d->left = n - 2;
	d->head = 0;
	d->have = 0;
	return 0;
}

/* Returns the offset in the segment at which a direction is given up. */
static __always_inline __u32 last(const struct work *w)
{
	__u32 limit = w->d->flags & HAS_CERTIFICATE ? DIRECTION_MAX_CERTIFICATE : DIRECTION_MAX;

	return w->from + (w->d->seen < limit ? limit - w->d->seen : 0);
}

/* Processes one header of a segment. Returns 1 at the segment's end. */
static long step(__u32 i, struct work *w)
{
	__u32 rest = w->length - w->at;

	if (!rest || w->at > w->length || w->at > last(w))
		return 1;
	return w->c->protocol == WIRE_SSH ? ssh_step(w, rest) : tls_step(w, rest);
}

/* Processes a segment up to its end, or to bytes that are not wanted. Returns 1 at its end. */
static long run(__u32 i, struct work *w)
{
	__u32 unwanted;

	bpf_loop(STEPS_MAX, step, w, 0);
	unwanted = w->unwanted;
	w->unwanted = 0;
	if (!unwanted) {
		__u32 end = last(w);
		int too_long = w->at > end || (w->at < w->length && w->d->phase != DONE);

		if (w->at > end)
			w->at = end;
		flush(w);
		if (too_long && !w->reason)
			w->reason = WIRE_TOO_LONG;
		return 1;
	}
	w->at -= unwanted;
	flush(w);
	w->at += unwanted;
	w->from = w->at;
	w->d->seen += unwanted;
	return w->reason != 0 || w->at >= w->length;
}

/* Processes a byte before the packets of SSH. Returns 1 at the end of the identification line. */
static long banner_step(__u32 i, struct work *w)
{
	const __u32 start = 0x2d485353; /* "SSH-" */
	struct direction *d = w->d;
	__u8 byte = 0;

	if (w->at >= w->length)
		return 1;
	if (bpf_probe_read_user(&byte, sizeof(byte), (void *)(w->base + w->at))) {
		w->reason = WIRE_UNREADABLE;
		return 1;
	}
	w->at++;
	if (++d->left > BANNER_MAX) {
		w->reason = WIRE_TOO_LONG;
		return 1;
	}
	if (byte == '\n') {
		if (d->line == 4) {
			d->phase = HEADERS;
			d->left = 0;
			return 1;
		}
		d->line = 0;
	} else if (d->line < 4) {
		d->line = byte == (start >> (d->line * 8) & 0xff) ? d->line + 1 : OTHER_LINE;
	}
	return 0;
}

/* Processes a segment of a call. Returns 1 if no further one is needed. */
static long segment(__u32 i, struct work *w)
{
	struct direction *d = w->d;

	if (w->iov) {
		struct iovec v = {};

		if (read_iovec(w, &v, w->iov)) {
			w->reason = WIRE_UNREADABLE;
			return 1;
		}
		w->iov += sizeof(v);
		if (v.iov_len <= w->skip) {
			w->skip -= v.iov_len;
			return 0;
		}
		v.iov_len -= w->skip;
		w->base = v.iov_base + w->skip;
		w->skip = 0;
		w->length = v.iov_len < w->remaining ? v.iov_len : w->remaining;
		w->remaining -= w->length;
	}
	w->from = w->at = some_zero;
	if (d->phase == BANNER) {
		bpf_loop(BANNER_MAX + 1, banner_step, w, 0);
		w->from = w->at;
	}
	if (d->phase != BANNER && !w->reason)
		bpf_loop(SEGMENTS_MAX, run, w, 0);
	return d->phase == DONE || w->reason || !w->remaining;
}

/* Reads the first bytes of a call, at most 8. Returns their number. */
static __always_inline __u32 first_bytes(const struct work *w, __u64 *bytes)
{
	__u32 want = w->total < sizeof(*bytes) ? w->total : sizeof(*bytes), got = 0;
	__u64 skip = w->skip, at = w->iov;

	*bytes = 0;
	if (!w->iov) {
		return read_few(bytes, want, w->base) ? 0 : want;
	}
	for (int i = 0; i < 12 && got < want; i++, at += sizeof(struct iovec)) {
		struct iovec v = {};
		__u64 some = 0;
		__u32 n;

		if (read_iovec(w, &v, at))
			break;
		if (v.iov_len <= skip) {
			skip -= v.iov_len;
			continue;
		}
		n = want - got;
		if (n > v.iov_len - skip)
			n = v.iov_len - skip;
		if (read_few(&some, n, v.iov_base + skip))
			break;
		*bytes |= some << ((got & 7) * 8);
		got += n;
		skip = 0;
	}
	return got;
}

enum verdict { NO, MAYBE, YES_TLS, YES_SSH };

/* Returns whether a protocol begins with these bytes. */
static __always_inline enum verdict judge(__u64 bytes, __u32 n)
{
	const __u32 ssh = 0x2d485353; /* "SSH-" */
	__u32 length = (bytes >> 16 & 0xff00) | (bytes >> 32 & 0xff);
	__u64 mask = n < 4 ? (1ULL << (n * 8)) - 1 : 0xffffffff;

	if (!n)
		return NO;
	if (((bytes ^ ssh) & mask) == 0)
		return n < 4 ? MAYBE : YES_SSH;
	/* A handshake record of TLS 1.0 to 1.3 that begins with a ClientHello. */
	if ((bytes & 0xff) != 22 ||
	    (n > 1 && (bytes >> 8 & 0xff) != 3) ||
	    (n > 2 && (bytes >> 16 & 0xff) > 4) ||
	    (n > 4 && (length < 42 || length > 16384)) ||
	    (n > 5 && (bytes >> 40 & 0xff) != 1) ||
	    (n > 6 && (bytes >> 48 & 0xff) != 0) ||
	    (n > 7 && (bytes >> 56) << 8 > DIRECTION_MAX))
		return NO;
	return n < sizeof(bytes) ? MAYBE : YES_TLS;
}

#define TEXT(a, b, c, d) ((__u32)(a) | (__u32)(b) << 8 | (__u32)(c) << 16 | (__u32)(d) << 24)

/* Reports whether these first bytes of a connection are HTTP, which does not switch to TLS. */
static __always_inline int is_http(__u64 bytes)
{
	switch ((__u32)bytes) {
	case TEXT('G', 'E', 'T', ' '):
	case TEXT('P', 'O', 'S', 'T'):
	case TEXT('P', 'U', 'T', ' '):
	case TEXT('H', 'E', 'A', 'D'):
	case TEXT('H', 'T', 'T', 'P'):
	case TEXT('P', 'R', 'I', ' '):
		return 1;
	}
	return 0;
}

/* Reports whether a connection with these first bytes at one end may switch to TLS. */
static __always_inline int can_upgrade(__u64 bytes)
{
	switch ((__u32)bytes) {
	case TEXT('E', 'H', 'L', 'O'): /* SMTP, LMTP */
	case TEXT('H', 'E', 'L', 'O'):
	case TEXT('L', 'H', 'L', 'O'):
	case TEXT('+', 'O', 'K', ' '): /* POP3 */
	case TEXT('*', ' ', 'O', 'K'): /* IMAP */
	case TEXT('*', ' ', 'P', 'R'):
	case TEXT('"', 'I', 'M', 'P'): /* ManageSieve */
	case TEXT('C', 'O', 'N', 'N'): /* a HTTP proxy */
	case TEXT('P', 'R', 'O', 'X'): /* the PROXY protocol, 1 and 2 */
	case TEXT(13, 10, 13, 10):
	case TEXT('I', 'N', 'F', 'O'): /* NATS */
	case TEXT('N', 'B', 'D', 'M'):
	case TEXT('R', 'F', 'B', ' '): /* VNC */
	case TEXT('A', 'M', 'Q', 'P'):
	case TEXT('<', '?', 'x', 'm'): /* XMPP */
	case TEXT('<', 's', 't', 'r'):
		return 1;
	}
	switch (bytes & 0xffffff) {
	case TEXT('2', '2', '0', 0): /* SMTP, FTP */
	case TEXT('2', '0', '0', 0): /* NNTP */
	case TEXT('2', '0', '1', 0):
		return 1;
	}
	return bytes == 0x2f16d20408000000ULL || bytes == 0x3016d20408000000ULL || /* PostgreSQL: SSLRequest, GSSENCRequest */
	       ((bytes & 0xff) == 5 && (bytes & 0xff00) < 0x1000) || /* SOCKS 5 */
	       (bytes & 0xffff) == 0x0104 || /* SOCKS 4 */
	       (bytes & 0xff) == 0x30 || /* LDAP */
	       (bytes & 0xffff) == 0x0003 || /* TPKT, as RDP has it */
	       (bytes & 0xffff000000ULL) == 0x0a00000000ULL; /* MySQL's greeting */
}

/* Sends the last record of a connection to the agent. Returns 1 if the state can be deleted. */
static __always_inline int report_loss(struct connection *c, __u8 flags)
{
	/* The agent must learn of the end of a connection that it has a record of. If the ring is full, its own limits end it. */
	if (c->flags & BEGUN && emit(c->id, 0, 0, 0, describe(c, WIRE_CUT | flags, c->lost)))
		return 0;
	count(c->lost);
	return 1;
}

static __always_inline void give_up(struct sock *sk, struct connection *c, __u8 reason)
{
	if (!c->lost)
		c->lost = reason;
	if (report_loss(c, 0))
		bpf_sk_storage_delete(&connections, sk);
}

static __always_inline void dismiss(struct sock *sk)
{
	count(WIRE_NO_HANDSHAKE);
	bpf_sk_storage_delete(&connections, sk);
}

static __always_inline __u64 mix(__u64 h, __u64 word)
{
	h = (h ^ word) * 0x9e3779b97f4a7c15ULL;
	return h ^ h >> 32;
}

/* Returns a number that both ends of a connection share. Without the key it reveals no address. */
static __always_inline __u32 pair_of(const struct sock *sk)
{
	const struct sock_common *s = &sk->__sk_common;
	__u64 local = mix(control.seed, s->skc_num), remote = mix(control.seed, bpf_ntohs(s->skc_dport));
	const __u64 mapped = 0xffff0000ULL; /* the middle of an IPv4-mapped address */

	if (s->skc_family == AF_INET6) {
		for (int i = 0; i < 4; i++) {
			local = mix(local, s->skc_v6_rcv_saddr.in6_u.u6_addr32[i]);
			remote = mix(remote, s->skc_v6_daddr.in6_u.u6_addr32[i]);
		}
	} else {
		local = mix(mix(mix(mix(local, 0), 0), mapped), s->skc_rcv_saddr);
		remote = mix(mix(mix(mix(remote, 0), 0), mapped), s->skc_daddr);
	}
	return (local + remote) >> 40;
}

/* Starts a direction with a TLS record of which that many bytes, at most 7, were seen. */
static __always_inline void begin_tls(struct direction *d, __u64 bytes, __u32 have)
{
	d->seen = have;
	if (have < 5) {
		d->head = bytes;
		d->have = have;
		return;
	}
	d->head = 0;
	d->have = 0;
	d->type = bytes;
	d->left = ((bytes >> 16 & 0xff00) | (bytes >> 32 & 0xff)) - (have - 5);
	d->message = bytes >> 40;
	d->message_have = have - 5;
}

static __always_inline void reset(struct direction *d, __u8 phase)
{
	d->head = 0;
	d->have = 0;
	d->seen = 0;
	d->phase = phase;
}

/*
 * Searches a call for the beginning of a protocol. Returns 1 if the call's bytes
 * are to be followed.
 */
static __always_inline int watch(struct sock *sk, struct work *w, __u64 bytes, __u32 n)
{
	struct connection *c = w->c;
	struct direction *d = w->d;
	__u32 held = d->have & 7, known = n;
	__u64 start = bytes;
	enum verdict verdict;

	if (held) {
		start = d->head | bytes << (held * 8);
		known = held + n < sizeof(start) ? held + n : sizeof(start);
	}
	verdict = judge(start, known);
	if (verdict == NO && held) {
		held = 0;
		start = bytes;
		known = n;
		verdict = judge(start, known);
	}
	d->head = 0;
	d->have = 0;
	if (verdict == YES_TLS || verdict == YES_SSH) {
		__u64 before = d->head, mask = (1ULL << (held * 8)) - 1;
		__u8 phase = verdict == YES_TLS ? HEADERS : BANNER;

		before = start & mask;
		c->protocol = verdict == YES_TLS ? WIRE_TLS : WIRE_SSH;
		c->records = 0;
		reset(&c->directions[0], phase);
		reset(&c->directions[1], phase);
		if (verdict == YES_SSH) {
			d->line = held;
		} else if (held) {
			__u8 flags = WIRE_NAMES | (w->direction == RECEIVED ? WIRE_RECEIVED : 0);
			const struct task_struct *task = bpf_get_current_task_btf();

			w->reason = emit_held(c->id, before, held, describe(c, flags, 0));
			if (w->reason)
				return 0;
			c->process = task->tgid;
			c->records = 1;
			c->flags |= BEGUN;
			count(WIRE_BEGUN);
			begin_tls(d, before, held);
		}
		return 1;
	}
	if (can_upgrade(bytes))
		c->flags |= UPGRADES;
	/* Bytes after the first eight would be lost. */
	if (verdict == MAYBE && n == w->total) {
		d->head = start;
		d->have = known;
	}
	if (d->seen < WATCH_BYTES)
		d->seen += w->total < WATCH_BYTES ? w->total : WATCH_BYTES;
	c->records++;
	if (d->calls < OTHER_CALLS)
		d->calls++;
	if (c->flags & UPGRADES ? c->records > WATCH_CALLS || d->seen >= WATCH_BYTES :
				  d->calls >= OTHER_CALLS && d->seen >= OTHER_BYTES)
		dismiss(sk);
	return 0;
}

/* Returns the sequence number after the call. */
static __always_inline __u32 sequence(const struct tcp_sock *tcp, __u8 direction)
{
	return direction == RECEIVED ? tcp->copied_seq : tcp->write_seq;
}

/* Creates the state of a connection, unless it is irrelevant. */
static __always_inline struct connection *open(struct sock *sk, const struct work *w, const struct tcp_sock *tcp,
					       __u64 bytes)
{
	struct connection new = {};
	struct rate *rate;
	__u64 limit = *(volatile __u64 *)&control.connection_limit;
	struct connection *c;

	if (is_http(bytes)) {
		count(WIRE_NO_HANDSHAKE);
		return 0;
	}
	rate = rate_of(&openers, PROCESS_BUCKETS, bpf_get_current_pid_tgid() >> 32, bpf_ktime_get_boot_ns());
	if (rate && limit && __sync_fetch_and_add(&rate->bytes, 1) >= limit) {
		count(WIRE_RATE_LIMIT);
		return 0;
	}
	new.id = bpf_get_socket_cookie(sk);
	new.pair = pair_of(sk);
	if (tcp) {
		new.directions[SENT].expected = tcp->write_seq;
		new.directions[RECEIVED].expected = tcp->copied_seq;
	} else {
		new.flags = UNORDERED;
	}
	c = bpf_sk_storage_get(&connections, sk, &new, BPF_SK_STORAGE_GET_F_CREATE);
	if (!c) {
		/* The option memory of the socket may be exhausted. */
		count(WIRE_UNSUPPORTED);
		return 0;
	}
	/* The call's bytes come next, in order. */
	c->directions[w->direction & 1].expected -= w->total;
	return c;
}

/*
 * The core: processes the bytes that a call moved. located is 0 if the front end
 * could not find them.
 */
static __noinline int take(struct sock *sk, struct work *w, struct connection *c, int located)
{
	struct tcp_sock *tcp;
	__u64 bytes = 0;
	__u32 n = 0;

	if (!w)
		return 0;
	tcp = sk->sk_protocol == IPPROTO_TCP ? (void *)bpf_skc_to_tcp_sock(sk) : 0;
	if (!c && !is_followed(bpf_get_current_pid_tgid() >> 32))
		return 0;
	if (!c)
		count(WIRE_SEEN);
	if (!located) {
		if (c)
			give_up(sk, c, WIRE_UNSUPPORTED);
		else
			count(WIRE_UNSUPPORTED);
		return 0;
	}
	if (!c || !c->protocol) {
		n = first_bytes(w, &bytes);
		if (!n) {
			if (c)
				give_up(sk, c, WIRE_UNREADABLE);
			else
				count(WIRE_UNREADABLE);
			return 0;
		}
		if (!c)
			c = open(sk, w, tcp, bytes);
		if (!c)
			return 0;
	}
	w->c = c;
	w->d = &c->directions[w->direction & 1];
	if (c->lost) {
		give_up(sk, c, 0);
		return 0;
	}
	if (tcp && !(c->flags & UNORDERED)) {
		/* Bytes moved by other means, such as splice(2), leave a gap. The end of the received data counts as one. */
		__u32 next = sequence(tcp, w->direction), gap = next - w->total - w->d->expected;

		if (gap > (w->direction == RECEIVED)) {
			if (c->protocol)
				give_up(sk, c, WIRE_UNSUPPORTED);
			else
				dismiss(sk);
			return 0;
		}
		w->d->expected = next;
	}
	if (!c->protocol && !watch(sk, w, bytes, n)) {
		if (w->reason)
			give_up(sk, c, w->reason);
		return 0;
	}
	if (w->d->phase == DONE)
		return 0;
	if (w->iov)
		w->remaining = w->total;
	else
		w->length = w->total;
	bpf_loop(SEGMENTS_MAX, segment, w, 0);
	if (!w->reason && w->remaining && w->d->phase != DONE)
		w->reason = WIRE_TOO_LONG;
	if (w->reason)
		give_up(sk, c, w->reason);
	else if (w->flags & WIRE_INVALID || (c->directions[0].phase == DONE && c->directions[1].phase == DONE))
		bpf_sk_storage_delete(&connections, sk);
	return 0;
}

/*
 * Reports whether only the bytes of a call were moved on a Multipath TCP connection,
 * as far as the kernel shows it: received bytes that are not read yet count, too. Before
 * Linux 6.5, the connection has no counters, but its first subflow has.
 */
static __noinline int is_fresh_mptcp(const struct mptcp_sock *m, __u32 total, __u8 direction)
{
	__u64 sent = 0, received = 0;

	if (bpf_core_field_exists(m->bytes_sent)) {
		const void *from = &m->bytes_sent;

		barrier_var(from); /* see parent_of */
		bpf_probe_read_kernel(&sent, sizeof(sent), from);
		from = &m->bytes_received;
		barrier_var(from);
		bpf_probe_read_kernel(&received, sizeof(received), from);
	} else {
		const struct tcp_sock *first = (void *)BPF_CORE_READ(m, first);

		sent = BPF_CORE_READ(first, bytes_acked) +
		       (__u32)(BPF_CORE_READ(first, write_seq) - BPF_CORE_READ(first, snd_una));
		received = BPF_CORE_READ(first, bytes_received);
	}
	/* The peer may answer, or begin, before the call that sends returns. */
	if (direction == RECEIVED)
		return sent <= 3 && received <= total + WATCH_BYTES;
	return sent <= total + 3 && received <= WATCH_BYTES;
}

/* Reports whether only this call's bytes were moved on a connection. Its beginning and end count, too. */
static __always_inline int is_fresh(struct sock *sk, __u32 total, __u8 direction)
{
	struct tcp_sock *tcp;

	if (sk->sk_protocol == IPPROTO_MPTCP)
		return is_fresh_mptcp((void *)sk, total, direction);
	tcp = (void *)bpf_skc_to_tcp_sock(sk);
	return tcp && tcp->bytes_acked + (__u32)(tcp->write_seq - tcp->snd_una) + tcp->bytes_received -
			(__u32)(tcp->rcv_nxt - tcp->copied_seq) <= (__u64)total + 3;
}

/* Finds the state of a connection. Returns 0 if the call is irrelevant. */
static __always_inline int find(struct sock *sk, __u32 total, __u8 direction, struct connection **c)
{
	if (sk->sk_bpf_storage)
		*c = bpf_sk_storage_get(&connections, sk, 0, 0);
	return *c || is_fresh(sk, total, direction);
}

/* Reports whether bytes were moved unseen, at the end of a connection, which itself counts as one. */
static __always_inline int has_gap(struct sock *sk, const struct connection *c)
{
	struct tcp_sock *tcp = (void *)bpf_skc_to_tcp_sock(sk);

	if (!tcp || c->flags & UNORDERED)
		return 0;
	return (c->directions[SENT].phase != DONE && tcp->write_seq - c->directions[SENT].expected > 1) ||
	       (c->directions[RECEIVED].phase != DONE && tcp->copied_seq - c->directions[RECEIVED].expected > 1);
}

static __always_inline int closed(struct sock *sk)
{
	struct connection *c;

	if (!sk->sk_bpf_storage)
		return 0;
	c = bpf_sk_storage_get(&connections, sk, 0, 0);
	if (!c)
		return 0;
	if (c->protocol && !c->lost && has_gap(sk, c))
		c->lost = WIRE_UNSUPPORTED;
	if (c->lost)
		report_loss(c, WIRE_CLOSED);
	else if (!c->protocol)
		count(WIRE_NO_HANDSHAKE);
	else if (c->flags & BEGUN)
		emit(c->id, 0, 0, 0, describe(c, WIRE_CLOSED, 0));
	else
		count(WIRE_NO_HANDSHAKE);
	bpf_sk_storage_delete(&connections, sk);
	return 0;
}

/* Bits of connection.flags of a socket for datagrams. Its id is the peer of DTLS, its pair their pair. */
enum {
	COUNTED = 1,		/* it was counted as not visible */
	SEVERAL_PEERS = 2,
};

/* Returns the state of a socket for datagrams, which most have not. */
static __always_inline struct connection *datagrams_of(struct sock *sk)
{
	struct connection new = { .protocol = WIRE_DTLS };

	return bpf_sk_storage_get(&connections, sk, &new, BPF_SK_STORAGE_GET_F_CREATE);
}

/*
 * Counts a socket whose datagrams the front end does not see, or not whose they are:
 * once, since most datagrams begin no handshake.
 */
static __noinline int count_unlocated(struct sock *sk)
{
	struct connection *c = datagrams_of(sk);

	if (!c || c->flags & COUNTED)
		return 0;
	c->flags |= COUNTED;
	count(WIRE_SEEN);
	count(WIRE_UNSUPPORTED);
	return 0;
}

/*
 * Returns a hash of the address of a datagram's peer, and its port. It is 0 if the
 * address is unknown: the socket is not connected, and the front end does not see the
 * address that the call had.
 */
static __always_inline __u32 peer_of(const struct sock *sk, const struct work *w, __u16 *port)
{
	const struct sock_common *s = &sk->__sk_common;
	struct address a = {};
	__u64 h;

	if (w->peer) {
		/* One of IPv4 may be the last bytes of a page. */
		const __u32 head = offsetof(struct address, ipv6);

		if (w->user ? bpf_probe_read_user(&a, head, (void *)w->peer) :
			      bpf_probe_read_kernel(&a, head, (void *)w->peer))
			return 0;
		if (a.family == AF_INET6 &&
		    (w->user ? bpf_probe_read_user(a.ipv6, sizeof(a.ipv6), (void *)(w->peer + head)) :
			       bpf_probe_read_kernel(a.ipv6, sizeof(a.ipv6), (void *)(w->peer + head))))
			return 0;
	} else if (s->skc_dport) {
		a.family = s->skc_family;
		a.port = s->skc_dport;
		a.ipv4 = s->skc_daddr;
		if (a.family == AF_INET6)
			for (int i = 0; i < 4; i++)
				a.ipv6[i] = s->skc_v6_daddr.in6_u.u6_addr32[i];
	}
	if (a.family != AF_INET && a.family != AF_INET6)
		return 0;
	if (a.family == AF_INET) {
		a.ipv6[0] = a.ipv6[1] = 0;
		a.ipv6[2] = bpf_htonl(0xffff); /* mapped to IPv6 */
		a.ipv6[3] = a.ipv4;
	}
	*port = bpf_ntohs(a.port);
	h = mix(control.seed, *port);
	for (int i = 0; i < 4; i++)
		h = mix(h, a.ipv6[i]);
	return h >> 32 ?: 1;
}

/* Reports whether a datagram of DTLS with these first bytes begins with a ClientHello. */
static __always_inline int is_client_hello(const struct work *w, __u64 bytes)
{
	const __u32 type_at = 13; /* after the header of the record */
	__u8 type = 0;

	/* A message in plaintext. */
	return (bytes & 0xff) == 22 && !(bytes >> 24 & 0xffff) && w->total > type_at &&
	       !bpf_probe_read_user(&type, sizeof(type), (void *)(w->base + type_at)) && type == 1;
}

/*
 * Notes the peer of a ClientHello that is sent through a socket that is not connected.
 * If there is no other, its answers are what the socket receives.
 */
static __noinline int note_server(struct sock *sk, __u32 peer, __u32 pair)
{
	struct connection *c = datagrams_of(sk);

	if (!c)
		return 0;
	if (c->id && c->id != peer)
		c->flags |= SEVERAL_PEERS;
	c->id = peer;
	c->pair = pair;
	return 0;
}

/* Returns the only peer to which a socket sent a ClientHello, and their pair; 0: it is unknown. */
static __always_inline __u32 only_server(struct sock *sk, __u32 *pair)
{
	struct connection *c = bpf_sk_storage_get(&connections, sk, 0, 0);

	if (!c || c->flags & SEVERAL_PEERS)
		return 0;
	*pair = c->pair;
	return c->id;
}

/* Returns the protocol whose handshake a datagram with these first bytes belongs to. */
static __always_inline enum protocol judge_datagram(__u64 bytes, __u32 total)
{
	__u32 word = bpf_ntohl((__u32)(bytes >> 8)), version = word >> 16, epoch = bytes >> 24 & 0xffff;
	__u8 type = bytes;

	if (total >= INITIAL_MIN &&
	    ((word == 1 && (type & 0xf0) == 0xc0) || (word == 0x6b3343cf && (type & 0xf0) == 0xd0)))
		return WIRE_QUIC;
	/*
	 * A record of DTLS: a change of keys, an alert or a message in plaintext, or the
	 * Finished of version 1.2 in the next epoch. Its number begins with zeros.
	 */
	if ((version == 0xfeff || version == 0xfefd) && !(bytes >> 40) &&
	    (epoch ? epoch == bpf_htons(1) && type == 22 : type >= 20 && type <= 22))
		return WIRE_DTLS;
	return WIRE_UNDECIDED;
}

/*
 * Copies a datagram of a handshake as a whole. QUIC begins one with an Initial packet,
 * which its first byte and its version identify: one in ten thousand datagrams of
 * another protocol may match. Datagrams have no state.
 */
static __noinline int take_datagram(struct sock *sk, struct work *w, int located)
{
	struct connection unknown = {};
	__u8 flags = WIRE_NAMES;
	__u32 n, peer = 0;
	__u16 port = 0;
	__u64 bytes;
	int reason;

	if (!w || !is_followed(bpf_get_current_pid_tgid() >> 32))
		return 0;
	if (!located)
		return w->total >= INITIAL_MIN ? count_unlocated(sk) : 0;
	if (first_bytes(w, &bytes) < sizeof(bytes))
		return 0;
	unknown.protocol = judge_datagram(bytes, w->total);
	if (unknown.protocol == WIRE_UNDECIDED)
		return 0;
	n = w->total;
	if (w->iov) {
		struct iovec v = {};

		/* No library scatters a datagram in which a handshake begins. */
		if (read_iovec(w, &v, w->iov) || v.iov_len < w->skip + n) {
			count(WIRE_SEEN);
			count(WIRE_UNSUPPORTED);
			return 0;
		}
		w->base = v.iov_base + w->skip;
	}
	if (unknown.protocol == WIRE_DTLS) {
		peer = peer_of(sk, w, &port);
		/* A socket that is not connected may have no address of its own. */
		unknown.pair = (mix(control.seed, sk->__sk_common.skc_num) + mix(control.seed, port)) >> 40;
		if (!peer && w->direction == RECEIVED && !is_client_hello(w, bytes))
			peer = only_server(sk, &unknown.pair);
		if (!peer)
			return count_unlocated(sk);
		if (w->direction == SENT && !sk->__sk_common.skc_dport && is_client_hello(w, bytes))
			note_server(sk, peer, unknown.pair);
	} else {
		unknown.pair = pair_of(sk);
		if (n > PIECE_MAX)
			n = PIECE_MAX;
	}
	count(WIRE_SEEN);
	if (n > DTLS_MAX) {
		count(WIRE_TOO_LONG);
		return 0;
	}
	if (w->direction == RECEIVED)
		flags |= WIRE_RECEIVED;
	if (n > PIECE_MAX)
		reason = emit_long(bpf_get_socket_cookie(sk), w->base, n, peer, describe(&unknown, flags, 0));
	else
		reason = emit(bpf_get_socket_cookie(sk), w->base, n, peer, describe(&unknown, flags, 0));
	count(reason ? reason : WIRE_BEGUN);
	return 0;
}

/* Reports whether the task is a kernel thread that works for itself. */
static __always_inline int is_kernel(void)
{
	const struct task_struct *task = bpf_get_current_task_btf();

	return task->flags & PF_KTHREAD;
}

/* The front end at the entry and exit of functions. */

struct walk {
	__u64 at;	/* the current iovec */
	__u64 offset;	/* number of its bytes that belong to the call, or precede it */
	__u64 wanted;	/* bytes of the call before those */
	int failed;
};

static long walk_back(__u32 i, struct walk *k)
{
	struct iovec v = {};

	if (k->offset >= k->wanted)
		return 1;
	k->wanted -= k->offset;
	k->at -= sizeof(v);
	if (bpf_probe_read_kernel(&v, sizeof(v), (void *)k->at)) {
		k->failed = 1;
		return 1;
	}
	k->offset = v.iov_len;
	return 0;
}

/* Finds the bytes that a call moved from the final state of the iterator. Returns 0 if they are not in user memory. */
static __always_inline int locate_iterator(struct work *w, struct msghdr *message)
{
	__u8 type = BPF_CORE_READ(message, msg_iter.iter_type);
	__u64 offset = BPF_CORE_READ(message, msg_iter.iov_offset);

	if (bpf_core_enum_value_exists(enum iter_type___any, ITER_UBUF) &&
	    type == bpf_core_enum_value(enum iter_type___any, ITER_UBUF)) {
		w->base = (__u64)BPF_CORE_READ(message, msg_iter.ubuf) + offset - w->total;
		return 1;
	}
	if (type == bpf_core_enum_value(enum iter_type___any, ITER_IOVEC)) {
		struct walk k = { .offset = offset, .wanted = w->total };
		const void *from;

		/* See parent_of. */
		if (bpf_core_field_exists(message->msg_iter.__iov)) {
			from = &message->msg_iter.__iov;
			barrier_var(from);
		} else {
			from = &((struct iov_iter___before_6_4 *)&message->msg_iter)->iov;
			barrier_var(from);
		}
		bpf_probe_read_kernel(&k.at, sizeof(k.at), from);
		bpf_loop(SEGMENTS_MAX, walk_back, &k, 0);
		if (k.failed || k.offset < k.wanted)
			return 0;
		w->iov = k.at;
		w->skip = k.offset - k.wanted;
		return 1;
	}
	return 0;
}

static __always_inline int moved(void *ctx, struct sock *sk, struct msghdr *message, __u8 direction, int flags)
{
	struct work w = { .direction = direction };
	struct connection *c = 0;
	__u64 total = 0;

	bpf_get_func_ret(ctx, &total);
	if ((int)total <= 0 || flags & (MSG_OOB | MSG_PEEK | MSG_TRUNC | MSG_ERRQUEUE))
		return 0;
	w.total = total;
	if (!find(sk, w.total, direction, &c) || is_kernel())
		return 0;
	return take(sk, &w, c, locate_iterator(&w, message));
}

static __always_inline int moved_datagram(void *ctx, struct sock *sk, struct msghdr *message, __u8 direction, int flags)
{
	struct work w = { .direction = direction };
	__u64 total = 0;

	bpf_get_func_ret(ctx, &total);
	if ((int)total < DTLS_MIN || flags & (MSG_OOB | MSG_PEEK | MSG_TRUNC | MSG_ERRQUEUE))
		return 0;
	w.total = total;
	if (is_kernel())
		return 0;
	w.peer = (__u64)BPF_CORE_READ(message, msg_name);
	return take_datagram(sk, &w, locate_iterator(&w, message));
}

SEC("fexit/tcp_sendmsg")
int BPF_PROG(tcp_sent, struct sock *sk, struct msghdr *message)
{
	return moved(ctx, sk, message, SENT, 0);
}

SEC("fexit/tcp_recvmsg")
int BPF_PROG(tcp_received, struct sock *sk, struct msghdr *message, __u64 length, int flags)
{
	return moved(ctx, sk, message, RECEIVED, flags);
}

SEC("fentry/tcp_close")
int BPF_PROG(tcp_closed, struct sock *sk)
{
	return closed(sk);
}

SEC("fexit/mptcp_sendmsg")
int BPF_PROG(mptcp_sent, struct sock *sk, struct msghdr *message)
{
	return moved(ctx, sk, message, SENT, 0);
}

SEC("fexit/mptcp_recvmsg")
int BPF_PROG(mptcp_received, struct sock *sk, struct msghdr *message, __u64 length, int flags)
{
	return moved(ctx, sk, message, RECEIVED, flags);
}

SEC("fentry/mptcp_close")
int BPF_PROG(mptcp_closed, struct sock *sk)
{
	return closed(sk);
}

SEC("fexit/udp_sendmsg")
int BPF_PROG(udp_sent, struct sock *sk, struct msghdr *message)
{
	/* Called by udpv6_sendmsg. */
	if (sk->__sk_common.skc_family == AF_INET6)
		return 0;
	return moved_datagram(ctx, sk, message, SENT, 0);
}

SEC("fexit/udp_recvmsg")
int BPF_PROG(udp_received, struct sock *sk, struct msghdr *message, __u64 length, int flags)
{
	return moved_datagram(ctx, sk, message, RECEIVED, flags);
}

SEC("fexit/udpv6_sendmsg")
int BPF_PROG(udpv6_sent, struct sock *sk, struct msghdr *message)
{
	return moved_datagram(ctx, sk, message, SENT, 0);
}

SEC("fexit/udpv6_recvmsg")
int BPF_PROG(udpv6_received, struct sock *sk, struct msghdr *message, __u64 length, int flags)
{
	return moved_datagram(ctx, sk, message, RECEIVED, flags);
}

/* The front end at tracepoints. The buffer is the system call's. */

#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long di, si, dx, r8, orig_ax;
} __attribute__((preserve_access_index));
#define CALL_NUMBER(r) ((r)->orig_ax)
#define CALL_FIRST(r) ((r)->di)
#define CALL_SECOND(r) ((r)->si)
#define CALL_THIRD(r) ((r)->dx)
#define CALL_FIFTH(r) ((r)->r8)
enum {
	CALL_READ = 0,
	CALL_WRITE = 1,
	CALL_READV = 19,
	CALL_WRITEV = 20,
	CALL_SENDTO = 44,
	CALL_RECVFROM = 45,
	CALL_SENDMSG = 46,
	CALL_RECVMSG = 47,
	CALL_RECVMMSG = 299,
	CALL_SENDMMSG = 307,
	CALL_PREADV2 = 327,
	CALL_PWRITEV2 = 328,
};
/* TS_COMPAT */
#define IS_32_BIT(task) ((task)->thread_info.status & 2)
#else
struct pt_regs {
	__u64 regs[31];
	__u64 orig_x0;
	__s32 syscallno;
} __attribute__((preserve_access_index));
#define CALL_NUMBER(r) ((__u64)(r)->syscallno)
#define CALL_FIRST(r) ((r)->orig_x0)
#define CALL_SECOND(r) ((r)->regs[1])
#define CALL_THIRD(r) ((r)->regs[2])
#define CALL_FIFTH(r) ((r)->regs[4])
enum {
	CALL_READ = 63,
	CALL_WRITE = 64,
	CALL_READV = 65,
	CALL_WRITEV = 66,
	CALL_SENDTO = 206,
	CALL_RECVFROM = 207,
	CALL_SENDMSG = 211,
	CALL_RECVMSG = 212,
	CALL_RECVMMSG = 243,
	CALL_SENDMMSG = 269,
	CALL_PREADV2 = 286,
	CALL_PWRITEV2 = 287,
};
/* TIF_32BIT */
#define IS_32_BIT(task) ((task)->thread_info.flags >> 22 & 1)
#endif

/* Reports whether a descriptor of the task refers to this socket. */
static __always_inline int is_descriptor(const struct task_struct *task, __u64 number, const struct sock *sk)
{
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file **files, *file = 0;
	struct socket *socket;

	if (number >= BPF_CORE_READ(table, max_fds))
		return 0;
	files = BPF_CORE_READ(table, fd);
	if (bpf_probe_read_kernel(&file, sizeof(file), files + number))
		return 0;
	socket = BPF_CORE_READ(file, private_data);
	return BPF_CORE_READ(socket, sk) == sk;
}

/*
 * Finds the bytes that a call moved from the system call that the task is in. Returns
 * 0 for an unknown call, or one on another socket: work of io_uring may run at the end
 * of any call.
 */
static __always_inline int locate_call(struct work *w, const struct sock *sk)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs *r = (void *)bpf_task_pt_regs(task);
	__u64 buffer = CALL_SECOND(r);
	struct user_msghdr message = {};

	if (IS_32_BIT(task) || !is_descriptor(task, CALL_FIRST(r), sk))
		return 0;
	w->user = 1;
	switch (CALL_NUMBER(r)) {
	case CALL_SENDTO:
		w->peer = CALL_FIFTH(r);
		__attribute__((fallthrough));
	case CALL_READ:
	case CALL_WRITE:
	case CALL_RECVFROM:
		w->base = buffer;
		return 1;
	case CALL_READV:
	case CALL_WRITEV:
	case CALL_PREADV2:
	case CALL_PWRITEV2:
		w->iov = buffer;
		return 1;
	case CALL_RECVMMSG:
	case CALL_SENDMMSG:
		/* The registers do not show which of several messages this is. */
		if (CALL_THIRD(r) != 1)
			return 0;
		__attribute__((fallthrough));
	case CALL_SENDMSG:
	case CALL_RECVMSG:
		if (bpf_probe_read_user(&message, sizeof(message), (void *)buffer))
			return 0;
		w->iov = message.iov;
		/* A received address is not written yet. */
		if (w->direction == SENT)
			w->peer = message.name;
		return 1;
	}
	return 0;
}

static __always_inline int traced(struct sock *sk, int total, __u8 direction, int flags)
{
	struct work w = { .direction = direction, .total = total };
	struct connection *c = 0;
	__u16 protocol = sk->sk_protocol;

	if (total <= 0 || (protocol != IPPROTO_TCP && protocol != IPPROTO_MPTCP) ||
	    flags & (MSG_OOB | MSG_PEEK | MSG_TRUNC | MSG_ERRQUEUE))
		return 0;
	if (!find(sk, total, direction, &c) || is_kernel())
		return 0;
	return take(sk, &w, c, locate_call(&w, sk));
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(socket_sent, struct sock *sk, int total)
{
	return traced(sk, total, SENT, 0);
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(socket_received, struct sock *sk, int total, int flags)
{
	return traced(sk, total, RECEIVED, flags);
}

SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(socket_closed, struct sock *sk)
{
	return closed(sk);
}

static __always_inline int traced_datagram(struct sock *sk, int total, __u8 direction, int flags)
{
	struct work w = { .direction = direction, .total = total };

	if (total < DTLS_MIN || sk->sk_protocol != IPPROTO_UDP || flags & (MSG_OOB | MSG_PEEK | MSG_TRUNC | MSG_ERRQUEUE))
		return 0;
	if (is_kernel())
		return 0;
	return take_datagram(sk, &w, locate_call(&w, sk));
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(datagram_sent, struct sock *sk, int total)
{
	return traced_datagram(sk, total, SENT, 0);
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(datagram_received, struct sock *sk, int total, int flags)
{
	return traced_datagram(sk, total, RECEIVED, flags);
}
