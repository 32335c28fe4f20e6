// SPDX-License-Identifier: Apache-2.0

package bustest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
)

// Deaf is a connection to a bus that is never read.
type Deaf struct {
	net.Conn
	serial uint32
}

// NewDeaf connects to the bus at an address of the form of Bus.Address.
func NewDeaf(address string) (*Deaf, error) {
	conn, err := net.Dial("unix", strings.TrimPrefix(address, "unix:path="))
	if err != nil {
		return nil, err
	}
	d := &Deaf{Conn: conn}
	if err := d.hello(); err != nil {
		conn.Close()
		return nil, err
	}
	return d, nil
}

func (d *Deaf) hello() error {
	if err := d.write([]byte("\x00AUTH EXTERNAL " + fmt.Sprintf("%x", fmt.Sprint(os.Geteuid())) + "\r\n")); err != nil {
		return err
	}
	if _, err := d.Read(make([]byte, 100)); err != nil {
		return err
	}
	if err := d.write([]byte("BEGIN\r\n")); err != nil {
		return err
	}
	return d.Call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus.Hello")
}

// write writes, and fails if the bus does not read for a minute.
func (d *Deaf) write(b []byte) error {
	if err := d.SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
		return err
	}
	_, err := d.Write(b)
	return err
}

// Call calls a method and never reads the reply.
func (d *Deaf) Call(name string, path dbus.ObjectPath, method string, arguments ...any) error {
	dot := strings.LastIndexByte(method, '.')
	m := &dbus.Message{Type: dbus.TypeMethodCall, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldDestination: dbus.MakeVariant(name), dbus.FieldPath: dbus.MakeVariant(path),
		dbus.FieldInterface: dbus.MakeVariant(method[:dot]), dbus.FieldMember: dbus.MakeVariant(method[dot+1:]),
	}, Body: arguments}
	if len(arguments) > 0 {
		m.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(arguments...))
	}
	var b bytes.Buffer
	if err := m.EncodeTo(&b, binary.LittleEndian); err != nil {
		return err
	}
	d.serial++
	binary.LittleEndian.PutUint32(b.Bytes()[8:], d.serial)
	return d.write(b.Bytes())
}
