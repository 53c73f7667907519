"""Fetched keys: refreshed beside the logins, bounded for whoever waits, closed when they are too old."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from bridge.https import Document, FetchFailed
from bridge.identity.jwk import BadKeySet, parse_key_set
from bridge.identity.jwt import JWTVerifier
from bridge.identity.key_sets import KeySetChange, KeysUnavailable, RemoteKeys
from bridge.identity.settings import IssuerSettings
from bridge.identity.verifier import CredentialRejected

KEYS = {name: ed25519.Ed25519PrivateKey.generate() for name in "abc"}


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def document(*kids: str, **more: Any) -> bytes:
    def entry(kid: str) -> dict[str, str]:
        return {"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": b64(KEYS[kid[0]].public_key().public_bytes_raw())}

    return json.dumps({"keys": [entry(kid) for kid in kids], **more}).encode()


class Source:
    """A RemoteKeys whose issuer answers when the test says so."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.asked: list[Deferred[Document]] = []
        self.changes: list[KeySetChange] = []
        self.failures: list[tuple[str, str]] = []
        self.keys = RemoteKeys(
            "corp",
            self.fetch,
            lambda body: parse_key_set(body, algorithms=("EdDSA",)),
            self.clock,
            on_change=self.changes.append,
            on_failure=lambda issuer, cause: self.failures.append((issuer, cause)),
            spread=lambda: 0.5,
        )

    def fetch(self) -> Deferred[Document]:
        self.asked.append(Deferred())
        return self.asked[-1]

    def answer(self, body: bytes, max_age: int | None = None) -> None:
        self.asked[-1].callback(Document(body, max_age))

    def fail(self) -> None:
        self.asked[-1].errback(FetchFailed("status 500"))

    def look(self, kid: str) -> Callable[[], bool]:
        looking = Deferred.fromCoroutine(self.keys.look_again(kid))
        return lambda: bool(looking.called)


@pytest.fixture
def source() -> Source:
    made = Source()
    made.keys.start()
    return made


def kids(source: Source) -> set[str]:
    return {key.kid for key in source.keys.keys().keys}


def test_no_keys_before_the_first_fetch(source: Source) -> None:
    with pytest.raises(KeysUnavailable):
        source.keys.keys()
    assert (source.keys.ready(), source.keys.age()) == (False, None)
    source.answer(document("a"))
    source.clock.advance(5)
    assert (kids(source), source.keys.ready(), source.keys.age()) == ({"a"}, True, 5)


def test_refreshed_in_the_background_and_replaced_at_once(source: Source) -> None:
    source.answer(document("a", "b"))
    source.clock.advance(299)
    assert len(source.asked) == 1
    source.clock.advance(1)
    source.answer(document("b", "c"))
    assert kids(source) == {"b", "c"}
    assert source.changes == [KeySetChange("corp", ("a", "b"), (), 2), KeySetChange("corp", ("c",), ("a",), 2)]


def test_another_key_under_the_same_kid_is_a_change(source: Source) -> None:
    source.answer(document("a"))
    source.clock.advance(300)
    other = json.loads(document("a"))
    other["keys"][0]["x"] = json.loads(document("b"))["keys"][0]["x"]
    source.answer(json.dumps(other).encode())
    assert source.changes[-1] == KeySetChange("corp", ("a",), ("a",), 1)


def test_an_unchanged_set_is_no_event(source: Source) -> None:
    source.answer(document("a"))
    source.clock.advance(300)
    source.answer(document("a"))
    assert len(source.changes) == 1


def test_an_empty_set_revokes_all(source: Source) -> None:
    source.answer(document("a"))
    source.clock.advance(300)
    source.answer(document())
    assert (kids(source), source.changes[-1].removed) == (set(), ("a",))


@pytest.mark.parametrize(("hint", "wait"), [(1, 60), (120, 120), (99_999, 1800)])
def test_the_issuers_hint_is_bounded(source: Source, hint: int, wait: int) -> None:
    source.answer(document("a"), max_age=hint)
    source.clock.advance(wait - 1)
    assert len(source.asked) == 1
    source.clock.advance(1)
    assert len(source.asked) == 2


def test_jitter_spreads_the_refresh() -> None:
    made = Source()
    made.keys._spread = lambda: 0.0
    made.keys.start()
    made.answer(document("a"))
    made.clock.advance(270)
    assert len(made.asked) == 2


