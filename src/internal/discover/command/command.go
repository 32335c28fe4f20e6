// SPDX-License-Identifier: Apache-2.0

// Package command finds the files that a command will execute or load, before it is
// started: its program, the interpreter of a script, and the libraries that the
// dynamic loader (ld.so(8)) will search for. It only reads files. It cannot find files
// that a program opens by itself, for example with dlopen(3).
package command

import (
	"bytes"
	"debug/elf"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"crypto-auditing/src/internal/discover/ldcache"
)

// maxFiles bounds the files of a command, maxWords the words of its arguments that are
// tried as names of programs.
const (
	maxFiles = 512
	maxWords = 64
)

// LookPath returns the file that a command name refers to: the name itself if it is a
// path, else a file in a directory of path. The error wraps fs.ErrNotExist or
// fs.ErrPermission where execve(2) would return the corresponding error.
func LookPath(name, path string) (string, error) {
	if strings.Contains(name, "/") {
		return name, executable(name)
	}
	err := error(&exec.Error{Name: name, Err: fs.ErrNotExist})
	for _, directory := range filepath.SplitList(path) {
		file := filepath.Join(directory, name)
		if directory == "" {
			file = "./" + name
		}
		found := executable(file)
		if found == nil {
			return file, nil
		}
		// A file that is not executable is reported only if there is no other.
		if errors.Is(found, fs.ErrPermission) {
			err = found
		}
	}
	return "", err
}

// executable returns the reason why the caller cannot execute a file, nil if it can.
func executable(path string) error {
	info, err := os.Stat(path)
	if err == nil && info.IsDir() {
		err = &fs.PathError{Op: "execute", Path: path, Err: fs.ErrPermission}
	}
	if err == nil {
		if err = unix.Access(path, unix.X_OK); err != nil {
			err = &fs.PathError{Op: "execute", Path: path, Err: err}
		}
	}
	if errors.Is(err, unix.ENOTDIR) {
		err = &fs.PathError{Op: "execute", Path: path, Err: fs.ErrNotExist}
	}
	return err
}

// Environment holds the environment variables that determine what a command loads.
type Environment struct {
	// Path is the search path for programs (PATH), Library the search path for
	// libraries (LD_LIBRARY_PATH), Preload the libraries that are always loaded
	// (LD_PRELOAD).
	Path, Library, Preload string
}

// Files returns the files that a command will execute or load: those of the program
// file and of each program that a word in its arguments names, since env(1), a shell
// and many other programs execute these.
func Files(file string, arguments []string, e Environment) []string {
	f := &finder{environment: e, visited: map[string]bool{}}
	f.cache, _ = ldcache.Read(ldcache.Path)
	f.program(file, 0)
	words := 0
	for _, argument := range arguments {
		for _, word := range strings.FieldsFunc(argument, func(r rune) bool { return strings.ContainsRune(" \t\n;&|()`$<>\"'", r) }) {
			if words++; words > maxWords {
				return f.files
			}
			if program, err := LookPath(word, e.Path); err == nil {
				f.program(program, 0)
			}
		}
	}
	return f.files
}

type finder struct {
	environment Environment
	cache       []ldcache.Entry
	visited     map[string]bool
	files       []string
}

// add adds a file under its path without links. ok reports whether it is new.
func (f *finder) add(path string) (real string, ok bool) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil || f.visited[real] || len(f.files) == maxFiles {
		return real, false
	}
	info, err := os.Stat(real)
	if err != nil || !info.Mode().IsRegular() {
		return real, false
	}
	f.visited[real] = true
	f.files = append(f.files, real)
	return real, true
}

// maxScripts is the highest nesting of script interpreters, as in the kernel.
const maxScripts = 5

// program adds a program file with its interpreters and libraries.
func (f *finder) program(path string, depth int) {
	real, ok := f.add(path)
	if !ok {
		return
	}
	if interpreter, arguments := script(real); interpreter != "" && depth < maxScripts {
		f.program(interpreter, depth+1)
		// "#!/usr/bin/env program"
		for _, word := range arguments {
			if program, err := LookPath(word, f.environment.Path); err == nil {
				f.program(program, depth+1)
			}
		}
		return
	}
	b := binaryFile(real)
	if b == nil {
		return
	}
	for _, name := range strings.FieldsFunc(f.environment.Preload, func(r rune) bool { return r == ' ' || r == ':' }) {
		f.library(name, b, nil)
	}
	f.needs(b, nil)
}

// script returns the interpreter of a script, and the words of the interpreter's
// argument.
func script(path string) (interpreter string, arguments []string) {
	file, err := os.Open(path)
	if err != nil {
		return "", nil
	}
	defer file.Close()
	begin := make([]byte, 256) // BINPRM_BUF_SIZE of the kernel
	n, _ := io.ReadFull(file, begin)
	line, ok := bytes.CutPrefix(begin[:n], []byte("#!"))
	if !ok {
		return "", nil
	}
	line, _, _ = bytes.Cut(line, []byte{'\n'})
	words := strings.Fields(string(line))
	if len(words) == 0 {
		return "", nil
	}
	return words[0], words[1:]
}

// binary holds the parts of an ELF file that determine what is loaded.
type binary struct {
	machine        elf.Machine
	class          elf.Class
	needed         []string
	rpath, runpath []string
}

// binaryFile reads an ELF file. It returns nil for any other file.
func binaryFile(path string) *binary {
	e, err := elf.Open(path)
	if err != nil {
		return nil
	}
	defer e.Close()
	b := &binary{machine: e.Machine, class: e.Class}
	b.needed, _ = e.DynString(elf.DT_NEEDED)
	origin := strings.NewReplacer("$ORIGIN", filepath.Dir(path), "${ORIGIN}", filepath.Dir(path))
	directories := func(tag elf.DynTag) (all []string) {
		values, _ := e.DynString(tag)
		for _, v := range values {
			all = append(all, filepath.SplitList(origin.Replace(v))...)
		}
		return all
	}
	b.rpath, b.runpath = directories(elf.DT_RPATH), directories(elf.DT_RUNPATH)
	if b.runpath != nil {
		b.rpath = nil
	}
	return b
}

// needs adds the libraries that a file needs. rpath holds the directories of the
// chain of files that need this file.
func (f *finder) needs(b *binary, rpath []string) {
	for _, name := range b.needed {
		f.library(name, b, rpath)
	}
}

// library adds the library that a file needs by name, and the libraries it needs.
func (f *finder) library(name string, by *binary, rpath []string) {
	if by.runpath == nil {
		rpath = slices.Concat(by.rpath, rpath)
	}
	for _, path := range f.candidates(name, by, rpath) {
		b := binaryFile(path)
		if b == nil || b.machine != by.machine || b.class != by.class {
			continue
		}
		if _, ok := f.add(path); ok {
			f.needs(b, rpath)
		}
		return
	}
}

// candidates returns the paths where the loader searches for a library, in order.
func (f *finder) candidates(name string, by *binary, rpath []string) (paths []string) {
	if strings.Contains(name, "/") {
		return []string{name}
	}
	in := func(directories []string) {
		for _, d := range directories {
			if d != "" {
				paths = append(paths, filepath.Join(d, name))
			}
		}
	}
	if by.runpath == nil {
		in(rpath)
	}
	in(filepath.SplitList(f.environment.Library))
	in(by.runpath)
	paths = append(paths, ldcache.Find(f.cache, func(soname string) bool { return soname == name })...)
	in([]string{"/lib64", "/usr/lib64", "/lib", "/usr/lib"})
	return paths
}
