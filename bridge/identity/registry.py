"""The agent registry on the database: owners, agents, their bindings and keys, and the only ways to change them.

Every method blocks and runs in a thread. A change returns what was and what is, as plain values, so that the caller can
record it; each raises the registry's counter, by which other processes see that something changed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Engine

from bridge.adapter import BridgeError
from bridge.identity.agent_keys import normalised
from bridge.identity.agents import Agent, Binding, Directory, Owner, owner_plain
from bridge.identity.declared import Declared
from bridge.identity.lifecycle import ACTIVE, DRAFT, REVOKED, TRANSITIONS
from bridge.identity.overlap import Overlaps
from bridge.identity.text import is_agent_id, is_clean
from bridge.storage import reading, writing

DAY = 86_400
DEFAULT_LIFE = 90 * DAY
LONGEST_LIFE = 365 * DAY
MAX_BINDINGS = 32
MAX_KEYS = 8

OWNER_KINDS = ("team", "person", "shared-service")
RESERVED = frozenset({"agent", "idbridge"})
"""``agent`` as a user name means "my default account"; ``idbridge`` is the bridge itself."""

Plain = dict[str, Any]
Changed = tuple[Plain | None, Plain]


class RegistryError(BridgeError):
    """A change that cannot be made. ``field`` names what it is about; ``missing``: there is no such thing."""

    def __init__(self, field: str, message: str, *, missing: bool = False) -> None:
        super().__init__(message)
        self.field = field
        self.missing = missing


class Registry:
    """``now`` gives Unix seconds. Raises RegistryError, and StorageError where the database fails."""

    def __init__(self, engine: Engine, now: Callable[[], float]) -> None:
        self._engine = engine
        self._now = now

    # -- reading

    def in_thread_version(self) -> int:
        with reading(self._engine) as connection:
            return version_of(connection)

    def in_thread_directory(self) -> Directory:
        """All agents at one moment."""
        with reading(self._engine) as connection:
            return Directory(_agents(connection), version_of(connection))

    def in_thread_owners(self) -> list[Owner]:
        with reading(self._engine) as connection:
            return sorted(_owners(connection).values(), key=lambda owner: owner.id)

    # -- owners

    def in_thread_create_owner(self, id: str, *, kind: str, contact: str, on_call: str = "") -> Changed:
        owner = _checked_owner(Owner(id, kind, contact, on_call))
        with writing(self._engine) as connection:
            if id in _owners(connection):
                raise RegistryError("id", f"owner {id} exists already")
            _put_owner(connection, owner)
            bump(connection)
        return None, owner_plain(owner)

    def in_thread_leave(self, owner: str, *, reason: str, dry_run: bool) -> list[Changed]:
        """Revokes every agent that ``owner`` has, and lets the owner have no new ones; ``dry_run`` only says which."""
        changed: list[Changed] = []
        with writing(self._engine) as connection:
            if owner not in _owners(connection):
                raise RegistryError("owner", f"no owner {owner}", missing=True)
            for agent in _agents(connection, owner=owner):
                if agent.state != REVOKED:
                    after = replace(agent, state=REVOKED, state_reason=reason, revision=agent.revision + 1)
                    changed.append((agent.plain(), after.plain()))
                    if not dry_run:
                        _update(connection, after)
            if not dry_run:
                sql = "UPDATE owner SET departed = ? WHERE id = ? AND departed IS NULL"
                connection.exec_driver_sql(sql, (int(self._now()), owner))
                bump(connection)
        return changed

    # -- agents

    def in_thread_create(
        self,
        id: str,
        *,
        owner: str,
        purpose: str,
        roles: Sequence[str],
        environment: str,
        name: str = "",
        cost_centre: str = "",
        data_classes: Sequence[str] = (),
        expires: int | None = None,
        bindings: Iterable[Binding] = (),
        public_keys: Iterable[str] = (),
        draft: bool = False,
    ) -> Changed:
        """A new agent, active unless ``draft``; it expires in 90 days unless told, in 365 at most."""
        now = int(self._now())
        with writing(self._engine) as connection:
            agent = Agent(
                id=id,
                name=name or id,
                owner=_serving(connection, owner),
                purpose=purpose,
                roles=tuple(sorted(set(roles))),
                environment=environment,
                cost_centre=cost_centre,
                data_classes=tuple(sorted(set(data_classes))),
                created=now,
                expires=now + DEFAULT_LIFE if expires is None else expires,
                state=DRAFT if draft else ACTIVE,
                state_reason="",
                bindings=_sorted(bindings),
                public_keys=tuple(sorted({_normalised(key) for key in public_keys})),
                revision=1,
                origin="registry",
            )
            self._insert(connection, _checked(agent, now))
            bump(connection)
        return None, agent.plain()

    def in_thread_move(self, id: str, verb: str, *, reason: str = "", revision: int | None = None) -> Changed:
        """``suspend``, ``resume``, ``orphan`` or ``revoke``. Raises RegistryError when the state does not allow it.

        ``revision``, here and below, is the one that the caller has seen: a change in between refuses this one.
        """
        with writing(self._engine) as connection:
            agent = _one(connection, id, revision)
            after = replace(agent, state=self._next(agent, verb), state_reason=reason, revision=agent.revision + 1)
            _update(connection, after)
            bump(connection)
        return agent.plain(), after.plain()

    def in_thread_reassign(self, id: str, *, owner: str, reason: str = "", revision: int | None = None) -> Changed:
        """Gives the agent another owner; an orphaned one is active again."""
        with writing(self._engine) as connection:
            agent = _one(connection, id, revision)
            after = replace(
                agent,
                owner=_serving(connection, owner),
                state=self._next(agent, "reassign"),
                state_reason=reason,
                revision=agent.revision + 1,
            )
            _update(connection, after)
            bump(connection)
        return agent.plain(), after.plain()

    def in_thread_renew(self, id: str, *, expires: int | None = None, revision: int | None = None) -> Changed:
        """Gives the agent a new end, 90 days from now unless told."""
        now = int(self._now())
        with writing(self._engine) as connection:
            agent = _one(connection, id, revision)
            end = now + DEFAULT_LIFE if expires is None else expires
            _check_end(end, now)
            after = replace(agent, state=self._next(agent, "renew"), expires=end, revision=agent.revision + 1)
            _update(connection, after)
            bump(connection)
        return agent.plain(), after.plain()

    def _next(self, agent: Agent, verb: str) -> str:
        state = agent.state_at(self._now())
        allowed = TRANSITIONS[verb]
        if state not in allowed:
            able = ", ".join(sorted(allowed))
            raise RegistryError("id", f"agent {agent.id} is {state}; {verb} is for agents that are {able}")
        return allowed[state]

    def _insert(self, connection: Connection, agent: Agent) -> None:
        if connection.exec_driver_sql("SELECT 1 FROM agent WHERE id = ?", (agent.id,)).first():
            raise RegistryError("id", f"agent {agent.id} exists already; ids are never used again")
        others = Overlaps()
        for one in _agents(connection):
            others.add(_claiming(one))
        _check_unique(agent, others)
        _insert_rows(connection, agent)

    # -- what the configuration declares

    def in_thread_sync_declared(self, owners: Mapping[str, Any], agents: Mapping[str, Any]) -> list[Changed]:
        """Takes the owners and agents of the configuration file: new and changed ones as they stand there, and agents
        that stood there before and no longer do as suspended. Revoked agents stay revoked."""
        changed: list[Changed] = []
        with writing(self._engine) as connection:
            known_owners = _owners(connection)
            declared = Declared(owners, agents, _departed(connection))
            for owner in declared.owners:
                if known_owners.get(owner.id) != owner:
                    _put_owner(connection, _checked_owner(owner))
                    before = known_owners.get(owner.id)
                    changed.append((owner_plain(before) if before else None, owner_plain(owner)))
            known = {agent.id: agent for agent in _agents(connection)}
            wishes = [
                (wanted, known.get(wanted.id))
                for wanted in declared.agents(int(self._now()), known)
                if _declarable(wanted, known.get(wanted.id))
            ]
            _check_all_unique({**known, **{wanted.id: wanted for wanted, _ in wishes}})
            for _, present in wishes:  # all rows go before new ones come: agents may have exchanged bindings or keys
                if present is not None:
                    _delete_rows(connection, present)
            for wanted, present in wishes:
                _insert_rows(connection, wanted)
                changed.append((present.plain() if present else None, wanted.plain()))
            if changed:
                bump(connection)
        return changed


# -- rules


def _checked_owner(owner: Owner) -> Owner:
    if not is_agent_id(owner.id):
        raise RegistryError("id", "an id is a-z 0-9 . _ - and begins with a letter or digit")
    if owner.kind not in OWNER_KINDS:
        raise RegistryError("kind", f"kind is one of {', '.join(OWNER_KINDS)}")
    if not owner.contact.strip() or not is_clean(owner.contact):
        raise RegistryError("contact", "contact is required: where a person is reached")
    return owner


def _checked(agent: Agent, now: int) -> Agent:
    """Raises RegistryError for the first field that is missing or wrong."""
    if not is_agent_id(agent.id) or agent.id in RESERVED:
        raise RegistryError("id", "an id is a-z 0-9 . _ -, begins with a letter or digit, and is not 'agent'")
    required = {"purpose": agent.purpose, "environment": agent.environment, "roles": "".join(agent.roles)}
    for field, value in required.items():
        if not value.strip():
            raise RegistryError(field, f"{field} is required")
    texts = (agent.name, agent.purpose, agent.environment, agent.cost_centre, *agent.roles, *agent.data_classes)
    if not all(is_clean(text) for text in texts if text):
        raise RegistryError("name", "texts have at most 255 characters and no control characters")
    _check_end(agent.expires, now)
    if len(agent.bindings) > MAX_BINDINGS or len(agent.public_keys) > MAX_KEYS:
        raise RegistryError("bindings", f"at most {MAX_BINDINGS} bindings and {MAX_KEYS} keys")
    for binding in agent.bindings:
        if not binding.issuer or not binding.claims:
            raise RegistryError("bindings", "a binding names an issuer and at least one claim")
        if len(set(binding.names)) < len(binding.names):
            raise RegistryError("bindings", f"binding {binding} names a claim twice")
    return agent


def _check_end(expires: int, now: int) -> None:
    if not now < expires <= now + LONGEST_LIFE:
        raise RegistryError("expires", f"an agent expires in 1 second to {LONGEST_LIFE // DAY} days from now")


def _claiming(agent: Agent) -> Agent:
    """The agent with what it keeps others from: a revoked one lets its workload go, but never its keys."""
    return replace(agent, bindings=()) if agent.state == REVOKED else agent


def _check_unique(agent: Agent, others: Overlaps) -> None:
    if found := others.binding_of_another(agent):
        mine, other = found
        raise RegistryError("bindings", f"binding {mine} of {agent.id} could match the same token as one of {other}")
    if key_of := others.key_of_another(agent):
        raise RegistryError("public_keys", f"a key of {key_of} cannot be that of {agent.id} too")


def _check_all_unique(agents: Mapping[str, Agent]) -> None:
    seen = Overlaps()
    for agent in map(_claiming, agents.values()):
        _check_unique(agent, seen)
        seen.add(agent)


def _declarable(wanted: Agent, known: Agent | None) -> bool:
    """Whether a declared agent is new or changed. Raises RegistryError when it is the registry's, or has a bad key."""
    if known == wanted or (known is not None and known.state == REVOKED):
        return False
    if known is not None and known.origin != "config":
        raise RegistryError("agents", f"agent {wanted.id} is in the registry already; take it out of one of the two")
    if wanted.id in RESERVED:
        raise RegistryError("agents", f"{wanted.id} cannot be the id of an agent")
    for key in wanted.public_keys:
        _normalised(key)
    return True


