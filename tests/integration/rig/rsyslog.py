"""A real rsyslogd that takes syslog over TLS from clients with a certificate of the test's authority."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from pathlib import Path

from rig.certificates import Authority
from rig.place import free_port

CONFIGURATION = """
global(workDirectory="{folder}" maxMessageSize="256k" defaultNetstreamDriver="gtls"
  defaultNetstreamDriverCAFile="{ca}" defaultNetstreamDriverCertFile="{certificate}"
  defaultNetstreamDriverKeyFile="{key}")
module(load="imtcp" StreamDriver.Name="gtls" StreamDriver.Mode="1" StreamDriver.AuthMode="x509/certvalid")
template(name="whole" type="list") {{
  property(name="pri") constant(value=" ") property(name="app-name") constant(value=" ") property(name="msgid")
  constant(value=" ") property(name="structured-data") constant(value="\\t") property(name="msg") constant(value="\\n")
}}
ruleset(name="all") {{ action(type="omfile" file="{out}" template="whole") }}
input(type="imtcp" address="127.0.0.1" port="{port}" ruleset="all")
"""


def available() -> bool:
    return shutil.which("rsyslogd", path="/usr/sbin:/usr/bin") is not None and any(
        Path("/usr/lib").glob("*/rsyslog/lmnsd_gtls.so")
    )


class Rsyslog:
    def __init__(self, folder: Path, authority: Authority) -> None:
        folder.mkdir()
        self.out = folder / "received"
        self.port = free_port()
        certificate, key = authority.issue(folder, "rsyslog")
        self._configuration = folder / "rsyslog.conf"
        self._configuration.write_text(
            CONFIGURATION.format(
                folder=folder, ca=authority.ca, certificate=certificate, key=key, out=self.out, port=self.port
            )
        )
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        pid = self._folder / "rsyslogd.pid"
        pid.unlink(missing_ok=True)
        command = ["/usr/sbin/rsyslogd", "-n", "-f", str(self._configuration), "-i", str(pid)]
        with (self._folder / "rsyslogd.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        end = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert self._process.poll() is None, (self._folder / "rsyslogd.log").read_text()
                assert time.monotonic() < end, "rsyslogd does not listen"
                time.sleep(0.05)

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            process.wait(20)

    def received(self) -> list[tuple[str, str]]:
        """Head with structured data, and message, of each."""
        if not self.out.exists():
            return []
        lines = self.out.read_text().splitlines()
        return [(head, message.removeprefix(" ")) for head, _, message in (line.partition("\t") for line in lines)]
