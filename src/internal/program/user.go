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

// CheckAs switches the process to the user of a service, so that a check has the
// permissions of the service, and returns the name of the user. It keeps the current user
// if own is set, if the process does not run as root, and if the service's user does not
// exist.
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
	// The order matters: Setuid drops the privilege that the others need.
	if err := syscall.Setgroups(groups); err != nil {
		return err
	}
	if err := syscall.Setgid(gid); err != nil {
		return err
	}
	return syscall.Setuid(uid)
}
