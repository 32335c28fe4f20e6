// SPDX-License-Identifier: Apache-2.0

//! Makes a handshake of DTLS 1.3 with the library dimpl: dimpl-pair client PORT, or
//! dimpl-pair server PORT, for one client after another. Either end prints the version,
//! cipher suite and group that it agreed on. The server has only one suite and one group, which
//! it must request since the client prefers another.

use dimpl::crypto::{Dtls13CipherSuite, NamedGroup};
use dimpl::{certificate, Config, Dtls, Output, ProtocolVersion};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long an end answers retransmissions of the other.
const LINGER: Duration = Duration::from_millis(300);

fn config(server: bool) -> Arc<Config> {
    let groups: &[NamedGroup] = if server {
        &[NamedGroup::Secp384r1]
    } else {
        &[NamedGroup::X25519, NamedGroup::Secp384r1]
    };
    let builder = Config::builder()
        .mtu(500)
        .kx_groups(groups)
        .dtls13_cipher_suites(&[Dtls13CipherSuite::AES_256_GCM_SHA384])
        .require_client_certificate(false);
    Arc::new(builder.build().expect("configuration"))
}

/// Makes a handshake through the socket; a server with the first client that sends.
fn shake(socket: &UdpSocket, server: bool, mut peer: Option<SocketAddr>) {
    let own = certificate::generate_self_signed_certificate().expect("certificate");
    let mut dtls = Dtls::new_13(config(server), own, Instant::now());
    dtls.set_active(!server);
    dtls.handle_timeout(Instant::now()).expect("start");
    let (mut out, mut datagram) = (vec![0; 4096], vec![0; 65536]);
    let mut end = None;
    loop {
        let mut wake = Instant::now() + Duration::from_millis(100);
        loop {
            match dtls.poll_output(&mut out) {
                Output::Packet(p) => {
                    socket.send_to(p, peer.expect("peer")).expect("send");
                }
                Output::BufferTooSmall { needed } => out.resize(needed, 0),
                Output::Timeout(t) => {
                    wake = wake.min(t);
                    break;
                }
                Output::Connected => end = Some(Instant::now() + LINGER),
                _ => {}
            }
        }
        if end.is_some_and(|end| Instant::now() >= end) {
            assert_eq!(dtls.protocol_version(), Some(ProtocolVersion::DTLS1_3));
            println!("DTLSv1.3 TLS_AES_256_GCM_SHA384 secp384r1");
            return;
        }
        let wait = wake.saturating_duration_since(Instant::now());
        let wait = wait.max(Duration::from_millis(1));
        socket.set_read_timeout(Some(wait)).expect("time");
        match socket.recv_from(&mut datagram) {
            Ok((n, from)) if peer.is_none_or(|peer| peer == from) => {
                peer = Some(from);
                dtls.handle_timeout(Instant::now()).expect("time");
                dtls.handle_packet(&datagram[..n]).expect("datagram");
            }
            Ok(_) => {}
            Err(_) if peer.is_none() => {}
            Err(_) => dtls.handle_timeout(Instant::now()).expect("time"),
        }
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let port: u16 = arguments[2].parse().expect("port");
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    if arguments[1] == "server" {
        let socket = UdpSocket::bind(address).expect("bind");
        loop {
            shake(&socket, true, None);
        }
    }
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
    shake(&socket, false, Some(address));
}
