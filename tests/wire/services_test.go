// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// file writes a file that all users may read, and returns its path.
func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// account returns a user without privileges, and gives it copies of files in a
// directory that it owns.
func account(t *testing.T, files ...string) (directory string, id *syscall.Credential) {
	t.Helper()
	u, err := user.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		t.Fatal(err)
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		t.Fatal(err)
	}
	// Only its owner can access t.TempDir.
	directory, err = os.MkdirTemp("", "crau-wire-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(directory) })
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(directory, filepath.Base(path))
		if err := os.WriteFile(to, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(to, uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(directory, uid, gid); err != nil {
		t.Fatal(err)
	}
	return directory, &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// sh runs a script as a user until it exits, and returns its output.
func sh(t *testing.T, id *syscall.Credential, script string) string {
	t.Helper()
	command := exec.Command("sh", "-euc", script)
	command.SysProcAttr = &syscall.SysProcAttr{Credential: id}
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}

// postgresql returns pairs with PostgreSQL, whose server only runs as an unprivileged user.
func (p peer) postgresql(t *testing.T) map[string]func(t *testing.T) pair {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if len(found) == 0 {
		if *everything {
			t.Fatal("PostgreSQL is not installed: run tests/setup.sh soak")
		}
		t.Log("PostgreSQL is not installed")
		return nil
	}
	directory := filepath.Dir(found[0])
	own, id := account(t, p.rsa, p.rsaKey)
	sh(t, id, fmt.Sprintf("cd %[2]s; %[1]s/initdb -D data -A trust -U x -N --no-instructions", directory, own))
	server := func(t *testing.T, port string) *buffer {
		return startAs(t, id, directory+"/postgres", "-D", own+"/data", "-p", port, "-h", "127.0.0.1", "-k", "",
			"-c", "ssl=on", "-c", "ssl_cert_file="+own+"/rsa.crt", "-c", "ssl_key_file="+own+"/rsa.key")
	}
	client := func(t *testing.T, port string) values {
		to := fmt.Sprintf("host=127.0.0.1 port=%s user=x dbname=postgres sslmode=require", port)
		var out string
		// PostgreSQL listens before it is ready.
		waitFor(t, "PostgreSQL is ready", func() bool {
			out = output(t, "", directory+"/psql", to, "-AtXF", " ", "-c", "select version, cipher from pg_stat_ssl where pid = pg_backend_pid()")
			return strings.HasPrefix(out, "TLS")
		}, func() string { return out })
		return ofWords(t, out)
	}
	return map[string]func(t *testing.T) pair{
		"PostgreSQL": func(*testing.T) pair { return pair{server, client, "postgres", "psql", nil} },
		"others to PostgreSQL": func(*testing.T) pair {
			return p.fromClient("postgres", server, "-starttls", "postgres")
		},
	}
}

func TestHandshakesOfServicesAreRecorded(t *testing.T) {
	need(t, "ldapsearch", "/usr/sbin/slapd")
	a := startAgent(t)
	c := &tools{t.TempDir()}
	o := opensslPeer(t, c)
	compare(t, a, o.postgresql(t))

	var slapd *buffer
	directory := func(t *testing.T, port string) *buffer {
		data := t.TempDir()
		text := fmt.Sprintf("include /etc/ldap/schema/core.schema\nmodulepath /usr/lib/ldap\nmoduleload back_ldif\nTLSCertificateFile %s\nTLSCertificateKeyFile %s\npidfile %[3]s/pid\ndatabase ldif\nsuffix dc=x\ndirectory %[3]s\n", o.rsa, o.rsaKey, data)
		// Level 256 logs the connections.
		slapd = start(t, "/usr/sbin/slapd", "-f", file(t, "slapd.conf", text), "-h", "ldap://127.0.0.1:"+port, "-d", "256")
		return slapd
	}
	t.Setenv("LDAPTLS_REQCERT", "never")
	compare(t, a, map[string]func(t *testing.T) pair{
		"OpenLDAP": func(*testing.T) pair {
			return pair{directory, func(t *testing.T, port string) values {
				output(t, "", "ldapsearch", "-ZZ", "-x", "-H", "ldap://127.0.0.1:"+port, "-b", "", "-s", "base")
				m := find(t, `TLS established .* tls_proto=TLS(\S+) tls_cipher=AES-256-GCM`, slapd.String())
				return values{"tls::protocol_version": "TLS " + m[0], "tls::ciphersuite": "TLS_AES_256_GCM_SHA384"}
			}, "slapd", "ldapsearch", nil}
		},
		"others to OpenLDAP": func(*testing.T) pair { return o.fromClient("slapd", directory, "-starttls", "ldap") },
	})
}

// make check does not install these services because of their size.
func TestHandshakesOfLargeServicesAreRecorded(t *testing.T) {
	large(t, "mariadb", "/usr/sbin/mariadbd", "/usr/sbin/dovecot", "/usr/sbin/apache2")
	a := startAgent(t)
	c := &tools{t.TempDir()}
	o := opensslPeer(t, c)
	t.Run("Apache", func(t *testing.T) {
		server := func(t *testing.T, port string) *buffer {
			directory, modules := t.TempDir(), "/usr/lib/apache2/modules"
			text := fmt.Sprintf("ServerName secret-host.example\nPidFile %[1]s/pid\nListen 127.0.0.1:%[2]s\nErrorLog %[1]s/log\nUser nobody\nGroup nogroup\n"+
				"LoadModule mpm_event_module %[3]s/mod_mpm_event.so\nLoadModule authz_core_module %[3]s/mod_authz_core.so\nLoadModule ssl_module %[3]s/mod_ssl.so\n"+
				"SSLEngine on\nSSLCertificateFile %[4]s\nSSLCertificateKeyFile %[5]s\nDefaultRuntimeDir %[1]s\n", directory, port, modules, o.rsa, o.rsaKey)
			return start(t, "/usr/sbin/apache2", "-X", "-f", file(t, "apache.conf", text))
		}
		curl := c.copied(t, "curl")
		compare(t, a, map[string]func(t *testing.T) pair{
			"from OpenSSL": func(*testing.T) pair { return o.fromClient("apache2", server) },
			"from curl": func(*testing.T) pair {
				return pair{server, func(t *testing.T, port string) values {
					m := find(t, `SSL connection using (\S+) / (\S+)`, output(t, "", curl, "-svk", "--max-time", "30", "-o", "/dev/null", "https://127.0.0.1:"+port+"/"))
					return values{"tls::protocol_version": version(m[0]), "tls::ciphersuite": m[1]}
				}, "apache2", "wt-curl", nil}
			},
		})
	})
	t.Run("MariaDB", func(t *testing.T) {
		server := func(t *testing.T, port string) *buffer {
			data := t.TempDir()
			return start(t, "/usr/sbin/mariadbd", "--no-defaults", "--user=root", "--datadir="+data, "--skip-grant-tables", "--innodb=off", "--default-storage-engine=MyISAM",
				"--port="+port, "--bind-address=127.0.0.1", "--socket="+data+"/socket", "--pid-file="+data+"/pid", "--ssl-cert="+o.rsa, "--ssl-key="+o.rsaKey)
		}
		client := func(t *testing.T, port string) values {
			out := output(t, "", "mariadb", "--no-defaults", "-NB", "-h", "127.0.0.1", "-P", port, "--ssl", "-e", "show status like 'Ssl_version'; show status like 'Ssl_cipher'")
			m := find(t, `Ssl_version\s+(\S+)\s+Ssl_cipher\s+(\S+)`, out)
			return values{"tls::protocol_version": version(m[0]), "tls::ciphersuite": m[1]}
		}
		compare(t, a, map[string]func(t *testing.T) pair{
			"itself":      func(*testing.T) pair { return pair{server, client, "mariadbd", "mariadb", nil} },
			"from others": func(*testing.T) pair { return o.fromClient("mariadbd", server, "-starttls", "mysql") },
		})
	})
	t.Run("Dovecot", func(t *testing.T) {
		curl := c.copied(t, "curl")
		var dovecot *buffer
		server := func(t *testing.T, port string) *buffer {
			// Its processes run as other users.
			own, _ := account(t)
			text := fmt.Sprintf("base_dir = %[1]s/run\nstate_dir = %[1]s/state\nlog_path = /dev/stderr\nprotocols = imap\nssl = required\nssl_cert = <%[2]s\nssl_key = <%[3]s\nlogin_log_format_elements = %%c %%k\nmail_location = mbox:%[1]s/mail\npassdb {\n driver = static\n args = nopassword=y\n}\n", own, o.rsa, o.rsaKey) +
				fmt.Sprintf("service imap-login {\n inet_listener imap {\n  address = 127.0.0.1\n  port = %s\n }\n inet_listener imaps {\n  port = 0\n }\n}\n", port)
			dovecot = start(t, "/usr/sbin/dovecot", "-F", "-c", file(t, "dovecot.conf", text))
			return dovecot
		}
		compare(t, a, map[string]func(t *testing.T) pair{
			"from curl": func(*testing.T) pair {
				return pair{server, func(t *testing.T, port string) values {
					out := output(t, "", curl, "-svk", "--max-time", "30", "--ssl-reqd", "imap://127.0.0.1:"+port+"/", "-X", "LOGOUT")
					m := find(t, `SSL connection using (\S+) / (\S+)`, out)
					waitFor(t, "Dovecot logs the same", func() bool { return strings.Contains(dovecot.String(), m[0]+" with cipher "+m[1]) }, dovecot.String)
					return values{"tls::protocol_version": version(m[0]), "tls::ciphersuite": m[1], "tls::result": "inferred"}
				}, "imap-login", "wt-curl", nil}
			},
			"from OpenSSL": func(*testing.T) pair { return o.fromClient("imap-login", server, "-starttls", "imap") },
		})
	})
}
