"""Cross checks of ``systems`` and ``admin``: addresses, accounts, and files that are named but not there."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from pathlib import Path

from pydantic_core import PydanticCustomError

from bridge.adapter import Address
from bridge.config.building import Build
from bridge.config.findings import Findings
from bridge.config.tree import Place
from bridge.config.values import address

LONGEST_SOCKET = 107  # sun_path of Linux (unix(7)), less the closing zero
DEFAULT_ACCOUNT = "agent"  # as a wished account it means "the default of whoever I am"


def check(found: Findings, build: Build) -> None:
    _listeners(found)
    _admin(found, build)
    if not found.names("systems"):
        found.warning(found.root, "no system is declared, so there is nothing to listen for", "systems")
    for _, system in found.root.under("systems"):
        _accounts(found, system)
        _upstream(found, system, build)
        plaintext = system.get("plaintext")
        adapter = build.adapter(system)
        encrypts = adapter is not None and adapter.encrypts
        if not encrypts and found.root.get("tls") is None and (plaintext is None or plaintext.text == "refuse"):
            found.warning(
                system, "refuses plaintext and the bridge has no certificate: nobody can log in", "tls", on_key=True
            )
    _files(found, build)


def _addresses(found: Findings) -> Iterator[tuple[str, Place, Address]]:
    for name, system in found.root.under("systems"):
        yield from _parsed(f"system {name}", system, "listen")
    for section, key in (("admin", "metrics"), ("requests", "listen")):
        if (place := found.root.get(section)) is not None:
            yield from _parsed(f"{section}.{key}", place, key)


def _parsed(who: str, place: Place, key: str) -> Iterator[tuple[str, Place, Address]]:
    for text, at in place.texts(key):
        try:
            yield who, at, address(text)
        except PydanticCustomError:
            continue


def _listeners(found: Findings) -> None:
    taken: dict[int, list[tuple[str, Address, int]]] = {}
    for who, place, own in _addresses(found):
        if own.port == 0:
            continue
        others = taken.setdefault(own.port, [])
        clash = next(((other, line) for other, theirs, line in others if _same(own.host, theirs.host)), None)
        if clash is not None and clash[0] != who:
            found.error(place, f"{clash[0]} listens there already (line {clash[1]})", "an address of its own")
        others.append((who, own, place.value.line))


def _same(one: str, other: str) -> bool:
    """Equal, or one of them is the wildcard of the other's family (``::`` takes IPv4 as well)."""
    if one == other or "::" in (one, other):
        return True
    return "0.0.0.0" in (one, other) and ":" not in one + other


def _admin(found: Findings, build: Build) -> None:
    admin, metrics = build.admin, found.root.get("admin", "metrics")
    if admin.metrics and metrics and not ipaddress.ip_address(admin.metrics.host).is_loopback:
        found.error(metrics, "is not a loopback address", "127.0.0.1:PORT or [::1]:PORT")
    socket = found.root.get("admin", "socket") or found.root.get("bridge", "state")
    path = str(build.bridge.state / admin.socket) if build.bridge is not None else ""
    if socket is not None and len(path.encode()) > LONGEST_SOCKET:
        found.error(socket, "the admin socket's path is too long", f"at most {LONGEST_SOCKET} bytes with bridge.state")


def _upstream(found: Findings, system: Place, build: Build) -> None:
    upstream = system.get("upstream")
    if upstream is None:
        return
    host, hosts, adapter = upstream.get("host"), upstream.get("hosts"), build.adapter(system)
    if host is None and hosts is None:
        found.error(
            upstream, "is missing", "the DNS name or IP address of the legacy system", on_key=True, below="host"
        )
    if host is not None and hosts is not None:
        found.error(hosts, "stands beside host", "one of them", on_key=True)
    if hosts is not None and adapter is not None and "host" not in adapter.targets:
        found.error(hosts, f"protocol {adapter.name} leads to one host", "host: NAME", on_key=True)


def _accounts(found: Findings, system: Place) -> None:
    accounts = system.get("accounts")
    if accounts is not None and not list(accounts.members()):
        found.warning(accounts, "has no account, so nobody can be let in", "NAME: {secret: env:NAME}")
    for name, place in system.under("accounts"):
        if name == DEFAULT_ACCOUNT:
            found.error(place, "is reserved: clients ask for their default account by it", "another name", on_key=True)
        elif not 1 <= len(name) <= 128:
            found.error(place, "is not an account name", "1 to 128 characters", on_key=True)


def _files(found: Findings, build: Build) -> None:
    named = [(("tls", key), getattr(build.tls, key, None)) for key in ("certificate", "key", "client_ca")]
    paths: list[tuple[tuple[str, ...], Path | None]] = list(named)
    for name, issuer in build.issuers.items():
        paths.append((("issuers", name, "ca"), issuer.ca))
        paths.append((("issuers", name, "revoked"), issuer.revoked))
        for key in ("jwks_file", "ssh_file"):
            paths.append((("issuers", name, "keys", key), getattr(issuer.keys, key, None)))
    for name, vault in build.vaults.items():
        paths += [(("vaults", name, "ca"), vault.ca), (("vaults", name, "auth", "jwt_file"), vault.auth.jwt_file)]
    paths += [(("systems", name, "upstream", "ca"), system.upstream.ca) for name, system in build.systems.items()]
    for steps, file in paths:
        found.missing(found.root.get(*steps), file)
