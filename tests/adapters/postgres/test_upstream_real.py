"""Every way to log in at a real PostgreSQL server, over a plain blocking socket."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adapters.postgres import codec
from adapters.postgres.login import LoginFacts
from adapters.postgres.startup import UpstreamStartup
from adapters.postgres.upstream import UpstreamLogins
from bridge.adapter import Address, Login, Reason, Refused, Secret, TLSFacts
from bridge.wire.scram import tls_server_end_point

pytestmark = pytest.mark.integration

BIN = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)
AS_NOBODY = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]


class SocketStream:
    """Just enough of a Stream, blocking."""

    def __init__(self, port: int) -> None:
        self.socket: socket.socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        self.peer = Address("127.0.0.1", port)
        self.tls: TLSFacts | None = None

    async def receive(self, timeout: float | None = None) -> bytes:
        return self.socket.recv(65536)

    async def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    async def start_tls(self, settings: ssl.SSLContext, *, timeout: float) -> TLSFacts:
        wrapped = settings.wrap_socket(self.socket)
        self.socket = wrapped
        chain = (wrapped.getpeercert(binary_form=True) or b"",)
        self.tls = TLSFacts(wrapped.version() or "", "", "", chain)
        return self.tls

    def unread(self, data: bytes) -> None:
        assert data == b""

    def abort(self) -> None:
        self.socket.close()


class Admission:
    session = "S1"
    upstream_tls_optional = False

    def __init__(self, port: int, user: str, password: str, *, tls: bool) -> None:
        self.port = port
        self.login = Login(user, Secret(password))
        self.upstream_tls = ssl._create_unverified_context() if tls else None
        self.cause = ""

    async def connect(self) -> SocketStream:
        return SocketStream(self.port)

    async def login_refused(self, cause: str) -> Refused:
        self.cause = cause
        return Refused(Reason.UPSTREAM_UNAVAILABLE, "legacy system unavailable")


HBA = """\
local all postgres trust
host all trusted 127.0.0.1/32 trust
host all clear 127.0.0.1/32 password
host all old 127.0.0.1/32 md5
host all modern 127.0.0.1/32 scram-sha-256
"""
PASSWORD = "pä\u00adss wörd"  # SASLprep takes the soft hyphen out


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    if BIN is None or shutil.which("setpriv") is None or shutil.which("openssl") is None:
        pytest.skip("no PostgreSQL server here")
    folder = tmp_path_factory.mktemp("pg")
    for part in (folder, *folder.parents):
        if str(part).count("/") > 1:
            part.chmod(part.stat().st_mode | 0o011)
    folder.chmod(0o777)
    data = folder / "data"

    def run(*command: str) -> None:
        subprocess.run([*AS_NOBODY, *command], check=True, capture_output=True, cwd=folder)

    run(str(BIN / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "-N")
    key, crt = str(data / "server.key"), str(data / "server.crt")
    run("openssl", "req", "-new", "-x509", "-nodes", "-days", "9", "-subj", "/CN=pg", "-keyout", key, "-out", crt)
    (data / "pg_hba.conf").write_text(HBA)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c ssl=on -c fsync=off"
    run(str(BIN / "pg_ctl"), "-D", str(data), "-w", "-l", str(folder / "log"), "-o", options, "start")
    try:
        sql = (
            f"create role trusted login; create role clear login password '{PASSWORD}';"
            f"create role modern login password '{PASSWORD}';"
            f"set password_encryption=md5; create role old login password '{PASSWORD}';"
        )
        run(str(BIN / "psql"), "-h", str(folder), "-p", str(port), "-U", "postgres", "-d", "postgres", "-c", sql)
        yield port
    finally:
        run(str(BIN / "pg_ctl"), "-D", str(data), "-m", "immediate", "stop")


def log_in(admission: Admission, logins: UpstreamLogins | None = None, protocol: str = "3.0") -> tuple[Any, LoginFacts]:
    parameters = (
        (b"user", admission.login.user.encode()),
        (b"database", b"postgres"),
        (b"application_name", b"ib:1 x"),
    )
    coroutine = (logins or UpstreamLogins()).log_in(
        admission,  # type: ignore[arg-type]
        UpstreamStartup(parameters, (("search_path", b"a,b"),), {}),
        protocol=protocol,
        timeout=10,
        pass_errors=True,
        clock=time.monotonic,
    )
    try:
        coroutine.send(None)  # type: ignore[attr-defined]
    except StopIteration as result:
        return result.value
    raise AssertionError("it waits")


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("user", ["trusted", "clear", "old", "modern"])
def test_every_authentication(server: int, user: str, tls: bool) -> None:
    """SCRAM over TLS is -PLUS: the server offers it, and would refuse us if we claimed not to know."""
    stream, facts = log_in(Admission(server, user, PASSWORD, tls=tls))
    assert not tls or tls_server_end_point(stream.tls.peer_chain[0])
    assert facts.backend_pid > 0
    assert facts.parameters["application_name"] == "ib:1 x"
    assert facts.parameters["session_authorization"] == user
    assert facts.transaction_status == "I"
    stream.socket.sendall(codec.query(b"show search_path"))
    assert b"a,b" in stream.socket.recv(65536)
    stream.abort()


def test_protocol_3_2_is_negotiated_down_by_an_older_server(server: int) -> None:
    stream, facts = log_in(Admission(server, "modern", PASSWORD, tls=True), protocol="3.2")
    assert len(facts.backend_key) in (4, 32)
    stream.abort()


def test_derived_keys_serve_again(server: int) -> None:
    logins = UpstreamLogins()
    for _ in range(2):
        log_in(Admission(server, "modern", PASSWORD, tls=False), logins)[0].abort()
    assert len(logins.keys) == 1


@pytest.mark.parametrize("user", ["clear", "old", "modern", "nobody_known"])
def test_a_wrong_password_is_a_refused_login(server: int, user: str) -> None:
    admission = Admission(server, user, "wrong", tls=False)
    with pytest.raises(Refused, match=r"^legacy system unavailable$"):
        log_in(admission)
    assert admission.cause.startswith("FATAL 28")
