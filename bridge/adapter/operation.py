"""One thing an agent asks of a legacy system, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

Target = Mapping[str, str | tuple[str, ...]]
"""Facts that grants narrow by. A tuple is several names of one thing (a DN and all above it): one that is listed is
enough. The empty string says that the operation has no such fact."""


class Action(StrEnum):
    """What an operation does, as grants name it. ``ADMIN`` covers what changes rights, schema or the server."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


class Result(StrEnum):
    SUCCESS = "success"
    FAILURE = "failure"  # the legacy system said no
    DENIED = "denied"  # the bridge said no
    ABORTED = "aborted"  # never executed, e.g. skipped after an earlier error
    UNKNOWN = "unknown"  # the session ended before the answer


class StatementLogging(StrEnum):
    """How much of a statement the log keeps, per system."""

    REDACTED = "redacted"
    FULL = "full"
    DIGEST = "digest"


@dataclass(frozen=True, slots=True)
class Operation:
    """``verb`` is protocol-qualified (``sql.select``, ``ldap.search``).

    ``text`` is what the client sent, already in the form the system's ``StatementLogging`` asks for (full, or with
    literals replaced; empty for digest). ``digest`` is over the redacted form, so equal statements group.
    ``parameters`` only where logging is FULL. ``target`` are the facts that grants narrow by (``{"database": "app"}``),
    beside those of the session.
    """

    verb: str
    action: Action
    objects: tuple[str, ...] = ()
    text: str = ""
    digest: str = ""
    parameters: tuple[str | None, ...] | None = None
    target: Target = field(default_factory=dict)
    details: Mapping[str, str | int] = field(default_factory=dict)


class Outcome(NamedTuple):
    """``code`` is the protocol's own (SQLSTATE, result code); ``rows``/``bytes`` as the legacy side gave or took."""

    result: Result
    code: str = ""
    rows: int = 0
    bytes: int = 0
    detail: str = ""
