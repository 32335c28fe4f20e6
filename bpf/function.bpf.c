//go:build ignore
/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The programs at the functions of unmodified libraries: begin and end of a
 * handshake, released, public_key, and session_key. All run when an instruction is reached,
 * none when a function returns: a return probe kills programs that switch
 * stacks.
 *
 * The calls that a thread is inside of are stored as a set of frames, each with the
 * stack pointer at the entry of its function. A frame is alive while the return
 * address is still where the call put it, or, on arm64, among the frame records of the
 * thread. Programs that leave a function by longjmp, or switch stacks, leave frames that
 * are not alive or are replaced.
 *
 * User memory is read without faulting, by chains of loads that the agent has
 * decoded from the library's file.
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
#include "function.bpf.h"

char _license[] SEC("license") = "GPL";

_Static_assert(CALL_EXECUTABLE_MAX == EXECUTABLE_MAX && CALL_UNIT_MAX == UNIT_MAX, "the names fit");
_Static_assert(VALUE_COMPLETED - VALUE_VERSION < CALL_VALUES && VALUE_MODULUS_WORDS - VALUE_KEY_ID < CALL_VALUES, "room for both");
_Static_assert(VALUE_SIGNATURE - VALUE_PARAMETERS_CURVE < CALL_VALUES, "room for those of GnuTLS");
_Static_assert(sizeof(struct call) % 8 == 0, "what the agent takes for a record");

/* Keep the types of the interface in the object's BTF. */
const struct call *type_call __attribute__((unused));
const struct call_site *type_call_site __attribute__((unused));
const struct layout *type_layout __attribute__((unused));
const enum call_role *type_call_role __attribute__((unused));
const enum call_value *type_call_value __attribute__((unused));
const enum call_event *type_call_event __attribute__((unused));
const enum call_flags *type_call_flags __attribute__((unused));

/* The agent sets the sizes of both before loading. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct call_site);
} call_sites SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct layout);
} layouts SEC(".maps");

/* An object of a process. */
struct object {
	__u64 tgid;
	__u64 address;
};

enum state {
	STATE_OPEN,
	STATE_COMPLETED,
	STATE_FAILED,
};

/* A connection, until its object is freed or it is evicted. */
struct connection {
	__u64 id;	/* number of the present handshake */
	__u64 start;
	__u64 random;
	__u32 operations;	/* in the present handshake */
	__u8 state;
	__u8 late;
	__u8 moved;	/* the handshake has left its first state */
	__u8 padding;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct object);
	__type(value, struct connection);
} connections SEC(".maps");

/* The settings of a key context. */
struct settings {
	__u32 digest_nid;
	__u32 curve;
	__u32 bits;
	char digest[CALL_NAME_MAX];
	char group[CALL_NAME_MAX];
	__u32 padding;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct object);
	__type(value, struct settings);
} contexts SEC(".maps");

/* A call that a thread is inside of. */
struct frame {
	__u64 sp;	/* at the function's entry */
	__u64 returns;	/* return address; 0: unused frame */
	__u64 object;
	__u64 connection;
	__u64 time;
	__u32 layout;
	__u32 shared;	/* a frame of another connection was at the same address */
};

#define FRAMES 8

struct thread {
	struct frame frames[FRAMES];
	struct frame operation;	/* the outermost public-key operation; layout is its site */
	struct frame chain;	/* the verification of a chain; connection is its number */
	struct frame signature;	/* the verification of a signature; object is the signature, layout its algorithm */
	__u64 group;	/* the control group of unit */
	char unit[UNIT_MAX];
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct thread);
} threads SEC(".maps");

/* The last number assigned to a handshake or to the verification of a chain. */
__u64 numbers = 0;

/* The highest distance on a stack between a call and a call inside of it, in bytes. */
#define STACK_REACH 65536
/* An operation that takes longer is no longer considered the outer one, in ns. */
#define OPERATION_TIME 60000000000ULL

/* A hit. */
struct hit {
	struct task_struct *task;
	struct call_site *site;
	struct layout *layout;
	struct thread *thread;
	__u64 time;
	__u64 sp;	/* at the function's entry */
	__u64 returns;	/* return address */
	__u64 frame_record;	/* arm64: address of the innermost frame record */
	__u64 code;		/* arm64: the address bits of code */
	__u64 object;
	__u32 index;
};

static __always_inline __u64 number(void)
{
	return __sync_fetch_and_add(&numbers, 1) + 1;
}

static __noinline __u64 argument(void *registers, __u16 at)
{
	return read_register(registers, at);
}

/*
 * Follows a chain from an object. Returns 0; 1 if there is no such chain, or a
 * pointer along it is NULL; -1 if memory could not be read.
 */
