"""What alerts are sent to: an HTTPS server and a mail server of the test's own."""

from __future__ import annotations

import json
import ssl
import threading
from email import message_from_bytes
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult
from rig.certificates import Authority
from rig.place import Place, free_port


class Hooks:
    """``received`` are (path, headers, body); ``status`` is what it answers."""

    def __init__(self, place: Place, authority: Authority) -> None:
        self.received: list[tuple[str, dict[str, str], bytes]] = []
        self.status = 202
        hooks = self

        class Answering(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                hooks.received.append((self.path, headers, body))
                self.send_response(hooks.status)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*authority.issue(place.folder, "hooks"))
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://localhost:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def bodies(self, path: str) -> list[dict[str, Any]]:
        return [json.loads(body) for where, _, body in self.received if where == path]

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Post:
    """A mail server that asks for STARTTLS and a login. ``letters`` are (recipients, message)."""

    USER, PASSWORD = "idbridge", "mail-pa55word-canary"

    def __init__(self, place: Place, authority: Authority) -> None:
        self.letters: list[tuple[list[str], Any]] = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*authority.issue(place.folder, "mail"))
        self.port = free_port()
        self._controller = Controller(
            self, hostname="127.0.0.1", port=self.port, authenticator=self._authenticate, auth_required=True,
            auth_require_tls=True, require_starttls=True, tls_context=context, server_hostname="localhost",
        )  # fmt: skip
        self._controller.start()

    def _authenticate(self, server: SMTP, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        right = (data.login.decode(), data.password.decode()) == (self.USER, self.PASSWORD)
        return AuthResult(success=right)

    async def handle_DATA(self, server: SMTP, session: Any, envelope: Any) -> str:
        self.letters.append((envelope.rcpt_tos, message_from_bytes(envelope.content, policy=default)))
        return "250 taken"

    def stop(self) -> None:
        if not self._controller.loop.is_closed():
            self._controller.stop()
