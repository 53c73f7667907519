"""What figures are computed from: the log of a period, and the registry and the policy at its end."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from bridge.api.basis import Basis, access
from bridge.api.services import Services
from bridge.translation import measures
from bridge.translation.extent import Extent
from bridge.translation.identifiers import timestamp
from bridge.translation.query import Query, Term
from bridge.translation.searching import Tally
from bridge.translation.vocabulary import INTENT, OPERATION, OUTCOME

DAY_MS = 86_400_000


class Evidence:
    """``since`` and ``until`` are Unix milliseconds. Each part is read once, when a figure needs it. Blocks."""

    def __init__(self, services: Services, basis: Basis, since: int, until: int) -> None:
        self.services = services
        self.basis = basis
        self.since = since
        self.until = until

    @property
    def period(self) -> str:
        """As terms of a query."""
        return f"since:{timestamp(self.since)} until:{timestamp(self.until)}"

    @property
    def selection(self) -> Query:
        return Query((Term("since", (self.since,)), Term("until", (self.until,))))

    @cached_property
    def _counted(self) -> tuple[list[Tally], Extent]:
        return self.services.reader.in_thread_tallies(self.selection)

    @property
    def tallies(self) -> list[Tally]:
        return self._counted[0]

    @property
    def extent(self) -> Extent:
        return self._counted[1]

    def count(self, agrees: Callable[[Tally], bool]) -> int:
        """Events of the period; an intent and its outcome count once."""
        return sum(one.count for one in self.tallies if one.phase != INTENT and agrees(one))

    def of(self, *types: str) -> int:
        return self.count(lambda tally: tally.type in types)

    @cached_property
    def operations(self) -> list[Tally]:
        """Each operation once: by its intent, or by the event that is the whole of it."""
        return [one for one in self.tallies if one.type == OPERATION and one.phase != OUTCOME]

    def lacking(self, types: tuple[str, ...], *fields: str) -> tuple[int, int]:
        """How many events, and how many of them lack one of the fields."""
        return measures.in_thread_lacking(self.services.reader, types, fields, self.since, self.until)

    @cached_property
    def completeness(self) -> measures.Completeness:
        return measures.in_thread_completeness(self.services.reader)

    @cached_property
    def life(self) -> measures.Life:
        return measures.in_thread_life(self.services.reader, self.since, self.until)

    @cached_property
    def beats(self) -> measures.Beats:
        return measures.in_thread_beats(self.services.reader, self.since, self.until)

    @cached_property
    def signed(self) -> tuple[int, int]:
        return measures.in_thread_signed(self.services.reader, self.since, self.until)

    def reads(self, command: str) -> int:
        return measures.in_thread_reads(self.services.reader, command, self.since, self.until)

    def plaintext(self) -> tuple[int, int]:
        return measures.in_thread_plaintext(self.services.reader, self.since, self.until)

    @cached_property
    def used(self) -> list[measures.Used]:
        return measures.in_thread_used(self.services.reader, self.since, self.until)

    @cached_property
    def access(self) -> list[dict[str, Any]]:
        """Who reaches what at the end of the period."""
        return access(self.basis.policy, self.basis.directory, self.basis.at)
