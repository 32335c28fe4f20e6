// SPDX-License-Identifier: Apache-2.0

package policycheck

import (
	"strings"

	"crypto-auditing/src/internal/inventory/row"
)

// backEnd is a library or program that takes its defaults from the policy, by the scopes that apply
// to it. A back end with a general scope represents an unknown implementation.
type backEnd struct {
	name   string
	scopes []string
}

const (
	openSSL       = "openssl"
	gnuTLS        = "gnutls"
	nss           = "nss"
	javaTLS       = "java-tls"
	openSSHClient = "openssh-client"
	openSSHServer = "openssh-server"
	libSSH        = "libssh"
	anyTLS        = "tls"
	anySSH        = "ssh"
)

func tlsBackEnds() []backEnd {
	return []backEnd{
		{anyTLS, []string{"tls", "ssl"}},
		{openSSL, []string{"openssl", "tls", "ssl"}},
		{gnuTLS, []string{"gnutls", "tls", "ssl"}},
		{nss, []string{"nss", "nss-tls", "tls", "ssl"}},
		{javaTLS, []string{"java-tls", "tls", "ssl"}},
	}
}

func sshBackEnds() []backEnd {
	return []backEnd{
		{anySSH, []string{"ssh"}},
		{openSSHClient, []string{"openssh-client", "openssh", "ssh"}},
		{openSSHServer, []string{"openssh-server", "openssh", "ssh"}},
		{libSSH, []string{"libssh", "ssh"}},
		{libSSH, []string{"libssh", "openssh", "ssh"}}, // in older releases
	}
}

// backEndsOf returns the back ends that may have performed an operation: one or, where releases
// differ, several of its library; all of the protocol if the library is not a known one.
func backEndsOf(use *row.Use) []backEnd {
	all, name := tlsBackEnds(), ""
	switch {
	case use.Operation == row.SSHHandshake || use.Within == row.SSHHandshake:
		all, name = sshBackEnds(), sshImplementation(use)
	default:
		name = tlsLibrary(use)
	}
	var named, possible []backEnd
	for _, b := range all {
		if b.name == name {
			named = append(named, b)
		}
		if b.name != javaTLS || use.Executable == "" { // otherwise the program would be java
			possible = append(possible, b)
		}
	}
	if len(named) > 0 {
		return named
	}
	return possible
}

func tlsLibrary(use *row.Use) string {
	name, _, _ := strings.Cut(use.Library, ".so")
	switch name {
	case "libssl", "libcrypto":
		return openSSL
	case "libgnutls":
		return gnuTLS
	case "libnss3", "libssl3", "libsoftokn3", "libfreebl3", "libfreeblpriv3", "libsmime3":
		return nss
	}
	if use.Library == "" && use.Executable == "java" {
		return javaTLS
	}
	return ""
}

func sshImplementation(use *row.Use) string {
	if name, _, _ := strings.Cut(use.Library, ".so"); name == "libssh" {
		return libSSH
	}
	switch use.Executable {
	case "ssh":
		return openSSHClient
	case "sshd", "sshd-session", "sshd-auth":
		return openSSHServer
	}
	return ""
}
