"""What names a secret, and what every vault is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from bridge.adapter import BridgeError, Secret


class SecretUnavailable(BridgeError):
    """The secret cannot be read now. The message names the reference and the cause, never the value."""


@dataclass(frozen=True, slots=True)
class SecretReference:
    """``scheme:path``, for example ``env:WAREHOUSE``, ``file:/etc/idbridge/reader``, ``store:warehouse/reader``."""

    scheme: str
    path: str

    @classmethod
    def parse(cls, text: str) -> SecretReference:
        """Raises ValueError without quoting ``text``, which may be a password written in the wrong place."""
        scheme, colon, path = text.partition(":")
        if not colon or not path or not scheme.isalpha():
            raise ValueError("not a reference to a secret; expected env:NAME, file:/path or store:NAME")
        return cls(scheme, path)

    def __str__(self) -> str:
        return f"{self.scheme}:{self.path}"


class Vault(Protocol):
    def in_thread_read(self, path: str) -> Secret:
        """Blocks. Raises SecretUnavailable."""
        ...
