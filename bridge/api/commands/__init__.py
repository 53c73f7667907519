"""Every command by name. Parameters are the keyword arguments of its function; any other name or type is an error."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any

from bridge.api.commands import (
    agents,
    alerts,
    breakglass,
    demotions,
    drills,
    log,
    policy,
    quotas,
    reports,
    requests,
    secrets,
    sessions,
    tokens,
)
from bridge.api.failure import CommandFailed
from bridge.api.services import Actor, Services

Command = Callable[..., Any]

LARGEST = 253_402_300_799_999
"""The last millisecond of the year 9999: numbers are times and counts, and later times are none."""

COMMANDS: dict[str, Command] = {
    "agent.create": agents.create,
    "agent.list": agents.list_all,
    "agent.show": agents.show,
    "agent.suspend": agents.suspend,
    "agent.resume": agents.resume,
    "agent.revoke": agents.revoke,
    "agent.renew": agents.renew,
    "owner.create": agents.create_owner,
    "owner.list": agents.list_owners,
    "owner.leave": agents.leave,
    "token.issue": tokens.issue,
    "token.deny": tokens.deny,
    "secret.set": secrets.set_secret,
    "secret.list": secrets.list_all,
    "secret.delete": secrets.delete,
    "secret.scan": secrets.scan,
    "secret.scanned": secrets.scanned,
    "policy.explain": policy.explain,
    "policy.who_can": policy.who_can,
    "request.ask": requests.ask,
    "request.list": requests.list_all,
    "request.show": requests.show,
    "request.approve": requests.approve,
    "request.deny": requests.deny,
    "request.withdraw": requests.withdraw,
    "request.revoke": requests.revoke,
    "alert.list": alerts.list_all,
    "alert.test": alerts.test,
    "drill.start": drills.start,
    "drill.stop": drills.stop,
    "drill.report": drills.report,
    "quota.show": quotas.show,
    "quota.costs": quotas.costs,
    "breakglass.rules": breakglass.rules,
    "breakglass.statement": breakglass.statement,
    "breakglass.request": breakglass.request,
    "breakglass.approve": breakglass.approve,
    "breakglass.use": breakglass.use,
    "breakglass.review": breakglass.review,
    "breakglass.list": breakglass.list_all,
    "demotion.pending": demotions.pending,
    "demotion.request": demotions.request,
    "demotion.statement": demotions.statement,
    "demotion.approve": demotions.approve,
    "demotion.list": demotions.list_all,
    "log.list": log.list_events,
    "log.actors": log.actors,
    "log.show": log.show,
    "log.who": log.who,
    "log.exported": log.exported,
    "log.played": log.played,
    "log.proved": log.proved,
    "log.verified": log.verified,
    "log.archived": log.archived,
    "log.erased": log.erased,
    "log.sinks": log.sinks,
    "log.resend": log.resend,
    "report.framework": reports.framework,
    "report.access": reports.access,
    "report.unused": reports.unused,
    "session.list": sessions.list_all,
    "session.show": sessions.show,
    "session.end": sessions.end,
    "status": sessions.status,
    "reload": sessions.reload,
    "doctor": sessions.doctor,
    "account.discover": sessions.discover,
    "account.rotate": sessions.rotate,
    "reconcile": sessions.reconcile,
    "ssh.trust": sessions.trust,
    "breaker.reset": sessions.reset_breaker,
}


OPEN_TO_AGENTS = frozenset(name for name in COMMANDS if name.startswith("request."))
"""Those that whoever proves itself by a token may give: each looks at who gives it."""


def call(services: Services, actor: Actor, name: str, parameters: Mapping[str, Any]) -> Any:
    """Runs a command in this thread. Raises CommandFailed."""
    function = COMMANDS.get(name)
    if function is None:
        raise CommandFailed(f"no command {name!r}", status=404)
    return function(services, actor, **_checked(function, parameters))


def _checked(function: Command, parameters: Mapping[str, Any]) -> dict[str, Any]:
    known = dict(list(inspect.signature(function).parameters.items())[2:])
    hints = typing.get_type_hints(function)
    for name, value in parameters.items():
        if name not in known:
            raise CommandFailed(f"unknown parameter {name!r}; expected {', '.join(known)}", field=name)
        if not _fits(value, hints[name]):
            raise CommandFailed(f"parameter {name!r} is of the wrong type", field=name)
    missing = [name for name, one in known.items() if one.default is one.empty and name not in parameters]
    if missing:
        raise CommandFailed(f"required: {', '.join(missing)}", field=missing[0])
    return dict(parameters)


def _fits(value: Any, hint: Any) -> bool:
    """For the few kinds of JSON that commands take: text, numbers, flags, lists of text, maps of text, or nothing."""
    arguments = typing.get_args(hint)
    origin = typing.get_origin(hint)
    if type(None) in arguments:
        return value is None or any(_fits(value, one) for one in arguments if one is not type(None))
    if origin is list:
        return isinstance(value, list) and all(_fits(item, arguments[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(_fits(item, arguments[1]) for item in value.values())
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST
    if isinstance(value, str) and not _is_text(value):
        return False
    return hint is Any or isinstance(value, hint)


def _is_text(value: str) -> bool:
    """JSON can hold halves of characters (``"\\ud800"``), which no database and no log can."""
    return not any("\ud800" <= character <= "\udfff" for character in value)
