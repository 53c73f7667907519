"""The figures: each a function of the evidence, found by its name.

``value`` is what was counted, in words; ``number`` the same as a number; ``exceptions`` how many of it are not as the
requirement wants them, None where the figure is a plain count. ``query`` finds the events behind it among those of the
period, where there are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from bridge.api.reports.access import review, unused
from bridge.api.reports.evidence import DAY_MS, Evidence
from bridge.identity.lifecycle import ORPHANED
from bridge.policy import ANYONE, Effect, Mode
from bridge.translation.identifiers import timestamp
from bridge.translation.query import Query, Term
from bridge.translation.searching import Tally
from bridge.translation.vocabulary import (
    ALARM,
    CONFIG_CHANGE,
    DENIED,
    DENY_CHANGE,
    FAILURE,
    INTENT,
    KEY_CHANGE,
    LOG_READ,
    LOG_VERIFY,
    OK,
    OPERATION,
    POLICY_VERSION,
    RECONCILE,
    REGISTRY_CHANGE,
    SECRET_CHANGE,
    SESSION_OPEN,
    SESSION_REFUSED,
    SESSION_STOP,
    TOKEN_ISSUE,
    UNKNOWN,
)

INACTIVE_DAYS = 90
ROTATION_DAYS = 90

ADMINISTRATIVE = (
    REGISTRY_CHANGE, CONFIG_CHANGE, SECRET_CHANGE, DENY_CHANGE, KEY_CHANGE, TOKEN_ISSUE, SESSION_STOP,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Figure:
    value: str
    number: int
    exceptions: int | None = None
    query: str = ""


FIGURES: dict[str, Callable[[Evidence], Figure]] = {}


def figure(function: Callable[[Evidence], Figure]) -> Callable[[Evidence], Figure]:
    FIGURES[function.__name__] = function
    return function


def _types(*types: str) -> str:
    return f"type:{','.join(types)}"


OPERATIONS = f"{_types(OPERATION)} -phase:outcome"


def _total(tallies: Iterable[Tally]) -> int:
    return sum(one.count for one in tallies)


def _listed(names: Iterable[str], none: str = "none") -> str:
    return ", ".join(names) or none


def _each(counts: Iterable[tuple[str, int]]) -> str:
    return _listed(f"{name} {count}" for name, count in counts)


def _by_reason(evidence: Evidence, type: str) -> tuple[int, str]:
    """How many events of this type, and each of their reasons with its count, the most frequent first."""
    counts: Counter[str] = Counter()
    for one in evidence.tallies:
        if one.type == type:
            counts[one.reason] += one.count
    return counts.total(), _each(counts.most_common())


# -- sessions and operations


@figure
def attributed_sessions(evidence: Evidence) -> Figure:
    fields = ("agent.id", "agent.owner", "agent.purpose", "agent.roles", "delegation.mode", "legacy.account",
              "legacy.system", "transport.src")  # fmt: skip
    count, without = evidence.lacking((SESSION_OPEN,), *fields)
    text = f"{count} sessions; {without} lack agent, owner, purpose, role, delegation, account, system or source"
    return Figure(text, count, without, _types(SESSION_OPEN))


@figure
def attributed_operations(evidence: Evidence) -> Figure:
    count = _total(evidence.operations)
    whole = _total(one for one in evidence.operations if one.agent and one.owner and one.system and one.account)
    text = f"{count} operations; {count - whole} lack agent, owner, system or account"
    return Figure(text, count, count - whole, OPERATIONS)


@figure
def labelled_access(evidence: Evidence) -> Figure:
    counts: Counter[str] = Counter()
    for one in evidence.operations:
        for label in filter(None, one.labels.split("|")):
            counts[label] += one.count
    total = _total(one for one in evidence.operations if one.labels)
    text = f"{total} operations on systems or accounts with a label: {_each(sorted(counts.items()))}"
    return Figure(text, total, None, OPERATIONS)


@figure
def delegated_operations(evidence: Evidence) -> Figure:
    count = _total(one for one in evidence.operations if one.person)
    people = len({one.person for one in evidence.operations if one.person})
    text = f"{count} operations on behalf of {people} people, the rest by agents on their own"
    return Figure(text, count, None, f"person:* {OPERATIONS}")


@figure
def admin_operations(evidence: Evidence) -> Figure:
    count = _total(one for one in evidence.operations if one.action == "admin")
    text = f"{count} administrative operations in legacy systems (creation, deletion, rights)"
    return Figure(text, count, None, "action:admin -phase:outcome")


@figure
def refusals(evidence: Evidence) -> Figure:
    denied = [one for one in evidence.tallies if one.outcome == DENIED and one.phase != INTENT]
    total = _total(denied)
    strangers = _total(one for one in denied if not one.agent)
    without = _total(one for one in denied if one.reason in ("", OK))
    text = f"{total} refusals, {strangers} of them before an agent was known; {without} without a reason"
    return Figure(text, total, without, "outcome:denied")


@figure
def refused_logins(evidence: Evidence) -> Figure:
    total, told = _by_reason(evidence, SESSION_REFUSED)
    return Figure(f"{total} logins refused: {told}", total, None, _types(SESSION_REFUSED))


@figure
def unencrypted_sessions(evidence: Evidence) -> Figure:
    count, without = evidence.plaintext()
    text = f"{count} sessions; {without} of agents came without TLS or SSH (from the bridge's own host alone)"
    return Figure(text, count, without, _types(SESSION_OPEN))


# -- the bridge itself


@figure
def administrative_changes(evidence: Evidence) -> Figure:
    counts = {type: evidence.of(type) for type in ADMINISTRATIVE}
    total = sum(counts.values())
    text = f"{total} administrative actions: {_each((type, count) for type, count in counts.items() if count)}"
    return Figure(text, total, None, f"{_types(*ADMINISTRATIVE)} -phase:intent")


@figure
def identity_changes(evidence: Evidence) -> Figure:
    counts = {type: evidence.of(type) for type in (REGISTRY_CHANGE, DENY_CHANGE, TOKEN_ISSUE, SECRET_CHANGE)}
    text = f"changes of identities and credentials: {_each(counts.items())}"
    return Figure(text, sum(counts.values()), None, f"{_types(*counts)} -phase:intent")


@figure
def changes_with_actor(evidence: Evidence) -> Figure:
    types = (REGISTRY_CHANGE, CONFIG_CHANGE, SECRET_CHANGE, DENY_CHANGE)
    count, without = evidence.lacking(types, "actor.id", "change.subject")
    text = f"{count} changes of agents, configuration, secrets and deny list; {without} lack who made them or of what"
    return Figure(text, count, without, f"{_types(*types)} -phase:intent")


@figure
def policy_on_decisions(evidence: Evidence) -> Figure:
    count, without = evidence.lacking((SESSION_OPEN,), "decision.policy", "decision.rules")
    text = f"{count} admissions; {without} lack the policy's digest or the deciding grants"
    return Figure(text, count, without, _types(SESSION_OPEN))


@figure
def policy_versions(evidence: Evidence) -> Figure:
    count = evidence.of(POLICY_VERSION)
    text = f"{count} times the policy was recorded in full; at the end {evidence.basis.policy.digest}"
    return Figure(text, count, None, _types(POLICY_VERSION))


@figure
def point_in_time(evidence: Evidence) -> Figure:
    first = evidence.services.reader.in_thread_find(Query((Term("type", (POLICY_VERSION,)),)), 1, oldest_first=True)
    if not first:
        return Figure("the log has no policy yet: no time can be asked about", 0, 1)
    since = first[0].fields["ts"]
    return Figure(f"`who-can --at` and `explain --at` answer for every time since {since}", first[0].seq, 0)


@figure
def sessions_stopped(evidence: Evidence) -> Figure:
    stops, revoked = evidence.of(SESSION_STOP), evidence.of(DENY_CHANGE)
    text = f"{stops} live sessions ended by an operator, {revoked} tokens denied"
    return Figure(text, stops + revoked, None, f"{_types(SESSION_STOP, DENY_CHANGE)} -phase:intent")


@figure
def alarms(evidence: Evidence) -> Figure:
    total, told = _by_reason(evidence, ALARM)
    return Figure(f"{total} alarms: {told}", total, None, _types(ALARM))


# -- the log


@figure
def log_reads(evidence: Evidence) -> Figure:
    count = evidence.of(LOG_READ)
    people = sorted({one.person for one in evidence.tallies if one.type == LOG_READ and one.person})
    text = f"{count} readings of the log, by {len(people)}: {_listed(people, 'nobody')}"
    return Figure(text, count, None, _types(LOG_READ))


@figure
def log_exports(evidence: Evidence) -> Figure:
    count = evidence.reads("log.export*")
    text = f"{count} exports, each recorded with its query, its count and who made it"
    return Figure(text, count, None, _types(LOG_READ))


@figure
def log_starts(evidence: Evidence) -> Figure:
    life = evidence.life
    text = (
        f"the log was opened {life.starts} times, closed in order {life.stops} times, {life.crashes} times not closed"
    )
    return Figure(text, life.starts, life.crashes, "type:log.start,log.stop")


@figure
def log_failures(evidence: Evidence) -> Figure:
    life = evidence.life
    text = (
        f"{life.failures} times the log could not be written, {life.down_ms} ms in all; nothing was admitted meanwhile"
    )
    return Figure(text, life.failures, life.failures, "type:log.recovered")


@figure
def open_intents(evidence: Evidence) -> Figure:
    intents = _total(one for one in evidence.tallies if one.phase == INTENT)
    unknown = evidence.count(lambda one: one.outcome == UNKNOWN)
    text = (
        f"{intents} actions recorded before they were done; {unknown} ended as unknown;"
        f" {evidence.completeness.open_intents} without an outcome now"
    )
    return Figure(text, intents, unknown, "outcome:unknown")


@figure
def sequence(evidence: Evidence) -> Figure:
    found = evidence.completeness
    pruned = f", after {found.pruned} that were pruned" if found.pruned else ""
    text = f"{found.events} events in the whole log{pruned}; {found.missing} sequence numbers are missing"
    return Figure(text, found.events, found.missing)


@figure
def heartbeats(evidence: Evidence) -> Figure:
    found = evidence.beats
    text = (
        f"{found.count} signs of life; {found.gaps} gaps of more than a minute that no stop, start or recovery explains"
    )
    return Figure(text, found.count, found.gaps if found.count else 1, "type:log.heartbeat")


@figure
def clock(evidence: Evidence) -> Figure:
    found = evidence.beats
    text = (
        f"{found.count} looks at the clock: {found.unsynchronised} times nothing synchronised it, {found.off} times it"
        f" was more than a second off; {found.largest_ms} ms at most"
    )
    exceptions = found.unsynchronised + found.off
    return Figure(text, found.count, exceptions if found.count else 1, "type:log.heartbeat")


@figure
def copies(evidence: Evidence) -> Figure:
    """As they are now: where a copy was in the past is not in the log."""
    live = evidence.services.live
    if live is None:
        return Figure("the bridge is not running, so its sinks cannot be asked", 0, 1)
    sinks = live.sinks()
    told = _listed(f"{name} ({row['state']}) up to event {row['delivered']}" for name, row in sorted(sinks.items()))
    failing = sum(1 for row in sinks.values() if row["state"] != "ok")
    text = f"{len(sinks)} sinks take copies now: {told}; {evidence.extent.size} events in the log"
    return Figure(text, len(sinks), failing if sinks else 1)


@figure
def append_only(evidence: Evidence) -> Figure:
    found = evidence.completeness
    text = f"{found.guards} of {found.expected_guards} triggers refuse changes of events, tree and checkpoints"
    return Figure(text, found.guards, found.expected_guards - found.guards)


@figure
def checkpoints(evidence: Evidence) -> Figure:
    signed, attested = evidence.signed
    text = f"{signed} signed checkpoints; {attested} of them attested by a witness"
    return Figure(text, signed, None)


@figure
def verifications(evidence: Evidence) -> Figure:
    verified = [one for one in evidence.tallies if one.type == LOG_VERIFY]
    count, failed = _total(verified), _total(one for one in verified if one.outcome == FAILURE)
    last = max((one.last_at for one in verified), default=0)
    text = f"{count} verifications of the log, {failed} with findings; the last {timestamp(last) if last else 'never'}"
    return Figure(text, count, failed if count else 1, _types(LOG_VERIFY))


@figure
def retained(evidence: Evidence) -> Figure:
    first = evidence.completeness.first_at
    days = (evidence.until - first) // DAY_MS if first else 0
    since = timestamp(first) if first else "never"
    pruned = evidence.completeness.pruned
    archived = f"; the {pruned} before them are in the archive only" if pruned else ""
    return Figure(f"events since {since} are at hand: {days} days{archived}", days)


@figure
def compared_systems(evidence: Evidence) -> Figure:
    used = {one.system for one in evidence.tallies if one.type == SESSION_OPEN}
    compared = {one.system for one in evidence.tallies if one.type == RECONCILE}
    bypasses = _total(one for one in evidence.tallies if one.type == ALARM and one.reason == "bypass")
    never = sorted(used - compared)
    text = (
        f"{len(compared)} systems compared with their own list of sessions, {bypasses} sessions past the bridge;"
        f" used and never compared: {_listed(never)}"
    )
    return Figure(text, len(compared), len(never) + bypasses, "type:reconcile,alarm")


# -- agents and grants, at the end of the period


@figure
def agents(evidence: Evidence) -> Figure:
    states = Counter(one.state_at(evidence.basis.at) for one in evidence.basis.directory)
    text = f"{states.total()} agents, each with an owner: {_each(sorted(states.items()))}"
    return Figure(text, states.total(), states[ORPHANED])


@figure
def inactive_agents(evidence: Evidence) -> Figure:
    """Of the log, whatever the period: an agent's last session may lie before it."""
    at = int(evidence.basis.at * 1000)
    rows = evidence.services.reader.in_thread_rows(
        "SELECT DISTINCT agent FROM session WHERE opened BETWEEN ? AND ?", (at - INACTIVE_DAYS * DAY_MS, at)
    )
    seen = {agent for (agent,) in rows}
    active = [one for one in evidence.basis.directory if not one.refusal(evidence.basis.at)]
    idle = sorted(
        one.id for one in active if one.id not in seen and one.created < evidence.basis.at - INACTIVE_DAYS * 86_400
    )
    text = f"{len(idle)} of {len(active)} active agents had no session in {INACTIVE_DAYS} days"
    return Figure(f"{text}: {_listed(idle)}", len(active), len(idle))


