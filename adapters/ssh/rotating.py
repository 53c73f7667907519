"""A new secret for the static account, given by itself: by passwd(1), or as a new key in its ``authorized_keys``."""

from __future__ import annotations

from dataclasses import replace

from adapters.ssh import keys, passwd
from adapters.ssh.commands import Commands, Unanswered
from adapters.ssh.hosts import Hosts
from bridge.adapter import (
    Admission,
    Login,
    NotTaken,
    PeerFault,
    Secret,
    StreamClosed,
    SystemFacts,
    TimedOut,
)


async def rotate(hosts: Hosts, admission: Admission, system: SystemFacts, new: Secret) -> None:
    """Raises Refused, NotTaken, BridgeError."""
    commands, login = Commands(await hosts.log_in(admission, system, "")), admission.login
    try:
        if keys.is_key(new):
            old_key = await hosts.deferring(keys.in_thread_public, login)
            new_key = await hosts.deferring(keys.in_thread_public, replace(login, secret=new))
            keys.judge(*await commands.ask(keys.adding(old_key, new_key)))
        else:
            await _password(commands, login, new)
    except Unanswered as no:
        raise NotTaken(str(no)) from None


async def withdraw(hosts: Hosts, admission: Admission, system: SystemFacts, key: Secret) -> None:
    """Raises Refused, BridgeError."""
    commands = Commands(await hosts.log_in(admission, system, ""))
    gone = await hosts.deferring(keys.in_thread_public, replace(admission.login, secret=key))
    keys.judge(*await commands.ask(keys.withdrawing(gone)))


async def _password(commands: Commands, login: Login, new: Secret) -> None:
    dialog = passwd.Dialog(login.secret, new)
    try:
        status = await commands.converse(passwd.COMMAND, dialog.hear)
    except (PeerFault, StreamClosed, TimedOut) as broken:
        if dialog.committed:
            raise
        raise NotTaken(f"{broken}; nothing was set: {dialog.words}".rstrip(": ")) from None
    dialog.end(status)