static __noinline int follow(__u64 object, const struct chain *c, __u64 *value)
{
	__u32 loads = c->loads, width = c->width;
	__u64 at = object;

	*value = 0;
	if (!loads || !object)
		return 1;
	for (int i = 0; i < CHAIN_LOADS; i++) {
		__u64 next = 0;

		at += c->offsets[i];
		if ((__u32)i + 1 >= loads) {
			__u64 last = 0;

			barrier_var(width);
			if (width > sizeof(last) || bpf_probe_read_user(&last, width, (void *)at))
				return -1;
			*value = last;
			return 0;
		}
		if (bpf_probe_read_user(&next, sizeof(next), (void *)at))
			return -1;
		if (!next)
			return 1;
		at = next;
	}
	return -1;
}

#define VALUE_OF(layout_, object_, id_, to_) follow(object_, &(layout_)->chains[id_], to_)

#if defined(__TARGET_ARCH_arm64)

/* The number of frame records between an operation and the call that includes it. */
#define FRAME_RECORDS 64

/* A search among frame records. */
struct climb {
	__u64 at;	/* the current record */
	__u64 top;	/* the stack pointer at the entry of the function whose record is looked for */
	__u64 returns;	/* the return address in that record; 0: not found yet, or not there */
	__u64 code;	/* the address bits of code */
};

static long climb(__u32 i, struct climb *c)
{
	/* As in "The Frame Pointer" of the procedure call standard, AAPCS64. */
	struct {
		__u64 next;
		__u64 returns;
	} record = {};

	if (c->top - c->at > STACK_REACH || bpf_probe_read_user(&record, sizeof(record), (void *)c->at))
		return 1;
	if (record.next >= c->top) {
		c->returns = record.returns & c->code;
		return 1;
	}
	if (record.next <= c->at)
		return 1;
	c->at = record.next;
	return 0;
}

/*
 * Reports whether the function that was entered with that stack pointer and return
 * address has not returned. Its frame record is the last one below its stack pointer: the
 * caller saves no return address on the stack as it does on x86-64, and what a function
 * saved may remain there long after its end.
 */
static __noinline int is_entered(__u64 frame_record, __u64 sp, __u64 returns, __u64 code)
{
	struct climb c = { .at = frame_record, .top = sp, .code = code };

	bpf_loop(FRAME_RECORDS, climb, &c, 0);
	return returns && c.returns == returns;
}

static __always_inline int is_alive(const struct hit *h, const struct frame *f)
{
	return is_entered(h->frame_record, f->sp, f->returns, h->code);
}

/*
 * Sets the return address of the function at whose beginning a hit is. Returns 0 if it
 * is known. Sites are before anything that changes the link register, except for its
 * signing.
 *
 * A function may add an authentication code to its return address on entry (paciasp), in
 * the bits above those of addresses. How many these are depends on pages and processor:
 * 36, 39, 42, 47, 48 or 52.
 */
static __always_inline int find_return(void *registers, struct hit *h)
{
	if (!h->task->mm)
		return -1;
	h->code = h->task->mm->task_size - 1;
	h->returns = *(__u64 *)(registers + REGISTERS_LR) & h->code;
	h->frame_record = *(__u64 *)(registers + REGISTERS_FP);
	return h->returns ? 0 : -1;
}

#else

static __always_inline int is_alive(const struct hit *h, const struct frame *f)
{
	__u64 word = 0;

	return f->returns && !bpf_probe_read_user(&word, sizeof(word), (void *)f->sp) && word == f->returns;
}

/* Sets the return address of the function at whose beginning a hit is. Returns 0 if it is known. */
static __always_inline int find_return(void *registers, struct hit *h)
{
	return bpf_probe_read_user(&h->returns, sizeof(h->returns), (void *)h->sp);
}

#endif

/* Reports whether the stack pointer sp is at or below that of a frame. */
static __always_inline int is_below(const struct frame *f, __u64 sp, __u64 reach)
{
	return f->sp - sp < reach;
}

/* Reports whether a call must have returned because its stack frame was left. */
static __always_inline int is_over(const struct frame *f, __u64 sp)
{
	return f->returns && sp - f->sp < STACK_REACH;
}

/*
 * Sets the fields that every hit has. Returns 0 if the hit counts. The stack
 * pointer and the return address are those at the entry of the function.
 */
static __always_inline int arrive(void *registers, struct hit *h)
{
	__u32 layout;

	h->index = bpf_get_attach_cookie(registers);
	h->task = bpf_get_current_task_btf();
	if ((__u64)h->task->tgid == control.own_tgid || !is_followed(h->task->tgid))
		return -1;
	h->site = bpf_map_lookup_elem(&call_sites, &h->index);
	if (!h->site)
		return -1;
	layout = h->site->layout;
	h->layout = bpf_map_lookup_elem(&layouts, &layout);
	if (!h->layout)
		return -1;
	h->sp = *(__u64 *)(registers + REGISTERS_SP) + h->site->stack_delta;
	h->object = argument(registers, h->site->object);
	return 0;
}

