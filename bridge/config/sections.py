"""The sections that say how the bridge itself runs: ``bridge``, ``admin``, ``tls``, ``limits``, ``log`` …"""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict, StringConstraints

from bridge.config.values import (
    Count,
    Duration,
    FileName,
    Flag,
    Frozen,
    HttpsURL,
    Listen,
    Moment,
    Name,
    Size,
    Text,
    WitnessKey,
    bounded,
    within,
)

LONGEST_LIFETIME = "15m"  # a credential is short-lived, or it is a password; issuers with longer ones: lifetime: clamp
LONGEST_LEEWAY = "60s"

Mode = Literal["observe", "warn", "enforce"]


def _written_as_number(value: Any) -> Any:
    return str(value) if isinstance(value, float) else value


TLSVersion = Annotated[Literal["1.2", "1.3"], BeforeValidator(_written_as_number)]


def _no_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


def inherited(default: Any) -> Any:
    """A field whose default another key of the file gives; ``default`` is only what the type checker sees."""
    return Field(default=default, json_schema_extra=_no_default)


class Section(BaseModel):
    """Base of every part of the file: an unknown key is an error, and nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, populate_by_name=False)


class Bridge(Section):
    """``name`` is part of every audience (``bridge:<name>/<system>``) and of every event in the log."""

    name: Name
    state: FileName = Path("/var/lib/idbridge")
    mode: Mode = "enforce"
    accept_bridge_audience: Flag = True
    drain: Annotated[Duration, bounded("0s", "1h")] = 30.0


class Admin(Section):
    """``socket`` is relative to the state directory; ``metrics`` must be a loopback address."""

    socket: Text = "admin.sock"
    metrics: Listen | None = None


class TLS(Section):
    """The bridge's own certificate, for all listeners. ``client_ca`` turns client certificates on."""

    certificate: FileName
    key: FileName
    minimum: TLSVersion = "1.2"
    client_ca: FileName | None = None


class Limits(Section):
    """``unauthenticated`` counts connections that have not been admitted yet, over all listeners.

    ``recording`` is the size of the text of one recording. Recordings are kept for ``recordings_age`` and, the newest,
    up to ``recordings_total`` of disk; without these for ever.
    """

    connections: Count = 2000
    per_address: Count = 200
    unauthenticated: Count = 200
    hello: Annotated[Duration, bounded("100ms", "5m")] = 10.0
    auth: Annotated[Duration, bounded("100ms", "5m")] = 30.0
    stall: Annotated[Duration, bounded("1s", "1h")] = 60.0
    sessions_per_agent: Count = 100
    recording: Annotated[Size, within(64 * 1024, 2**30)] = 64 * 2**20
    recordings_age: Annotated[Duration, bounded("1h", "3650d")] | None = None
    recordings_total: Annotated[Size, within(2**20, 2**50)] | None = None


class Credentials(Section):
    """What holds for every issuer that does not say otherwise."""

    max_lifetime: Annotated[Duration, bounded("10s", LONGEST_LIFETIME)] = 900.0
    leeway: Annotated[Duration, bounded("0s", LONGEST_LEEWAY)] = 30.0
    max_token: Annotated[Size, within(1024, 16 * 1024)] = 8 * 1024
    replay: Literal["bind", "once", "off"] = "bind"


class LogWitness(Section):
    """``key`` is the witness's own, as `idbridge witness` prints it; ``ca`` that of its web server."""

    url: HttpsURL
    key: WitnessKey
    ca: FileName | None = None


class Timestamps(Section):
    """RFC 3161. ``ca`` are the authorities that time stamps must lead to; ``tls_ca`` those of its web server."""

    url: HttpsURL
    ca: FileName
    tls_ca: FileName | None = None
    every: Annotated[Duration, bounded("10s", "30d")] = 3600.0


class LogArchive(Section):
    """Segments of the log, each as a file that verifies without it: after ``every`` or ``events``."""

    folder: FileName
    every: Annotated[Duration, bounded("1m", "1d")] = 3600.0
    events: Annotated[int, Strict(), Field(ge=1000, le=100_000)] = 20_000


class LogRetention(Section):
    """What is archived and older than ``keep`` is deleted from the database. ``hold``: what is younger than this day
    stays, whatever its age (a legal hold)."""

    keep: Annotated[Duration, bounded("90d", "36500d")] = 2557 * 86_400.0
    hold: Moment | None = None


class Log(Section):
    """Who else keeps the log's checkpoints, and how long it is kept itself.

    ``origin`` names the log for good; default: idbridge/<bridge.name>.

    ``personal``: whether the names of people stand in the events, or beside them and can be erased.
    ``copies`` is a folder on media that keep what was written once. ``late``: when missing attestations are an alarm.
    """

    origin: Annotated[str, StringConstraints(pattern=r"^[^\s+]{1,253}$")] | None = None
    witnesses: Frozen[LogWitness] = Field(default_factory=lambda: MappingProxyType({}))
    timestamps: Timestamps | None = None
    copies: FileName | None = None
    late: Annotated[Duration, bounded("1m", "30d")] = 3600.0
    personal: Literal["clear", "salted"] = "clear"
    archive: LogArchive | None = None
    retention: LogRetention | None = None
