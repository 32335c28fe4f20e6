// SPDX-License-Identifier: Apache-2.0

package tree_test

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"

	"crypto-auditing/src/internal/probe"
	"crypto-auditing/src/internal/probe/tree"
)

func follow(t *testing.T) *tree.Tree {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("following processes needs root")
	}
	tracer, err := probe.Load(probe.Options{Followed: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tracer.Close() })
	f, err := tree.Follow(tracer)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// await waits until the tree is empty, or not empty.
func await(t *testing.T, f *tree.Tree, empty bool) {
	t.Helper()
	for range 1000 {
		got, err := f.Empty()
		if err != nil {
			t.Fatal(err)
		}
		if got == empty {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("timeout waiting for the tree: want empty %v", empty)
}

func TestAdoptedTreesAreFollowedUntilTheirLastProcessEnds(t *testing.T) {
	f := follow(t)
	await(t, f, true)
	if err := exec.Command("true").Run(); err != nil {
		t.Fatal(err)
	}
	await(t, f, true)
	c := exec.Command("sh", "-c", "(read x <&3; exit 0) & exit 7")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	c.ExtraFiles = []*os.File{r}
	if err := f.Adopt(c.Start); err != nil {
		t.Fatal(err)
	}
	r.Close()
	if err := c.Wait(); c.ProcessState.ExitCode() != 7 {
		t.Errorf("the command: %v", err)
	}
	if empty, err := f.Empty(); err != nil || empty {
		t.Errorf("the tree is empty, but a child is alive: %v, %v", empty, err)
	}
	w.Close()
	await(t, f, true)
	if missed, err := f.Missed(); err != nil || missed != 0 {
		t.Errorf("%d processes were not followed: %v", missed, err)
	}
}

func TestDescendantsOfAProcessAreFollowed(t *testing.T) {
	f := follow(t)
	c := exec.Command("sh", "-c", "sh -c 'sleep 1000 & echo ready; wait' & wait")
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
		_ = c.Wait()
	})
	if _, err := out.Read(make([]byte, 16)); err != nil {
		t.Fatal(err)
	}
	all, err := f.Add(c.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 3 || !slices.Contains(all, c.Process.Pid) {
		t.Errorf("followed: %v, want %d and two others", all, c.Process.Pid)
	}
	_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
	_ = c.Wait()
	await(t, f, true)
}

func TestAMissingProcessIsAnError(t *testing.T) {
	f := follow(t)
	var none *tree.NoProcessError
	if _, err := f.Add(1 << 30); !errors.As(err, &none) || none.PID != 1<<30 {
		t.Errorf("the error is %v", err)
	}
}
