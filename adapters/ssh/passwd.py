"""The conversation with passwd(1) of the host: its prompts, what is typed at each, and what it meant. No I/O.

Prompts differ from make to make, but with LC_ALL=C all of them name the password that they want. What is asked for
twice was refused. From the moment the new password was typed only passwd's end tells whether it was taken.
"""

from __future__ import annotations

import re

from bridge.adapter import BridgeError, NotTaken, Secret

COMMAND = "env LC_ALL=C LANGUAGE= passwd"
"""``env``, because a C shell takes no assignment in front of a command."""

CURRENT, NEW, AGAIN = "current", "new", "again"

_ENDS = (":", "?")
_NAMES = ("password", "again", "retype")
_AGAIN = re.compile(r"re-?type|re-?enter|again|verify|verification|confirm|repeat", re.IGNORECASE)
_NEW = re.compile(r"\bnew\b", re.IGNORECASE)
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]+")

LONGEST = 16 * 1024
"""Characters that passwd may say; a real one says a few lines."""

LONGEST_PROMPT = 256

MOST_WORDS = 400
"""Characters of its words that ops are told."""


class Dialog:
    """``hear`` takes what the host says as it comes and gives what to type; ``end`` takes the exit status."""

    def __init__(self, old: Secret, new: Secret) -> None:
        self._old = old
        self._new = new
        self._heard = ""
        self._line = ""
        self._typed: list[str] = []

    @property
    def committed(self) -> bool:
        """Whether the new password may be the one that counts."""
        return NEW in self._typed or AGAIN in self._typed

    def hear(self, data: bytes) -> bytes:
        """Raises NotTaken when it asks again for what it has been told."""
        text = data.decode("utf-8", "replace")
        self._heard += text
        if len(self._heard) > LONGEST:
            raise BridgeError("the host only talks")
        self._line = re.split(r"[\r\n]", self._line + text)[-1][-LONGEST_PROMPT:]
        if not _prompts(self._line):
            return b""
        wanted = asked_for(self._line)
        if wanted in self._typed or (wanted == CURRENT and self.committed):
            raise (BridgeError if AGAIN in self._typed else NotTaken)(f"passwd does not take it: {self.words}")
        self._typed.append(wanted)
        self._line = ""
        return (self._old if wanted == CURRENT else self._new).reveal() + b"\n"

    def end(self, status: int) -> None:
        """Returns when the new password was taken. ``status`` negative: none was told."""
        if not self._typed:
            raise NotTaken(f"the host runs no passwd for the account (exit status {status}): {self.words}".rstrip(": "))
        if status < 0 and self.committed:
            raise BridgeError(f"passwd ended without a word on whether it was taken: {self.words}")
        if status != 0:
            raise NotTaken(f"passwd does not take it (exit status {status}): {self.words}")
        if not self.committed:
            raise NotTaken(f"passwd asked for no new password: {self.words}")

    @property
    def words(self) -> str:
        """What it said but the prompts; neither password, should the host repeat what was typed."""
        said = self._heard
        for secret in (self._old, self._new):
            said = said.replace(secret.reveal().decode("utf-8", "replace"), "…")
        lines = [_UNPRINTABLE.sub(" ", line).strip() for line in re.split(r"[\r\n]+", said)]
        told = [line for line in lines if line and not _prompts(line)]
        return "; ".join(told)[-MOST_WORDS:]


def _prompts(line: str) -> bool:
    return line.rstrip(" ").endswith(_ENDS) and any(name in line.lower() for name in _NAMES)


def asked_for(prompt: str) -> str:
    if _AGAIN.search(prompt):
        return AGAIN
    return NEW if _NEW.search(prompt) else CURRENT
