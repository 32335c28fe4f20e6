//go:build ignore
/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The program at all probes of the provider crypto_auditing. It copies the
 * arguments of a probe into one ring record and counts what it could not copy;
 * everything else is done by the agent.
 *
 * Uprobe programs can be preempted, and can be nested on one CPU: they share no
 * memory, except by atomic addition. User memory is read without faulting, so that
 * neither a page that never arrives nor the owner of the page can delay a ring
 * record.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "audit.bpf.h"
#include "ring.bpf.h"
#include "hits.bpf.h"
#include "registers.bpf.h"
#include "task.bpf.h"
#include "owner.bpf.h"
#include "tree.bpf.h"

char _license[] SEC("license") = "GPL";

#define ELEMENTS_MAX 16
/* A count above this is invalid and is not taken for a number of elements. */
#define COUNT_MAX 256
#define KEY_MAX 128
#define VALUE_MAX 512

/*
 * Sizes of records. Most hits have at most FEW elements, only words and literals,
 * which the first size is made for. Other hits start with the first size that fits
 * their number of elements and take the next if the strings do not fit. In all sizes
 * except the largest, a key or value may have up to SHORT_MAX bytes; the largest
 * fits everything, truncated to KEY_MAX and VALUE_MAX.
 */
#define SHORT_MAX 64
#define SIZE_LITERALS 112
#define SIZE_SMALL 192
#define SIZE_MEDIUM 640
#define SIZE_LARGE 2048
#define SIZE_LARGEST 10560
_Static_assert(SIZE_LARGEST >= sizeof(struct record) + EXECUTABLE_MAX +
	       ELEMENTS_MAX * (sizeof(struct element) + KEY_MAX + VALUE_MAX), "holds everything");

/* An element of the array argument of a probe. */
struct user_element {
	__u64 key;
	__u64 value;
	__u64 size;
};
#define USER_SIZE_WORD ((__u64)-2)
#define USER_SIZE_STRING ((__u64)-1)

/* The agent sets the size before loading. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct site);
} sites SEC(".maps");

/* Keep the types of the interface in the object's BTF. */
const struct record *type_record __attribute__((unused));
const struct owner *type_owner __attribute__((unused));
const struct element *type_element __attribute__((unused));
const enum record_kind *type_record_kind __attribute__((unused));
const enum record_flags *type_record_flags __attribute__((unused));
const enum element_type *type_element_type __attribute__((unused));
const enum element_flags *type_element_flags __attribute__((unused));
const enum argument_kind *type_argument_kind __attribute__((unused));
const enum loss_reason *type_loss_reason __attribute__((unused));

static __always_inline __u64 extend(__u64 value, __u8 bits, __u8 is_signed)
{
	__u8 unused = (64 - bits) & 63;

	value <<= unused;
	return is_signed ? (__u64)((__s64)value >> unused) : value >> unused;
}

/* bias is the load address of the library minus its link-time address. */
static __always_inline int read_argument(void *registers, const struct argument *a, __u64 bias, __u64 *value)
{
	__u64 base, index = 0;
	__u32 bytes = a->bits >> 3;

	if (a->kind == ARGUMENT_CONSTANT) {
		*value = a->offset;
		return 0;
	}
	base = a->reg == ARGUMENT_BIAS ? bias : read_register(registers, a->reg);
	if (a->kind == ARGUMENT_REGISTER) {
		*value = extend((base >> (a->shift & 63)) + a->offset, a->bits, a->is_signed);
		return 0;
	}
	if (a->kind == ARGUMENT_INDEXED)
		index = read_register(registers, a->index);
	*value = 0;
	if (bytes > sizeof(*value) ||
	    bpf_probe_read_user(value, bytes, (void *)(base + (index << (a->shift & 63)) + a->offset)))
		return -1;
	*value = extend(*value, a->bits, a->is_signed);
	return 0;
}

