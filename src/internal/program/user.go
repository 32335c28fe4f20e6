// SPDX-License-Identifier: Apache-2.0

package program

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// CheckAs makes the process one of the user that a service runs as, so that a
// check sees what the service will see, and returns the name of the user. It
// stays what it is unless it is root's, if own is set, and if there is no such
// user.
func CheckAs(service string, own bool) (name string, err error) {
	u, err := user.Lookup(service)
	var unknown user.UnknownUserError
	switch {
	case own || os.Geteuid() != 0 || errors.As(err, &unknown):
		name = strconv.Itoa(os.Geteuid())
		if u, err := user.LookupId(name); err == nil {
			name = u.Username
		}
		return name, nil
	case err != nil:
		return "", fmt.Errorf("cannot look up user %s: %w", service, err)
	}
	if err := become(u); err != nil {
		return "", fmt.Errorf("cannot check as user %s: %w", service, err)
	}
	return service, nil
}

func become(u *user.User) error {
	names, err := u.GroupIds()
	if err != nil {
		return err
	}
	var groups []int
	for _, name := range names {
		id, err := strconv.Atoi(name)
		if err != nil {
			return err
		}
		groups = append(groups, id)
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return err
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return err
	}
	// In this order: the last takes away the right to do the others.
	if err := syscall.Setgroups(groups); err != nil {
		return err
	}
	if err := syscall.Setgid(gid); err != nil {
		return err
	}
	return syscall.Setuid(uid)
}
