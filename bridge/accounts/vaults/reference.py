"""What names a secret, and what every vault is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from bridge.adapter import BridgeError, Secret


class SecretUnavailable(BridgeError):
    """The secret cannot be read now. The message names the reference and the cause, never the value."""


@dataclass(frozen=True, slots=True)
class SecretReference:
    """``scheme:path``: ``env:WAREHOUSE``, ``file:/etc/idbridge/reader``, ``store:warehouse/reader``, or
    ``vault:corp/warehouse/reader#password``.
    """

    scheme: str
    path: str

    @classmethod
    def parse(cls, text: str) -> SecretReference:
        """Raises ValueError without quoting ``text``, which may be a password written in the wrong place."""
        scheme, colon, path = text.partition(":")
        if not colon or not path or not scheme.isalpha():
            raise ValueError(
                "not a reference to a secret; expected env:NAME, file:/path, store:NAME or vault:NAME/PATH#FIELD"
            )
        return cls(scheme, path)

    def __str__(self) -> str:
        return f"{self.scheme}:{self.path}"


class Vault(Protocol):
    def in_thread_read(self, path: str) -> Secret:
        """Blocks. Raises SecretUnavailable."""
        ...


class RemoteVault(Protocol):
    """One that is asked over the network, on the reactor."""

    async def read(self, path: str) -> Secret:
        """Raises SecretUnavailable; ends soon when it is cancelled."""
        ...
