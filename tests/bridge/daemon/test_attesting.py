"""Checkpoints of a whole bridge at a real witness, a real time-stamping authority (openssl ts), and in a folder."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor  # noqa: TID251 - tests own the process
from twisted.internet.task import deferLater

from bridge.daemon import attesting
from bridge.storage import open_engine
from bridge.translation import Event, LogReader
from bridge.translation.note import Note, VerifierKey
from bridge.translation.proving import in_thread_prove
from bridge.translation.reading import Filters
from bridge.translation.verifying import in_thread_verify

from .conftest import House, free_port

pytestmark = pytest.mark.slow

ORIGIN = "idbridge/house"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attesting, "TICK", 0.05)
    monkeypatch.setattr(attesting, "PACE", 0.1)


class WitnessProcess:
    """``idbridge witness``, as another team runs it."""

    def __init__(self, folder: Path, log: str, port: int) -> None:
        command = [sys.executable, "-m", "bridge", "witness", "--name", "witness.example/w1", "--folder", str(folder)]
        command += ["--log", log, "--listen", f"127.0.0.1:{port}", "--json"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.stderr.read() if self.process.stderr else ""
        told = json.loads(line)
        self.key, self.url = told["key"], f"http://{told['listening']}"

    def stop(self) -> str:
        self.process.terminate()
        _, said = self.process.communicate(timeout=20)
        return said


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=60)


class Authority:
    """An RFC 3161 authority: ``openssl ts -reply`` behind HTTP."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.requests = 0
        folder.mkdir()
        (folder / "serial").write_text("01\n")
        (folder / "ca.cnf").write_text(
            "[req]\ndistinguished_name=dn\nprompt=no\nx509_extensions=ca\n[dn]\nCN=Time CA\n"
            "[ca]\nbasicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign\nsubjectKeyIdentifier=hash\n"
            "[tsa]\nbasicConstraints=critical,CA:false\nkeyUsage=critical,digitalSignature\n"
            "extendedKeyUsage=critical,timeStamping\nauthorityKeyIdentifier=keyid\n"
        )
        (folder / "ts.cnf").write_text(
            "[tsa]\ndefault_tsa=one\n[one]\nserial=serial\nsigner_cert=tsa.crt\nsigner_key=tsa.key\nsigner_digest=sha256\n"
            "default_policy=1.2.3.4.1\ndigests=sha256\naccuracy=secs:1\ntsa_name=yes\ness_cert_id_alg=sha256\n"
        )
        key = ("-newkey", "rsa:2048", "-nodes")
        openssl(folder, "req", "-x509", *key, "-config", "ca.cnf", "-keyout", "ca.key", "-out", "ca.crt", "-days", "9")
        openssl(folder, "req", "-new", *key, "-config", "ca.cnf", "-keyout", "tsa.key", "-out", "tsa.csr",
                "-subj", "/CN=Time Stamps")  # fmt: skip
        openssl(folder, "x509", "-req", "-in", "tsa.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
                "-extfile", "ca.cnf", "-extensions", "tsa", "-days", "9", "-out", "tsa.crt")  # fmt: skip
        authority = self

        class Page(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                authority.requests += 1
                (folder / "q").write_bytes(self.rfile.read(int(self.headers["Content-Length"])))
                openssl(folder, "ts", "-reply", "-config", "ts.cnf", "-queryfile", "q", "-out", "reply")
                body = (folder / "reply").read_bytes()
                self.send_response(200)
                self.send_header("Content-Type", "application/timestamp-reply")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[Authority]:
    made = Authority(tmp_path / "tsa")
    yield made
    made.stop()


Start = Callable[..., WitnessProcess]


@pytest.fixture
def witness(house: House, tmp_path: Path) -> Iterator[Start]:
    """Starts the witness of the house's log; each time on the same folder and port."""
    started: list[WitnessProcess] = []
    port = free_port()

    def start(folder: str = "witness") -> WitnessProcess:
        key = str(house.bridge.storage.checkpoints.signer.key)
        started.append(WitnessProcess(tmp_path / folder, key, port))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.stop()


async def take(house: House, text: str) -> None:
    house.write(more=text)
    await house.bridge.reload()


async def until(condition: Callable[[], object]) -> None:
    waited = 0.0
    while not condition():
        assert waited < 30, "waited in vain"
        await deferLater(reactor, 0.05, lambda: None)
        waited += 0.05


def seal(house: House) -> None:
    """The ten seconds of the writer are over."""
    house.bridge.storage.checkpoints._unsealed_since = 0.0
    house.bridge.translation.post(Event("alarm", outcome="failure", reason="x"))


def kept(house: House, kind: str) -> list[tuple[int, bytes]]:
    with house.bridge.storage.reading_engine.connect() as connection:
        sql = "SELECT size, body FROM attestation WHERE kind = ? ORDER BY size"
        return [tuple(row) for row in connection.exec_driver_sql(sql, (kind,))]


@pytest_twisted.ensureDeferred
async def test_a_witness_cosigns_what_the_bridge_signs_also_after_a_restart(house: House, witness: Start) -> None:
    process = witness()
    await take(house, f"log: {{witnesses: {{audit: {{url: '{process.url}', key: '{process.key}'}}}}}}")
    seal(house)
    await until(lambda: kept(house, "cosignature"))
    process.stop()
    seal(house)
    await until(lambda: house.bridge.attesting.state()["witness.example/w1"]["failure"])
    witness()
    before = len(kept(house, "cosignature"))
    await until(lambda: len(kept(house, "cosignature")) > before)
    key, own = VerifierKey.parse(process.key), house.bridge.storage.checkpoints.signer.key
    report = in_thread_verify(house.bridge.storage.reading_engine, [own, key])
    assert report.findings == []
    assert report.witnessed == kept(house, "cosignature")[-1][0]
    database = house.bridge.config.bridge.state / "translation.db"
    script = Path(__file__).parents[3] / "scripts" / "verify_log.py"
    arguments = ["--key", str(own), "--witness", process.key, str(database)]
    alone = subprocess.run([sys.executable, str(script), *arguments], capture_output=True, text=True, check=False)
    assert (alone.returncode, "witness.example/w1 signed" in alone.stdout) == (0, True), alone.stdout
    proof = in_thread_prove(house.bridge.storage.reading_engine, [1], own)["events"][0]["proof"]
    assert len(Note.parse(proof.partition("\n\n")[2]).signed_by([own, key])) == 2


@pytest_twisted.ensureDeferred
async def test_a_witness_with_another_memory_is_told_the_proof_it_needs(house: House, witness: Start) -> None:
    """One that lost its memory begins anew; one that knows less than we think gets the proof from there."""
    process = witness()
    await take(house, f"log: {{witnesses: {{audit: {{url: '{process.url}', key: '{process.key}'}}}}}}")
    seal(house)
    await until(lambda: kept(house, "cosignature"))
    process.stop()
    for file in Path(house.folder / "witness").glob("*.checkpoint"):
        file.unlink()
    witness()
    before = len(kept(house, "cosignature"))
    seal(house)
    await until(lambda: len(kept(house, "cosignature")) > before)


@pytest_twisted.ensureDeferred
async def test_a_history_that_the_witness_does_not_know_is_an_alarm(
    house: House, witness: Start, tmp_path: Path, expected_failures: Any
) -> None:
    """An older backup of the log is restored and goes on: the bridge hears it from the witness, and tells."""
    process = witness()
    await take(house, f"log: {{witnesses: {{audit: {{url: '{process.url}', key: '{process.key}'}}}}}}")
    seal(house)
    await until(lambda: kept(house, "cosignature"))
    (memory,) = (tmp_path / "witness").glob("*.checkpoint")
    signer = house.bridge.storage.checkpoints.signer
    forged = Note.parse(memory.read_text()).text.split("\n")
    process.stop()
    _other_history(tmp_path / "witness", signer, forged)
    witness()
    seal(house)
    await until(lambda: [one for one in house.events("alarm") if one["reason"] == "witness-refused"])
    alarm = next(one for one in house.events("alarm") if one["reason"] == "witness-refused")
    assert "does not continue" in alarm["detail"]["text"]


def _other_history(folder: Path, log: Any, lines: list[str]) -> None:
    """The witness has seen the same size with another root."""
    import time

    from bridge.storage import load_key
    from bridge.translation.note import COSIGNATURE, Checkpoint, Signer

    checkpoint = Checkpoint(lines[0], int(lines[1]), bytes(32))
    own = Signer("witness.example/w1", load_key(folder / "witness.key"), COSIGNATURE)
    (memory,) = folder.glob("*.checkpoint")
    memory.write_text(checkpoint.note(log) + own.cosign(checkpoint.text, int(time.time())))


@pytest_twisted.ensureDeferred
async def test_a_time_stamp_is_verified_and_openssl_verifies_it_too(
    house: House, authority: Authority, tmp_path: Path
) -> None:
    await take(house, f"log: {{timestamps: {{url: '{authority.url}', ca: {authority.folder / 'ca.crt'}}}}}")
    seal(house)
    await until(lambda: kept(house, "timestamp"))
    size, stamp = kept(house, "timestamp")[0]
    with house.bridge.storage.reading_engine.connect() as connection:
        note = connection.exec_driver_sql("SELECT note FROM checkpoint WHERE size = ?", (size,)).scalar_one()
    (tmp_path / "note").write_text(note)
    (tmp_path / "stamp").write_bytes(stamp)
    verify = ("ts", "-verify", "-data", "note", "-in", "stamp", "-CAfile", str(authority.folder / "ca.crt"))
    openssl(tmp_path, *verify)
    (tmp_path / "note").write_text(note + "x")
    with pytest.raises(subprocess.CalledProcessError):
        openssl(tmp_path, *verify)
    seal(house)
    await deferLater(reactor, 0.5, lambda: None)
    assert authority.requests == 1, "once an hour"


@pytest_twisted.ensureDeferred
async def test_a_time_stamp_of_another_authority_is_not_taken(
    house: House, authority: Authority, tmp_path: Path
) -> None:
    other = Authority(tmp_path / "other")
    other.stop()
    await take(house, f"log: {{timestamps: {{url: '{authority.url}', ca: {other.folder / 'ca.crt'}}}}}")
    seal(house)
    await until(lambda: "does not verify" in house.bridge.attesting.state()[authority.url]["failure"])
    assert kept(house, "timestamp") == []


@pytest_twisted.ensureDeferred
async def test_copies_are_files_and_the_last_one_is_that_of_the_stop(house: House, tmp_path: Path) -> None:
    (tmp_path / "worm").mkdir()
    await take(house, f"log: {{copies: {tmp_path / 'worm'}}}")
    seal(house)
    await until(lambda: list((tmp_path / "worm").iterdir()))
    await house.bridge.translation.stop()
    await house.bridge.attesting.stop()
    engine = open_engine(house.bridge.config.bridge.state / "translation.db", kind="translation")
    last = LogReader(engine).in_thread_find(Filters(type="log.stop"), 1)[0]
    engine.dispose()
    assert f"{last.seq:016}.checkpoint" in {file.name for file in (tmp_path / "worm").iterdir()}


@pytest_twisted.ensureDeferred
async def test_nothing_attested_for_too_long_is_an_alarm(house: House, tmp_path: Path) -> None:
    await take(house, f"log: {{copies: {tmp_path / 'missing'}}}")
    house.bridge.attesting._late = 0.3
    seal(house)
    await until(lambda: [one for one in house.events("alarm") if one["reason"] == "witness-late"])
    assert "No such file" in house.bridge.attesting.state()[str(tmp_path / "missing")]["failure"]


@pytest_twisted.ensureDeferred
async def test_a_bad_certificate_file_changes_nothing(house: House, tmp_path: Path) -> None:
    key = "witness.audit.example/w1+23ce9d19+BA++o+AvyQiOjxxVtn/0cZjUPvk6D/RhF6BuvC/ylAU8"
    (tmp_path / "empty.crt").write_text("")
    house.write(more=f"log: {{witnesses: {{a: {{url: 'https://w.example', key: '{key}', ca: {tmp_path}/empty.crt}}}}}}")
    with pytest.raises(ValueError, match="no certificate"):
        await house.bridge.reload()
    assert house.bridge.attesting.state() == {}


def test_a_second_witness_on_one_folder_does_not_start(house: House, witness: Start, tmp_path: Path) -> None:
    process = witness()
    command = [sys.executable, "-m", "bridge", "witness", "--name", "w", "--folder", str(tmp_path / "witness")]
    command += ["--log", str(house.bridge.storage.checkpoints.signer.key), "--listen", "127.0.0.1:0"]
    second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (second.returncode, "another witness runs on this folder" in second.stderr) == (1, True)
    process.stop()
