# SPDX-License-Identifier: Apache-2.0
"""An independent varlink client, written only from https://varlink.org.

Usage: client.py SOCKET METHOD [PARAMETERS [COUNT]]

Calls METHOD, with `more` if COUNT is given, and prints each reply as one line
of JSON, at most COUNT. Every reply is checked against the service's description
of its interface: it must have exactly the described fields, with their types, and
an error must be a declared one. On failure, the exit status is 1, with the reason
on standard error.
"""
import json
import re
import socket
import sys


class Wrong(Exception):
    pass


class Description:
    """An interface description (https://varlink.org/Interface-Definition)."""

    def __init__(self, text):
        text = re.sub(r"#[^\n]*", " ", text)
        self.tokens = re.findall(r"->|\[string\]|\[\]|[A-Za-z][A-Za-z0-9_.-]*|[():,?]", text)
        if re.sub(r"->|\[string\]|\[\]|[A-Za-z][A-Za-z0-9_.-]*|[():,?]|\s", "", text):
            raise Wrong("the description has invalid characters")
        self.types, self.methods, self.errors = {}, {}, {}
        self.expect("interface")
        self.name = self.take()
        while self.tokens:
            kind, name = self.take(), self.take()
            if kind == "type":
                self.types[name] = self.struct()
            elif kind == "method":
                arguments = self.struct()
                self.expect("->")
                self.methods[name] = (arguments, self.struct())
            elif kind == "error":
                self.errors[name] = self.struct()
            else:
                raise Wrong(f"the description has the invalid entry {kind} {name}")

    def take(self):
        if not self.tokens:
            raise Wrong("the description ends early")
        return self.tokens.pop(0)

    def expect(self, token):
        if (got := self.take()) != token:
            raise Wrong(f"the description has {got} instead of {token}")

    def struct(self):
        self.expect("(")
        fields = {}
        while self.tokens[0] != ")":
            if fields:
                self.expect(",")
            name = self.take()
            self.expect(":")
            fields[name] = self.type()
        self.expect(")")
        return fields

    def type(self):
        token = self.tokens[0]
        if token == "(":
            return self.struct()
        self.take()
        return (token, self.type()) if token in ("[]", "[string]", "?") else token

    def check(self, value, kind, place):
        simple = {"bool": bool, "int": int, "float": (int, float), "string": str, "object": dict}
        if isinstance(kind, dict):
            if not isinstance(value, dict):
                raise Wrong(f"{place} is {value!r}, not a struct")
            if set(value) - set(kind):
                raise Wrong(f"{place} has the undescribed fields {set(value) - set(kind)}")
            for name, field in kind.items():
                if name not in value and field[0] != "?":
                    raise Wrong(f"{place} lacks {name}")
                self.check(value.get(name), field, f"{place}.{name}")
        elif isinstance(kind, tuple):
            wrapper, kind = kind
            if wrapper == "?":
                if value is not None:
                    self.check(value, kind, place)
                return
            if not isinstance(value, list if wrapper == "[]" else dict):
                raise Wrong(f"{place} is {value!r}")
            for i, element in enumerate(value) if wrapper == "[]" else value.items():
                self.check(element, kind, f"{place}[{i}]")
        elif kind in simple:
            if not isinstance(value, simple[kind]) or kind != "bool" and isinstance(value, bool):
                raise Wrong(f"{place} is {value!r}, not {kind}")
        elif kind in self.types:
            self.check(value, self.types[kind], place)
        else:
            raise Wrong(f"{place} has the unknown type {kind}")


class Connection:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(60)
        self.socket.connect(path)
        self.received = b""

    def send(self, **call):
        self.socket.sendall(json.dumps(call).encode() + b"\0")

    def receive(self):
        while b"\0" not in self.received:
            data = self.socket.recv(65536)
            if not data:
                raise Wrong("the service closed the connection")
            self.received += data
        frame, self.received = self.received.split(b"\0", 1)
        return json.loads(frame)

    def describe(self, interface):
        self.send(method="org.varlink.service.GetInterfaceDescription", parameters={"interface": interface})
        reply = self.receive()
        if "error" in reply:
            raise Wrong(f"{interface} is not described: {reply}")
        return Description(reply["parameters"]["description"])


def main(path, method, parameters="{}", count=None):
    interface, member = method.rsplit(".", 1)
    connection = Connection(path)
    description = connection.describe(interface) if interface != "org.varlink.service" else None
    more = {"more": True} if count else {}
    connection.send(method=method, parameters=json.loads(parameters), **more)
    for _ in range(int(count or 1)):
        reply = connection.receive()
        if set(reply) - {"parameters", "continues", "error"}:
            raise Wrong(f"a reply has the fields {set(reply)}")
        print(json.dumps(reply, sort_keys=True), flush=True)
        values = reply.get("parameters", {})
        if "error" in reply:
            source, error = reply["error"].rsplit(".", 1)
            if description and source == interface:
                if error not in description.errors:
                    raise Wrong(f"the error {error} is not declared")
                description.check(values, description.errors[error], error)
            elif source != "org.varlink.service":
                raise Wrong(f"the error {reply['error']} is not of this interface")
        elif description:
            description.check(values, description.methods[member][1], member)
        if not reply.get("continues"):
            break


try:
    main(*sys.argv[1:])
except (Wrong, OSError, ValueError, KeyError) as e:
    sys.exit(f"client.py: {type(e).__name__}: {e}")
