"""The admin socket, over a real Unix socket, with the client that the command line uses."""

from __future__ import annotations

import getpass
import http.client
import json
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor  # noqa: TID251 - tests own the process
from twisted.internet.threads import deferToThread

from bridge.api import client as client_module
from bridge.api.client import NotRunning, call_socket
from bridge.api.failure import CommandFailed
from bridge.api.server import MAX_BODY, admin_site
from bridge.storage import ThreadPool

OWNER = {"id": "payments", "kind": "team", "contact": "payments@corp.example"}


@pytest.fixture
def path(office: Any, tmp_path: Path) -> Iterator[Path]:
    """A bridge that listens at this socket."""
    path = tmp_path / "admin.sock"
    pool = ThreadPool("admin", 2, reactor)
    port = reactor.listenUNIX(str(path), admin_site(office.services, pool.run), mode=0o600)  # type: ignore[attr-defined]
    yield path
    pytest_twisted.blockon(port.stopListening())
    pytest_twisted.blockon(pool.stop())


class Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("bridge", timeout=10)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(str(self.path))


def raw(path: Path, method: str, url: str, body: bytes) -> tuple[int, Any]:
    connection = Connection(path)
    try:
        connection.request(method, url, body)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


@pytest_twisted.ensureDeferred
async def test_a_command_is_answered_and_the_kernel_says_who_gave_it(office: Any, path: Path) -> None:
    answer = await deferToThread(call_socket, path, "owner.create", OWNER)
    assert answer["id"] == "payments"
    event = office.events("registry.change")[-1]
    assert event["actor"] == {"id": getpass.getuser(), "kind": "person", "via": "socket"}


@pytest_twisted.ensureDeferred
async def test_an_actor_cannot_be_claimed(office: Any, path: Path) -> None:
    with pytest.raises(CommandFailed) as caught:
        await deferToThread(call_socket, path, "owner.create", {**OWNER, "actor": "root"})
    assert caught.value.field == "actor"


def test_only_the_bridges_user_may_connect(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest_twisted.ensureDeferred
async def test_a_failure_keeps_its_status_and_field(path: Path) -> None:
    with pytest.raises(CommandFailed) as caught:
        await deferToThread(call_socket, path, "agent.show", {"id": "nobody"})
    assert (caught.value.status, caught.value.field) == (404, "id")


@pytest.mark.parametrize(
    ("method", "url", "body", "status", "words"),
    [
        ("GET", "/v1/status", b"", 404, "expected POST"),
        ("POST", "/v2/status", b"{}", 404, "expected POST"),
        ("POST", "/v1/agent.promote", b"{}", 404, "no command"),
        ("POST", "/v1/status", b"{", 400, "not JSON"),
        ("POST", "/v1/status", b"\xff\xfe", 400, "not JSON"),
        ("POST", "/v1/status", b"[" * 100_000, 400, "not JSON"),
        ("POST", "/v1/status", b"1" * 10_000, 400, "not"),
        ("POST", "/v1/status", b"[]", 400, "not a JSON object"),
        ("POST", "/v1/status", b" " * (MAX_BODY + 1), 400, "more than"),
        ("POST", "/v1/status", b"", 200, ""),
    ],
)
@pytest_twisted.ensureDeferred
async def test_whatever_arrives_is_answered(
    path: Path, method: str, url: str, body: bytes, status: int, words: str
) -> None:
    heard, value = await deferToThread(raw, path, method, url, body)
    assert heard == status
    assert words in value.get("error", "")


@pytest_twisted.ensureDeferred
async def test_a_defect_is_answered_without_its_words(
    office: Any, path: Path, expected_failures: list[type[BaseException]]
) -> None:
    """The cause stands in the daemon's log; the client is not left waiting."""
    expected_failures.append(ZeroDivisionError)
    office.live.status = lambda: 1 // 0
    status, value = await deferToThread(raw, path, "POST", "/v1/status", b"{}")
    assert (status, value) == (500, {"error": "the bridge failed; its own log has the cause"})


@pytest_twisted.ensureDeferred
async def test_a_client_that_leaves_does_not_stop_the_command(office: Any, path: Path) -> None:
    """What was begun is finished and recorded; nothing is logged as a failure."""
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> dict[str, Any]:
        begun.set()
        go_on.wait(10)
        return {}

    office.live.status = slow

    def leave() -> None:
        with socket.socket(socket.AF_UNIX) as leaving:
            leaving.connect(str(path))
            leaving.sendall(b"POST /v1/status HTTP/1.1\r\nHost: bridge\r\nContent-Length: 2\r\n\r\n{}")
            begun.wait(10)

    await deferToThread(leave)
    go_on.set()
    assert (await deferToThread(call_socket, path, "owner.list", {})) == []


def test_nobody_at_the_socket(tmp_path: Path) -> None:
    with pytest.raises(NotRunning):
        call_socket(tmp_path / "admin.sock", "status", {})
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / "admin.sock"))
    left.close()  # what a crash leaves behind
    with pytest.raises(NotRunning):
        call_socket(tmp_path / "admin.sock", "status", {})


def test_somebody_else_at_the_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that is no answer of ours, and one that never comes, end with a sentence."""
    monkeypatch.setattr(client_module, "TIMEOUT", 0.2)
    path = tmp_path / "admin.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        with pytest.raises(CommandFailed, match="did not answer"):
            call_socket(path, "status", {})

        def answer() -> None:
            for _ in range(2):
                connection = server.accept()[0]
                connection.recv(1000)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
                connection.close()

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        with pytest.raises(CommandFailed, match=r"cannot be read|did not answer"):
            call_socket(path, "status", {})
