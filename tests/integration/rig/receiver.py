"""A webhook receiver in a process of its own: `receiver.py PORT CERTIFICATE KEY FOLDER`, on twisted.web.

It answers with the status in FOLDER/status (200 without that file) and keeps each request that it takes as one JSON
line in FOLDER/taken; FOLDER/asked has a line for each request.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from rig.certificates import Authority
from rig.place import free_port


class Receiver:
    """The process, as a test sees it."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        folder.mkdir()
        self.folder = folder
        self.port = free_port()
        certificate, key = authority.issue(folder, "receiver")
        command = [sys.executable, __file__, str(self.port), str(certificate), str(key), str(folder)]
        rig = {"PYTHONPATH": str(Path(__file__).parents[1])}
        self._process = subprocess.Popen(command, env=rig, stdin=subprocess.DEVNULL)

    def answer(self, status: int) -> None:
        (self.folder / "status").write_text(str(status))

    def asked(self) -> int:
        file = self.folder / "asked"
        return len(file.read_text().splitlines()) if file.exists() else 0

    def taken(self) -> list[dict[str, Any]]:
        file = self.folder / "taken"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)


def serve(port: int, certificate: str, key: str, folder: Path) -> None:
    from twisted.internet import reactor, ssl  # noqa: TID251 - a process of its own
    from twisted.web.resource import Resource
    from twisted.web.server import Site

    class Hook(Resource):
        isLeaf = True

        def render_POST(self, request: Any) -> bytes:
            raw = request.requestHeaders.getAllRawHeaders()
            headers = {name.decode().lower(): values[0].decode() for name, values in raw}
            file = folder / "status"
            status = int(file.read_text()) if file.exists() else 200
            request.setResponseCode(status)
            with (folder / "asked").open("a") as asked:
                asked.write(f"{headers['webhook-id']}\n")
            if status == 200:
                with (folder / "taken").open("a") as taken:
                    taken.write(json.dumps({"headers": headers, "body": request.content.read().decode()}) + "\n")
            return b""

    context = ssl.DefaultOpenSSLContextFactory(key, certificate)
    reactor.listenSSL(port, Site(Hook()), context, interface="127.0.0.1")
    reactor.run()


if __name__ == "__main__":
    serve(int(sys.argv[1]), sys.argv[2], sys.argv[3], Path(sys.argv[4]))
