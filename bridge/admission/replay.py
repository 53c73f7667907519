"""A token is bound to the address that first used it (research A3 rule 13).

Connection pools open many connections with one bearer token, so "each token once" would break them; a stolen token used
from elsewhere is what must fail.
"""

from __future__ import annotations

from collections import OrderedDict

MAX_TOKENS = 100_000  # about 20 MB; the oldest are dropped first, and tokens live for minutes

LONGEST_LEEWAY = 60
"""Seconds past its end that an issuer's record may still take a token; until then it is remembered."""


class ReplayGuard:
    """``mode`` is ``bind`` (first address only), ``once`` (a single use) or ``off``."""

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self._first: OrderedDict[tuple[str, str], tuple[str, int]] = OrderedDict()

    def refuses(self, iss: str, token_id: str, address: str, expires_at: int, now: float) -> bool:
        """True when this use must be refused; otherwise the use is remembered."""
        if self.mode == "off":
            return False
        key = (iss, token_id)
        known = self._first.get(key)
        if known is not None and known[1] + LONGEST_LEEWAY >= now:
            return self.mode == "once" or known[0] != address
        self._first[key] = (address, expires_at)
        self._first.move_to_end(key)
        self._drop_old(now)
        return False

    def _drop_old(self, now: float) -> None:
        while self._first:
            oldest = next(iter(self._first.values()))
            if len(self._first) <= MAX_TOKENS and oldest[1] + LONGEST_LEEWAY >= now:
                return
            self._first.popitem(last=False)
