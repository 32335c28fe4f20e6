#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Counts the operations of a log directory, and compares the counts with the database
of the inventory. It shares no code with the project: it reads the log by
docs/log-format.md (readlog.py), and the database by docs/inventory.md.

usage: count.py LOG-DIRECTORY [DATABASE]   prints the counts, or the differences
Exit status: 0 if the counts are equal, 1 if not.
"""
import collections, os, sqlite3, sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import readlog

VERSIONS = {0x0300: "SSL 3.0", 0x0301: "TLS 1.0", 0x0302: "TLS 1.1", 0x0303: "TLS 1.2", 0x0304: "TLS 1.3"}
GROUPS = {
    23: "secp256r1", 24: "secp384r1", 25: "secp521r1", 29: "x25519", 30: "x448", 256: "ffdhe2048", 257: "ffdhe3072", 258: "ffdhe4096",
    259: "ffdhe6144", 260: "ffdhe8192", 4587: "SecP256r1MLKEM768", 4588: "X25519MLKEM768", 4589: "SecP384r1MLKEM1024",
}
AGREED = ("pk::derive", "pk::encapsulate", "pk::decapsulate")
# Contexts that may be inside an operation if all have the same id.
HOLDS = {
    "tls::handshake": lambda name: name.startswith(("tls::", "pk::")) and not name.startswith("tls::handshake"),
    "tls::key_exchange": lambda name: name in AGREED + ("pk::generate",),
    "tls::sign": lambda name: name in ("pk::sign", "pk::verify", "tls::certificate"),
    "tls::verify": lambda name: name in ("pk::sign", "pk::verify", "tls::certificate"),
    "tls::verify_cert_chain": lambda name: name == "pk::verify",
    "ssh::handshake": lambda name: name in ("ssh::key_exchange", "ssh::client_key", "ssh::server_key"),
}
OF_HANDSHAKE = ("tls::role", "tls::protocol_version", "tls::ciphersuite", "tls::result", "tls::resumed", "tls::extended_master_secret")


def kind(name):
    return "tls::handshake" if name.startswith("tls::handshake") else name


class Node:
    def __init__(self, id, parent, group, start):
        self.id, self.parent, self.inner, self.data, self.name = id, parent, [], {}, ""
        self.start, self.executable, self.unit = start, group.get("executable", b"").decode(), group.get("unit", "")
        if parent:
            parent.inner.append(self)

    def move(self, parent):
        if self.parent:
            self.parent.inner.remove(self)
        self.parent = parent
        if parent:
            parent.inner.append(self)

    def around(self):
        """Yields the nodes around this one with the same id, nearest first."""
        node = self.parent
        while node and node.id == self.id:
            yield node
            node = node.parent

    def root(self):
        node = self
        while node.parent:
            node = node.parent
        return node


class Log(readlog.Reader):
    """Builds trees from the entries of a log."""

    def __init__(self):
        super().__init__()
        self.offset, self.latest, self.nodes = 0, {}, []

    def chunk(self, path, at, fields, *rest):
        self.offset = fields[15]
        yield from super().chunk(path, at, fields, *rest)

    def node(self, id, parent, group):
        n = Node(id, parent, group, group["start"] + self.offset)
        self.latest[id] = n
        self.nodes.append(n)
        return n

    def add(self, group):
        id = group["context"]
        if not any(id):
            return
        for e in group["events"]:
            node = self.latest.get(id)
            if "NewContext" in e:
                parent = e["NewContext"]["parent"]
                announced = parent == id and node and not node.name and not node.data
                if not announced:
                    self.node(id, self.latest.get(parent), group)
                continue
            if node is None:
                node = self.node(id, None, group)
                self.value(node, "name", group.get("name", ""))
            self.value(node, e["Data"]["key"], e["Data"]["value"])

    def value(self, node, key, value):
        if key == "name":
            if value and not node.name:
                node.name = value
                if node.parent and node.parent.id == node.id:  # an operation and its parts share an id
                    node.move(next((n for n in node.around() if HOLDS.get(kind(n.name), lambda _: False)(value)), None))
            return
        if key in OF_HANDSHAKE:
            node = next((n for n in [node, *node.around()] if kind(n.name) == "tls::handshake"), node)
        node.data[key] = value


def group_of(handshake):
    group = ""
    for n in handshake.inner:
        if n.name != "tls::key_exchange" or "tls::group" not in n.data:
            continue
        steps = [i.name for i in n.inner]
        if any(s in AGREED for s in steps) or not steps and "tls::protocol_version" in handshake.data:
            number = n.data["tls::group"] & 0xFFFF
            group = GROUPS.get(number, "0x%04x" % number)
    return group


def count(directory):
    log = Log()
    for _, g in log.read(directory):
        log.add(g)
    if log.problems:
        sys.exit("the log has problems")
    counts = collections.Counter()
    for n in log.nodes:
        hour, root = n.start // 10**9 // 3600 * 3600, n.root()
        common = hour, n.executable or root.executable, n.unit or root.unit
        if n is root and kind(n.name) == "tls::handshake":
            version = n.data.get("tls::protocol_version")
            role = n.data.get("tls::role") or n.name[len("tls::handshake_"):]
            text = "" if version is None else VERSIONS.get(version & 0xFFFF, "0x%04x" % (version & 0xFFFF))
            signed = any("tls::signature_algorithm" in i.data or i.name == "tls::certificate" for i in n.inner)
            group = group_of(n)
            if text or group or signed or "tls::ciphersuite" in n.data or n.data.get("tls::result") == "failed":
                counts[common + (kind(n.name), "", role, text, group)] += 1
        elif n is root and n.name == "ssh::handshake":
            if any(i.data for i in n.inner) or n.data.get("ssh::result") == "failed":
                counts[common + (n.name, "", n.data.get("ssh::role", ""), "", "")] += 1
        elif n.name.startswith("pk::"):
            outer = n
            while outer and outer.name != "tls::key_exchange":
                outer = outer.parent
            if not outer:
                counts[common + (n.name, "" if n is root else kind(root.name), "", "", "")] += 1
    return counts


def stored(path):
    db = sqlite3.connect("file:" + path + "?mode=ro", uri=True)
    rows = db.execute("""SELECT r.start, u.executable, u.unit, u.operation, u.within, u.role, u.version,
        CASE WHEN u.operation = 'tls::handshake' THEN u."group" ELSE '' END, sum(r.count)
        FROM (SELECT * FROM counts UNION ALL SELECT * FROM incomplete) AS r JOIN uses AS u ON u.id = r.use
        GROUP BY 1, 2, 3, 4, 5, 6, 7, 8""")
    return collections.Counter({tuple(r[:-1]): r[-1] for r in rows})


def main(arguments):
    counts = count(arguments[0])
    if len(arguments) < 2:
        for key, n in sorted(counts.items()):
            print(n, *key, sep="\t")
        return 0
    found = stored(arguments[1])
    for key in sorted(set(counts) | set(found)):
        if counts[key] != found[key]:
            print("log %d, database %d:" % (counts[key], found[key]), *key)
    print(sum(counts.values()), "operations in the log,", sum(found.values()), "in the database")
    return int(counts != found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