def _sorted(bindings: Iterable[Binding]) -> tuple[Binding, ...]:
    return tuple(sorted({Binding(one.issuer, tuple(sorted(one.claims))) for one in bindings}, key=str))


def _normalised(key: str) -> str:
    try:
        return normalised(key)
    except ValueError as error:
        raise RegistryError("public_keys", str(error)) from None


# -- rows


def bump(connection: Connection) -> None:
    """Says that the registry changed."""
    connection.exec_driver_sql(
        "INSERT INTO change_counter (name, value) VALUES ('registry', 1)"
        " ON CONFLICT (name) DO UPDATE SET value = value + 1"
    )


def version_of(connection: Connection) -> int:
    """How many changes there were."""
    value = connection.exec_driver_sql("SELECT value FROM change_counter WHERE name = 'registry'").scalar()
    return int(value or 0)


def _owners(connection: Connection) -> dict[str, Owner]:
    rows = connection.exec_driver_sql("SELECT id, kind, contact, on_call FROM owner")
    return {row.id: Owner(*row) for row in rows}


def _departed(connection: Connection) -> frozenset[str]:
    return frozenset(connection.exec_driver_sql("SELECT id FROM owner WHERE departed IS NOT NULL").scalars())


def _serving(connection: Connection, owner: str) -> Owner:
    """The owner, who may be given agents. Raises RegistryError."""
    found = _owners(connection).get(owner)
    if found is None:
        raise RegistryError("owner", f"no owner {owner}; `idbridge owner create` makes one", missing=True)
    if owner in _departed(connection):
        raise RegistryError("owner", f"owner {owner} has left")
    return found