/* Fills in what only hits need that are not dropped before: it takes as much as arrive. */
static __always_inline void look_up(struct hit *h, const int create)
{
	h->time = bpf_ktime_get_boot_ns();
	h->thread = bpf_task_storage_get(&threads, h->task, 0, create ? BPF_LOCAL_STORAGE_GET_F_CREATE : 0);
}

/* The numeric values of a record, starting from a first one. */
struct gathering {
	__u64 object;
	struct layout *layout;
	struct call *record;
	__u32 first;
};

static long gather(__u32 i, void *context)
{
	struct gathering *g = context;
	__u32 id = g->first + i, at;
	__u64 value;
	int failed;

	if (id >= VALUE_COUNT)
		return 1;
	failed = follow(g->object, &g->layout->chains[id], &value);
	if (failed < 0)
		g->record->unreadable |= 1ULL << id;
	if (failed)
		return 0;
	at = id - g->record->first;
	barrier_var(at);
	if (at >= CALL_VALUES)
		return 1;
	g->record->have |= 1ULL << id;
	g->record->values[at] = value;
	return 0;
}

static __always_inline void gather_from(struct call *r, struct layout *layout, __u64 object, __u32 first, __u32 last)
{
	struct gathering g = { .object = object, .layout = layout, .record = r, .first = first };

	bpf_loop(last - first + 1, gather, &g, 0);
}

static __always_inline void gather_one(struct call *r, struct layout *layout, __u64 object, __u32 id)
{
	struct gathering g = { .object = object, .layout = layout, .record = r, .first = id };

	gather(0, &g);
}

/*
 * Reads the unit of the running task for its thread. The function is global for the
 * verifier, which checks it by itself: the search multiplies the paths of all that
 * follows where it is inlined.
 */
__noinline int renew_unit(struct thread *thread)
{
	if (thread)
		read_unit(thread->unit, bpf_get_current_task_btf());
	return 0;
}

/*
 * Writes the unit of the task into the UNIT_MAX bytes at `to`. Finding it is slow, so
 * a thread caches it while it remains in its control group.
 */
static __always_inline void recall_unit(char *to, struct hit *h)
{
	__u64 group = bpf_get_current_cgroup_id();

	if (!h->thread)
		h->thread = bpf_task_storage_get(&threads, h->task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!h->thread)
		return;
	if (h->thread->group != group) {
		renew_unit(h->thread);
		h->thread->group = group;
	}
	__builtin_memcpy(to, h->thread->unit, UNIT_MAX);
}

/* Reserves a record, or counts the hit as lost. */
static __always_inline struct call *reserve(struct hit *h, __u8 event)
{
	int owned = !!*(volatile __u64 *)&control.owners;
	__u32 reason = refusal(h->task->tgid, h->time, owned ? sizeof(struct call) + RATE_RECORD : sizeof(struct call));
	struct call *r;
	long n;

	if (reason < LOSS_REASONS) {
		count_hit();
		count_loss(reason, 1);
		return 0;
	}
	if (owned)
		send_owner(h->time);
	r = bpf_ringbuf_reserve(&ring, sizeof(*r), 0);
	count_hit();
	if (!r) {
		count_loss(LOSS_RING_FULL, 1);
		return 0;
	}
	__builtin_memset(r, 0, sizeof(*r));
	r->time = h->time;
	r->pid_tgid = (__u64)h->task->tgid << 32 | (__u32)h->task->pid;
	r->site = h->index;
	r->length = sizeof(*r);
	r->kind = RECORD_CALL;
	r->event = event;
	r->first = event == CALL_OPERATION ? VALUE_KEY_ID : VALUE_VERSION;
	r->role = h->site->role;
	r->operation = h->site->operation;
	n = read_executable((__u8 *)r->executable, h->task);
	if (n == EXECUTABLE_MAX)
		r->flags |= CALL_EXECUTABLE_CUT;
	r->executable_length = n > 0 && n <= EXECUTABLE_MAX ? n - 1 : 0;
	recall_unit(r->unit, h);
	return r;
}

/*
 * Returns the state of a handshake: 0 before the first, 1 if it is complete. GnuTLS
 * has only these two.
 */
static __always_inline __u64 hand_state(struct layout *layout, __u64 object)
{
	__u64 state = 0;

	if (VALUE_OF(layout, object, VALUE_COMPLETED, &state) == 0)
		return state != 0;
	VALUE_OF(layout, object, VALUE_HAND_STATE, &state);
	return state;
}

