// SPDX-License-Identifier: Apache-2.0

// Package discover finds the files to attach to. There is a finder for each way
// of knowing them; what is attached, and for how long, is for the caller.
package discover

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"crypto-auditing/src/internal/discover/ldcache"
)

// Finder finds files. It may be used from several goroutines.
type Finder interface {
	// Find returns what there is now.
	Find() Found
}

// Found is what a finder has found.
type Found struct {
	// Paths are files, or links to them. One may be there more than once.
	Paths []string
	// Errors says what could not be looked at, or is not there although it
	// should be: an *AbsentError.
	Errors []error
	// Optional: that nothing can be captured in a file is no error.
	Optional bool
	// Directories and Names tell when to look again: when a file is made,
	// changed or renamed in one of the directories whose name one of these globs
	// matches.
	Directories, Names []string
}

// AbsentError reports that a pattern leads to no file.
type AbsentError struct{ Pattern string }

func (e *AbsentError) Error() string {
	return fmt.Sprintf("cannot attach to %s: no such file", e.Pattern)
}

// Named finds the files that paths and globs lead to. One that leads to none is
// an error.
type Named []string

// Find implements Finder.
func (n Named) Find() Found { return glob(n, Found{}) }

// glob adds the files that patterns lead to.
func glob(patterns []string, f Found) Found {
	for _, pattern := range patterns {
		matches, err := filepath.Glob(pattern)
		if err != nil {
			f.Errors = append(f.Errors, fmt.Errorf("cannot use library %q: %w", pattern, err))
		} else if len(matches) == 0 && !f.Optional {
			f.Errors = append(f.Errors, &AbsentError{pattern})
		}
		f.Paths = append(f.Paths, slices.DeleteFunc(matches, Temporary)...)
		directories, _ := filepath.Glob(filepath.Dir(pattern))
		f.Directories = append(f.Directories, directories...)
		f.Names = append(f.Names, filepath.Base(pattern))
	}
	return f
}

// Usual finds the usual crypto libraries: those that the loader's cache lists,
// and those at the usual places. One that is not there is no error.
type Usual struct{}

// Find implements Finder.
func (Usual) Find() Found {
	f := glob(usualPlaces(), Found{Optional: true})
	entries, err := ldcache.Read(ldcache.Path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.Errors = append(f.Errors, err)
	}
	f.Paths = append(f.Paths, ldcache.Find(entries, usual)...)
	f.Directories = append(f.Directories, filepath.Dir(ldcache.Path))
	f.Names = []string{filepath.Base(ldcache.Path)}
	for _, soname := range usualSonames() {
		f.Names = append(f.Names, soname, soname+".*")
	}
	return f
}

// Has reports whether a file of this base name is one of the usual libraries.
func (Usual) Has(name string) bool { return usual(name) }

// Files finds files that become known one after another. That one is not there any
// more, or that nothing can be captured in it, is no error.
type Files struct {
	mu    sync.Mutex
	paths []string
}

// Add adds files.
func (f *Files) Add(paths ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.paths = append(f.paths, paths...)
}

// Find implements Finder.
func (f *Files) Find() Found {
	f.mu.Lock()
	defer f.mu.Unlock()
	return Found{Paths: slices.Clone(f.paths), Optional: true}
}

// All finds what several finders find.
type All []Finder

// Find implements Finder.
func (a All) Find() Found {
	all := Found{Optional: true}
	for _, finder := range a {
		f := finder.Find()
		all.Paths = append(all.Paths, f.Paths...)
		all.Errors = append(all.Errors, f.Errors...)
		all.Directories = append(all.Directories, f.Directories...)
		all.Names = append(all.Names, f.Names...)
		all.Optional = all.Optional && f.Optional
	}
	return all
}

// usualSonames are those of the libraries that have the probes, are getting
// them, or may be given them by a distribution, up to their version.
func usualSonames() []string {
	return []string{"libgnutls.so", "libssl.so", "libcrypto.so", "libnettle.so", "libhogweed.so", "libgcrypt.so", "libssl3.so", "libnss3.so", "libfreebl3.so", "libsoftokn3.so"}
}

func usual(soname string) bool {
	return slices.ContainsFunc(usualSonames(), func(name string) bool {
		return soname == name || strings.HasPrefix(soname, name+".")
	})
}

// usualPlaces are globs for libraries that the loader's cache does not list.
func usualPlaces() []string {
	var globs []string
	for _, dir := range []string{"/usr/lib64", "/usr/lib/*-linux-gnu"} {
		for _, name := range []string{"libgnutls.so", "libssl.so", "libcrypto.so"} {
			globs = append(globs, filepath.Join(dir, name+".*"))
		}
	}
	return globs
}

// Temporary reports whether a path is one that a package manager gives to a file
// until all files of the package are there: rpm adds a semicolon and a number
// in hexadecimal, dpkg a suffix.
func Temporary(path string) bool {
	if strings.HasSuffix(path, ".dpkg-new") || strings.HasSuffix(path, ".dpkg-tmp") {
		return true
	}
	i := strings.LastIndexByte(path, ';')
	return i >= 0 && i < len(path)-1 && strings.Trim(path[i+1:], "0123456789abcdef") == ""
}
