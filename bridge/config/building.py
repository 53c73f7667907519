"""The tree of values -> validated sections.

Every entry (one system, one grant …) is validated by itself, so that a mistake in one hides none in another.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from bridge.adapter import Adapter
from bridge.config import wording
from bridge.config.alerts import Alerts
from bridge.config.breakglass import BreakGlass
from bridge.config.grants import Grant
from bridge.config.identities import Agent, Issuer, Owner, Role
from bridge.config.problem import Problem
from bridge.config.quotas import Quota
from bridge.config.requests import Requests
from bridge.config.sections import TLS, Admin, Bridge, Credentials, Limits, Log, Section
from bridge.config.sinks import Sink
from bridge.config.systems import System
from bridge.config.tree import Mapping as MappingNode
from bridge.config.tree import Place, Scalar, Sequence, dotted, nearest, plain
from bridge.config.values import NAME, Some, Text
from bridge.config.vaults import Vault

Adapters = Mapping[str, Adapter | type[Adapter]]

SINGLE: Mapping[str, type[Section]] = MappingProxyType(
    {
        "bridge": Bridge,
        "admin": Admin,
        "tls": TLS,
        "limits": Limits,
        "credentials": Credentials,
        "log": Log,
        "alerts": Alerts,
        "breakglass": BreakGlass,
        "requests": Requests,
    }
)
NAMED: Mapping[str, type[Section]] = MappingProxyType(
    {
        "issuers": Issuer,
        "owners": Owner,
        "agents": Agent,
        "roles": Role,
        "vaults": Vault,
        "systems": System,
        "quotas": Quota,
        "sinks": Sink,
    }
)
SECTIONS = (*SINGLE, *NAMED, "grants")

M = TypeVar("M", bound=BaseModel)
_NAME = re.compile(NAME)
_NARROWING: TypeAdapter[tuple[str, ...]] = TypeAdapter(Some[Text])


def target_aliases(adapters: Adapters) -> dict[str, str]:
    """The keys of a grant that stand for ``targets.<fact>``: the plural of each fact a protocol can narrow by."""
    narrowing = sorted({fact for adapter in adapters.values() for fact in adapter.targets | adapter.operation_targets})
    return {f"{fact}s": fact for fact in narrowing}


class Build:
    """One pass over the tree. ``problems`` grows; the parts are complete only while it stays empty."""

    def __init__(self, root: Place, adapters: Adapters, file: str, base: Path) -> None:
        self.root = root
        self.adapters = adapters
        self.file = file
        self.problems: list[Problem] = []
        self._context = {"base": base}
        self._check_root()
        self.bridge = self._single("bridge", Bridge)
        self.admin = self._single("admin", Admin) or Admin()
        self.tls = self._single("tls", TLS)
        self.limits = self._single("limits", Limits) or Limits()
        self.credentials = self._single("credentials", Credentials) or Credentials()
        self.alerts = self._single("alerts", Alerts) or Alerts()
        self.requests = self._single("requests", Requests) or Requests()
        self.log = self._single("log", Log) or Log()
        self.breakglass = self._single("breakglass", BreakGlass) or BreakGlass()
        self.issuers = self._issuers()
        self.owners = self._named("owners", Owner)
        self.agents = self._agents()
        self.roles = self._named("roles", Role)
        self.vaults = self._named("vaults", Vault)
        self.systems = self._systems()
        self.sinks = self._named("sinks", Sink)
        self.grants = tuple(self._grants())
        self.quotas = self._named("quotas", Quota)

    def _check_root(self) -> None:
        if not isinstance(self.root.node, MappingNode):
            self._at(self.root, "is not a configuration", "the sections " + ", ".join(SECTIONS))
        for name, place in self.root.members():
            if name not in SECTIONS:
                self._at(place, *wording.unknown_key(name, SECTIONS), on_key=True)
        if self.root.get("bridge") is None:
            self._at(self.root, "is missing", "the section with the bridge's name", key="bridge")

    def _at(self, place: Place, message: str, expected: str, *, key: str = "", on_key: bool = False) -> None:
        mark = place.key if on_key else place.value
        self.problems.append(Problem(self.file, mark.line, mark.column, key or dotted(place.path), message, expected))

    def _validate(self, place: Place, model: type[M], data: Any) -> M | None:
        try:
            return model.model_validate({} if data is None else data, context=self._context)
        except ValidationError as error:
            also = target_aliases(self.adapters) if model is Grant else ()
            self.problems += wording.problems(error, place, model, self.file, also)
            return None

    def _single(self, name: str, model: type[M]) -> M | None:
        place = self.root.get(name)
        empty = place is None or (isinstance(place.node, Scalar) and place.node.value is None)
        if place is None or (empty and model is not Bridge):
            return None
        return self._validate(place, model, plain(place.node))

    def _entries(self, section: str) -> Iterator[tuple[str, Place]]:
        place = self.root.get(section)
        if place is None or (isinstance(place.node, Scalar) and place.node.value is None):
            return
        if not isinstance(place.node, MappingNode):
            self._at(place, "is not a mapping", "names, each with its settings")
        for name, entry in place.members():
            if not _NAME.fullmatch(name):
                self._at(entry, "is not a name", wording.NAME_RULE, on_key=True)
            yield name, entry

    def _named(self, section: str, model: type[M]) -> Mapping[str, M]:
        built = {name: self._validate(place, model, plain(place.node)) for name, place in self._entries(section)}
        return _complete(built)

    def _issuers(self) -> Mapping[str, Issuer]:
        if self.root.get("issuers") is None:
            return MappingProxyType({"builtin": Issuer(profile="builtin")})
        inherits = {"max_lifetime": self.credentials.max_lifetime, "leeway": self.credentials.leeway}
        built = {}
        for name, place in self._entries("issuers"):
            issuer = self._validate(place, Issuer, plain(place.node))
            if issuer is not None:
                issuer = issuer.model_copy(
                    update={k: v for k, v in inherits.items() if k not in issuer.model_fields_set}
                )
            built[name] = issuer
        return _complete(built)

    def _agents(self) -> Mapping[str, Agent]:
        agents = self._named("agents", Agent)
        named = {id_: agent.model_copy(update={"name": agent.name or id_}) for id_, agent in agents.items()}
        return MappingProxyType(named)

    def _systems(self) -> Mapping[str, System]:
        return _complete({name: self._system(place) for name, place in self._entries("systems")})

    def adapter(self, system: Place) -> Adapter | type[Adapter] | None:
        protocol = system.get("protocol")
        return self.adapters.get(protocol.text) if protocol is not None and protocol.text is not None else None

    def _system(self, place: Place) -> System | None:
        data = plain(place.node)
        raw_options = data.pop("options", None) if isinstance(data, dict) else None
        system = self._validate(place, System, data)
        protocol, adapter = place.get("protocol"), self.adapter(place)
        if adapter is None:
            if protocol is not None and protocol.text is not None:
                known = ", ".join(sorted(self.adapters)) or "no adapter is installed"
                self._at(protocol, f"no adapter speaks it{nearest(protocol.text, self.adapters)}", known)
            return None
        options = self._options(place, adapter.Options, raw_options)
        if system is None or options is None:
            return None
        update: dict[str, Any] = {"options": options}
        if "mode" not in system.model_fields_set and self.bridge is not None:
            update["mode"] = self.bridge.mode
        if "port" not in system.upstream.model_fields_set:
            update["upstream"] = system.upstream.model_copy(update={"port": adapter.default_port})
        return system.model_copy(update=update)

    def _options(self, system: Place, model: type[BaseModel], data: Any) -> BaseModel | None:
        place = system.get("options") or system
        if model.model_config.get("extra", "ignore") == "ignore":
            known = wording.keys_of(model, ())
            for name, unknown in place.members() if place is not system else ():
                if name not in known:
                    self._at(unknown, *wording.unknown_key(name, known), on_key=True)
        return self._validate(place, model, data)

    def _grants(self) -> Iterator[Grant]:
        section = self.root.get("grants")
        if section is None or (isinstance(section.node, Scalar) and section.node.value is None):
            return
        if not isinstance(section.node, Sequence):
            self._at(section, "is not a list", "grants, each starting with - id:")
        for place in section.elements():
            grant = self._grant(place)
            if grant is not None:
                yield grant

    def _grant(self, place: Place) -> Grant | None:
        """Takes the aliases (``databases``) out, validates them where they stand, and adds them to ``targets``."""
        data = plain(place.node)
        narrowed: dict[str, tuple[str, ...]] = {}
        if isinstance(data, dict):
            for alias, fact in target_aliases(self.adapters).items():
                if alias in data:
                    narrowed[fact] = self._narrowing(place, alias, fact, data.pop(alias))
        grant = self._validate(place, Grant, data)
        if grant is None or not narrowed:
            return grant
        return grant.model_copy(update={"targets": MappingProxyType({**grant.targets, **narrowed})})

    def _narrowing(self, grant: Place, alias: str, fact: str, data: Any) -> tuple[str, ...]:
        place = grant.get(alias) or grant
        if grant.get("targets", fact) is not None:
            self._at(place, f"stands here and below targets.{fact}", "one of them", on_key=True)
        try:
            return _NARROWING.validate_python(data)
        except ValidationError as error:
            self.problems += wording.problems(error, place, Grant, self.file)
            return ()


def _complete(built: Mapping[str, M | None]) -> Mapping[str, M]:
    return MappingProxyType({name: entry for name, entry in built.items() if entry is not None})