def _put_owner(connection: Connection, owner: Owner) -> None:
    connection.exec_driver_sql(
        "INSERT INTO owner (id, kind, contact, on_call) VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
        " kind = excluded.kind, contact = excluded.contact, on_call = excluded.on_call",
        (owner.id, owner.kind, owner.contact, owner.on_call),
    )


_AGENT = (
    "SELECT id, name, owner, purpose, roles, environment, cost_centre, data_classes, created, expires, state,"
    " state_reason, revision, origin FROM agent"
)


def _agents(connection: Connection, *, id: str | None = None, owner: str | None = None) -> list[Agent]:
    """All agents, or the one with this id, or those of this owner."""
    owners = _owners(connection)
    which = "WHERE (?1 IS NULL OR agent.id = ?1) AND (?2 IS NULL OR agent.owner = ?2)"
    if id is not None:
        which = "WHERE agent.id = ?1 AND ?2 IS NULL"
    asked = (id, owner)
    bindings: dict[str, list[Binding]] = {}
    sql = f"SELECT b.agent, b.issuer, b.claims FROM agent_binding b JOIN agent ON agent.id = b.agent {which}"
    for agent, issuer, claims in connection.exec_driver_sql(sql, asked):
        bindings.setdefault(agent, []).append(Binding(issuer, tuple((n, v) for n, v in json.loads(claims))))
    keys: dict[str, list[str]] = {}
    sql = f"SELECT k.agent, k.x FROM agent_key k JOIN agent ON agent.id = k.agent {which} ORDER BY k.x"
    for agent, x in connection.exec_driver_sql(sql, asked):
        keys.setdefault(agent, []).append(x)
    return [
        Agent(
            id=row.id,
            name=row.name,
            owner=owners[row.owner],
            purpose=row.purpose,
            roles=tuple(json.loads(row.roles)),
            environment=row.environment,
            cost_centre=row.cost_centre,
            data_classes=tuple(json.loads(row.data_classes)),
            created=row.created,
            expires=row.expires,
            state=row.state,
            state_reason=row.state_reason,
            bindings=tuple(sorted(bindings.get(row.id, ()), key=str)),
            public_keys=tuple(keys.get(row.id, ())),
            revision=row.revision,
            origin=row.origin,
        )
        for row in connection.exec_driver_sql(f"{_AGENT} {which} ORDER BY id", asked)
    ]


