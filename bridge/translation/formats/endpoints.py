"""Addresses as events hold them: ``10.1.2.3:5432``, ``[::1]:5432``, ``db.internal:5432``."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Endpoint:
    """``port`` is 0 when there is none."""

    host: str = ""
    port: int = 0

    @property
    def version(self) -> int:
        """4 or 6, or 0 when the host is a name."""
        try:
            return ipaddress.ip_address(self.host).version
        except ValueError:
            return 0


def endpoint(text: object) -> Endpoint:
    host, colon, port = str(text or "").rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        return Endpoint(str(text or "").strip("[]"))
    return Endpoint(host.strip("[]"), int(port))
