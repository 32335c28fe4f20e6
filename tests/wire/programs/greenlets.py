# SPDX-License-Identifier: Apache-2.0
#
# greenlets.py CERTIFICATE KEY COUNT: makes connections with greenlets of gevent, which share
# a stack: while a greenlet waits, its part of the stack is copied elsewhere. The server waits
# in the middle of each handshake. For each side it prints the version, the cipher suite and
# a digest of the received data.
from gevent import monkey

monkey.patch_all()

import gevent
import hashlib
import ssl
import sys
from gevent import socket
from gevent.server import StreamServer

certificate, key, count = sys.argv[1], sys.argv[2], int(sys.argv[3])


waiting, most = 0, 0


def wait(connection, name, context):
    global waiting, most
    waiting += 1
    most = max(most, waiting)
    # Other greenlets run here, and begin and end handshakes at the same stack addresses.
    for _ in range(3):
        gevent.sleep(0)
    waiting -= 1


at_server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
at_server.load_cert_chain(certificate, key)
at_server.sni_callback = wait
at_client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
at_client.load_verify_locations(certificate)
lines = []


def report(role, connection, data):
    lines.append(f"{role} {connection.version()} {connection.cipher()[0]} {hashlib.sha256(data).hexdigest()}")


def receive(connection, size):
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            break
        data += more
    return data


SIZE = 30000


def serve(plain, address):
    connection = at_server.wrap_socket(plain, server_side=True)
    data = receive(connection, SIZE)
    connection.sendall(data[::-1])
    report("server", connection, data)
    connection.close()


def connect(number):
    connection = at_client.wrap_socket(socket.create_connection(("127.0.0.1", server.server_port)), server_hostname="secret-host.example")
    connection.sendall(bytes([number % 251]) * SIZE)
    report("client", connection, receive(connection, SIZE))
    connection.close()


server = StreamServer(("127.0.0.1", 0), serve)
server.start()
gevent.joinall([gevent.spawn(connect, number) for number in range(count)], raise_error=True)
while len(lines) < 2 * count:
    gevent.sleep(0.01)
if most < 2:
    sys.exit("no two greenlets were in a handshake at the same time")
print("\n".join(sorted(lines)))