/* A call into the handshake begins, either the first or a continuation. */
SEC("uprobe.multi")
int begin(void *registers)
{
	struct hit h = {};
	struct object key = {};
	struct connection *c, fresh = {};
	__u64 hand = 0, flow = 0, oldest = ~0ULL;
	__u32 slot = 0, shared = 0;

	if (arrive(registers, &h))
		return 0;
	look_up(&h, 1);
	if (!h.thread) {
		count_hit();
		count_loss(LOSS_RING_FULL, 1);
		return 0;
	}
	if (find_return(registers, &h))
		return 0;
	VALUE_OF(h.layout, h.object, VALUE_FLOW_STATE, &flow);
	if (flow == 1)
		return 0; /* it failed before, and does not get as far as its end */
	hand = hand_state(h.layout, h.object);
	key.tgid = h.task->tgid;
	key.address = h.object;
	c = bpf_map_lookup_elem(&connections, &key);
	if (!c || (hand == 0 && (c->moved || c->state))) {
		fresh.start = h.time;
		fresh.id = number();
		fresh.late = hand != 0;
		if (hand == 1) {
			/* Completed earlier: nothing is recorded unless another handshake follows. */
			fresh.state = STATE_COMPLETED;
			VALUE_OF(h.layout, h.object, VALUE_SERVER_RANDOM, &fresh.random);
		}
		bpf_map_update_elem(&connections, &key, &fresh, BPF_ANY);
		c = bpf_map_lookup_elem(&connections, &key);
		if (!c)
			return 0;
	} else if (c->state == STATE_COMPLETED && hand == 1) {
		c->id = number();
		c->start = h.time;
		c->operations = 0;
	}
	c->moved |= hand != 0;
	/* Calls entered below this one on the same stack have ended. */
	for (int i = 0; i < FRAMES; i++) {
		struct frame *f = &h.thread->frames[i];

		if (is_over(f, h.sp)) {
			if (f->sp == h.sp && f->object != h.object && f->returns == h.returns)
				shared = 1;
			f->returns = 0;
		}
		if (!f->returns)
			f->time = 0;
		if (f->time < oldest) {
			oldest = f->time;
			slot = i;
		}
	}
	if (is_over(&h.thread->operation, h.sp))
		h.thread->operation.returns = 0;
	barrier_var(slot);
	slot &= FRAMES - 1;
	struct frame *f = &h.thread->frames[slot];

	f->sp = h.sp;
	f->returns = h.returns;
	f->object = h.object;
	f->connection = c->id;
	f->layout = h.site->layout;
	f->time = h.time;
	f->shared = shared;
	return 0;
}

/* Reports the end of a handshake. */
static __always_inline void report(struct hit *h, struct connection *c, __u64 object, __u8 event)
{
	struct call *r = reserve(h, event);

	if (!r)
		return;
	r->connection = c->id;
	r->start = c->start;
	if (c->late)
		r->flags |= CALL_LATE;
	if (event != CALL_OVER)
		gather_from(r, h->layout, object, VALUE_VERSION, VALUE_VERIFY_RESULT);
	gather_one(r, h->layout, object, VALUE_COMPLETED);
	bpf_ringbuf_submit(r, wake_flags());
}

/*
 * Reports whether a result of gnutls_handshake does not end it: the program is to
 * call again (gnutls_error_is_fatal(3)).
 */
static __always_inline int is_passing(__s32 result)
{
	switch (result) {
	case -16: /* GNUTLS_E_WARNING_ALERT_RECEIVED */
	case -28: /* GNUTLS_E_AGAIN */
	case -37: /* GNUTLS_E_REHANDSHAKE */
	case -38: /* GNUTLS_E_GOT_APPLICATION_DATA */
	case -52: /* GNUTLS_E_INTERRUPTED */
	case -65: /* of versions before 3 */
	case -424: /* GNUTLS_E_REAUTH_REQUEST */
		return 1;
	}
	return 0;
}

#define GNUTLS_TLS1_3 5

/* gnutls_handshake is about to return to where it was called with an object. */
static __always_inline void end_session(void *registers, struct hit *h, struct connection *c, __u64 object)
{
	int known = h->site->result != CALL_NO_REGISTER;
	__s32 result = known ? argument(registers, h->site->result) : 0;
	__u64 version = 0;

	if (known && result) {
		if (result < 0 && !is_passing(result) && c->state == STATE_OPEN) {
			c->state = STATE_FAILED;
			report(h, c, object, CALL_FAILED);
		}
		return;
	}
	/* With a false start, the rest follows while data is received. */
	if (!hand_state(h->layout, object))
		return;
	/* In TLS 1.3 another one is a change of keys. */
	if (c->state == STATE_COMPLETED &&
	    (!known || VALUE_OF(h->layout, object, VALUE_VERSION, &version) || version == GNUTLS_TLS1_3))
		return;
	c->state = STATE_COMPLETED;
	c->moved = 1;
	report(h, c, object, CALL_COMPLETED);
	c->late = 0;
}

