// SPDX-License-Identifier: Apache-2.0

package usdt

import (
	"debug/elf"
	"errors"
	"reflect"
	"strings"
	"testing"

	"crypto-auditing/src/internal/capture"
	"crypto-auditing/src/internal/elffile"
)

func TestArgumentsOfAMD64(t *testing.T) {
	testArgs(t, elf.EM_X86_64, map[string]string{
		"":                              "",
		"  ":                            "",
		"8@%rax":                        "u64 rax",
		"-8@%rbp":                       "s64 rbp",
		"8@%rsp 8@%rdi 8@%rsi 8@%rcx":   "u64 rsp, u64 rdi, u64 rsi, u64 rcx",
		"-4@%esi -4@%ebx 4@%edx 4@%ebp": "s32 rsi, s32 rbx, u32 rdx, u32 rbp",
		"2@%ax -2@%di":                  "u16 rax, s16 rdi",
		"1@%al 1@%bl 1@%cl -1@%dl":      "u8 rax, u8 rbx, u8 rcx, s8 rdx",
		"1@%sil 1@%dil 1@%bpl 1@%spl":   "u8 rsi, u8 rdi, u8 rbp, u8 rsp",
		"1@%ah 1@%bh -1@%ch 1@%dh":      "u8 rax>>8, u8 rbx>>8, s8 rcx>>8, u8 rdx>>8",
		"8@%r8 4@%r9d 2@%r10w 1@%r11b":  "u64 r8, u32 r9, u16 r10, u8 r11",
		"8@%r12 8@%r13 8@%r14 8@%r15":   "u64 r12, u64 r13, u64 r14, u64 r15",
		// The size counts, not the named part of the register.
		"-4@%rax 8@%eax 1@%r8d":       "s32 rax, u64 rax, u8 r8",
		"8@$2 8@$0":                   "u64 2, u64 0",
		"8@$-5 -8@$-1":                "u64 18446744073709551611, s64 -1",
		"8@$18446744073709551615":     "u64 18446744073709551615",
		"-8@$-9223372036854775808":    "s64 -9223372036854775808",
		"4@$-1 -4@$4294967295":        "u32 4294967295, s32 -1",
		"2@$-1 1@$511 -1@$0xff":       "u16 65535, u8 255, s8 -1",
		"4@$0x1F -8@$4+8-20":          "u32 31, s64 -8",
		"8@(%rax)":                    "u64 [rax]",
		"-8@-16(%rbp) 4@16(%rsp)":     "s64 [rbp-16], u32 [rsp+16]",
		"8@0x20(%r13) -1@-0x10(%r9)":  "u64 [r13+32], s8 [r9-16]",
		"8@8+16(%rsp) 8@-8+8(%rsp)":   "u64 [rsp+24], u64 [rsp]",
		"8@16(%rax,%rbx,8)":           "u64 [rax+rbx*8+16]",
		"8@(%rax,%rbx) 8@(%rsp,%rcx)": "u64 [rax+rbx*1], u64 [rsp+rcx*1]",
		"8@(,%rbx,8) 2@-4(,%r12,2)":   "u64 [rbx*8], u16 [r12*2-4]",
		"8@( %rax, %rbx, 4 )\t8@%rax": "u64 [rax+rbx*4], u64 rax",
		"8@2147483647(%rax)":          "u64 [rax+2147483647]",
		"8@-2147483648(%rax)":         "u64 [rax-2147483648]",
		strings.Repeat("8@%rax ", 12): "u64 rax" + strings.Repeat(", u64 rax", 11),
	})
}

func TestArgumentsOfARM64(t *testing.T) {
	testArgs(t, elf.EM_AARCH64, map[string]string{
		"8@x0 -8@x30 8@sp":               "u64 x0, s64 x30, u64 sp",
		"-4@w1 4@x2 2@w3 1@x28":          "s32 x1, u32 x2, u16 x3, u8 x28",
		"8@fp 8@lr 4@wsp":                "u64 x29, u64 x30, u32 sp",
		"8@xzr -4@wzr":                   "u64 0, s32 0",
		"8@5 8@#5 -8@-5 4@-1 8@#0x10":    "u64 5, u64 5, s64 -5, u32 4294967295, u64 16",
		"8@[sp, 16] 8@[x1] 8@[sp, #16]":  "u64 [sp+16], u64 [x1], u64 [sp+16]",
		"-8@[x29, -8] 1@[x29,#-0x10]":    "s64 [x29-8], u8 [x29-16]",
		"8@[x0, x1] 8@[x0, x1, lsl 3]":   "u64 [x0+x1*1], u64 [x0+x1*8]",
		"8@[sp,x1,lsl #4] 8@[x0,x1,lsl]": "u64 [sp+x1*16], u64 [x0+x1*1]",
	})
}

