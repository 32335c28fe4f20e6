// SPDX-License-Identifier: Apache-2.0

// Package discover finds the files to attach to, with one finder for each way to find
// them. The caller attaches and detaches.
package discover

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"crypto-auditing/src/internal/discover/ldcache"
)

// Finder finds files. It must be safe for use by several goroutines.
type Finder interface {
	// Find returns the files that exist now.
	Find() Found
}

// Found is the result of a finder.
type Found struct {
	// Paths are files, or links to them, possibly with duplicates.
	Paths []string
	// Errors are errors of the search; an *AbsentError reports a missing file.
	Errors []error
	// Optional reports that a file in which nothing can be captured is not an error.
	Optional bool
	// Foreign are the files among Paths that are open files of other mount namespaces, by
	// their paths. Unreachable are files that cannot be opened.
	Foreign     map[string]Foreign
	Unreachable []Unreachable
	// Directories and Names define when to search again: when a file whose name
	// matches one of the globs Names is created, modified or renamed in one of the
	// directories.
	Directories, Names []string
}

// Foreign is a file of another mount namespace. Its path is not a name of it.
type Foreign struct {
	// Name is the name for messages.
	Name string
	// Device and Inode are the numbers of the file that it leads to below overlays.
	Device, Inode uint64
	// Since is the time since which it is used, in nanoseconds since boot; 0 if unknown.
	Since uint64
}

// Unreachable is a file that cannot be opened.
type Unreachable struct {
	Name string
	Err  error
}

// AbsentError reports that a pattern matches no file.
type AbsentError struct{ Pattern string }

func (e *AbsentError) Error() string {
	return fmt.Sprintf("cannot attach to %s: no such file", e.Pattern)
}

// Named finds the files that match paths and globs. A pattern without a match is an
// error.
type Named []string

// Find implements Finder.
func (n Named) Find() Found { return glob(n, Found{}) }

// glob adds the files that match patterns.
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

// Usual finds the usual crypto libraries: those in the loader's cache, and those in
// the usual directories. A missing library is not an error.
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

// Has reports whether name is the base name of one of the usual libraries.
func (Usual) Has(name string) bool { return usual(name) }

// Files finds the files that were added to it. A file that no longer exists, or in
// which nothing can be captured, is not an error.
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

// All combines the results of several finders.
type All []Finder

// Find implements Finder.
func (a All) Find() Found {
	all := Found{Optional: true}
	for _, finder := range a {
		f := finder.Find()
		all.Paths = append(all.Paths, f.Paths...)
		all.Unreachable = append(all.Unreachable, f.Unreachable...)
		if f.Foreign != nil {
			if all.Foreign == nil {
				all.Foreign = map[string]Foreign{}
			}
			maps.Copy(all.Foreign, f.Foreign)
		}
		all.Errors = append(all.Errors, f.Errors...)
		all.Directories = append(all.Directories, f.Directories...)
		all.Names = append(all.Names, f.Names...)
		all.Optional = all.Optional && f.Optional
	}
	return all
}

// usualSonames returns the sonames, without version, of the libraries that have the
// probes, are about to get them, or may get them from a distribution.
func usualSonames() []string {
	return []string{"libgnutls.so", "libssl.so", "libcrypto.so", "libnettle.so", "libhogweed.so", "libgcrypt.so", "libssl3.so", "libnss3.so", "libfreebl3.so", "libsoftokn3.so"}
}

func usual(soname string) bool {
	return slices.ContainsFunc(usualSonames(), func(name string) bool {
		return soname == name || strings.HasPrefix(soname, name+".")
	})
}

// usualPlaces returns globs for libraries that are not in the loader's cache.
func usualPlaces() []string {
	var globs []string
	for _, dir := range []string{"/usr/lib64", "/usr/lib/*-linux-gnu"} {
		for _, name := range []string{"libgnutls.so", "libssl.so", "libcrypto.so"} {
			globs = append(globs, filepath.Join(dir, name+".*"))
		}
	}
	return globs
}

// Temporary reports whether a package manager uses the path for a file until all
// files of the package are unpacked: rpm appends a semicolon and a hexadecimal
// number, dpkg a suffix.
func Temporary(path string) bool {
	if strings.HasSuffix(path, ".dpkg-new") || strings.HasSuffix(path, ".dpkg-tmp") {
		return true
	}
	i := strings.LastIndexByte(path, ';')
	return i >= 0 && i < len(path)-1 && strings.Trim(path[i+1:], "0123456789abcdef") == ""
}