/* A call into the handshake is about to return. */
SEC("uprobe.multi")
int end(void *registers)
{
	struct hit h = {};
	struct object key = {};
	struct connection *c;
	struct frame f = {};
	__u64 near = ~0ULL, hand = 0, flow = 0, random = 0;
	__u32 slot = 0;

	if (arrive(registers, &h))
		return 0;
	look_up(&h, 0);
	if (!h.thread)
		return 0;
	for (int i = 0; i < FRAMES; i++) {
		struct frame *at = &h.thread->frames[i];

		if (at->returns && at->layout == h.site->layout && at->sp - h.sp < near) {
			near = at->sp - h.sp;
			slot = i;
		}
	}
	if (is_over(&h.thread->operation, h.sp))
		h.thread->operation.returns = 0;
	if (near >= h.site->reach)
		return 0;
	barrier_var(slot);
	slot &= FRAMES - 1;
	f = h.thread->frames[slot];
	h.thread->frames[slot].returns = 0;
	key.tgid = h.task->tgid;
	key.address = f.object;
	c = bpf_map_lookup_elem(&connections, &key);
	if (!c)
		return 0;
	if (h.layout->chains[VALUE_COMPLETED].loads) {
		end_session(registers, &h, c, f.object);
		return 0;
	}
	VALUE_OF(h.layout, f.object, VALUE_HAND_STATE, &hand);
	VALUE_OF(h.layout, f.object, VALUE_FLOW_STATE, &flow);
	c->moved |= hand != 0;
	if (flow == 1) {
		if (c->state == STATE_OPEN) {
			c->state = STATE_FAILED;
			report(&h, c, f.object, CALL_FAILED);
		}
		return 0;
	}
	if (hand != 1)
		return 0;
	VALUE_OF(h.layout, f.object, VALUE_SERVER_RANDOM, &random);
	if (c->state == STATE_COMPLETED && c->random == random) {
		/* A message after the handshake. */
		if (c->operations)
			report(&h, c, f.object, CALL_OVER);
		c->operations = 0;
		return 0;
	}
	c->state = STATE_COMPLETED;
	c->random = random;
	report(&h, c, f.object, CALL_COMPLETED);
	c->late = 0;
	return 0;
}

/* The object of a connection is freed, which ends an unfinished handshake. */
SEC("uprobe.multi")
int released(void *registers)
{
	struct hit h = {};
	struct object key = {};
	struct connection *c;
	__u64 hand = 0, flow = 0;

	if (arrive(registers, &h))
		return 0;
	key.tgid = h.task->tgid;
	key.address = h.object;
	c = bpf_map_lookup_elem(&connections, &key);
	if (!c)
		return 0;
	if (c->state == STATE_OPEN) {
		h.time = bpf_ktime_get_boot_ns();
		hand = hand_state(h.layout, h.object);
		VALUE_OF(h.layout, h.object, VALUE_FLOW_STATE, &flow);
		report(&h, c, h.object, flow == 1 ? CALL_FAILED : hand == 1 ? CALL_COMPLETED : CALL_ABANDONED);
	}
	bpf_map_delete_elem(&connections, &key);
	return 0;
}

/* Returns the frame of the handshake that includes a hit, 0 if there is none or it is uncertain. */
static __always_inline struct frame *frame_of(struct hit *h)
{
	__u64 near = STACK_REACH;
	__u32 slot = FRAMES;

	for (int i = 0; i < FRAMES; i++) {
		struct frame *f = &h->thread->frames[i];

		if (f->returns && f->sp - h->sp < near) {
			near = f->sp - h->sp;
			slot = i;
		}
	}
	barrier_var(slot);
	if (slot >= FRAMES)
		return 0;
	struct frame *f = &h->thread->frames[slot];

	return f->shared || !is_alive(h, f) ? 0 : f;
}

/* Reports whether a hit is in the call of a frame. */
static __always_inline int is_in(const struct hit *h, const struct frame *f)
{
	return f->returns && h->sp != f->sp && is_below(f, h->sp, STACK_REACH) && is_alive(h, f);
}

/* Counts an operation of the handshake that a frame belongs to. */
static __always_inline void count_operation(struct hit *h, const struct frame *f)
{
	struct object key = { h->task->tgid, f->object };
	struct connection *c = bpf_map_lookup_elem(&connections, &key);

	if (c)
		c->operations++;
}

