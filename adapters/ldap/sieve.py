"""What of a search's entries the agent sees: by their names, by their attributes (research A5, findings 6 and 7).

A search whose base is allowed can return entries from elsewhere (aliases, rules deeper down), and attributes under
names that no request mentioned. So what comes back is looked at, but only as far as a rule asks: without one, entries
are not even parsed.
"""

from __future__ import annotations

from dataclasses import dataclass

from adapters.ldap import codec, rootdse
from adapters.ldap.attributes import Visible, is_list
from adapters.ldap.entries import Mentions, entry_name, filtered
from adapters.ldap.framing import Message
from adapters.ldap.knowledge import Knowledge
from adapters.ldap.names import Name
from adapters.ldap.protected import Protected
from adapters.ldap.refusals import Spoken
from adapters.ldap.schema import SECRET_STEMS, sensitive
from bridge.adapter import Action, Admission, Target

NONE = b"1.1"
"""Stands for no attribute at all (RFC 4511 section 4.5.1.8)."""

_SECRETS = Mentions(SECRET_STEMS)


@dataclass(frozen=True, slots=True)
class Sight:
    """What a session's sieves share. ``secrets``: canonical names of sensitive attributes that the options open."""

    admission: Admission
    known: Knowledge
    protected: Protected
    secrets: frozenset[str]
    served: rootdse.Served


class Sieve:
    """One search's. ``sift`` gives the message itself when all of it may pass, other bytes, or None for nothing."""

    __slots__ = (
        "_asks_secret",
        "_base",
        "_by_attribute",
        "_by_name",
        "_clean",
        "_owner",
        "_root",
        "_search",
        "_sight",
        "_visible",
    )

    def __init__(self, sight: Sight, search: codec.Search, base: Name, *, public: bool) -> None:
        narrowing = frozenset() if public else sight.admission.narrowing
        self._sight = sight
        self._search = search
        self._base: Target = {"base": base.target}
        self._root = not search.base and search.scope == 0
        self._by_name = "base" in narrowing
        self._by_attribute = "attribute" in narrowing
        self._owner = bool(sight.secrets)
        self._visible = self._view(self._base) if self._by_attribute else self._secretless(sight.secrets)
        self._clean = bool(search.attributes) and not any(map(self._may_be_secret, search.attributes))
        self._asks_secret = any(map(self._is_secret, search.attributes))

    @property
    def narrows_names(self) -> bool:
        return self._by_name

    @property
    def idle(self) -> bool:
        """Whether every entry passes as it is, unless it mentions secrets.

        A secret that was asked for is not left to what an entry mentions: 389-ds answers under the name that was asked,
        an OID too.
        """
        return not (self._root or self._by_name or self._by_attribute or self._owner or self._asks_secret)

    @property
    def clean(self) -> bool:
        """Whether no attribute with secrets was asked for."""
        return self._clean

    def sift(self, message: Message) -> Message | bytes | None:
        """Raises PeerFault for what is no entry."""
        if self._root:
            return rootdse.rewritten(message, self._search, self._sight.served)
        visible = self._visible
        if self._by_name or self._owner:
            try:
                name = self._sight.known.names.of_entry(entry_name(message))
            except Spoken:  # a name that nobody can judge
                return None
            if self._by_name:
                target: Target = {"base": name.target}
                if not self._sight.admission.may(Action.READ, target):
                    return None
                if self._by_attribute:
                    visible = self._view(target)
            if self._owner and self._sight.protected.owns(name):
                visible = self._secretless(frozenset())
        return filtered(message, visible)

    def _may_be_secret(self, asked: bytes) -> bool:
        return asked != NONE and (is_list(asked) or self._is_secret(asked))

    def _is_secret(self, asked: bytes) -> bool:
        return asked != NONE and not is_list(asked) and sensitive(self._sight.known.schema.names(asked))

    def _view(self, target: Target) -> Visible:
        admission, sight = self._sight.admission, self._sight
        return Visible(
            sight.known.schema,
            lambda names: admission.may(Action.READ, {**target, "attribute": names}),
            sight.secrets,
        )

    def _secretless(self, secrets: frozenset[str]) -> Visible:
        return Visible(self._sight.known.schema, lambda names: True, secrets)


def mentions_secrets(data: bytes) -> bool:
    return _SECRETS.in_bytes(data)
