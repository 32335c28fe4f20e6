// SPDX-License-Identifier: Apache-2.0

package file

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// systems returns the ways to write. All supported kernels have io_uring, so it may only
// be missing if the kernel refuses it.
func systems(t testing.TB) map[string]System {
	all := map[string]System{"pwrite": Plain{}}
	best, err := Best()
	if err != nil {
		if !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.ENOSYS) {
			t.Fatalf("io_uring failed without being refused: %v", err)
		}
		t.Logf("io_uring is refused: %v", err)
		return all
	}
	all["io_uring"] = best
	return all
}

func TestCommittedBytesAreInTheFile(t *testing.T) {
	for name, system := range systems(t) {
		for count := range 40 {
			for _, sync := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, %d buffers, sync %v", name, count, sync), func(t *testing.T) {
					path := filepath.Join(t.TempDir(), "f")
					f, err := system.Create(path)
					if err != nil {
						t.Fatal(err)
					}
					defer f.Close()
					var want []byte
					for round := range 3 {
						var buffers [][]byte
						offset := int64(len(want))
						for i := range count {
							b := bytes.Repeat([]byte{byte(round + i)}, i*i*7)
							buffers = append(buffers, b)
							want = append(want, b...)
						}
						n, err := f.Commit(buffers, offset, sync)
						if err != nil || n != int64(len(want))-offset {
							t.Fatalf("committed %d of %d bytes: %v", n, int64(len(want))-offset, err)
						}
					}
					got, err := os.ReadFile(path)
					if err != nil || !bytes.Equal(got, want) {
						t.Errorf("file holds %d bytes, want %d (%v)", len(got), len(want), err)
					}
				})
			}
		}
	}
}

// A file size limit lets the kernel write short first and fail then.
func TestShortWriteIsContinuedUntilItFails(t *testing.T) {
	const limit = 100_000
	for name, system := range systems(t) {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", limit)); err != nil {
				if errors.Is(err, unix.EPERM) {
					t.Skipf("mounting needs privilege: %v", err)
				}
				t.Fatal(err)
			}
			defer unix.Unmount(dir, unix.MNT_DETACH)
			f, err := system.Create(filepath.Join(dir, "f"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			data := bytes.Repeat([]byte("0123456789"), 15_000)
			n, err := f.Commit([][]byte{data[:70_000], data[70_000:]}, 0, true)
			if !errors.Is(err, unix.ENOSPC) {
				t.Fatalf("got %v, want ENOSPC", err)
			}
			if n <= 70_000 || n >= int64(len(data)) {
				t.Errorf("%d of %d bytes were written, with room for about %d", n, len(data), limit)
			}
			if err := unix.Mount("", dir, "", unix.MS_REMOUNT, "size=1M"); err != nil {
				t.Fatal(err)
			}
			if _, err := f.Commit([][]byte{data[n:]}, n, true); err != nil {
				t.Fatalf("after space was freed: %v", err)
			}
			got, err := os.ReadFile(filepath.Join(dir, "f"))
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("file holds %d bytes, want %d (%v)", len(got), len(data), err)
			}
		})
	}
}

func TestCreateRefusesExistingFile(t *testing.T) {
	for name, system := range systems(t) {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "f")
			f, err := system.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := system.Create(path); !errors.Is(err, os.ErrExist) {
				t.Errorf("got %v, want an error that the file exists", err)
			}
		})
	}
}