def test_a_failing_issuer_is_retried_less_and_less_and_its_keys_stay_for_an_hour(source: Source) -> None:
    source.answer(document("a"))
    source.clock.advance(300)
    tries = []
    while source.clock.seconds() < 3600:
        if not source.asked[-1].called:
            tries.append(source.clock.seconds())
            source.fail()
        assert kids(source) == {"a"}
        source.clock.advance(1)
    assert [b - a for a, b in itertools.pairwise(tries)][:5] == [30, 60, 120, 240, 300]
    source.clock.advance(1)
    with pytest.raises(KeysUnavailable):
        source.keys.keys()
    assert not source.keys.ready()
    assert source.failures[0] == ("corp", "FetchFailed: status 500")


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"keys":{}}', b'{"keys":[],"keys":[]}', b'{"keys":[' + b"1," * 100 + b"1]}"]
)
def test_a_document_that_is_no_key_set_changes_nothing(source: Source, body: bytes) -> None:
    source.answer(document("a"))
    source.clock.advance(300)
    source.answer(body)
    assert kids(source) == {"a"}
    assert len(source.failures) == 1
    with pytest.raises(BadKeySet):
        parse_key_set(body, algorithms=("EdDSA",))


def test_an_unknown_kid_starts_one_fetch_for_all_who_wait(source: Source) -> None:
    source.answer(document("a"))
    source.clock.advance(31)
    waiting = [source.look("b") for _ in range(5)]
    assert len(source.asked) == 2
    assert not any(done() for done in waiting)
    source.answer(document("a", "b"))
    assert all(done() for done in waiting)
    assert kids(source) == {"a", "b"}


def test_unknown_kids_do_not_fetch_more_often_than_every_30_seconds(source: Source) -> None:
    source.answer(document("a"))
    for second in range(120):
        source.clock.advance(1)
        source.look(f"made-up-{second}")
        if not source.asked[-1].called:
            source.answer(document("a"))
    assert len(source.asked) == 1 + 4


def test_who_waits_waits_three_seconds(source: Source) -> None:
    source.answer(document("a"))
    source.clock.advance(31)
    done = source.look("b")
    source.clock.advance(2.9)
    assert not done()
    source.clock.advance(0.1)
    assert done()
    source.answer(document("b"))  # the fetch itself went on
    assert kids(source) == {"b"}


def test_a_kid_that_was_not_found_is_remembered_for_a_minute(source: Source) -> None:
    source.answer(document("a"))
    source.clock.advance(31)
    source.look("b")
    source.answer(document("a"))
    source.clock.advance(59)
    assert source.look("b")()
    assert len(source.asked) == 2
    source.clock.advance(1)
    source.look("b")
    assert len(source.asked) == 3


def test_a_kid_that_comes_is_no_longer_missing(source: Source) -> None:
    source.answer(document("a"))
    source.clock.advance(31)
    source.look("b")
    source.answer(document("a"))
    assert list(source.keys._missing) == ["b"]
    source.clock.advance(300)
    source.answer(document("b"))
    assert list(source.keys._missing) == []


def test_the_memory_of_missing_kids_is_bounded(source: Source) -> None:
    source.answer(document("a"))
    source.clock.advance(31)
    for number in range(1500):
        source.look(f"b{number}")
    assert len(source.keys._waiting) == 1000
    source.answer(document("a"))
    for number in range(200):
        source.keys._remember_missing(f"c{number}")
    assert len(source.keys._missing) == 1000


def test_stopping_cancels_the_fetch_and_frees_who_waits(source: Source) -> None:
    source.answer(document("a"))
    source.clock.advance(31)
    done = source.look("b")
    source.keys.stop()
    assert done()
    assert source.clock.getDelayedCalls() == []
    assert source.failures == []


def test_a_login_waits_for_the_first_keys_and_a_revoked_key_ends_its_tokens(source: Source) -> None:
    on = JWTVerifier(
        [IssuerSettings("corp", "https://idp", "oidc")],
        {"corp": source.keys},
        bridge_audience="bridge:p",
        is_agent=lambda issuer, claims: False,
    )
    parts = {"alg": "EdDSA", "kid": "a"}, {"iss": "https://idp", "sub": "s", "aud": "x", "iat": 1000, "exp": 1300}
    signing_input = ".".join(b64(json.dumps(part).encode()) for part in parts)
    token = f"{signing_input}.{b64(KEYS['a'].sign(signing_input.encode()))}".encode()

    def login() -> list[Any]:
        ends: list[Any] = []
        Deferred.fromCoroutine(on.verify(token, audiences=frozenset({"x"}), now=1100)).addBoth(ends.append)
        return ends

    ends = login()
    assert ends == []
    source.answer(document("a"))
    assert ends[0].subject == "s"
    assert login()[0].subject == "s"
    source.clock.advance(300)
    source.answer(document("b"))
    failure = login()[0]
    assert failure.check(CredentialRejected)
    assert failure.value.code == "kid-unknown"
    source.clock.advance(1)
    source.keys._fetched_at = -5000.0
    assert login()[0].value.code == "keys-unavailable"
