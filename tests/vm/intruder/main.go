// SPDX-License-Identifier: Apache-2.0

// Command intruder tries what it is told and says what became of it: "read
// FILE", "write FILE" (which makes the file) and "connect SOCKET",
// in pairs on the command line. It does no harm where it succeeds but for the
// files it makes. The tests run it in the domains of the services, as if those
// had been taken over, and what it is denied is denied on purpose.
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
		what, path := os.Args[i], os.Args[i+1]
		fmt.Printf("%s %s => %s\n", what, path, outcome(what, path))
	}
	// Until it is killed, so that one can look in which domain it is.
	time.Sleep(time.Hour)
}

// outcome tries one thing.
func outcome(what, path string) string {
	var err error
	switch what {
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
		return "what?"
	}
	switch {
	case err == nil:
		return "done"
	case errors.Is(err, fs.ErrPermission):
		return "denied"
	}
	return err.Error()
}