func TestErrorOfTheKernelIsReturned(t *testing.T) {
	for name, system := range systems(t) {
		t.Run(name, func(t *testing.T) {
			f, err := system.Create(filepath.Join(t.TempDir(), "f"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			// io_uring takes -1 as the current position.
			if _, err := f.Commit([][]byte{{1}}, -2, false); err == nil {
				t.Error("a write before the beginning of the file succeeded")
			}
			if _, err := f.Commit([][]byte{{1}}, 0, true); err != nil {
				t.Errorf("the file cannot be used after an error: %v", err)
			}
		})
	}
}

func TestAdvanceKeepsTheBytesAfterwards(t *testing.T) {
	buffers := [][]byte{[]byte("ab"), nil, []byte("cde"), []byte("f")}
	for n, want := range []string{"[ab cde f]", "[b cde f]", "[cde f]", "[de f]", "[e f]", "[f]", "[]"} {
		if got := fmt.Sprintf("%s", advance(buffers, n)); got != want {
			t.Errorf("after %d bytes: %s, want %s", n, got, want)
		}
	}
}

func BenchmarkCommit(b *testing.B) {
	for name, system := range systems(b) {
		for _, size := range []int{1 << 10, 64 << 10, 256 << 10} {
			for _, sync := range []bool{false, true} {
				b.Run(fmt.Sprintf("%s/%dKiB/sync=%v", name, size>>10, sync), func(b *testing.B) {
					path := filepath.Join(b.TempDir(), "f")
					f, err := system.Create(path)
					if err != nil {
						b.Fatal(err)
					}
					defer f.Close()
					buffers := [][]byte{make([]byte, size)}
					b.SetBytes(int64(size))
					b.ReportAllocs()
					var offset int64
					before := processorTime(b)
					for b.Loop() {
						if _, err := f.Commit(buffers, offset, sync); err != nil {
							b.Fatal(err)
						}
						if offset += int64(size); offset >= 64<<20 {
							offset = 0
						}
					}
					b.ReportMetric(float64((processorTime(b)-before).Nanoseconds())/1e3/float64(b.N), "cpu-µs/op")
				})
			}
		}
	}
}

// processorTime returns the CPU time of all threads of the process, including those of
// io_uring in the kernel.
func processorTime(tb testing.TB) time.Duration {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// TestRefusedRingFallsBackToPwrite denies io_uring to one thread with a seccomp filter,
// as the sandbox of a service may.
func TestRefusedRingFallsBackToPwrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	problems := make(chan string, 10)
	go func() {
		defer close(problems)
		// The thread and its filter end with the goroutine.
		runtime.LockOSThread()
		if err := refuseRings(); err != nil {
			problems <- fmt.Sprintf("cannot set up seccomp: %v", err)
			return
		}
		best, err := Best()
		if _, plain := best.(Plain); !plain || !errors.Is(err, unix.EPERM) {
			problems <- fmt.Sprintf("best is %T (%v), want Plain and why", best, err)
		}
		f, err := Uring{}.Create(path)
		if err != nil {
			problems <- err.Error()
			return
		}
		defer f.Close()
		if n, err := f.Commit([][]byte{[]byte("text")}, 0, true); n != 4 || err != nil {
			problems <- fmt.Sprintf("committed %d bytes: %v", n, err)
		}
	}()
	for problem := range problems {
		t.Error(problem)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "text" {
		t.Errorf("file holds %q (%v)", got, err)
	}
}

// refuseRings makes io_uring_setup fail with EPERM for this thread
// (Documentation/userspace-api/seccomp_filter.rst).
func refuseRings() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	const numberInData = 0
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: numberInData},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: unix.SYS_IO_URING_SETUP},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return errno
	}
	return nil
}

func TestAStartedWriteCompletesAfterClose(t *testing.T) {
	for name, system := range systems(t) {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "f")
			f, err := system.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			starter, can := f.(Starter)
			if !can {
				if name != "pwrite" {
					t.Errorf("a file of %s cannot start a write", name)
				}
				_ = f.Close()
				return
			}
			text := []byte("begun, not waited for")
			written, closed := make(chan int64, 1), make(chan error, 1)
			for offset := int64(0); offset < 3*int64(len(text)); offset += int64(len(text)) {
				if !starter.Start([][]byte{text[:5], nil, text[5:]}, offset, func(n int64) { written <- n }) {
					t.Fatal("no write was started")
				}
				if n := <-written; n != int64(len(text)) {
					t.Errorf("%d of %d bytes were written", n, len(text))
				}
			}
			if _, err := f.Commit([][]byte{text}, 3*int64(len(text)), true); err != nil {
				t.Error(err)
			}
			if !starter.Start([][]byte{text}, 4*int64(len(text)), func(int64) { closed <- f.Close() }) {
				t.Fatal("no write was started")
			}
			if err := <-closed; err != nil {
				t.Error(err)
			}
			if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, bytes.Repeat(text, 5)) {
				t.Errorf("the file holds %q (%v)", got, err)
			}
		})
	}
}

// The kernel cancels writes that a thread has started when the thread ends, or when it
// cannot create a worker for them.
func TestACancelledWriteIsRepeated(t *testing.T) {
	for _, result := range []unix.Errno{unix.ECANCELED, unix.EINTR, unix.EAGAIN} {
		if n, err := taken(-int32(result)); n != 0 || err != nil {
			t.Errorf("%v counts as %d bytes, %v", result, n, err)
		}
	}
	for name, system := range systems(t) {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "f")
			f, err := system.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			const rounds, size = 300, 64 << 10
			for i := range rounds {
				committed := make(chan error, 1)
				go func() {
					n, err := f.Commit([][]byte{bytes.Repeat([]byte{byte(i)}, size)}, int64(i)*size, i%50 == 0)
					if err == nil && n != size {
						err = fmt.Errorf("%d bytes were written", n)
					}
					committed <- err
				}()
				for range 4 {
					// The thread ends with the goroutine, and may have started the write.
					go runtime.LockOSThread()
				}
				if err := <-committed; err != nil {
					t.Fatal(err)
				}
			}
			got, err := os.ReadFile(path)
			if err != nil || len(got) != rounds*size {
				t.Fatalf("the file has %d bytes (%v)", len(got), err)
			}
			for i := range rounds {
				if got[i*size] != byte(i) || got[i*size+size-1] != byte(i) {
					t.Fatalf("block %d differs from the written one", i)
				}
			}
		})
	}
}