/*
 * Reports whether a hit is part of the operation that the thread is inside of:
 * jumped to at the end of another function with the same context, or called by the
 * library itself, which implements hybrid key exchanges by two operations. The return
 * address of an ended operation may remain on the stack, hence a call from elsewhere is
 * never a part.
 */
static __always_inline int is_part(struct hit *h, int inside)
{
	struct frame *o = &h->thread->operation;

	if (o->returns && h->time - o->time < OPERATION_TIME) {
		if (h->sp == o->sp && h->returns == o->returns && h->index != o->layout)
			return 1;
		if ((inside || h->object == o->object) && h->sp != o->sp && is_below(o, h->sp, STACK_REACH) && is_alive(h, o))
			return 1;
	}
	return 0;
}

/* Makes a hit the outermost operation of its thread. */
static __always_inline void enter(struct hit *h)
{
	struct frame *o = &h->thread->operation;

	o->sp = h->sp;
	o->returns = h->returns;
	o->object = h->object;
	o->time = h->time;
	o->layout = h->index;
}

/*
 * Reports whether a key's type is not one of public-key cryptography: message
 * authentication and key derivation use the same functions, once per record in
 * old versions of TLS.
 */
static __always_inline int is_symmetric(const char *type)
{
	__u32 begin = *(const __u32 *)type;

	switch (begin) {
	case 0x43414d48: /* HMAC */
	case 0x43414d43: /* CMAC */
	case 0x46444b48: /* HKDF */
	case 0x31534c54: /* TLS1-PRF */
	case 0x59524353: /* SCRYPT */
	case 0x594c4f50: /* POLY1305 */
	case 0x796c6f50: /* Poly1305 */
	case 0x48504953: /* SIPHASH */
	case 0x48706953: /* SipHash */
		return 1;
	}
	return 0;
}

/* Like is_symmetric, by the NID of a key without a provider. */
static __always_inline int is_symmetric_id(__u64 id)
{
	switch ((__u32)id) {
	case 855: /* HMAC */
	case 894: /* CMAC */
	case 1021: /* TLS1-PRF */
	case 1036: /* HKDF */
	case 973: /* scrypt */
	case 1061: /* Poly1305 */
	case 1062: /* SipHash */
		return 1;
	}
	return 0;
}

/* NIDs of keys that no provider has. */
#define NID_RSA 6
#define NID_EC 408
#define NID_RSA_PSS 912

/* Reads the string that a chain leads to; an unreadable string remains empty. */
static __always_inline void read_name(char *to, __u32 size, __u64 object, const struct chain *c)
{
	__u64 at;

	if (!follow(object, c, &at) && at && bpf_probe_read_user_str(to, size, (void *)at) < 0)
		*to = 0;
}

/*
 * Finds the key of an operation, and the name of its type, which may be empty.
 * Returns 0 if it is not an operation of public-key cryptography.
 */
static __always_inline int read_key(struct hit *h, __u8 role, __u64 *pkey, char *type)
{
	__u64 value = 0;

	switch (role) {
	case ROLE_CONTEXT_OPERATION:
		if (h->site->operation == OPERATION_GENERATE &&
		    (VALUE_OF(h->layout, h->object, VALUE_CONTEXT_OPERATION_CODE, &value) || value != 4))
			return 0;
		VALUE_OF(h->layout, h->object, VALUE_CONTEXT_KEY, pkey);
		if (!*pkey || h->site->operation == OPERATION_GENERATE)
			read_name(type, CALL_TYPE_MAX, h->object, &h->layout->chains[VALUE_CONTEXT_KEY_TYPE]);
		break;
	case ROLE_DIGEST_OPERATION:
	case ROLE_DIGEST_ONE_SHOT:
		VALUE_OF(h->layout, h->object, VALUE_DIGEST_CONTEXT_KEY, pkey);
		break;
	}
	if (*pkey && !type[0])
		read_name(type, CALL_TYPE_MAX, *pkey, &h->layout->chains[VALUE_KEY_TYPE]);
	if (is_symmetric(type))
		return 0;
	return !*pkey || type[0] || VALUE_OF(h->layout, *pkey, VALUE_KEY_ID, &value) || !is_symmetric_id(value);
}

/*
 * Gathers the values of a key. What only keys of one type have is not looked for
 * in others, where something else is at its place.
 */
static __always_inline void gather_key(struct call *r, struct layout *layout, __u64 pkey, const char *type)
{
	__u32 id;

	gather_one(r, layout, pkey, VALUE_KEY_BITS);
	if (type[0]) {
		if (type[0] == 'E' && type[1] == 'C' && !type[2])
			gather_one(r, layout, pkey, VALUE_KEY_CURVE);
		return;
	}
	gather_one(r, layout, pkey, VALUE_KEY_ID);
	id = r->values[0];
	if (id == NID_EC)
		gather_one(r, layout, pkey, VALUE_LEGACY_CURVE);
	else if (id == NID_RSA || id == NID_RSA_PSS)
		gather_one(r, layout, pkey, VALUE_LEGACY_MODULUS_WORDS);
}

