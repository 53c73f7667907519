"""Frames between the bridge and the process that appends: a length of 4 bytes, then values as ``marshal`` writes them.

Both ends are the same program in the same version, started one by the other over a socket that nobody else has.
"""

from __future__ import annotations

import marshal
import socket
import struct
from typing import Any

_LENGTH = struct.Struct(">I")


class Channel:
    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def write(self, values: Any) -> None:
        """Raises OSError."""
        data = marshal.dumps(values)
        self._sock.sendall(_LENGTH.pack(len(data)) + data)

    def read(self) -> Any:
        """Raises EOFError when the other end is gone, OSError."""
        (size,) = _LENGTH.unpack(self._exactly(_LENGTH.size))
        return marshal.loads(self._exactly(size))

    def _exactly(self, size: int) -> bytearray:
        data = bytearray(size)
        view = memoryview(data)
        while view:
            count = self._sock.recv_into(view)
            if count == 0:
                raise EOFError
            view = view[count:]
        return data

    def close(self) -> None:
        self._sock.close()