/* A hit that is written to the ring. */
struct hit {
	const struct task_struct *task;
	__u64 time;
	__u64 pid_tgid;
	__u64 context;
	__u64 parent;
	__u64 bias;		/* load address of the library minus its link-time address */
	__u64 constants;	/* run-time address of the library's constants */
	__u64 constants_size;
	__u64 array;		/* of user_element; 0: the element in "single" */
	struct user_element single;
	__u32 site;
	__u32 count;		/* number of elements, at most ELEMENTS_MAX */
	__u16 dropped;		/* number of further elements */
	__u8 kind;
	__u8 single_type;
	__u8 flags;
};

/* The state while a record is filled. */
struct fill {
	struct hit *hit;
	__u8 *record;
	__u32 used;
	__u16 done;		/* number of elements written */
	__u8 too_small;
	__u8 unreadable;
};

static __always_inline __u8 type_of(__u64 size)
{
	if (size == USER_SIZE_WORD)
		return ELEMENT_WORD;
	return size == USER_SIZE_STRING ? ELEMENT_STRING : ELEMENT_BLOB;
}

/*
 * Reads at most max bytes of a string into `to`. Returns the number of bytes
 * without the NUL; -1 if it could not be read; max if it does not fit.
 */
static __always_inline long read_string(__u8 *to, __u32 max, __u64 from)
{
	long n = bpf_probe_read_user_str(to, max, (void *)from);

	if (n <= 0)
		return -1;
	return n == max ? max : n - 1;
}

/* Reports whether a string continues after that many bytes. */
static __always_inline int goes_on(__u64 from, __u32 bytes)
{
	char next;

	return bpf_probe_read_user(&next, sizeof(next), (void *)(from + bytes)) || next;
}

/*
 * Reports whether the agent can read a string instead: most strings are literals of
 * the library, and reading them takes most of the time of a hit.
 */
static __always_inline int is_constant(const struct hit *h, __u64 address)
{
	return address - h->constants < h->constants_size;
}

/*
 * Writes an element. `size` is the size of the record, `keys` and `values` are the
 * bytes that a key and a value may take; `last` is set if there is no larger record,
 * so that the excess is truncated. Each access is preceded by a check of `used`
 * against a constant, which the verifier tracks. The 6.1 verifier tracks it only for
 * the checked register, not for a copy on the stack: the barriers after the checks
 * keep that register in use.
 */
static __always_inline long add(struct fill *f, const struct user_element *from, const __u32 size,
				const __u32 keys, const __u32 values, const int last)
{
	struct hit *h = f->hit;
	__u8 *record = f->record;
	__u32 start = f->used, used = start + sizeof(struct element);
	struct element head = {};
	struct user_element e = *from;
	__u64 blob;
	long n;

	head.type = h->array ? type_of(e.size) : h->single_type;
	if (start > size - sizeof(head) || used > size - keys)
		goto too_small;
	barrier_var(used);
	n = e.key && !is_constant(h, e.key) ? read_string(record + used, keys, e.key) : -1;
	if (n == keys) {
		/* The string is followed by a NUL that is not part of it. */
		if (!last)
			goto too_small;
		if (goes_on(e.key, keys - 1))
			head.type |= ELEMENT_KEY_CUT;
		n = keys - 1;
	} else if (n < 0) {
		__u64 away = e.key ? e.key - h->bias : 0;

		__builtin_memcpy(record + used, &away, sizeof(away));
		head.type |= ELEMENT_KEY_AWAY;
		n = sizeof(away);
	}
	head.key_len = n;
	used += head.key_len;

	if (used > size - values)
		goto too_small;
	barrier_var(used);
	switch (head.type & ELEMENT_TYPE) {
	case ELEMENT_WORD:
		__builtin_memcpy(record + used, &e.value, sizeof(e.value));
		n = sizeof(e.value);
		break;
	case ELEMENT_STRING:
		if (!e.value) {
			head.type |= ELEMENT_VALUE_NULL;
			n = 0;
			break;
		}
		n = is_constant(h, e.value) ? -1 : read_string(record + used, values, e.value);
		if (n == values) {
			if (!last)
				goto too_small;
			if (goes_on(e.value, values - 1))
				head.type |= ELEMENT_VALUE_CUT;
			n = values - 1;
		}
		break;
	default:
		blob = e.size;
		if (blob > values) {
			if (!last)
				goto too_small;
			head.type |= ELEMENT_VALUE_CUT;
			blob = values;
		}
		barrier_var(blob);
		if (blob > values)
			goto too_small;
		n = bpf_probe_read_user(record + used, blob, (void *)e.value) ? -1 : (long)blob;
		break;
	}
	if (n < 0) {
		__u64 away[2] = { e.value - h->bias, e.size };

		__builtin_memcpy(record + used, away, sizeof(away));
		n = (head.type & ELEMENT_TYPE) == ELEMENT_STRING ? sizeof(away[0]) : sizeof(away);
		head.type |= ELEMENT_VALUE_AWAY;
	}
	head.value_len = n;
	used += head.value_len;

	__builtin_memcpy(record + start, &head, sizeof(head));
	f->used = used;
	f->done++;
	return 0;

too_small:
	f->too_small = 1;
	return 1;
}

