"""A bridge in front of a directory, and LDAP over a blocking socket for what no client library can be made to do."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import Any

from rig.directory import SUFFIX, dn, document, environment, grant, system
from rig.place import free_port
from rig.slapd import Slapd

from adapters.ldap import answers, codec
from adapters.ldap.codes import NOT_FINAL, Oid, Op
from adapters.ldap.framing import LIMIT_UPSTREAM, Framer, Message
from bridge.wire import ber

TIMEOUT = 10.0
ALL = ("read", "write", "admin")
PEOPLE = f"ou=people,{SUFFIX}"


def door_document(slapd: Slapd) -> dict[str, Any]:
    """Systems by name; readers are granted ``read``, writers everything."""
    narrow = {"bases": ["OU=People, 0.9.2342.19200300.100.1.25=example,dc=ORG"],
              "attributes": ["objectClass", "commonName", "uid", "mail"]}  # fmt: skip
    systems = {
        "directory": system(slapd, "svc_reader", "svc_writer"),
        "starttls": system(slapd, "svc_reader", encryption="starttls"),
        "narrow": system(slapd, "svc_writer"),
        "observed": {**system(slapd, "svc_writer"), "mode": "observe"},
        "capped": system(slapd, "svc_reader", max_entries=5),
        "wrong": system(slapd, "svc_wrong"),
        "locked": system(slapd, "svc_locked"),
        "dead": system(slapd, "svc_reader"),
        "untrusted": system(slapd, "svc_reader"),
    }
    systems["starttls"]["upstream"]["port"] = slapd.port
    systems["wrong"]["accounts"]["svc_wrong"]["user"] = dn("svc_reader")
    systems["dead"]["upstream"]["port"] = free_port()
    del systems["untrusted"]["upstream"]["ca"]
    grants = [
        grant("reader", "directory", "svc_reader", "read"),
        grant("writer", "directory", "svc_writer", *ALL),
        grant("reader", "narrow", "svc_writer", "read", "write", **narrow),
        grant("reader", "observed", "svc_writer", "read", **narrow),
        {"id": "no-vip", "roles": ["reader"], "system": "narrow", "effect": "deny",
         "bases": [f"UserID=USER07 ,{PEOPLE}"]},
    ]  # fmt: skip
    for name in ("starttls", "capped", "wrong", "locked", "dead", "untrusted"):
        grants += [grant("reader", name, account, "read") for account in systems[name]["accounts"]]
    return document(systems, grants)


def door_environment(slapd: Slapd) -> dict[str, str]:
    return {**environment(slapd), "PW_SVC_WRONG": slapd.passwords["svc_writer"]}


class Talk:
    """One connection to a door, in the clear until ``tls``."""

    def __init__(self, port: int) -> None:
        self.socket: socket.socket = socket.create_connection(("127.0.0.1", port), TIMEOUT)
        self._framer = Framer(LIMIT_UPSTREAM)
        self._number = 0

    def __enter__(self) -> Talk:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def tls(self, ca: Path, certificate: tuple[Path, Path] | None = None) -> Talk:
        context = ssl.create_default_context(cafile=str(ca))
        if certificate is not None:
            context.load_cert_chain(*certificate)
        self.socket = context.wrap_socket(self.socket, server_hostname="127.0.0.1")
        return self

    def start_tls(self, ca: Path) -> Talk:
        assert self.ask(codec.extended(Oid.START_TLS)).code == 0
        return self.tls(ca)

    def sasl(self, mechanism: str, credentials: bytes | None = None) -> answers.LdapResult:
        parts = [ber.encode(4, mechanism.encode()), *([] if credentials is None else [ber.encode(4, credentials)])]
        return self.ask(ber.encode(Op.BIND, ber.encode_integer(3), ber.encode(4, b""), ber.encode(0xA3, *parts)))

    def bind(self, token: str, name: str = "") -> answers.LdapResult:
        return self.ask(codec.simple_bind(name.encode(), token.encode()))

    def say(self, operation: bytes, controls: bytes = b"", *, number: int = 0) -> int:
        self._number = number or self._number + 1
        self.socket.sendall(codec.request(self._number, operation, controls))
        return self._number

    def hear(self) -> Message:
        while (found := self._framer.next()) is None:
            data = self.socket.recv(65536)
            if not data:
                raise EOFError("the bridge closed the connection")
            self._framer.add(data)
        return found

    def all(self) -> list[Message]:
        """Up to a final answer."""
        heard = [self.hear()]
        while heard[-1].tag in NOT_FINAL:
            heard.append(self.hear())
        return heard

    def ask(self, operation: bytes, controls: bytes = b"") -> answers.LdapResult:
        """The result of the final answer."""
        number = self.say(operation, controls)
        last = self.all()[-1]
        assert last.id == number or last.id == 0, last
        return answers.read_result(last)

    def search(self, base: str, *attributes: str, scope: int = 2, controls: bytes = b"") -> tuple[list[Message], int]:
        """Entries and result code, all of the filter ``(objectClass=*)``."""
        names = tuple(name.encode() for name in attributes)
        self.say(codec.search(base.encode(), scope, codec.present(b"objectClass"), names), controls)
        heard = self.all()
        return [one for one in heard if one.tag == Op.ENTRY], answers.read_result(heard[-1]).code

    def closed(self) -> bool:
        """Whether nothing more comes, whatever was still on its way."""
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionError:
            return True
        except TimeoutError:
            return False
        return True
