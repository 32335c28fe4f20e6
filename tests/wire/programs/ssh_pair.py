# SPDX-License-Identifier: Apache-2.0
"""Makes an SSH handshake with paramiko: client PORT, which prints what was negotiated, or
server PORT, for one client after another."""

import re
import socket
import sys

import paramiko


class Algorithms:
    """Keeps the key exchange, which paramiko only names in its log."""

    kex = ""

    def write(self, text):
        if m := re.search(r"Kex: (\S+)", text):
            self.kex = m.group(1)

    def flush(self):
        pass


def client(port):
    import logging

    algorithms = Algorithms()
    logging.basicConfig(level=logging.DEBUG, stream=algorithms)
    t = paramiko.Transport(("127.0.0.1", port))
    t.start_client(timeout=60)
    print(algorithms.kex, t.host_key_type, t.local_cipher, t.remote_cipher, t.local_mac, t.remote_mac, t.local_compression)
    t.close()


def server(port):
    key = paramiko.RSAKey.generate(2048)
    listener = socket.create_server(("127.0.0.1", port))
    while True:
        connection, _ = listener.accept()
        t = paramiko.Transport(connection)
        t.add_server_key(key)
        try:
            t.start_server(server=paramiko.ServerInterface())
        except (paramiko.SSHException, EOFError, OSError):
            pass  # The client disconnects after the handshake.


{"client": client, "server": server}[sys.argv[1]](int(sys.argv[2]))
