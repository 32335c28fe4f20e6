// SPDX-License-Identifier: Apache-2.0

// Greeter is a program to be audited, independent of the project: it serves HTTPS
// (greeter serve ADDRESS), or fetches from such a server (greeter fetch ADDRESS). Both ends
// print the version, the cipher suite and the group of the connection.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log"
	"math/big"
	"net/http"
	"os"
	"time"
)

func describe(c *tls.ConnectionState) string {
	return fmt.Sprintf("version=%d suite=%d group=%d", c.Version, c.CipherSuite, c.CurveID)
}

func serve(address string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().AddDate(1, 0, 0)}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	server := &http.Server{
		Addr:              address,
		ReadHeaderTimeout: time.Minute,
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{certificate}, PrivateKey: key}}},
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, describe(r.TLS)) }),
	}
	return server.ListenAndServeTLS("", "")
}

func fetch(address string) error {
	// The server's certificate is self-signed.
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	response, err := client.Get("https://" + address + "/")
	if err != nil {
		return err
	}
	fmt.Println(describe(response.TLS))
	return response.Body.Close()
}

func main() {
	do := map[string]func(string) error{"serve": serve, "fetch": fetch}[os.Args[1]]
	if err := do(os.Args[2]); err != nil {
		log.Fatal(err)
	}
}
