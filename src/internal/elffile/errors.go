// SPDX-License-Identifier: Apache-2.0

package elffile

import (
	"debug/elf"
	"errors"
	"fmt"
	"strings"
)

// ErrNotELF indicates that a file is not an ELF file.
var ErrNotELF = errors.New("not an ELF file")

// FormatError reports an ELF file that is malformed or exceeds a limit of this package.
type FormatError struct {
	// Part is the malformed part, such as "section headers".
	Part string
	// Reason is the defect.
	Reason string
}

func (e *FormatError) Error() string { return e.Part + ": " + e.Reason }

// UnsupportedError reports a valid ELF file of a kind that this package does not
// support.
type UnsupportedError struct {
	Machine elf.Machine
	Class   elf.Class
	Data    elf.Data
	// Type is set if the file type is the reason: an unlinked object file, a core
	// file.
	Type elf.Type
}

func (e *UnsupportedError) Error() string {
	switch {
	case e.Type != elf.ET_NONE:
		return fmt.Sprintf("unsupported kind of ELF file %s: want a shared library or a program",
			strings.TrimPrefix(e.Type.String(), "ET_"))
	case e.Class != elf.ELFCLASS64:
		return fmt.Sprintf("unsupported 32-bit ELF file for %s: want 64 bit, x86-64 or aarch64", machineName(e.Machine, e.Data))
	}
	return fmt.Sprintf("unsupported machine %s: want x86-64 or aarch64", machineName(e.Machine, e.Data))
}

// MachineName returns the usual name of a machine for messages.
func MachineName(m elf.Machine) string { return machineName(m, elf.ELFDATANONE) }

func machineName(m elf.Machine, d elf.Data) string {
	switch m {
	case elf.EM_X86_64:
		return "x86-64"
	case elf.EM_AARCH64:
		if d == elf.ELFDATA2MSB {
			return "aarch64_be"
		}
		return "aarch64"
	case elf.EM_PPC64:
		if d == elf.ELFDATA2LSB {
			return "ppc64le"
		}
		return "ppc64"
	case elf.EM_S390:
		return "s390x"
	case elf.EM_RISCV:
		return "riscv"
	case elf.EM_386:
		return "i386"
	case elf.EM_ARM:
		return "arm"
	case elf.EM_LOONGARCH:
		return "loongarch"
	}
	// The name of an unknown machine is a sum with a known one.
	if s, ok := strings.CutPrefix(m.String(), "EM_"); ok && !strings.Contains(s, "+") {
		return strings.ToLower(s)
	}
	return fmt.Sprintf("number %d", uint16(m))
}