/* Writes element number i. */
static __always_inline long add_nth(struct fill *f, __u32 i, const __u32 size, const __u32 keys, const __u32 values,
				    const int last)
{
	struct user_element e;

	if (!f->hit->array)
		return add(f, &f->hit->single, size, keys, values, last);
	if (bpf_probe_read_user(&e, sizeof(e), (void *)(f->hit->array + i * sizeof(e)))) {
		f->unreadable = 1;
		return 1;
	}
	return add(f, &e, size, keys, values, last);
}

static long add_small(__u32 i, void *fill)
{
	return add_nth(fill, i, SIZE_SMALL, SHORT_MAX, SHORT_MAX, 0);
}

static long add_medium(__u32 i, void *fill)
{
	return add_nth(fill, i, SIZE_MEDIUM, SHORT_MAX, SHORT_MAX, 0);
}

static long add_large(__u32 i, void *fill)
{
	return add_nth(fill, i, SIZE_LARGE, SHORT_MAX, SHORT_MAX, 0);
}

static long add_largest(__u32 i, void *fill)
{
	return add_nth(fill, i, SIZE_LARGEST, KEY_MAX, VALUE_MAX, 1);
}

static __always_inline int opens_context(const struct hit *h)
{
	return h->kind == RECORD_NEW_CONTEXT || h->kind == RECORD_NEW_CONTEXT_WITH_DATA;
}

/* Returns the number of used bytes of the record. */
static __always_inline __u32 begin(struct record *r, const struct hit *h)
{
	__u32 used = sizeof(*r);

	r->time = h->time;
	r->pid_tgid = h->pid_tgid;
	r->context = h->context;
	r->parent = h->parent;
	r->site = h->site;
	r->kind = h->kind;
	r->flags = h->flags;
	r->exe_len = 0;
	if (opens_context(h)) {
		long n = read_executable((__u8 *)(r + 1), h->task);

		if (n == EXECUTABLE_MAX)
			r->flags |= RECORD_EXECUTABLE_CUT;
		if (n > 0 && n <= EXECUTABLE_MAX) {
			__u32 length = n - 1;

			/* Redundant, but needed by the verifier of Linux 6.1. */
			barrier_var(length);
			length &= EXECUTABLE_MAX - 1;
			r->exe_len = length;
			used += length;
		}
	}
	return used;
}

static __always_inline void finish(struct record *r, const struct hit *h, __u8 done, __u16 used)
{
	r->count = done;
	r->dropped = h->dropped + h->count - done;
	r->length = used;
	count_hit();
	bpf_ringbuf_submit(r, wake_flags());
}

static __always_inline void refused(const struct hit *h)
{
	count_hit();
	count_loss(LOSS_RING_FULL, opens_context(h) + h->count + h->dropped);
}

/* The highest number of elements of a hit with few. */
#define FEW 2

