// SPDX-License-Identifier: Apache-2.0

// Makes a handshake with rustls and prints what it reports: client PORT [FRAGMENT], or
// server PORT CERTIFICATE KEY [FRAGMENT], for one client after another. FRAGMENT is
// the size of the largest record, in bytes with its header.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, ConnectionCommon, DigitallySignedStruct, Error, ServerConfig, ServerConnection, SignatureScheme};
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

// The certificates are made by the test.
#[derive(Debug)]
struct Anything;

impl ServerCertVerifier for Anything {
    fn verify_server_cert(&self, _: &CertificateDer, _: &[CertificateDer], _: &ServerName, _: &[u8], _: UnixTime) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(&self, _: &[u8], _: &CertificateDer, _: &DigitallySignedStruct) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(&self, _: &[u8], _: &CertificateDer, _: &DigitallySignedStruct) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}

fn shake<C, S>(mut connection: C, mut stream: TcpStream) -> std::io::Result<()>
where
    C: DerefMut + Deref<Target = ConnectionCommon<S>>,
    S: rustls::SideData,
{
    while connection.is_handshaking() {
        connection.complete_io(&mut stream)?;
    }
    println!(
        "{:?} {:?} {:?}",
        connection.protocol_version().unwrap(),
        connection.negotiated_cipher_suite().unwrap().suite(),
        connection.negotiated_key_exchange_group().unwrap().name()
    );
    connection.send_close_notify();
    connection.complete_io(&mut stream)?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let a: Vec<String> = std::env::args().collect();
    let fragment = |i: usize| a.get(i).map(|s| s.parse().unwrap());
    default_provider().install_default().unwrap();
    if a[1] == "client" {
        let mut config = ClientConfig::builder().dangerous().with_custom_certificate_verifier(Arc::new(Anything)).with_no_client_auth();
        config.max_fragment_size = fragment(3);
        let connection = ClientConnection::new(Arc::new(config), "secret-host.example".try_into()?)?;
        shake(connection, TcpStream::connect(format!("127.0.0.1:{}", a[2]))?)?;
        return Ok(());
    }
    let chain = CertificateDer::pem_file_iter(&a[3])?.collect::<Result<Vec<_>, _>>()?;
    let mut config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, PrivateKeyDer::from_pem_file(&a[4])?)?;
    config.max_fragment_size = fragment(5);
    let config = Arc::new(config);
    for stream in TcpListener::bind(format!("127.0.0.1:{}", a[2]))?.incoming() {
        if let Err(e) = shake(ServerConnection::new(config.clone())?, stream?) {
            eprintln!("{e}");
        }
    }
    Ok(())
}
