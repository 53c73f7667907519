"""What is known of a directory is asked over a session's own connection, and asked anew when it is old."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from adapters.ldap import answers, codec
from adapters.ldap.codes import Code, Op
from adapters.ldap.knowledge import LIFE, RETRY, Knowledge, Learning
from adapters.ldap.upstream import Directory
from bridge.adapter import Deadline, TimedOut
from bridge.testing import memory_pair, now
from tests.adapters.ldap.played import End, entry

MAIL = b"( 0.9.2342.19200300.100.1.3 NAME ( 'mail' 'rfc822Mailbox' ) )"
BADGE = b"( 1.3.6.1.4.1.99999.1 NAME ( 'badge' 'badgeNumber' ) )"
SCHEMA = b"cn=Subschema"


class House:
    """A directory whose schema has ``types``; none: it shows no schema."""

    def __init__(self, *types: bytes) -> None:
        self.clock = Clock()
        self.learning = Learning(self.clock.seconds)
        near, far = memory_pair(self.clock)
        self.directory, self.far = Directory(near), End("directory", far)
        self.types = types

    def ask(self) -> Deferred[Knowledge]:
        deadline = Deadline(10, self.clock.seconds, "too late")
        return Deferred.fromCoroutine(self.learning.of(self.directory, deadline))

    def answer(self) -> int:
        """To all that was asked; how many questions there were."""
        count = 0
        for message in self.far.heard():
            count += 1
            request = codec.decode(message)
            assert isinstance(request, codec.Search)
            if not request.base and self.types:
                self.far.says(message.id, entry(b"", [(b"subschemaSubentry", [SCHEMA])]))
            elif request.base == SCHEMA:
                self.far.says(message.id, entry(SCHEMA, [(b"attributeTypes", self.types)]))
            self.far.sends(answers.answer_to(Op.SEARCH, message.id, Code.SUCCESS))
        return count

    def learns(self) -> tuple[Knowledge, int]:
        """What is known then, and how many questions it took."""
        asking, count = self.ask(), 0
        while not asking.called:
            count += self.answer()
        return now(asking), count


def test_a_schema_is_kept_for_an_hour_and_asked_anew() -> None:
    house = House(MAIL)
    first, asked = house.learns()
    assert (first.schema.canonical(b"badgeNumber"), asked) == ("badgenumber", 2)
    assert first.open_names == {"cn=subschema"}
    house.clock.advance(LIFE - 1)
    assert house.learns() == (first, 0)
    house.types = (MAIL, BADGE)
    house.clock.advance(1)
    second, asked = house.learns()
    assert (second.schema.canonical(b"badgeNumber"), asked) == ("badge", 2)


def test_sessions_that_begin_at_once_ask_once() -> None:
    house = House(MAIL)
    both = [house.ask(), house.ask()]
    assert house.answer() + house.answer() == 2
    assert now(both[0]) is now(both[1])


def test_a_directory_that_shows_no_schema_is_asked_again_soon() -> None:
    house = House()
    first, asked = house.learns()
    assert (first.schema.canonical(b"rfc822Mailbox"), asked) == ("mail", 1), "the standard's types stand in"
    house.clock.advance(RETRY)
    house.types = (BADGE,)
    second, asked = house.learns()
    assert (second.schema.canonical(b"badgeNumber"), asked) == ("badge", 2)


def test_a_directory_that_does_not_answer_is_given_up_by_all_that_wait() -> None:
    house = House(BADGE)
    house.learns()
    house.clock.advance(LIFE)
    both = [house.ask(), house.ask()]
    house.clock.advance(10)
    for asking in both:
        with pytest.raises(TimedOut):
            now(asking)
    house.far.heard()
    assert house.learns()[1] == 2, "the next one asks again"