/* Reads them with one call. Returns 0 if they must be read separately. */
static __always_inline int read_few(const struct hit *h, struct user_element *e)
{
	if (h->count > FEW)
		return 0;
	if (!h->array)
		e[0] = h->single;
	else if (h->count == FEW)
		return !bpf_probe_read_user(e, FEW * sizeof(*e), (void *)h->array);
	else if (h->count)
		return !bpf_probe_read_user(e, sizeof(*e), (void *)h->array);
	return 1;
}

static __always_inline __u8 type_in(const struct hit *h, const struct user_element *e)
{
	return h->array ? type_of(e->size) : h->single_type;
}

/* An element with a literal key and a word or literal as value. */
struct literal {
	struct element head;
	__u64 key;
	__u64 value;
} __attribute__((packed));

static __always_inline int is_literal(const struct hit *h, const struct user_element *e)
{
	__u8 type = type_in(h, e);

	return is_constant(h, e->key) &&
	       (type == ELEMENT_WORD || (type == ELEMENT_STRING && is_constant(h, e->value)));
}

static __always_inline void add_literal(struct literal *to, const struct hit *h, const struct user_element *e)
{
	__u8 type = type_in(h, e);

	to->head.type = type | ELEMENT_KEY_AWAY | (type == ELEMENT_STRING ? ELEMENT_VALUE_AWAY : 0);
	to->head.key_len = sizeof(to->key);
	to->head.value_len = sizeof(to->value);
	to->key = e->key - h->bias;
	to->value = type == ELEMENT_STRING ? e->value - h->bias : e->value;
}

/*
 * Writes a hit of few literals to the ring. Returns 1 if it is another hit, or does not
 * fit because of the length of its executable's name.
 */
static __always_inline int emit_literals(struct hit *h, const struct user_element *e)
{
	struct record *r;
	__u32 used;

	if ((h->count > 0 && !is_literal(h, &e[0])) || (h->count > 1 && !is_literal(h, &e[1])))
		return 1;
	r = bpf_ringbuf_reserve(&ring, SIZE_LITERALS, 0);
	if (!r) {
		refused(h);
		return 0;
	}
	used = begin(r, h);
	barrier_var(used); /* the verifier must see this very value checked */
	if (used > SIZE_LITERALS - FEW * sizeof(struct literal)) {
		bpf_ringbuf_discard(r, BPF_RB_NO_WAKEUP);
		return 1;
	}
	if (h->count > 0) {
		add_literal((void *)r + used, h, &e[0]);
		if (h->count > 1)
			add_literal((void *)r + used + sizeof(struct literal), h, &e[1]);
	}
	finish(r, h, h->count, used + h->count * sizeof(struct literal));
	return 0;
}

/*
 * Writes a hit to the ring, with the elements in e if they are few.
 * Returns 1 if a record of this size is too small.
 */
static __always_inline int emit(struct hit *h, const __u32 size, long (*add_element)(__u32, void *),
				const struct user_element *e, int few)
{
	struct fill f = { .hit = h };
	struct record *r = bpf_ringbuf_reserve(&ring, size, 0);

	if (!r) {
		refused(h);
		return 0;
	}
	f.used = begin(r, h);
	f.record = (__u8 *)r;
	if (!few) {
		if (h->count)
			bpf_loop(h->count, add_element, &f, 0);
	} else if (h->count > 0) {
		if (!add(&f, &e[0], size, SHORT_MAX, SHORT_MAX, 0) && h->count > 1)
			add(&f, &e[1], size, SHORT_MAX, SHORT_MAX, 0);
	}
	if (f.too_small) {
		bpf_ringbuf_discard(r, BPF_RB_NO_WAKEUP);
		return 1;
	}
	if (f.unreadable)
		r->flags |= RECORD_NO_ARRAY;
	finish(r, h, f.done, f.used);
	return 0;
}