/* Processes a setting of a key context. */
static __always_inline void set(void *registers, struct hit *h)
{
	struct call_site *site = h->site;
	struct object key = { h->task->tgid, h->object };
	struct settings *s, fresh = {};
	__u64 digest, nid = 0;

	if (site->role == ROLE_RESET_CONTEXT) {
		bpf_map_delete_elem(&contexts, &key);
		return;
	}
	if (site->command != CALL_NO_REGISTER && (__u32)argument(registers, site->command) != 1)
		return;
	s = bpf_map_lookup_elem(&contexts, &key);
	if (!s) {
		bpf_map_update_elem(&contexts, &key, &fresh, BPF_ANY);
		s = bpf_map_lookup_elem(&contexts, &key);
		if (!s)
			return;
	}
	switch (site->role) {
	case ROLE_SET_DIGEST:
		digest = argument(registers, site->digest);
		VALUE_OF(h->layout, digest, VALUE_DIGEST_TYPE_NID, &nid);
		s->digest_nid = nid;
		s->digest[0] = 0;
		read_name(s->digest, sizeof(s->digest), digest, &h->layout->chains[VALUE_DIGEST_NAME]);
		break;
	case ROLE_SET_GROUP:
		if (bpf_probe_read_user_str(s->group, sizeof(s->group), (void *)argument(registers, site->text_at)) < 0)
			s->group[0] = 0;
		break;
	case ROLE_SET_CURVE:
		s->curve = argument(registers, site->curve);
		break;
	case ROLE_SET_BITS:
		s->bits = argument(registers, site->bits);
		break;
	}
}

/* An operation with a key, the preparation of one, or the verification of a chain. */
SEC("uprobe.multi")
int public_key(void *registers)
{
	struct hit h = {};
	struct frame *f;
	struct call *r;
	char type[CALL_TYPE_MAX] = {};
	__u64 pkey = 0, value = 0, connection = 0, chain = 0;
	int inside;
	__u8 role;

	if (arrive(registers, &h))
		return 0;
	role = h.site->role;
	if (role >= ROLE_SET_DIGEST) {
		set(registers, &h);
		return 0;
	}
	/* Without a buffer, the call only queries the length of the result. */
	if (h.site->output != CALL_NO_REGISTER && !argument(registers, h.site->output))
		return 0;
	if (find_return(registers, &h))
		return 0;
	value = h.returns - (*(__u64 *)(registers + REGISTERS_IP) - h.site->address) - h.layout->text;
	inside = value < h.layout->text_size;
	if (h.site->external && inside)
		return 0;
	look_up(&h, 1);
	if (!h.thread) {
		count_hit();
		count_loss(LOSS_RING_FULL, 1);
		return 0;
	}
	if (role == ROLE_CHAIN_VERIFICATION) {
		struct frame *c = &h.thread->chain;

		/* Functions of GnuTLS that verify a chain call each other. */
		if (inside && h.layout->chains[VALUE_COMPLETED].loads && is_in(&h, c))
			return 0;
		c->returns = 0;
		h.thread->operation.returns = 0; /* it is no part of one */
		f = frame_of(&h);
		if (!f)
			return 0;
		c->sp = h.sp;
		c->returns = h.returns;
		c->connection = number();
		chain = c->connection;
	} else {
		if (is_part(&h, inside) || !read_key(&h, role, &pkey, type))
			return 0;
		enter(&h);
		f = frame_of(&h);
		if (is_in(&h, &h.thread->chain))
			chain = h.thread->chain.connection;
	}
	if (f) {
		connection = f->connection;
		if (role != ROLE_CHAIN_VERIFICATION)
			count_operation(&h, f);
	}
	r = reserve(&h, role == ROLE_CHAIN_VERIFICATION ? CALL_CHAIN : CALL_OPERATION);
	if (!r)
		return 0;
	r->connection = connection;
	r->chain = chain;
	if (role == ROLE_CHAIN_VERIFICATION) {
		if (f) {
			/* The connection belongs to another library. */
			__u32 number = f->layout;
			struct layout *of = bpf_map_lookup_elem(&layouts, &number);

			if (of)
				gather_one(r, of, f->object, VALUE_HAND_STATE);
			if (of)
				gather_one(r, of, f->object, VALUE_COMPLETED);
		}
		bpf_ringbuf_submit(r, wake_flags());
		return 0;
	}
	__builtin_memcpy(r->type, type, sizeof(type));
	if (h.site->length != CALL_NO_REGISTER)
		r->input = argument(registers, h.site->length);
	if (h.site->digest_nid != CALL_NO_REGISTER)
		r->set_digest = argument(registers, h.site->digest_nid);
	if (h.site->bits != CALL_NO_REGISTER)
		r->set_bits = argument(registers, h.site->bits);
	if (role == ROLE_KEY_OPERATION) {
		__u32 id = h.site->key;

		if (id)
			gather_one(r, h.layout, h.object, id);
		bpf_ringbuf_submit(r, wake_flags());
		return 0;
	}
	if (pkey)
		gather_key(r, h.layout, pkey, type);
	if (role == ROLE_CONTEXT_OPERATION) {
		struct object key = { h.task->tgid, h.object };
		struct settings *s = bpf_map_lookup_elem(&contexts, &key);

		if (s) {
			r->set_digest = s->digest_nid;
			r->set_curve = s->curve;
			r->set_bits = s->bits;
			__builtin_memcpy(r->digest, s->digest, sizeof(s->digest));
			__builtin_memcpy(r->group, s->group, sizeof(s->group));
		}
	} else {
		read_name(r->digest, sizeof(r->digest), h.object, &h.layout->chains[VALUE_DIGEST_CONTEXT_NAME]);
		if (!r->digest[0])
			gather_one(r, h.layout, h.object, VALUE_DIGEST_CONTEXT_NID);
	}
	bpf_ringbuf_submit(r, wake_flags());
	return 0;
}

