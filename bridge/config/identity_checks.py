"""Cross checks of ``issuers``, ``owners`` and ``agents``; above all: no token may be two agents."""

from __future__ import annotations

from collections import defaultdict

from bridge.config.findings import Findings
from bridge.config.tree import Place, Scalar
from bridge.config.values import ONE_YEAR

Claims = dict[str, str]


def check(found: Findings) -> None:
    _issuers(found)
    for _, owner in found.root.under("owners"):
        kind = owner.get("kind")
        if kind is not None and kind.text == "shared-service" and owner.get("on_call") is None:
            found.warning(owner, "a shared service has no on_call", "where to reach whoever is on call", on_key=True)
    keys: dict[str, str] = {}
    for name, agent in found.root.under("agents"):
        _agent(found, name, agent, keys)
    _overlaps(found)


def _profile(issuer: Place) -> str:
    profile = issuer.get("profile")
    return (profile.text or "") if profile is not None else ""


def _issuers(found: Findings) -> None:
    urls: dict[str, str] = {}
    builtin = ""
    for name, issuer in found.root.under("issuers"):
        if _profile(issuer) == "builtin":
            if builtin:
                found.error(issuer, f'"{builtin}" is already the built-in issuer', "one", on_key=True)
            builtin = builtin or name
            for key in ("issuer", "keys", "ca", "trust_domain"):
                if (place := issuer.get(key)) is not None:
                    found.error(place, "the built-in issuer has its own", "no such key here", on_key=True)
            continue
        if _profile(issuer) == "ssh-certificate":
            _ssh(found, issuer)
            continue
        for steps in (("revoked",), ("keys", "ssh_file")):
            if (place := issuer.get(*steps)) is not None:
                found.error(place, "belongs to profile ssh-certificate", "no such key here", on_key=True)
        _external(found, issuer)
        url = issuer.get("issuer")
        if url is not None and url.text is not None:
            if url.text in urls:
                found.error(url, f'"{urls[url.text]}" is the same issuer', "each issuer once")
            urls.setdefault(url.text, name)


def _ssh(found: Findings, issuer: Place) -> None:
    if issuer.get("keys", "ssh_file") is None:
        found.error(issuer, "is missing", "keys: {ssh_file: FILE}", on_key=True, below="keys")
    for key in ("issuer", "audiences", "algorithms", "trust_domain", "ca", "legacy_jwt"):
        if (place := issuer.get(key)) is not None:
            found.error(place, "does not belong to SSH certificates", "no such key here", on_key=True)


def _external(found: Findings, issuer: Place) -> None:
    svid = _profile(issuer) == "jwt-svid"
    if issuer.get("issuer") is None and not svid:
        found.error(issuer, "is missing", "the exact value of the claim iss", on_key=True, below="issuer")
    if svid and issuer.get("trust_domain") is None:
        found.error(issuer, "is missing", "the SPIFFE trust domain", on_key=True, below="trust_domain")
    if not svid and (domain := issuer.get("trust_domain")) is not None:
        found.error(domain, "belongs to profile jwt-svid", "no such key here", on_key=True)
    legacy = issuer.get("legacy_jwt")
    if legacy is not None and getattr(legacy.node, "value", None) is True and _profile(issuer) != "at+jwt":
        found.error(legacy, "belongs to profile at+jwt", "false, or no such key", on_key=True)
    keys = issuer.get("keys")
    if keys is None:
        found.error(issuer, "is missing", "discovery: true, jwks_url or jwks_file", on_key=True, below="keys")
        return
    sources = [
        key
        for key, place in keys.members()
        if key not in ("origins", "ssh_file") and getattr(place.node, "value", None)
    ]
    if len(sources) != 1:
        found.error(keys, f"names {len(sources) or 'no'} sources of keys", "one: discovery, jwks_url or jwks_file")
    url = issuer.get("issuer")
    if "discovery" in sources and (url is None or not (url.text or "").startswith(("https://", "http://"))):
        found.error(url or issuer, "discovery needs an https URL as issuer", "https://host/path")


def _agent(found: Findings, name: str, agent: Place, keys: dict[str, str]) -> None:
    for section, key, what in (("owners", "owner", "owner"), ("roles", "roles", "role")):
        found.declared(agent, key, section, what)
    found.expiry(agent, "agent", ONE_YEAR)
    for text, place in agent.texts("public_keys"):
        if keys.setdefault(text, name) != name:
            found.error(place, f'agent "{keys[text]}" has the same key', "a key of its own")


def _overlaps(found: Findings) -> None:
    """Two bindings can match one token when their claims contradict each other nowhere."""
    issuers = {name: _profile(issuer) for name, issuer in found.root.under("issuers")} or {"builtin": "builtin"}
    earlier: dict[str, _Bindings] = defaultdict(_Bindings)
    for agent, place in found.root.under("agents"):
        bindings = place.get("bindings")
        for binding in bindings.elements() if bindings is not None else ():
            issuer = binding.get("issuer")
            if issuer is None or issuer.text is None:
                continue
            if issuer.text not in issuers:
                found.unknown(issuer, "issuer", issuers)
            elif issuers[issuer.text] == "builtin":
                found.error(issuer, "the built-in issuer's tokens name the agent themselves", "another issuer")
            claims = {
                name: claim.node.value
                for name, claim in binding.under("claims")
                if isinstance(claim.node, Scalar) and isinstance(claim.node.value, str)
            }
            other = earlier[issuer.text].add(agent, claims) if claims else None
            if other is not None:
                found.error(binding, f'a token can match this and agent "{other}"', "claims that tell them apart")


class _Bindings:
    """The bindings of one issuer, by the set of claims they ask for, so that a look-up replaces comparing all pairs."""

    def __init__(self) -> None:
        self._shapes: dict[frozenset[str], list[tuple[str, Claims]]] = {}
        self._joins: dict[tuple[frozenset[str], frozenset[str]], dict[tuple[str, ...], list[str]]] = {}

    def add(self, agent: str, claims: Claims) -> str | None:
        """Adds a binding; returns an earlier agent, not this one, whose binding can match the same token."""
        shape = frozenset(claims)
        if shape not in self._shapes:
            self._shapes[shape] = []
            for other in self._shapes:
                for left, right in {(shape, other), (other, shape)}:
                    self._joins[left, right] = self._table(right, left & right)
        found = self._find(agent, shape, claims)
        self._shapes[shape].append((agent, claims))
        for (left, right), table in self._joins.items():
            if right == shape:
                values = tuple(claims[name] for name in sorted(left & shape))
                _note(table, values, agent)
        return found

    def _table(self, shape: frozenset[str], shared: frozenset[str]) -> dict[tuple[str, ...], list[str]]:
        table: dict[tuple[str, ...], list[str]] = {}
        for agent, claims in self._shapes[shape]:
            _note(table, tuple(claims[name] for name in sorted(shared)), agent)
        return table

    def _find(self, agent: str, shape: frozenset[str], claims: Claims) -> str | None:
        for other in self._shapes:
            values = tuple(claims[name] for name in sorted(shape & other))
            for candidate in self._joins[shape, other].get(values, ()):
                if candidate != agent:
                    return candidate
        return None


def _note(table: dict[tuple[str, ...], list[str]], values: tuple[str, ...], agent: str) -> None:
    """Two different agents are enough to find one that is not the asker."""
    agents = table.setdefault(values, [])
    if len(agents) < 2 and agent not in agents:
        agents.append(agent)
