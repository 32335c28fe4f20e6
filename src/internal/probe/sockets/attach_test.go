// SPDX-License-Identifier: Apache-2.0

package sockets_test

import (
	"crypto/tls"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"crypto-auditing/src/internal/probe"
	"crypto-auditing/src/internal/probe/sockets"
)

// runAsNobody runs tests of this program as an unprivileged user with the capabilities.
func runAsNobody(t *testing.T, pattern string, capabilities ...uintptr) (output string, err error) {
	t.Helper()
	// The path of the program may contain directories that only root may enter.
	command := exec.Command("/proc/self/exe", "-test.v", "-test.run", pattern)
	command.Env = append(os.Environ(), unitVariable+"="+unit)
	command.SysProcAttr = &syscall.SysProcAttr{
		Credential:  &syscall.Credential{Uid: 65534, Gid: 65534},
		AmbientCaps: capabilities,
	}
	out, err := command.CombinedOutput()
	return string(out), err
}

func TestTwoCapabilitiesAreEnough(t *testing.T) {
	needKernel(t)
	output, err := runAsNobody(t, "^TestAHandshakeIsRecorded$", unix.CAP_BPF, unix.CAP_PERFMON)
	if err != nil || !strings.Contains(output, "--- PASS: TestAHandshakeIsRecorded") {
		t.Errorf("with CAP_BPF and CAP_PERFMON: %v\n%s", err, output)
	}
	if output, err := runAsNobody(t, "^TestAHandshakeIsRecorded$"); err == nil || !strings.Contains(output, "CAP_BPF and CAP_PERFMON") {
		t.Errorf("without capabilities: %v\n%s", err, output)
	}
}

func TestAHandshakeIsRecorded(t *testing.T) {
	w := watch(t)
	a, b := connect(t)
	cookies := []uint64{cookie(t, a), cookie(t, b)}
	record(t, a, b, &tls.Config{InsecureSkipVerify: true}, &tls.Config{Certificates: []tls.Certificate{certificate(t, 10)}})
	for _, s := range w.await(t, cookies...) {
		if s.unit != unit || !s.ended[sent] || !s.ended[received] {
			t.Errorf("a side is %s", describe(s))
		}
	}
}

func TestRefusedFrontEndsAreReportedWithTheirErrors(t *testing.T) {
	w := watch(t)
	refused := w.source.Refused()
	switch w.source.FrontEnd() {
	case sockets.Trampoline:
		if len(refused) > 0 {
			t.Errorf("the trampoline is the best front end, but %v was refused", refused)
		}
	case sockets.Tracepoint:
		if len(refused) != 1 && os.Getenv(frontEndVariable) == "" {
			t.Errorf("%v was refused before the tracepoint", refused)
		}
		for _, r := range refused {
			if r.FrontEnd != sockets.Trampoline || r.Err == nil {
				t.Errorf("%s was refused: %v", r.FrontEnd, r.Err)
			}
		}
	default:
		t.Errorf("the front end is %q", w.source.FrontEnd())
	}
}

func TestAnUnknownFrontEndIsRefused(t *testing.T) {
	needKernel(t)
	tracer, err := probe.Load(probe.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer tracer.Close()
	if _, err := sockets.Attach(tracer, sockets.Options{FrontEnd: "other"}); err == nil {
		t.Error("an unknown front end was attached")
	}
}
