"""Gives a command to a running bridge through its Unix socket. Blocks."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bridge.api.failure import CommandFailed

TIMEOUT = 60.0  # seconds; doctor logs in to a legacy system, all else answers at once
MAX_ANSWER = 256 * 1024 * 1024


class NotRunning(Exception):
    """Nobody answers at the socket."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("bridge", timeout=TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(TIMEOUT)
        try:
            self.sock.connect(str(self._path))
        except OSError:
            self.sock.close()
            raise


def call_socket(path: Path, name: str, parameters: Mapping[str, Any]) -> Any:
    """The command's answer. Raises NotRunning, CommandFailed."""
    connection = _UnixConnection(path)
    try:
        connection.connect()
    except (FileNotFoundError, ConnectionRefusedError):
        raise NotRunning from None
    except OSError as error:
        raise CommandFailed(f"{path}: {error.strerror or error}; run it as the bridge's user", status=503) from None
    try:
        connection.request("POST", f"/v1/{name}", json.dumps(dict(parameters)), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        body = answer.read(MAX_ANSWER)
    except (OSError, http.client.HTTPException) as error:
        raise CommandFailed(f"the bridge did not answer: {error}", status=503) from None
    finally:
        connection.close()
    return _decoded(answer.status, body)


def call_https(url: str, token: str, ca: Path | None, name: str, parameters: Mapping[str, Any]) -> Any:
    """The answer of a bridge's ``requests.listen`` to whoever ``token`` proves; ``ca`` None: the system's authorities.

    Raises CommandFailed.
    """
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    try:
        connection = _connection(url, ca)
        try:
            connection.request("POST", f"/v1/{name}", json.dumps(dict(parameters)), headers)
            answer = connection.getresponse()
            body = answer.read(MAX_ANSWER)
        finally:
            connection.close()
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise CommandFailed(f"{url}: the bridge did not answer: {error}", status=503) from None
    return _decoded(answer.status, body)


def _connection(url: str, ca: Path | None) -> http.client.HTTPConnection:
    """Plain http to this machine alone. Raises OSError, ValueError, CommandFailed."""
    parts = urlsplit(url)
    host, port = parts.hostname, parts.port
    if host and parts.scheme == "https" and parts.path in ("", "/"):
        context = ssl.create_default_context(cafile=str(ca) if ca else None)
        return http.client.HTTPSConnection(host, port, timeout=TIMEOUT, context=context)
    if host in ("127.0.0.1", "::1", "localhost") and parts.scheme == "http" and parts.path in ("", "/"):
        return http.client.HTTPConnection(host, port, timeout=TIMEOUT)
    raise CommandFailed("a bridge's URL is https://HOST:PORT, without a path", field="url")


def _decoded(status: int, body: bytes) -> Any:
    try:
        value = json.loads(body)
    except ValueError:
        raise CommandFailed("the bridge's answer cannot be read; is it another version?", status=503) from None
    if status != 200:
        words = (value.get("error", "failed"), value.get("hint", ""), value.get("reference", ""))
        raise CommandFailed("; ".join(filter(None, words)), status=status, field=value.get("field", ""))
    return value