def _one(connection: Connection, id: str, revision: int | None = None) -> Agent:
    """Raises RegistryError when there is none, or it is no longer at ``revision``."""
    found = _agents(connection, id=id)
    if not found:
        raise RegistryError("id", f"no agent {id}", missing=True)
    if revision is not None and found[0].revision != revision:
        raise RegistryError("revision", f"agent {id} was changed meanwhile (revision {found[0].revision}); look again")
    return found[0]


def _update(connection: Connection, agent: Agent) -> None:
    connection.exec_driver_sql(
        "UPDATE agent SET owner = ?, state = ?, state_reason = ?, expires = ?, revision = ? WHERE id = ?",
        (agent.owner.id, agent.state, agent.state_reason, agent.expires, agent.revision, agent.id),
    )


def _delete_rows(connection: Connection, agent: Agent) -> None:
    for table, column in (("agent_binding", "agent"), ("agent_key", "agent"), ("agent", "id")):
        connection.exec_driver_sql(f"DELETE FROM {table} WHERE {column} = ?", (agent.id,))


def _insert_rows(connection: Connection, agent: Agent) -> None:
    connection.exec_driver_sql(
        "INSERT INTO agent (id, name, owner, purpose, roles, environment, cost_centre, data_classes, created, expires,"
        " state, state_reason, origin, revision) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            agent.id, agent.name, agent.owner.id, agent.purpose, json.dumps(agent.roles), agent.environment,
            agent.cost_centre, json.dumps(agent.data_classes), agent.created, agent.expires, agent.state,
            agent.state_reason, agent.origin, agent.revision,
        ),
    )  # fmt: skip
    for binding in set(agent.bindings):
        connection.exec_driver_sql(
            "INSERT INTO agent_binding (agent, issuer, claims, shape) VALUES (?, ?, ?, ?)",
            (agent.id, binding.issuer, json.dumps(sorted(binding.claims)), ",".join(binding.names)),
        )
    for x in set(agent.public_keys):
        connection.exec_driver_sql("INSERT INTO agent_key (x, agent) VALUES (?, ?)", (x, agent.id))
