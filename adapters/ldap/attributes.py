"""Which attributes an agent may see, asked once for each (research A5, findings 6 and 8).

``*``, ``+`` and ``@class`` cannot be narrowed in a request, so what comes back is filtered; a filter or a Compare on an
attribute that may not be seen tells its value bit by bit, so these are refused.
"""

from __future__ import annotations

from collections.abc import Callable

from adapters.ldap.codes import Code
from adapters.ldap.refusals import Spoken
from adapters.ldap.schema import MAX_KEPT, Schema, sensitive, standard_schema

May = Callable[[tuple[str, ...]], bool]
"""Whether policy lets an attribute of these names be seen (``Admission.may`` with the target ``attribute``)."""


class Visible:
    """The predicate of ``entries.filtered``. ``secrets``: sensitive attributes that the options let through."""

    __slots__ = ("_known", "_may", "_schema", "_secrets")

    def __init__(self, schema: Schema, may: May, secrets: frozenset[str] = frozenset()) -> None:
        self._schema = schema
        self._may = may
        self._secrets = secrets
        self._known: dict[bytes, bool] = {}

    def __call__(self, description: bytes) -> bool:
        known = self._known.get(description)
        if known is None:
            known = self._decide(description)
            if len(self._known) >= MAX_KEPT:
                self._known.clear()
            self._known[description] = known
        return known

    def _decide(self, description: bytes) -> bool:
        try:
            names = self._schema.names(description)
        except Spoken:  # a name that nobody can judge
            return False
        return secret_allowed(names, self._secrets) and self._may(names)


def secret_allowed(names: tuple[str, ...], secrets: frozenset[str]) -> bool:
    """True for an attribute that holds no secrets, or that the options name."""
    return not sensitive(names) or not secrets.isdisjoint(names)


def is_list(description: bytes) -> bool:
    """Whether it stands for many attributes: ``*``, ``+``, ``@class`` (RFC 3673, RFC 4529), or a form of these."""
    return description[:1] in (b"*", b"+", b"@", b"!")


def names_of_attribute(value: str) -> tuple[str, ...]:
    """An attribute that somebody wrote, by all names that operations have; ``*`` stands for anything. Raises
    ValueError."""
    if "*" in value:
        return (value.lower(),)
    try:
        return standard_schema().names(value.encode())
    except Spoken as spoken:
        if spoken.result == Code.UNDEFINED_TYPE and value.replace(".", "").isdigit():
            return (value,)  # an OID of the directory's own schema
        raise ValueError("the name or OID of an attribute, without options") from None
