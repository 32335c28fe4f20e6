// SPDX-License-Identifier: Apache-2.0

// Command intruder tries the actions on its command line, and prints their outcomes:
// "read FILE", "list DIRECTORY", "write FILE" (which makes the file) and "connect
// SOCKET". It changes nothing except the files that it makes. The tests run it in the
// domains of the services, as if those had been taken over, to be denied access.
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"time"
)

func main() {
	for i := 1; i+1 < len(os.Args); i += 2 {
		action, path := os.Args[i], os.Args[i+1]
		fmt.Printf("%s %s => %s\n", action, path, outcome(action, path))
	}
	// The test reads its domain before it ends it.
	time.Sleep(time.Hour)
}

// outcome tries an action and returns its outcome.
func outcome(action, path string) string {
	var err error
	switch action {
	case "read":
		_, err = os.ReadFile(path)
	case "list":
		_, err = os.ReadDir(path)
	case "write":
		err = os.WriteFile(path, []byte("intruder\n"), 0o600)
	case "connect":
		var c net.Conn
		if c, err = net.Dial("unix", path); err == nil {
			c.Close()
		}
	default:
		return "unknown action"
	}
	switch {
	case err == nil:
		return "done"
	case errors.Is(err, fs.ErrPermission):
		return "denied"
	}
	return err.Error()
}
