"""The bridge as operators run it: a process, its configuration file, and the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psycopg
from rig.certificates import Authority
from rig.place import Place, free_port

from bridge.api.client import NotRunning, call_socket

START = 30.0  # seconds until it must be ready
STOP = 20.0
CALM = 0.5  # seconds that count as calm when it needs less than a tenth of them


def processor_time(pid: int) -> float:
    """Seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Bridge:
    """``systems`` maps a name to its entry in the file; ``listen`` and the accounts' secrets are added here."""

    def __init__(
        self, place: Place, authority: Authority, name: str, document: dict[str, Any], environment: Mapping[str, str]
    ) -> None:
        self.place = place
        self.authority = authority
        self.name = name
        self.folder = Path(tempfile.mkdtemp(prefix=f"bridge-{name}-", dir=place.folder))  # names may come again
        self.config = self.folder / "bridge.yaml"
        self.state = Path(document["bridge"].get("state") or self.folder / "state")
        self.ports: dict[str, int] = {}
        self.document = document
        self.process: subprocess.Popen[bytes] | None = None
        self._environment = {**os.environ, **environment}
        self._fill()
        self.write()
        place.secret_files |= {self.state / "issuer.key", self.state / "store.key"}

    def _fill(self) -> None:
        document = self.document
        document["bridge"].update(name=self.name, state=str(self.state))
        certificate, key = self.authority.issue(self.folder, "bridge")
        self.place.secret_files.add(key)
        document["tls"] = {"certificate": str(certificate), "key": str(key)}
        self.metrics = free_port()
        document["admin"] = {"metrics": f"127.0.0.1:{self.metrics}"}
        for name, system in document["systems"].items():
            self.ports[name] = free_port()
            system["listen"] = f"127.0.0.1:{self.ports[name]}"

    def write(self) -> None:
        self.config.write_text(json.dumps(self.document, indent=1))  # JSON is YAML

    # -- life

    def start(self) -> None:
        command = [sys.executable, "-m", "bridge", "run", "-c", str(self.config), "--log-format", "text"]
        with self.daemon_log.open("ab") as out:
            self.process = subprocess.Popen(command, env=self._environment, stdin=subprocess.DEVNULL, stdout=out,
                                            stderr=subprocess.STDOUT)  # fmt: skip
        self.wait(self.is_ready, START, "ready")

    def is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.daemon_log.read_text()[-3000:]
        try:
            return bool(self.call("status")["ready"])
        except NotRunning:
            return False

    def stop(self) -> int:
        """The exit status; 0 after an orderly stop. Does nothing when it does not run."""
        if self.process is None:
            return 0
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        finally:
            self.process = None

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.process = None

    def wait_calm(self, seconds: float = 30.0) -> None:
        """Until it moves nothing any more, because its peers take nothing."""

        assert self.process is not None
        pid = self.process.pid

        def calm() -> bool:
            before = processor_time(pid)
            time.sleep(CALM)
            return processor_time(pid) - before < CALM / 10

        self.wait(calm, seconds, "calm")

    @property
    def daemon_log(self) -> Path:
        return self.folder / "daemon.log"

    # -- commands

    def call(self, command: str, **parameters: Any) -> Any:
        return call_socket(self.state / "admin.sock", command, parameters)

    def cli(self, *arguments: str, status: int = 0, stdin: str = "", keep: bool = True) -> str:
        """What ``idbridge`` prints. ``status`` is the exit status that is expected; ``keep`` shows the output to the
        canary: not where a token is what was asked for."""
        command = [sys.executable, "-m", "bridge", *arguments, "-c", str(self.config)]
        done = subprocess.run(
            command, env=self._environment, input=stdin.encode(), capture_output=True, timeout=60, check=False
        )
        said = done.stdout.decode() + done.stderr.decode()
        if keep:
            self.place.keep("idbridge-" + arguments[0], said)
        assert done.returncode == status, f"{arguments}: {done.returncode}: {said}"
        return said

    def cli_json(self, *arguments: str, status: int = 0, keep: bool = True) -> Any:
        return json.loads(self.cli(*arguments, "--json", status=status, keep=keep))

    def agent(self, id: str, role: str, owner: str = "payments", **more: Any) -> str:
        self.call("agent.create", id=id, owner=owner, purpose="a test", roles=[role], environment="test", **more)
        return id

    def token(self, agent: str, **more: Any) -> str:
        return self.place.token(self.call("token.issue", agent=agent, **more)["token"])

    # -- connections

    def connect(
        self, token: str, system: str = "warehouse", user: str = "agent", **more: Any
    ) -> psycopg.Connection[Any]:
        settings: dict[str, Any] = {
            "host": "127.0.0.1", "port": self.ports[system], "user": user, "dbname": "app", "password": token,
            "sslmode": "verify-full", "sslrootcert": str(self.authority.ca), "autocommit": True, "connect_timeout": 15,
        }  # fmt: skip
        return psycopg.connect(**{**settings, **more})

    def session_of(self, connection: psycopg.Connection[Any]) -> str:
        """The session id, from the stamp that the legacy server reports."""
        stamp = connection.info.parameter_status("application_name") or ""
        assert stamp.startswith("ib:ses_"), stamp
        return stamp.split()[0].removeprefix("ib:")

    # -- the log

    def events(self, **filters: Any) -> list[dict[str, Any]]:
        """Oldest first."""
        found: list[dict[str, Any]] = self.call("log.list", limit=10_000, oldest_first=True, **filters)["events"]
        return found

    def session_events(self, session: str, *, closed: bool = False) -> list[dict[str, Any]]:
        """Without alerts, which come when they are ready."""
        if closed:
            self.wait(lambda: any(e["type"] == "session.close" for e in self.events(session=session)), 10, "closed")
        return [event for event in self.events(session=session) if event["type"] != "alert"]

    def operations(self, session: str) -> list[dict[str, Any]]:
        """Of a session that is over, in order; an intent and its outcome are one."""
        events = [e for e in self.session_events(session, closed=True) if e["type"] == "operation"]
        outcomes = {e["corr"].get("request"): e for e in events if e["phase"] == "outcome"}
        return [{**e, **outcomes.get(e["id"], {}), "action": e["action"]} for e in events if e["phase"] != "outcome"]

    def refusal(self, reference: str) -> dict[str, Any]:
        """The event that a client's reference leads to."""
        events: list[dict[str, Any]] = self.call("log.show", session=reference)["events"]
        assert events, f"nothing under {reference}"
        return events[0]

    @staticmethod
    def wait(condition: Callable[[], object], seconds: float, what: str) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"not {what} within {seconds} s"
            time.sleep(0.03)