@figure
def reach(evidence: Evidence) -> Figure:
    rows = review(evidence)
    never = sum(1 for row in rows if not row["last_used"])
    over = sum(1 for row in rows if row["last_used"] and row["unused_actions"])
    text = (
        f"{len(rows)} accounts within reach of agents; {never} not used in the period, of {over} more some actions were"
        " not used (`idbridge report access`)"
    )
    return Figure(text, len(rows), never + over)


@figure
def unused_grants(evidence: Evidence) -> Figure:
    rows = unused(evidence)
    never = [row["grant"] for row in rows if not row["last_used"]]
    allows = sum(1 for grant in evidence.basis.policy.grants if grant.effect is Effect.ALLOW)
    text = f"{len(never)} of {allows} allow grants let nobody in in the period: {_listed(never)}"
    return Figure(f"{text} (`idbridge report unused`)", allows, len(never))


@figure
def default_deny(evidence: Evidence) -> Figure:
    systems = evidence.basis.policy.systems.values()
    lenient = sorted(system.name for system in systems if system.mode is not Mode.ENFORCE)
    text = f"{len(systems)} systems, denied unless a grant allows it; not enforced yet: {_listed(lenient)}"
    return Figure(text, len(systems), len(lenient))


@figure
def justified_grants(evidence: Evidence) -> Figure:
    allows = [one for one in evidence.basis.policy.grants if one.effect is Effect.ALLOW]
    bare = [one.id for one in allows if not (one.reason or one.ticket)]
    endless = sum(1 for one in allows if one.expires is None)
    everybody = sum(1 for one in allows if ANYONE in one.agents)
    text = (
        f"{len(allows)} allow grants; {len(bare)} give neither reason nor ticket, {endless} never expire,"
        f" {everybody} are for every agent"
    )
    return Figure(text, len(allows), len(bare))


@figure
def shared_accounts(evidence: Evidence) -> Figure:
    reach: dict[tuple[str, str], set[str]] = {}
    for row in evidence.access:
        reach.setdefault((row["system"], row["account"]), set()).add(row["agent"])
    shared = sum(1 for agents in reach.values() if len(agents) > 1)
    text = f"{len(reach)} static accounts within reach, {shared} of several agents; each use names its agent"
    _, without = evidence.lacking((SESSION_OPEN,), "agent.id")
    return Figure(text, len(reach), without)


@figure
def secret_rotation(evidence: Evidence) -> Figure:
    stored = evidence.services.store.in_thread_list()
    limit = evidence.basis.at - ROTATION_DAYS * 86_400
    overdue = sorted(one.name for one in stored if one.updated < limit)
    text = (
        f"{len(stored)} secrets in the bridge's own store, {len(overdue)} not set for {ROTATION_DAYS} days:"
        f" {_listed(overdue)}; those in files, variables or a vault are not dated here"
    )
    return Figure(text, len(stored), len(overdue))


@figure
def access_reviews(evidence: Evidence) -> Figure:
    count = evidence.reads("report.access")
    return Figure(f"{count} access reviews were made in the period", count, 0 if count else 1)