func testArgs(t *testing.T, m elf.Machine, cases map[string]string) {
	t.Helper()
	for spec, want := range cases {
		t.Run(spec, func(t *testing.T) {
			args, err := ParseArgs(m, spec)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for i := range args {
				got = append(got, args[i].String())
			}
			if s := strings.Join(got, ", "); s != want {
				t.Errorf("got %s, want %s", s, want)
			}
		})
	}
}

func TestFieldsOfArguments(t *testing.T) {
	for spec, want := range map[string]capture.Arg{
		"8@$-5":                  {Kind: capture.ArgConst, Size: 8, Const: -5},
		"-4@$4294967295":         {Kind: capture.ArgConst, Size: 4, Signed: true, Const: -1},
		"4@$-1":                  {Kind: capture.ArgConst, Size: 4, Const: 1<<32 - 1},
		"-4@%esi":                {Kind: capture.ArgReg, Size: 4, Signed: true, Reg: capture.RSI},
		"1@%ah":                  {Kind: capture.ArgReg, Size: 1, Reg: capture.RAX, Shift: 8},
		"-8@-16(%rbp)":           {Kind: capture.ArgMem, Size: 8, Signed: true, Reg: capture.RBP, Off: -16},
		"8@16(%rax,%rbx,8)":      {Kind: capture.ArgMemIndexed, Size: 8, Reg: capture.RAX, Index: capture.RBX, Scale: 8, Off: 16},
		"8@a_1$b@GOTPCREL(%rip)": {Kind: capture.ArgSymbol, Size: 8, Symbol: "a_1$b"},
		"8@(,%rbx)":              {Kind: capture.ArgMemIndexed, Size: 8, Index: capture.RBX, Scale: 1},
	} {
		t.Run(spec, func(t *testing.T) {
			got, err := ParseArgs(elf.EM_X86_64, spec)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, []capture.Arg{want}) {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

func TestUnsupportedArgumentsAreRefused(t *testing.T) {
	const symbol, pc = "relative to a symbol", "relative to the instruction pointer"
	for m, cases := range map[elf.Machine]map[string]string{
		elf.EM_X86_64: {
			"8@foo(%rip)":                 pc,
			"8@foo+8@GOTPCREL(%rip)":      pc,
			"8@@GOTPCREL(%rip)":           pc,
			"8@7@GOTPCREL(%rip)":          pc,
			"8@foo@GOTPCREL(%rax)":        symbol,
			"8@foo@GOTPCREL(%rip,%rax)":   pc,
			"8@foo@GOTTPOFF(%rip)":        pc,
			"8@16(%rip)":                  pc,
			"8@(%eip)":                    pc,
			"8@foo":                       symbol,
			"8@$foo":                      symbol,
			"8@$.LC0+8":                   symbol,
			"8@foo(,%rax,8)":              symbol,
			"8@foo(%rax)":                 symbol,
			"8@%fs:16":                    "thread-local",
			"8@%gs:(%rax)":                "thread-local",
			"8@1234":                      "absolute address",
			"8@*%rax":                     "indirect",
			"8f@%xmm0":                    "floating-point",
			"8@%xmm0":                     "floating-point",
			"8@%st(1)":                    "floating-point",
			"8@%zmm17":                    "floating-point",
			"8@rax":                       "Intel syntax",
			"8@QWORD PTR [rbp-8]":         "Intel syntax",
			"8@QWORD[rbp-8]":              "Intel syntax",
			"8@":                          "no operand",
			"8":                           "no size",
			"@%rax":                       "size is not",
			"3@%rax":                      "size is not",
			"16@%rax":                     "size is not",
			"-@%rax":                      "size is not",
			"+8@%rax":                     "size is not",
			"8@%":                         "not a register",
			"8@%rip":                      "not a register",
			"8@%r16":                      "not a register",
			"8@%r7":                       "not a register",
			"8@%r8x":                      "not a register",
			"8@%rsl":                      "not a register",
			"8@%sh":                       "not a register",
			"2@%ah":                       "holds one byte",
			"8@$":                         "not a number",
			"8@$5x":                       "not a number",
			"8@$1_000":                    "not a number",
			"8@$010":                      "not a number",
			"8@$--5":                      "not a number",
			"8@$5+":                       "not a number",
			"8@$18446744073709551616":     "not a number",
			"8@$-9223372036854775809":     "out of range",
			"8@$9223372036854775807+1":    "out of range",
			"8@2147483648(%rax)":          "out of range",
			"8@(rax)":                     "not a register",
			"8@()":                        "no base",
			"8@(%eax)":                    "no 64 bits",
			"8@(%rax,%ebx)":               "no 64 bits",
			"8@(%rax,)":                   "not a register",
			"8@(%rax,%rsp)":               "cannot be an index",
			"8@(%rax,%rbx,3)":             "scale",
			"8@(%rax,%rbx,8,1)":           "more than",
			"8@((%rax))":                  "brackets do not match",
			"8@(%rax":                     "not closed",
			"8@%rax)":                     "not opened",
			"8@(%rax)(%rbx)":              "brackets do not match",
			strings.Repeat("8@%rax ", 13): "13 arguments",
			strings.Repeat("8", 1025):     "more than 1024",
		},
		elf.EM_AARCH64: {
			"8@[x0, w1, sxtw 3]":  "widened",
			"8@[x0, w1, uxtw]":    "widened",
			"8@[x0, w1]":          "widened",
			"8@[x0, x1, ror 3]":   "not a shift",
			"8@[x0, x1, lsl 5]":   "shift",
			"8@[x0, x1, lsl 1 2]": "not a shift",
			"8@[x0, x1, ]":        "not a shift",
			"8@[x0, 8, lsl 3]":    "cannot be shifted",
			"8@[x0, sp]":          "cannot be an index",
			"8@[x0, #:lo12:foo]":  symbol,
			"8@#:lo12:foo":        symbol,
			"8@#foo":              symbol,
			"8@[x0, foo]":         "symbols are not supported",
			"8@foo":               "symbols are not supported",
			"8@[x0],8":            "change their base",
			"8@[x0, 8]!":          "change their base",
			"8@[x0, 1, 2, 3]":     "more than",
			"8@[w0]":              "no 64 bits",
			"8@[]":                "no register",
			"8@[x0,]":             "nothing after",
			"8@[x0, 9999999999]":  "out of range",
			"8@[[x0]]":            "brackets do not match",
			"8@d0":                "floating-point",
			"8@v31":               "floating-point",
			"8@x31":               "not a register",
			"8@x":                 "not a register",
			"8@!":                 "not a register",
			"8@%rax":              "not a register",
		},
	} {
		for spec, why := range cases {
			t.Run(elffile.MachineName(m)+" "+shorten(spec), func(t *testing.T) {
				args, err := ParseArgs(m, spec)
				var specErr *SpecError
				if !errors.As(err, &specErr) {
					t.Fatalf("got %v and error %v, want a SpecError", args, err)
				}
				if !strings.Contains(specErr.Reason, why) {
					t.Errorf("the error is %q, want one with %q", specErr.Reason, why)
				}
				if len(specErr.Spec) > 100 {
					t.Errorf("the error repeats %d bytes of specification", len(specErr.Spec))
				}
			})
		}
	}
}

func TestArgumentsOfOtherMachinesAreRefused(t *testing.T) {
	for _, m := range []elf.Machine{elf.EM_PPC64, elf.EM_S390, elf.EM_RISCV, elf.EM_386, elf.EM_NONE} {
		args, err := ParseArgs(m, "8@%r3")
		var unsupported *UnsupportedError
		if !errors.As(err, &unsupported) || unsupported.Machine != m {
			t.Errorf("%s: got %v and error %v, want an UnsupportedError for the machine", m, args, err)
		}
	}
}
