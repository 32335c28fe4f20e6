// SPDX-License-Identifier: Apache-2.0

// Package bpf contains the compiled BPF programs, for amd64 and arm64, and the Go types
// of their interface with the agent (audit.bpf.h).
//
// The objects are committed, so that the project builds without clang; tests/drift.sh
// checks that they match the sources.
package bpf

//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -go-package bpf -output-stem audit -target amd64,arm64 -type record -type element -type owner -type record_kind -type record_flags -type element_type -type element_flags -type argument_kind -type loss_reason Audit audit.bpf.c -- -O2 -mcpu=v3 -Wall -Wextra -Werror -Wno-unused-parameter -I/usr/include/x86_64-linux-gnu -I/usr/include/aarch64-linux-gnu
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -go-package bpf -output-stem wire -target amd64,arm64 -type piece -type names -type protocol -type piece_flags -type counter Wire wire.bpf.c -- -O2 -mcpu=v3 -Wall -Wextra -Werror -Wno-unused-parameter -I/usr/include/x86_64-linux-gnu -I/usr/include/aarch64-linux-gnu
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -go-package bpf -output-stem tree -target amd64,arm64 -type process Tree tree.bpf.c -- -O2 -mcpu=v3 -Wall -Wextra -Werror -Wno-unused-parameter -I/usr/include/x86_64-linux-gnu -I/usr/include/aarch64-linux-gnu
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -go-package bpf -output-stem function -target amd64,arm64 -type call -type call_site -type layout -type call_role -type call_value -type call_event -type call_flags Function function.bpf.c -- -O2 -mcpu=v3 -Wall -Wextra -Werror -Wno-unused-parameter -I/usr/include/x86_64-linux-gnu -I/usr/include/aarch64-linux-gnu
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -go-package bpf -output-stem mapped -target amd64,arm64 -type mapped Mapped mapped.bpf.c -- -O2 -mcpu=v3 -Wall -Wextra -Werror -Wno-unused-parameter -I/usr/include/x86_64-linux-gnu -I/usr/include/aarch64-linux-gnu
