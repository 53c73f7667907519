"""Services on real files, with a live bridge that only counts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge.accounts.vaults import Store
from bridge.adapter import Action
from bridge.admission.access_requests import AccessRequests
from bridge.admission.demotions import Demotions
from bridge.admission.emergencies import Emergencies
from bridge.admission.usage import UsageStore
from bridge.alerts import Outbox
from bridge.api.services import Actor, Services
from bridge.identity.deny_list import DenyList
from bridge.identity.issuer import BuiltinIssuer
from bridge.identity.registry import Registry
from bridge.policy import Grant, Policy, SystemPolicy
from bridge.policy.access_request import AccessRequest, Asking, State, Terms
from bridge.storage import StorageError, open_engine, upgrade
from bridge.translation.appending import in_thread_append
from bridge.translation.log import LogUnavailable
from bridge.translation.reading import Filters, LogReader
from bridge.translation.record import Event

NOW = 1_800_000_000.0


class CountingLive:
    """One live session of deploy-7; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.rows = [
            {"session": "ses_1", "agent": "deploy-7", "owner": "payments", "system": "orders", "account": "svc"}
        ]

    def sessions(self) -> list[dict[str, Any]]:
        return self.rows

    def end_session(self, session: str, detail: str) -> int:
        self.asked.append(("end", session, detail))
        return 1

    def registry_changed(self) -> int:
        self.asked.append("registry")
        return 1

    def secret_changed(self, reference: str) -> None:
        self.asked.append(("secret", reference))

    def test_alert(self, channel: str) -> str:
        return "status 500" if channel == "broken" else ""

    def status(self) -> dict[str, Any]:
        return {"ready": True}

    def reload(self, actor: Actor) -> dict[str, Any]:
        self.asked.append(("reload", actor.id))
        return {"changes": []}

    def discover(self, system: str, account: str) -> list[dict[str, str]]:
        return [{"account": "cn=svc,dc=x"}]

    def begin_drill(self, agents: list[str], until: float, life: float) -> int:
        self.asked.append(("drill", agents))
        return 1

    def end_drill(self) -> list[str]:
        return ["deploy-7"]

    def rotate(self, actor: Actor, system: str, account: str) -> dict[str, Any]:
        return {"system": system, "account": account, "revision": 2}

    def reconcile(self, system: str, account: str, host: str = "") -> list[dict[str, str | int]]:
        return [{"state": "foreign", "port": 1}]

    def sinks(self) -> dict[str, dict[str, Any]]:
        return {"siem": {"state": "ok", "delivered": 7}}

    def resend(self, sink: str, first: int) -> None:
        self.asked.append(("resend", sink, first))

    def trust(self, system: str, host: str) -> list[dict[str, str]]:
        return [
            {"type": "ssh-ed25519", "fingerprint": "SHA256:x", "line": "h ssh-ed25519 x", "file": "", "state": "new"}
        ]

    def examine(self, system: str, account: str | None, host: str = "") -> list[dict[str, str]]:
        return [{"account": account or "svc", "host": host, "level": "ok", "title": system, "detail": ""}]

    def reset_breaker(self, system: str, account: str) -> bool:
        return True


class Office:
    """Services, and what the log has."""

    def __init__(self, folder: Path) -> None:
        self.registry_engine = open_engine(folder / "registry.db", kind="registry")
        upgrade(self.registry_engine, "registry")
        self.log_engine = open_engine(folder / "translation.db", kind="translation")
        upgrade(self.log_engine, "translation")
        self.folder = folder
        self.down = False
        self.live = CountingLive()
        allow = Grant("read", roles=frozenset({"reader"}), systems=frozenset({"orders"}), account="svc",
                      actions=frozenset({Action.READ}), default=True)  # fmt: skip
        self.services = Services(
            name="office",
            registry=Registry(self.registry_engine, now=lambda: NOW),
            deny_list=DenyList(self.registry_engine, now=lambda: NOW),
            issuer=BuiltinIssuer.load_or_create(folder / "issuer.key", "office"),
            reader=LogReader(self.log_engine),
            store=Store(self.registry_engine, folder / "store.key", lambda: NOW),
            usage=UsageStore(self.registry_engine),
            outbox=Outbox(self.registry_engine, 3600),
            emergencies=Emergencies(self.registry_engine),
            access_requests=AccessRequests(self.registry_engine),
            demotions=Demotions(self.registry_engine),
            policy=Policy([allow], [SystemPolicy("orders", ("svc",), frozenset({"pii"}))]),
            record=self.record,
            now=lambda: NOW,
            live=self.live,
            asking=Asking({"orders": Terms({"svc": frozenset({"user:anna", "lead-1"})})}),
        )

    def add_request(self, id: str, **changes: Any) -> None:
        """One of deploy-7, past all rules."""
        given: dict[str, Any] = {
            "agent": "deploy-7", "system": "orders", "account": "svc", "actions": frozenset({Action.WRITE}),
            "seconds": 600, "reason": "INC-7", "requester": "deploy-7", "created": int(NOW), "lapses": int(NOW) + 3600,
        }  # fmt: skip
        self.services.access_requests.in_thread_add(AccessRequest(id, **{**given, **changes}), 100)

    def given_request(self, id: str, **changes: Any) -> None:
        self.add_request(id, **changes)
        decided = {"decider": "user:anna", "decided": int(NOW), "ends": int(NOW) + 600}
        self.services.access_requests.in_thread_move(id, State.APPROVED, NOW, **decided)

    def record(self, event: Event) -> int:
        if self.down:
            raise LogUnavailable("failed", "the disk is full")
        try:
            return in_thread_append(self.log_engine, "office", [event])
        except StorageError as error:
            raise LogUnavailable("failed", str(error)) from None

    def events(self, type: str = "") -> list[dict[str, Any]]:
        return [one.fields for one in self.services.reader.in_thread_find(Filters(type=type), 1000, oldest_first=True)]

    def close(self) -> None:
        self.registry_engine.dispose()
        self.log_engine.dispose()


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    made = Office(tmp_path)
    yield made
    made.close()
