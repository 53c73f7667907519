"""Before and after of a reload, for the ``config.change`` event: what, not how it was written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from bridge.config.tree import dotted

if TYPE_CHECKING:
    from bridge.config.loading import Config

_ABSENT = object()


def difference(old: Config, new: Config) -> list[dict[str, Any]]:
    """One ``{"key", "before", "after"}`` per changed leaf, in the order of the keys; an absent side is left out.

    Grants are compared by id (``grants.review-reads.actions``), other lists as a whole.
    """
    return list(_compare((), _by_id(old.redacted()), _by_id(new.redacted())))


def _by_id(content: dict[str, Any]) -> dict[str, Any]:
    return content | {"grants": {grant["id"]: grant for grant in content["grants"]}}


def _compare(path: tuple[str, ...], before: Any, after: Any) -> Iterator[dict[str, Any]]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in sorted(before.keys() | after.keys()):
            yield from _compare((*path, key), before.get(key, _ABSENT), after.get(key, _ABSENT))
    elif before != after:
        sides = {"before": before, "after": after}
        yield {"key": dotted(path)} | {side: value for side, value in sides.items() if value is not _ABSENT}
