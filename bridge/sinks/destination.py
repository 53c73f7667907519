"""What is sent, and to what kind of thing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from bridge.adapter import BridgeError


class DeliveryFailed(BridgeError):
    """The destination did not take the batch; ``retry_after`` seconds is when it wants to be asked again (0: it did not
    say). The message is the cause in plain words, for ops."""

    def __init__(self, cause: str, retry_after: float = 0.0) -> None:
        super().__init__(cause)
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Batch:
    """Events ``first`` to ``last`` (sequence numbers, without gaps), each one line without line end.

    ``digest`` is the SHA-256 of the last event's exact body, in hex.
    """

    log: str
    first: int
    last: int
    lines: tuple[str, ...]
    digest: str


class Destination(Protocol):
    async def deliver(self, batch: Batch) -> None:
        """Returns when the destination has taken the whole batch. May be called again with a batch that it has taken.

        Raises BridgeError, OSError.
        """
        ...
