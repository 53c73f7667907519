"""A file -> a ``Config``, or every reason why not."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from enum import Enum
from ipaddress import IPv4Network, IPv6Network
from os import PathLike
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from bridge.adapter import Address
from bridge.config import (
    alert_checks,
    breakglass,
    grant_checks,
    identity_checks,
    log_checks,
    quota_checks,
    reading,
    request_checks,
    sink_checks,
    system_checks,
    vault_checks,
)
from bridge.config.alerts import Alerts
from bridge.config.breakglass import BreakGlass
from bridge.config.building import Adapters, Build
from bridge.config.findings import Findings
from bridge.config.grants import Grant
from bridge.config.identities import Agent, Issuer, Owner, Role
from bridge.config.problem import ConfigErrors, Problem
from bridge.config.quotas import Quota
from bridge.config.requests import Requests
from bridge.config.sections import TLS, Admin, Bridge, Credentials, Limits, Log
from bridge.config.sinks import Sink
from bridge.config.systems import System
from bridge.config.vaults import Vault


@dataclass(frozen=True, slots=True)
class Config:
    """The whole file, checked, with every default and every inherited value filled in. Nothing in it changes.

    ``digest`` is ``sha256:…`` over the canonical content, so two files that mean the same have the same.
    """

    bridge: Bridge
    admin: Admin
    tls: TLS | None
    limits: Limits
    credentials: Credentials
    log: Log
    breakglass: BreakGlass
    issuers: Mapping[str, Issuer]
    owners: Mapping[str, Owner]
    agents: Mapping[str, Agent]
    roles: Mapping[str, Role]
    vaults: Mapping[str, Vault]
    systems: Mapping[str, System]
    grants: tuple[Grant, ...]
    quotas: Mapping[str, Quota]
    alerts: Alerts
    requests: Requests
    sinks: Mapping[str, Sink]
    path: Path
    digest: str = ""
    warnings: tuple[Problem, ...] = ()

    @property
    def admin_socket(self) -> Path:
        return self.bridge.state / self.admin.socket

    @property
    def log_origin(self) -> str:
        """What the log is called in its checkpoints."""
        return self.log.origin or f"idbridge/{self.bridge.name}"

    def redacted(self) -> dict[str, Any]:
        """The content as plain dicts, lists, text and numbers, for logs. Secrets are in it as references only."""
        sections = (field.name for field in fields(self) if field.name not in ("path", "digest", "warnings"))
        return {name: _plain(getattr(self, name)) for name in sections}


def load(path: str | PathLike[str], adapters: Adapters, *, now: float | None = None) -> Config:
    """Reads and checks the file. ``adapters``: by protocol name; ``now``: Unix seconds, for what has expired.

    Raises ConfigErrors with every error there is; only a syntax error hides what comes after it.
    Blocks on file I/O, and parses about 5,000 lines a second: a daemon that serves calls it in a thread.
    """
    file = Path(path)
    root, problems = reading.parse(reading.read(file), str(path))
    build = Build(root, adapters, str(path), file.absolute().parent)
    found = Findings(root, str(path), time.time() if now is None else now)
    grant_checks.check(found, adapters)
    identity_checks.check(found)
    system_checks.check(found, build)
    vault_checks.check(found)
    breakglass.check(found, build.breakglass)
    quota_checks.check(found)
    alert_checks.check(found)
    request_checks.check(found)
    sink_checks.check(found, build)
    log_checks.check(found)
    everything = sorted({*problems, *build.problems, *found.problems}, key=lambda one: (one.line, one.column, one.key))
    errors = [problem for problem in everything if problem.level == "error"]
    warnings = [problem for problem in everything if problem.level == "warning"]
    if errors or build.bridge is None:
        raise ConfigErrors(errors, warnings)
    return _config(build, build.bridge, file.absolute(), tuple(warnings))


def _config(build: Build, bridge: Bridge, path: Path, warnings: tuple[Problem, ...]) -> Config:
    def config(digest: str) -> Config:
        return Config(
            bridge, build.admin, build.tls, build.limits, build.credentials, build.log, build.breakglass, build.issuers,
            build.owners,
            build.agents, build.roles, build.vaults, build.systems, build.grants, build.quotas, build.alerts,
            build.requests, build.sinks, path, digest, warnings,
        )  # fmt: skip

    canonical = json.dumps(config("").redacted(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return config("sha256:" + hashlib.sha256(canonical.encode()).hexdigest())


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        names = ((field.alias or name, name) for name, field in type(value).model_fields.items())
        return {key: _plain(getattr(value, name)) for key, name in names}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((_plain(item) for item in value), key=str)
    if isinstance(value, Enum):
        return _plain(value.value)
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, float):  # the log knows whole numbers and text only
        return int(value) if value.is_integer() else str(value)
    if isinstance(value, Path | Address | IPv4Network | IPv6Network):
        return str(value)
    return value if value is None or isinstance(value, bool | int | str) else f"<{type(value).__name__}>"