/* Writes a hit to the ring in the smallest record that fits. */
static __always_inline void send(struct hit *h)
{
	/* A few long strings may take more, but only slightly unless they need the largest size. */
	__u32 bytes = h->count <= FEW ? RATE_RECORD : h->count <= 8 ? SIZE_MEDIUM : SIZE_LARGE;
	int owned = opens_context(h) && *(volatile __u64 *)&control.owners;
	__u32 reason = refusal(h->pid_tgid >> 32, h->time, owned ? bytes + RATE_RECORD : bytes);
	struct user_element e[FEW];
	int few;

	if (reason < LOSS_REASONS) {
		count_hit();
		count_loss(reason, opens_context(h) + h->count + h->dropped);
		return;
	}
	if (owned)
		send_owner(h->time);
	few = read_few(h, e);
	if (few && !emit_literals(h, e))
		return;
	if (h->count <= FEW && !emit(h, SIZE_SMALL, add_small, e, few))
		return;
	if (h->count <= 8 && !emit(h, SIZE_MEDIUM, add_medium, e, 0))
		return;
	if (!emit(h, SIZE_LARGE, add_large, e, 0))
		return;
	charge(h->pid_tgid >> 32, bpf_get_current_uid_gid(), h->time, SIZE_LARGE + SIZE_LARGEST);
	emit(h, SIZE_LARGEST, add_largest, e, 0);
}

static __always_inline void set_array(struct hit *h, __u64 array, __u64 count)
{
	if (count > ELEMENTS_MAX) {
		h->dropped = count > COUNT_MAX ? 1 : count - ELEMENTS_MAX;
		count = ELEMENTS_MAX;
	}
	h->count = count;
	h->array = array;
	if (!array && count) {
		h->flags = RECORD_NO_ARRAY;
		h->dropped += count;
		h->count = 0;
	}
}

static __always_inline void set_single(struct hit *h, __u64 key, __u64 value, __u64 size, __u8 type)
{
	h->count = 1;
	h->single.key = key;
	h->single.value = value;
	h->single.size = size;
	h->single_type = type;
}

/*
 * The program at all probes, which are distinguished by their sites. Separate
 * programs would take six times as long to load.
 */
SEC("uprobe.multi")
int probe(void *ctx)
{
	__u32 index = bpf_get_attach_cookie(ctx);
	__u64 a[SITE_ARGUMENTS];
	struct site *site;
	struct hit h = {};

	h.task = bpf_get_current_task_btf();
	h.pid_tgid = (__u64)h.task->tgid << 32 | (__u32)h.task->pid;
	if (h.pid_tgid >> 32 == control.own_tgid || !is_followed(h.pid_tgid >> 32))
		return 0;
	h.time = bpf_ktime_get_boot_ns();
	h.site = index;
	site = bpf_map_lookup_elem(&sites, &index);
	if (!site) {
		count_hit();
		count_loss(LOSS_NO_SITE, 1);
		return 0;
	}
	h.kind = site->kind;
	h.bias = *(__u64 *)(ctx + REGISTERS_IP) - site->address;
	h.constants = h.bias + site->constants;
	h.constants_size = site->constants_size;
	for (int i = 0; i < SITE_ARGUMENTS; i++)
		if (read_argument(ctx, &site->arguments[i], h.bias, &a[i]))
			h.flags = RECORD_NO_ARGUMENTS;
	h.context = a[0];
	switch (h.flags ? 0 : h.kind) {
	case RECORD_NEW_CONTEXT:
		h.parent = a[1];
		break;
	case RECORD_WORD_DATA:
		set_single(&h, a[1], a[2], 0, ELEMENT_WORD);
		break;
	case RECORD_STRING_DATA:
		set_single(&h, a[1], a[2], 0, ELEMENT_STRING);
		break;
	case RECORD_BLOB_DATA:
		set_single(&h, a[1], a[2], a[3], ELEMENT_BLOB);
		break;
	case RECORD_DATA:
		set_array(&h, a[1], a[2]);
		break;
	case RECORD_NEW_CONTEXT_WITH_DATA:
		h.parent = a[1];
		set_array(&h, a[2], a[3]);
		break;
	}
	send(&h);
	return 0;
}

/*
 * Run once by the agent for itself: stores the agent's process id in the first pid
 * namespace, which the agent may not be able to see.
 */
SEC("raw_tp")
int whoami(void *ctx)
{
	control.own_tgid = bpf_get_current_pid_tgid() >> 32;
	return 0;
}