/* gnutls_datum_t */
struct datum {
	__u64 data;
	__u32 size;
	__u32 padding;
};

/* gnutls_pk_algorithm_t */
#define GNUTLS_PK_RSA 1
/* The longest beginning of a DigestInfo (RFC 8017, section 9.2) that names a digest. */
#define DIGEST_INFO_MAX 20

/*
 * A call of the functions through which all operations of GnuTLS with keys go, each
 * exactly once, or of the function above them that has the algorithm of a signature.
 */
SEC("uprobe.multi")
int session_key(void *registers)
{
	struct hit h = {};
	struct frame *f;
	struct call *r;
	struct datum data = {};
	__u64 value = 0;

	if (arrive(registers, &h))
		return 0;
	if (find_return(registers, &h))
		return 0;
	look_up(&h, 1);
	if (!h.thread) {
		count_hit();
		count_loss(LOSS_RING_FULL, 1);
		return 0;
	}
	if (h.site->role == ROLE_SET_SIGNATURE) {
		f = &h.thread->signature;
		f->returns = 0;
		if (h.site->algorithm != CALL_NO_REGISTER)
			value = argument(registers, h.site->algorithm);
		else if (VALUE_OF(h.layout, h.object, VALUE_SIGNATURE, &value))
			return 0;
		f->sp = h.sp;
		f->returns = h.returns;
		f->object = argument(registers, h.site->signature);
		f->layout = value;
		return 0;
	}
	f = frame_of(&h);
	if (f)
		count_operation(&h, f);
	r = reserve(&h, CALL_OPERATION);
	if (!r)
		return 0;
	r->first = VALUE_PARAMETERS_CURVE;
	if (f)
		r->connection = f->connection;
	if (is_in(&h, &h.thread->chain))
		r->chain = h.thread->chain.connection;
	r->algorithm = argument(registers, h.site->algorithm);
	if (h.site->bits != CALL_NO_REGISTER)
		r->set_bits = argument(registers, h.site->bits);
	if (h.object)
		gather_from(r, h.layout, h.object, VALUE_PARAMETERS_CURVE, VALUE_PARAMETERS_MODULUS_WORDS);
	if (h.site->data != CALL_NO_REGISTER) {
		value = argument(registers, h.site->data);
		if (!bpf_probe_read_user(&data, sizeof(data), (void *)value)) {
			r->input = data.size;
			if (r->algorithm == GNUTLS_PK_RSA && data.size >= DIGEST_INFO_MAX)
				bpf_probe_read_user(r->type, DIGEST_INFO_MAX, (void *)data.data);
		}
		value = argument(registers, h.site->signing);
		gather_from(r, h.layout, value, VALUE_PSS_DIGEST, VALUE_DSA_DIGEST);
	}
	f = &h.thread->signature;
	if (h.site->operation == OPERATION_VERIFY && f->object == argument(registers, h.site->signature) && is_in(&h, f)) {
		r->have |= 1ULL << VALUE_SIGNATURE;
		r->values[VALUE_SIGNATURE - VALUE_PARAMETERS_CURVE] = f->layout;
	}
	f->returns = 0;
	bpf_ringbuf_submit(r, wake_flags());
	return 0;
}
