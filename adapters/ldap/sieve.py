"""What of a search's entries the agent sees: by their names, by their attributes (research A5, findings 6 and 7).

A search whose base is allowed can return entries from elsewhere (aliases, rules deeper down), and attributes under
names that no request mentioned. So what comes back is looked at, but only as far as a rule asks: without one, entries
are not even parsed.
"""

from __future__ import annotations

from dataclasses import dataclass

from adapters.ldap import codec, rootdse
from adapters.ldap.attributes import Visible, is_list
from adapters.ldap.entries import entry_name, filtered
from adapters.ldap.framing import Message
from adapters.ldap.knowledge import Knowledge
from adapters.ldap.names import Name
from adapters.ldap.protected import Protected
from adapters.ldap.refusals import Spoken
from adapters.ldap.schema import sensitive
from bridge.adapter import Action, Admission, Target

NONE = b"1.1"
"""Stands for no attribute at all (RFC 4511 section 4.5.1.8)."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What a session's sieves share. ``secrets``: canonical names of sensitive attributes that the options open."""

    admission: Admission
    known: Knowledge
    protected: Protected
    secrets: frozenset[str]
    served: rootdse.Served


class Sieve:
    """One search's. ``sift`` gives the message itself when all of it may pass, other bytes, or None for nothing.

    ``narrowing``: the facts by which grants narrowed when it was made (``Admission.narrowing``). ``idle``: every entry
    passes as it is, unless it mentions secrets; ``clean``: it cannot. An attribute with secrets
    that was asked for by name comes back under that name, whatever it is (389-ds), so that each entry is read then.
    """

    __slots__ = (
        "_base", "_by_attribute", "_by_name", "_root", "_search", "_sight", "_visible", "clean", "idle", "narrowing",
    )  # fmt: skip

    def __init__(
        self, sight: Sight, search: codec.Search, base: Name, narrowing: frozenset[str], *, public: bool
    ) -> None:
        self.narrowing = narrowing
        self._sight = sight
        self._search = search
        self._root = not search.base and search.scope == 0
        self._by_name = not public and "base" in narrowing
        self._by_attribute = not public and "attribute" in narrowing
        self._base: Target = {"base": base.target}
        self._visible = self._view(self._base, sight.secrets)
        listed = not search.attributes or any(map(is_list, search.attributes))
        named = any(map(self._secret, search.attributes))
        self.clean = not listed and not named
        self.idle = not (named or self._root or self._by_name or self._by_attribute or sight.secrets)

    @property
    def narrows_names(self) -> bool:
        return self._by_name

    def sift(self, message: Message) -> Message | bytes | None:
        """Raises PeerFault for what is no entry."""
        if self._root:
            return rootdse.rewritten(message, self._search, self._sight.served)
        if not (self._by_name or self._sight.secrets):
            return filtered(message, self._visible)
        try:
            name = self._sight.known.names.of_entry(entry_name(message))
        except Spoken:  # a name that nobody can judge
            return None
        target = self._base
        if self._by_name:
            target = {"base": name.target}
            if not self._sight.admission.may(Action.READ, target):
                return None
        own = bool(self._sight.secrets) and self._sight.protected.owns(name)
        if own or (self._by_name and self._by_attribute):
            return filtered(message, self._view(target, frozenset() if own else self._sight.secrets))
        return filtered(message, self._visible)

    def _secret(self, asked: bytes) -> bool:
        return asked != NONE and not is_list(asked) and sensitive(self._sight.known.schema.names(asked))

    def _view(self, target: Target, secrets: frozenset[str]) -> Visible:
        admission = self._sight.admission

        def may(names: tuple[str, ...]) -> bool:
            return admission.may(Action.READ, {**target, "attribute": names})

        return Visible(self._sight.known.schema, may if self._by_attribute else _any, secrets)


def _any(names: tuple[str, ...]) -> bool:
    return True
