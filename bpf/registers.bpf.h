/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Registers in the context of a uprobe program. */
#ifndef CRAU_REGISTERS_BPF_H
#define CRAU_REGISTERS_BPF_H

/*
 * Offsets in the context of a uprobe program, of the instruction pointer and the stack
 * pointer; on arm64 also of the frame pointer (x29) and the link register (x30).
 */
#if defined(__TARGET_ARCH_x86)
#define REGISTERS_IP 128
#define REGISTERS_SP 152
#elif defined(__TARGET_ARCH_arm64)
#define REGISTERS_IP 256
#define REGISTERS_SP 248
#define REGISTERS_FP 232
#define REGISTERS_LR 240
#else
#error "no such architecture"
#endif

/*
 * Reads the register at an offset in the context. The verifier requires constant
 * offsets, and the compiler must not merge the loads.
 */
#define REGISTER(offset)                                                                   \
	case offset:                                                                       \
		asm volatile("%0 = *(u64 *)(%1 + " #offset ")" : "=r"(value) : "r"(registers)); \
		break

static __always_inline __u64 read_register(void *registers, __u16 at)
{
	__u64 value = 0;

	switch (at) {
	REGISTER(0);
	REGISTER(8);
	REGISTER(16);
	REGISTER(24);
	REGISTER(32);
	REGISTER(40);
	REGISTER(48);
	REGISTER(56);
	REGISTER(64);
	REGISTER(72);
	REGISTER(80);
	REGISTER(88);
	REGISTER(96);
	REGISTER(104);
	REGISTER(112);
	REGISTER(128);
	REGISTER(152);
#if defined(__TARGET_ARCH_arm64)
	REGISTER(120);
	REGISTER(136);
	REGISTER(144);
	REGISTER(160);
	REGISTER(168);
	REGISTER(176);
	REGISTER(184);
	REGISTER(192);
	REGISTER(200);
	REGISTER(208);
	REGISTER(216);
	REGISTER(224);
	REGISTER(232);
	REGISTER(240);
	REGISTER(248);
	REGISTER(256);
#endif
	}
	return value;
}

#endif /* CRAU_REGISTERS_BPF_H */
