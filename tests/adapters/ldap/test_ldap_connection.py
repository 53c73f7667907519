"""Whole connections, played: what a client may do in which order, and what reaches the directory."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred

from adapters.ldap import answers, codec, controls
from adapters.ldap.binding import MAX_FAILED
from adapters.ldap.codes import Code, Oid, Op
from adapters.ldap.controls import Control
from adapters.ldap.framing import MAX_ID
from adapters.ldap.options import Options
from adapters.ldap.results import GRACE
from adapters.ldap.stalls import PATIENCE
from adapters.ldap.upstream import OWN_IDS
from bridge.adapter import Action, Operation, PeerFault, Permit, Reason, Refused, StreamClosed, TimedOut
from bridge.testing import now
from bridge.wire import ber
from tests.adapters.ldap.played import ANNA, PEOPLE, Play, entry, search

CANCEL_OF_7 = ber.encode(ber.SEQUENCE, ber.encode_integer(7))
PLACE = ("ou=people,dc=example,dc=org", "dc=example,dc=org", "dc=org")
INVALID = Refused(Reason.CREDENTIAL_INVALID, "no", reference="ref_1")


def oids(message_controls: tuple[Control, ...]) -> list[str]:
    return [control.oid for control in message_controls]


def notice(play: Play) -> int:
    """The code of the Notice of Disconnection that is all the client hears."""
    (message,) = play.client.heard()
    found = answers.read_result(message)
    assert (message.id, found.name) == (0, Oid.NOTICE_OF_DISCONNECTION.encode())
    return found.code


# -- strangers ---------------------------------------------------------------------------------------------------------


def test_a_health_check_opens_nothing() -> None:
    """twisted/ldaptor#105: connect and close."""
    play = Play()
    play.client.voice.hangs_up()
    assert play.over
    assert play.failure is None
    assert play.door.story == []


def test_what_a_stranger_may_ask_and_nothing_goes_upstream() -> None:
    play = Play()
    play.client.says(1, search(b"", b"+", scope=0))
    found, done = play.client.heard()
    assert found.tag == Op.ENTRY
    assert b"OAUTHBEARER" in found.raw
    assert Oid.START_TLS.encode() in found.raw
    assert answers.read_result(done).code == 0
    play.client.says(2, codec.extended(Oid.WHO_AM_I))
    (message,) = play.client.heard()
    assert answers.read_result(message).value == b""
    for operation in (search(), search(b"", scope=2), ber.encode(Op.DELETE, ANNA), codec.extended(Oid.PASSWORD_MODIFY)):
        play.client.says(3, operation)
        assert play.client.code() == Code.STRONGER_AUTH
    play.client.says(4, codec.abandon(3))
    play.client.says(5, codec.simple_bind(b"", b""))
    assert play.client.told() == (5, Op.BIND_RESPONSE, 0)
    play.client.says(6, search())
    assert play.client.code() == Code.STRONGER_AUTH
    assert play.door.story == []


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x30\x80\x02\x01\x01",  # indefinite length
        b"\x30\x84\x7f\xff\xff\xff",  # announced: 2 GiB
        codec.request(0, codec.unbind())[:-2] + b"\x42\x00",  # message id 0
        codec.request(1, b"\x79\x00"),  # an answer as a request
        codec.request(1, b"\x5e\x00"),  # unknown
    ],
)
def test_what_is_no_ldap_ends_at_once_with_a_notice(data: bytes) -> None:
    play = Play()
    play.client.sends(data)
    if data[4:5] == b"\x00":
        play.client.sends(codec.request(0, codec.abandon(1)))
    assert notice(play) == Code.PROTOCOL_ERROR
    assert play.over
    assert play.failure is not None
    assert play.failure.check(PeerFault)


def test_a_stranger_has_a_time_limit() -> None:
    play = Play()
    play.client.says(1, search())
    assert play.client.code() == Code.STRONGER_AUTH
    play.clock.advance(31)
    assert notice(play) == Code.UNAVAILABLE
    assert play.failure is not None
    assert play.failure.check(TimedOut)


# -- Binds -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "code"),
    [
        (codec.simple_bind(b"cn=x", b""), Code.UNWILLING),
        (codec.simple_bind(b"cn=x", b" \n"), Code.UNWILLING),
        (codec.simple_bind(b"cn=x", b"x" * 17_000), Code.INVALID_CREDENTIALS),
        (ber.encode(Op.BIND, b"\x02\x01\x02\x04\x00\x80\x01x"), Code.PROTOCOL_ERROR),  # LDAPv2
        (ber.encode(Op.BIND, b"\x02\x01\x03\x04\x00\xa3\x08\x04\x06GSSAPI"), Code.METHOD_NOT_SUPPORTED),
        (ber.encode(Op.BIND, b"\x02\x01\x03\x04\x00\x8a\x04NTLM"), Code.METHOD_NOT_SUPPORTED),
    ],
)
def test_binds_that_are_refused_leave_the_connection_and_the_directory_alone(operation: bytes, code: Code) -> None:
    """TremoloSecurity/MyVirtualDirectory#65: a DN with an empty password succeeded through a proxy."""
    play = Play()
    play.client.says(1, operation)
    assert play.client.code() == code
    assert not play.door.asked
    play.bind()


def test_a_token_on_plaintext_is_refused_before_it_is_looked_at() -> None:
    play = Play(plaintext=False)
    play.client.says(1, codec.simple_bind(b"", b"token"))
    assert play.client.code() == Code.CONFIDENTIALITY
    assert play.door.story == ["turn away plaintext"]


def test_a_name_that_is_anothers_ends_the_session_before_the_directory_is_asked() -> None:
    play = Play()
    play.client.says(1, codec.simple_bind(b"cn=somebody", b"token"))
    assert play.client.code() == Code.INVALID_CREDENTIALS
    assert play.door.story == ["admit", "end", "turn away credential-invalid"]


def test_nothing_is_said_before_the_directory_said_yes() -> None:
    play = Play()
    play.client.says(1, codec.simple_bind(b"deploy-7", b"token"))
    assert play.client.heard() == []
    play.accepted()
    assert play.client.code() == 0
    assert play.door.story == ["admit", "connect", "established"]


def test_the_directorys_no_is_52_and_never_its_own_words() -> None:
    play = Play()
    play.client.says(1, codec.simple_bind(b"", b"token"))
    play.accepted(Code.INVALID_CREDENTIALS, "80090308: LdapErr, data 775, v1db1")
    (message,) = play.client.heard()
    found = answers.read_result(message)
    assert found.code == Code.UNAVAILABLE
    assert b"775" not in found.text
    assert b"ses_" in found.text
    assert "login refused" in play.door.story
    assert play.over


@pytest.mark.parametrize(
    "text", ["80090308: LdapErr: DSID-0C0904DC, comment: AcceptSecurityContext error, data 80090346, v3839"]
)
def test_channel_binding_does_not_trip_the_breaker(text: str) -> None:
    """cannatag/ldap3#923, #1049: it looks like a wrong password."""
    play = Play()
    play.client.says(1, codec.simple_bind(b"", b"token"))
    play.accepted(Code.INVALID_CREDENTIALS, text)
    assert play.client.code() == Code.UNAVAILABLE
    assert "login refused" not in play.door.story
    assert "alarm upstream-login" in play.door.story


def test_a_directory_that_does_not_answer_is_given_up_in_time() -> None:
    """twisted/ldaptor PR#34: the client hung."""
    play = Play()
    play.client.says(1, codec.simple_bind(b"", b"token"))
    play.clock.advance(11)
    assert play.client.code() == Code.UNAVAILABLE


def test_pipelined_binds_are_answered_in_order_and_the_last_one_holds() -> None:
    """ldapjs/node-ldapjs#506."""
    play = Play()
    play.client.sends(
        codec.request(1, codec.simple_bind(b"", b"token-a"))
        + codec.request(2, codec.simple_bind(b"", b"token-b"))
        + codec.request(3, search())
    )
    first = play.accepted()
    second = play.accepted()
    assert [(one.id, one.tag) for one in play.client.heard()] == [(1, Op.BIND_RESPONSE), (2, Op.BIND_RESPONSE)]
    assert [one.tag for one in first.heard()] == [Op.UNBIND]
    assert [one.id for one in second.heard()] == [3]
    assert [credential.token.reveal() for credential, _ in play.door.asked] == [b"token-a", b"token-b"]  # type: ignore[union-attr]


def test_good_and_bad_binds_in_turn() -> None:
    """goauthentik/authentik#4138: sporadic operationsError."""
    rounds = 100
    play = Play(script=[None, INVALID] * rounds)
    for number in range(1, 2 * rounds, 2):
        play.bind(number=number)
        play.client.says(number + 1, codec.simple_bind(b"", b"bad"))
        assert play.client.told() == (number + 1, Op.BIND_RESPONSE, Code.INVALID_CREDENTIALS)
        play.client.says(number + 2, search())
        assert play.client.code() == Code.STRONGER_AUTH
    assert play.door.story.count("end") == rounds


def test_a_pool_that_binds_anew_for_each_operation_keeps_its_session() -> None:
    """keycloak/keycloak#50201: an anonymous Bind, then the service's, for every operation."""
    play = Play()
    legacy = play.bind()
    for number in range(10, 1000, 10):
        play.client.says(number, codec.simple_bind(b"", b""))
        assert play.client.code() == 0
        play.client.says(number + 1, codec.simple_bind(b"", b"token"))
        play.clock.advance(0)
        assert play.client.told() == (number + 1, Op.BIND_RESPONSE, 0)
        play.client.says(number + 2, search())
        (asked,) = legacy.heard()
        legacy.sends(answers.answer_to(asked.tag, asked.id, 0))
        assert play.client.code() == 0
    assert play.door.story.count("admit") == 1
    assert play.door.story.count("connect") == 1


def test_a_kept_session_whose_directory_is_gone_is_replaced() -> None:
    """gravitational/teleport#9808: a dead connection was used for ever."""
    play = Play()
    legacy = play.bind()
    play.client.says(2, codec.simple_bind(b"", b""))
    assert play.client.code() == 0
    legacy.voice.hangs_up()
    play.bind(number=3)
    assert play.door.story.count("connect") == 2


def test_a_bind_with_operations_under_way_abandons_them() -> None:
    play = Play()
    legacy = play.bind()
    play.client.says(2, search())
    legacy.heard()
    play.bind(b"another", number=3)
    abandon, unbind = legacy.heard()
    request = codec.decode(abandon)
    assert isinstance(request, codec.Abandon)
    assert request.target == 2
    assert unbind.tag == Op.UNBIND
    assert play.outcomes() == [("ldap.search", "aborted", "")]
    play.client.voice.hears_nothing()


def test_a_failed_bind_ends_what_was_bound() -> None:
    """Samba keeps the old identity then; the bridge does not."""
    play = Play(script=[None, INVALID])
    legacy = play.bind()
    play.client.says(2, codec.simple_bind(b"", b"bad"))
    assert play.client.code() == Code.INVALID_CREDENTIALS
    assert [one.tag for one in legacy.heard()] == [Op.UNBIND]
    play.client.says(3, search())
    assert play.client.code() == Code.STRONGER_AUTH


def test_binds_that_never_stop_failing_end_the_connection() -> None:
    play = Play(script=[INVALID] * (MAX_FAILED + 1))
    for number in range(1, MAX_FAILED + 1):
        assert not play.over
        play.client.says(number, codec.simple_bind(b"", b"bad"))
    assert play.over


def test_oauthbearer_tells_the_failure_in_a_challenge() -> None:
    """RFC 7628 section 3.2.3; anything but the next step is out of place meanwhile."""
    play = Play(script=[INVALID])
    first = b"n,,\x01auth=Bearer token\x01\x01"
    sasl = ber.encode(0xA3, ber.encode(4, b"OAUTHBEARER"), ber.encode(4, first))
    play.client.says(1, ber.encode(Op.BIND, b"\x02\x01\x03\x04\x00", sasl))
    (challenge,) = play.client.heard()
    found = answers.read_result(challenge)
    assert (found.code, found.sasl) == (Code.SASL_IN_PROGRESS, b'{"status": "invalid_token"}')
    play.client.says(2, search())
    assert play.client.code() == Code.OPERATIONS_ERROR
    last = ber.encode(0xA3, ber.encode(4, b"OAUTHBEARER"), ber.encode(4, b"\x01"))
    play.client.says(3, ber.encode(Op.BIND, b"\x02\x01\x03\x04\x00", last))
    assert play.client.told() == (3, Op.BIND_RESPONSE, Code.INVALID_CREDENTIALS)


def test_an_acknowledgement_that_never_comes_is_not_waited_for() -> None:
    play = Play(script=[INVALID])
    sasl = ber.encode(0xA3, ber.encode(4, b"OAUTHBEARER"), ber.encode(4, b"n,,\x01auth=Bearer t\x01\x01"))
    play.client.says(1, ber.encode(Op.BIND, b"\x02\x01\x03\x04\x00", sasl))
    assert play.client.code() == Code.SASL_IN_PROGRESS
    play.clock.advance(10.1)
    assert play.over


def test_a_certificate_beside_a_token_must_be_the_same_agents() -> None:
    play = Play(plaintext=False, chain=(b"certificate",))
    play.encrypted()
    play.bind()
    assert play.door.story[:2] == ["verify", "admit"]


def test_a_certificate_alone() -> None:
    play = Play(Options(certificate_alone=True), plaintext=False, chain=(b"certificate",))
    play.encrypted()
    play.bind(b"")


# -- StartTLS ----------------------------------------------------------------------------------------------------------


def test_start_tls_then_bind() -> None:
    play = Play(plaintext=False)
    play.client.says(1, codec.extended(Oid.START_TLS))
    assert play.client.told() == (1, Op.EXTENDED_RESPONSE, 0)
    play.encrypted()
    play.client.says(2, codec.extended(Oid.START_TLS))
    assert play.client.code() == Code.OPERATIONS_ERROR
    play.bind(number=3)


def test_requests_behind_start_tls_are_never_run_inside_it() -> None:
    play = Play(plaintext=False)
    play.client.sends(codec.request(1, codec.extended(Oid.START_TLS)) + codec.request(2, codec.simple_bind(b"", b"t")))
    first, second = play.client.heard()
    assert answers.read_result(first).code == Code.OPERATIONS_ERROR
    assert answers.read_result(second).code == Code.CONFIDENTIALITY


def test_no_start_tls_without_a_certificate() -> None:
    play = Play(tls=False)
    play.client.says(1, codec.extended(Oid.START_TLS))
    assert play.client.code() == Code.PROTOCOL_ERROR


def test_start_tls_in_a_session() -> None:
    """Refused while something is under way; else what was bound is over."""
    play = Play()
    legacy = play.bind()
    play.client.says(2, search())
    play.client.says(3, codec.extended(Oid.START_TLS))
    assert play.client.told() == (3, Op.EXTENDED_RESPONSE, Code.OPERATIONS_ERROR)
    legacy.sends(answers.answer_to(Op.SEARCH, 2, 0))
    assert play.client.told() == (2, Op.DONE, 0)
    play.client.says(4, codec.extended(Oid.START_TLS))
    assert play.client.code() == 0
    play.encrypted()
    play.client.says(5, search())
    assert play.client.code() == Code.STRONGER_AUTH


# -- operations --------------------------------------------------------------------------------------------------------


def test_a_search_goes_up_with_the_stamp_and_comes_back_byte_for_byte() -> None:
    play = Play()
    legacy = play.bind()
    cookie = controls.encode(Oid.PAGED_RESULTS, ber.encode(ber.SEQUENCE, ber.encode_integer(2), ber.encode(4, b"")))
    forged = controls.session_tracking("1.2.3.4", "forged", "forged")
    unknown = controls.encode("1.2.3.4.5")
    play.client.says(2, search(PEOPLE, b"cn"), cookie + forged + unknown)
    (asked,) = legacy.heard()
    found = controls.read(asked)
    assert oids(found) == [Oid.PAGED_RESULTS, Oid.SESSION_TRACKING]
    assert found[0].raw == cookie
    assert play.admission.stamp.encode() in found[1].raw
    assert asked.data[asked.body - 2 : asked.stop] == search(PEOPLE, b"cn")
    answer = [codec.request(2, entry()), codec.request(2, b"\x79\x00"), answers.answer_to(Op.SEARCH, 2, 0)]
    legacy.sends(b"".join(answer))
    assert play.client.voice.heard() == b"".join(answer)
    assert play.outcomes() == [("ldap.search", "success", "0")]


def test_an_unknown_critical_control_touches_nothing() -> None:
    """twisted/ldaptor#163: the operation succeeded without it."""
    play = Play()
    legacy = play.bind()
    for oid in ("1.2.3.4.5", Oid.PROXIED_AUTHORIZATION, Oid.POST_READ):
        play.client.says(2, search(), controls.encode(oid, b"", critical=True))
        assert play.client.told() == (2, Op.DONE, Code.CRITICAL_EXTENSION)
    legacy.voice.hears_nothing()
    assert [one[1:] for one in play.outcomes()] == [("denied", "12")] * 3


def test_a_deep_filter_is_answered_and_goes_nowhere() -> None:
    """CVE-2020-12243."""
    play = Play()
    legacy = play.bind()
    deep = codec.present(b"cn")
    for _ in range(101):
        deep = ber.encode(0xA2, deep)
    play.client.says(2, codec.search(PEOPLE, 2, deep, ()))
    assert play.client.told() == (2, Op.DONE, Code.UNWILLING)
    legacy.voice.hears_nothing()


def test_a_matching_rule_that_nobody_knows_is_relayed() -> None:
    """goauthentik/authentik#17960: the directory evaluates filters, nobody else."""
    play = Play()
    legacy = play.bind()
    rule = ber.encode(
        0xA9, ber.encode(0x81, b"1.2.840.113556.1.4.803"), ber.encode(0x82, b"cn"), ber.encode(0x83, b"2")
    )
    operation = codec.search(PEOPLE, 2, rule, ())
    play.client.says(2, operation)
    (asked,) = legacy.heard()
    assert rule in asked.raw


def test_answers_to_nothing_are_dropped_and_raise_one_alarm() -> None:
    """ldapjs/node-ldapjs#890: the client crashed."""
    play = Play()
    legacy = play.bind()
    legacy.sends(answers.answer_to(Op.SEARCH, 99, 0) + codec.request(98, entry()))
    play.client.voice.hears_nothing()
    assert play.door.story.count("alarm unasked-answer") == 1
    play.client.says(2, search())
    legacy.sends(answers.answer_to(Op.SEARCH, 2, 0))
    assert play.client.code() == 0


def test_an_answer_of_another_type_is_final_and_put_right() -> None:
    """Samba answers a Search with an ExtendedResponse when it does not know a critical control."""
    play = Play()
    legacy = play.bind()
    play.client.says(2, search())
    legacy.sends(answers.result(2, Op.EXTENDED_RESPONSE, Code.CRITICAL_EXTENSION, "no"))
    assert play.client.told() == (2, Op.DONE, Code.CRITICAL_EXTENSION)


def test_abandon_is_passed_on_and_what_still_comes_is_dropped() -> None:
    play = Play()
    legacy = play.bind()
    play.client.says(2, search())
    play.client.says(3, codec.abandon(2))
    play.client.says(4, codec.abandon(77))
    asked, abandon = legacy.heard()
    assert (asked.id, abandon.tag) == (2, Op.ABANDON)
    legacy.sends(codec.request(2, entry()) + answers.answer_to(Op.SEARCH, 2, 0))
    play.client.voice.hears_nothing()
    assert play.outcomes() == [("ldap.search", "aborted", "")]
    assert not [one for one in play.door.story if one.startswith("alarm")]


def test_cancel() -> None:
    play = Play()
    legacy = play.bind()
    play.client.says(2, codec.extended(Oid.CANCEL, CANCEL_OF_7))
    assert play.client.told() == (2, Op.EXTENDED_RESPONSE, Code.NO_SUCH_OPERATION)
    legacy.voice.hears_nothing()
    play.client.says(7, search())
    play.client.says(8, codec.extended(Oid.CANCEL, CANCEL_OF_7))
    legacy.sends(answers.answer_to(Op.SEARCH, 7, Code.CANCELED) + answers.answer_to(Op.EXTENDED, 8, 0))
    assert [answers.read_result(one).code for one in play.client.heard()] == [Code.CANCELED, 0]


@pytest.mark.parametrize("number", [2, MAX_ID, OWN_IDS])
def test_ids_that_are_taken_end_the_connection(number: int) -> None:
    play = Play()
    play.bind()
    play.client.says(2, search())
    play.client.says(number, search())
    *_, last = play.client.heard()
    assert (last.id, answers.read_result(last).code) == (0, Code.PROTOCOL_ERROR)
    assert play.over
    assert play.outcomes() == [("ldap.search", "unknown", "")]


def test_too_many_operations_at_once() -> None:
    play = Play(Options(max_outstanding=2))
    play.bind()
    for number in (2, 3):
        play.client.says(number, search())
    play.client.voice.hears_nothing()
    play.client.says(4, search())
    assert play.client.told() == (4, Op.DONE, Code.BUSY)


def test_extended_operations_that_are_not_served() -> None:
    play = Play(Options(extensions=("1.2.3",)))
    legacy = play.bind()
    for oid in ("1.3.6.1.1.21.1", "1.2.3.4", "1.3.6.1.4.1.1466.101.119.1"):
        play.client.says(2, codec.extended(oid))
        assert play.client.told() == (2, Op.EXTENDED_RESPONSE, Code.PROTOCOL_ERROR)
    legacy.voice.hears_nothing()
    play.client.says(2, codec.extended("1.2.3"))
    assert [one.id for one in legacy.heard()] == [2]
    assert play.admission.permits[-1].operation.action is Action.ADMIN


def test_whoami_is_the_agent() -> None:
    play = Play()
    legacy = play.bind()
    play.client.says(2, codec.extended(Oid.WHO_AM_I))
    (message,) = play.client.heard()
    assert answers.read_result(message).value == b"u:deploy-7"
    legacy.voice.hears_nothing()


def test_referrals_and_references() -> None:
    """vt-middleware/ldaptive#25: nobody is sent to a server that is not behind this door."""
    play = Play(Options(url="ldaps://bridge.example", pass_references=True))
    legacy = play.bind()
    play.client.says(2, search())
    here, there = b"ldap://ldap.corp.example/ou=x", b"ldap://trap.example/ou=x"
    for uri in (there, here):
        legacy.says(2, ber.encode(Op.REFERENCE, ber.encode(4, uri)))
    legacy.sends(answers.result(2, Op.DONE, Code.REFERRAL, "go there", referrals=(there,)))
    reference, done = play.client.heard()
    assert answers.read_reference(reference) == (b"ldaps://bridge.example/ou=x",)
    assert answers.read_result(done).code == Code.UNWILLING
    assert play.admission.permits[-1].outcomes[0].detail == "1 references left out"


def test_secrets_are_taken_out_of_what_a_star_brings() -> None:
    play = Play()
    legacy = play.bind()
    play.client.says(2, search())
    clean, secret = entry(), entry(ANNA, [(b"cn", [b"Anna"]), (b"2.5.4.35", [b"hash"]), (b"userPassword;x", [b"hash"])])
    legacy.says(2, clean)
    legacy.says(2, secret)
    first, second = play.client.heard()
    assert first.raw == codec.request(2, clean)
    assert second.raw == codec.request(2, clean)


@pytest.mark.parametrize("asked", [b"2.5.4.35", b"USERpassword"])
def test_secrets_that_are_asked_for_by_another_name(asked: bytes) -> None:
    """389-ds answers under the name that was asked."""
    play = Play()
    legacy = play.bind()
    play.client.says(2, search(PEOPLE, asked, b"cn"))
    legacy.says(2, entry(ANNA, [(asked, [b"hash"]), (b"cn", [b"Anna"])]))
    (message,) = play.client.heard()
    assert message.raw == codec.request(2, entry())


def test_what_the_options_open_stays_shut_in_the_static_accounts_entry() -> None:
    """And grants that narrow by attribute count there as everywhere."""
    play = Play(Options(secrets=("userPassword",)), login="cn=svc,dc=example")
    legacy = play.bind()
    play.admission.narrowing = frozenset({"attribute"})
    play.admission.may = lambda action, target, strictly=False: "mail" not in target.get("attribute", ())  # type: ignore[method-assign]
    play.client.says(2, search(b"dc=example"))
    attributes = [(b"cn", [b"x"]), (b"mail", [b"x"]), (b"userPassword", [b"hash"])]
    for name in (b"cn=svc,dc=example", b"cn=other,dc=example"):
        legacy.says(2, entry(name, attributes))
    own, other = play.client.heard()
    assert own.raw == codec.request(2, entry(b"cn=svc,dc=example", attributes[:1]))
    assert other.raw == codec.request(2, entry(b"cn=other,dc=example", [attributes[0], attributes[2]]))


def test_equal_requests_are_judged_anew_when_the_grants_change() -> None:
    play = Play()
    legacy = play.bind()
    for number in (2, 3, 4):
        play.client.says(number, search(PEOPLE, b"mail"))
        assert [message.id for message in legacy.heard()] == [number]
        legacy.says(number, entry())
        legacy.sends(answers.answer_to(Op.SEARCH, number, 0))
        heard = [message.tag for message in play.client.heard()]
        assert heard == ([Op.DONE] if number == 4 else [Op.ENTRY, Op.DONE])
        if number == 3:
            play.admission.narrowing = frozenset({"base"})
            play.admission.may = lambda action, target, strictly=False: target["base"] == PLACE  # type: ignore[method-assign]
    play.admission.may = lambda action, target, strictly=False: False  # type: ignore[method-assign]
    play.client.says(5, search(PEOPLE, b"mail"))
    assert play.client.told() == (5, Op.DONE, Code.INSUFFICIENT_ACCESS)
    legacy.voice.hears_nothing()


def test_a_request_with_other_controls_is_another_request() -> None:
    play = Play()
    legacy = play.bind()
    play.client.says(2, search())
    legacy.sends(answers.answer_to(Op.SEARCH, 2, 0))
    assert play.client.told() == (2, Op.DONE, 0)
    play.client.says(3, search(), controls.encode("1.2.3.4.5", b"", critical=True))
    assert play.client.told() == (3, Op.DONE, Code.CRITICAL_EXTENSION)
    play.client.says(4, search(), controls.encode(Oid.MANAGE_DSA_IT, critical=True))
    plain, managed = legacy.heard()
    assert oids(controls.read(plain)) == [Oid.SESSION_TRACKING]
    assert oids(controls.read(managed)) == [Oid.MANAGE_DSA_IT, Oid.SESSION_TRACKING]


@pytest.mark.parametrize("cut", [1, 7, 64, 1000, 10**6])
def test_runs_of_entries_pass_as_they_came_wherever_they_are_cut(cut: int) -> None:
    """Two searches at once, entries with secrets among them, in pieces of any size."""
    play = Play()
    legacy = play.bind()
    play.client.says(2, search())
    play.client.says(3, search(PEOPLE, b"cn"))
    plain = [entry(b"uid=a%d," % number + PEOPLE) for number in range(20)]
    secret = entry(ANNA, [(b"cn", [b"Anna"]), (b"userPassword", [b"hash"])])
    sent = [codec.request(2 + (number // 3) % 2, one) for number, one in enumerate(plain)]
    wanted = [*sent, codec.request(2, entry()), *sent]
    data = b"".join([*sent, codec.request(2, secret), *sent])
    heard = b""
    for at in range(0, len(data), cut):
        legacy.sends(data[at : at + cut])
        heard += play.client.voice.heard()
    assert heard == b"".join(wanted)
    legacy.sends(answers.answer_to(Op.SEARCH, 2, 0) + answers.answer_to(Op.SEARCH, 3, 0))
    outcomes = [one.outcomes[0] for one in play.admission.permits]
    counted = [[one for one in (*sent, *sent) if one[4:5] == bytes((number,))] for number in (2, 3)]
    assert [one.rows for one in outcomes] == [len(counted[0]) + 1, len(counted[1])]
    assert outcomes[1].bytes == len(b"".join(counted[1]))


def test_the_bridges_own_limit_abandons_the_search() -> None:
    play = Play(Options(max_entries=2))
    legacy = play.bind()
    play.client.says(2, search())
    (asked,) = legacy.heard()
    request = codec.decode(asked)
    assert isinstance(request, codec.Search)
    assert request.size_limit == 2
    for _ in range(4):  # a directory that does not care
        legacy.says(2, entry())
    *entries, done = play.client.heard()
    assert len(entries) == 2
    assert answers.read_result(done).code == Code.SIZE_LIMIT
    assert [one.tag for one in legacy.heard()] == [Op.ABANDON]
    assert play.outcomes() == [("ldap.search", "failure", "4")]


# -- a directory that does not answer ----------------------------------------------------------------------------------


def seconds(play: Play, many: float) -> None:
    """They go by, and the core looks at the session."""
    play.clock.advance(many)
    now(play.admission.second())


def test_what_the_directory_leaves_without_a_word_is_answered_and_abandoned() -> None:
    """A read hears timeLimitExceeded; what came of a change nobody knows."""
    play = Play(Options(answer_timeout=10))
    legacy = play.bind()
    play.client.says(2, search())
    play.client.says(3, ber.encode(Op.DELETE, ANNA))
    legacy.heard()
    seconds(play, 9)
    play.client.voice.hears_nothing()
    legacy.says(2, entry())
    play.client.heard()
    seconds(play, 1)
    assert play.client.told() == (3, Op.DELETE_RESPONSE, Code.UNAVAILABLE)
    seconds(play, 9)
    assert play.client.told() == (2, Op.DONE, Code.TIME_LIMIT)
    abandoned = [codec.decode(one) for one in legacy.heard()]
    assert abandoned == [codec.Abandon(3), codec.Abandon(2)]
    assert play.outcomes() == [("ldap.search", "failure", "3"), ("ldap.delete", "unknown", "52")]
    assert not play.over


def test_a_late_answer_is_not_taken_for_that_to_a_later_request() -> None:
    play = Play(Options(answer_timeout=10))
    legacy = play.bind()
    play.client.says(2, search())
    seconds(play, 10)
    assert play.client.told() == (2, Op.DONE, Code.TIME_LIMIT)
    play.client.says(2, search())
    assert play.client.told() == (2, Op.DONE, Code.BUSY)
    legacy.says(2, entry())
    play.client.voice.hears_nothing()
    legacy.sends(answers.answer_to(Op.SEARCH, 2, 0))
    play.client.says(2, search())
    legacy.says(2, entry())
    assert [one.tag for one in play.client.heard()] == [Op.ENTRY]
    assert [one.tag for one in legacy.heard()] == [Op.SEARCH, Op.ABANDON, Op.SEARCH]


@pytest.mark.parametrize(("asked", "most"), [(3, 0), (0, 3), (60, 3), (3, 60)])
def test_the_time_limit_of_a_search_is_kept_for_a_directory_that_does_not(asked: int, most: int) -> None:
    play = Play(Options(max_seconds=most))
    legacy = play.bind()
    play.client.says(2, codec.search(PEOPLE, 2, codec.present(b"cn"), (), time_limit=asked))
    (message,) = legacy.heard()
    request = codec.decode(message)
    assert isinstance(request, codec.Search)
    assert request.time_limit == 3
    for _ in range(3 + int(GRACE)):
        play.client.voice.hears_nothing()
        legacy.says(2, entry())
        assert [one.tag for one in play.client.heard()] == [Op.ENTRY]
        seconds(play, 1)
    assert play.client.told() == (2, Op.DONE, Code.TIME_LIMIT)


def test_what_lasts_by_intent_has_no_limit() -> None:
    play = Play(Options(answer_timeout=10, controls=(Oid.SYNC_REQUEST,)))
    play.bind()
    play.client.says(2, search(), controls.encode(Oid.SYNC_REQUEST, b"\x30\x03\x0a\x01\x03"))
    seconds(play, 1000)
    play.client.voice.hears_nothing()


def test_an_agent_that_does_not_read_is_not_told_that_the_directory_is_slow() -> None:
    play = Play(Options(answer_timeout=10))
    legacy = play.bind()
    play.client.says(2, search())
    big = codec.request(2, entry(ANNA, [(b"description", [b"x" * 300_000])]))
    legacy.sends(big)
    seconds(play, 11)
    heard = play.client.voice.heard()
    seconds(play, 1)
    legacy.sends(answers.answer_to(Op.SEARCH, 2, 0))
    heard += play.client.voice.heard()
    assert heard == big + answers.answer_to(Op.SEARCH, 2, 0)


# -- ends --------------------------------------------------------------------------------------------------------------


def test_after_unbind_nothing_is_sent() -> None:
    """go-ldap/ldap#275."""
    play = Play()
    legacy = play.bind()
    play.client.says(2, codec.unbind())
    play.client.voice.hears_nothing()
    assert play.over
    assert play.failure is None
    assert [one.tag for one in legacy.heard()] == [Op.UNBIND]


def test_a_directory_that_goes_away_is_told_to_all_that_waits() -> None:
    play = Play()
    legacy = play.bind()
    play.client.says(2, search())
    play.client.says(3, ber.encode(Op.DELETE, ANNA))
    legacy.voice.hangs_up()
    first, second, last = play.client.heard()
    assert [(one.id, one.tag) for one in (first, second, last)] == [
        (2, Op.DONE),
        (3, Op.DELETE_RESPONSE),
        (0, Op.EXTENDED_RESPONSE),
    ]
    assert {answers.read_result(one).code for one in (first, second, last)} == {Code.UNAVAILABLE}
    assert {one[1] for one in play.outcomes()} == {"unknown"}
    assert play.failure is not None
    assert play.failure.check(Refused)


def test_too_many_that_do_not_read_are_cut_when_another_is_in_need() -> None:
    """Ten of them block an eight-threaded slapd: back-pressure alone moves their stall into the directory."""
    options = Options(max_stalled=2)
    first = Play(options)
    stalled = [first, *(Play(options, beside=first) for _ in range(4))]
    reader = Play(options, beside=first)
    legacy = reader.bind()
    big = entry(ANNA, [(b"description", [b"x" * 300_000])])
    for play in stalled:
        directory = play.bind()
        play.client.says(2, search())
        directory.sends(codec.request(2, big))
    reader.client.says(2, search())
    assert not any(play.over for play in stalled), "a pause is no stall"
    reader.clock.advance(PATIENCE)
    assert not any(play.over for play in stalled), "nobody is in need"
    reader.client.says(3, search())
    assert [play.over for play in stalled] == [True, True, True, False, False]
    assert [one.id for one in legacy.heard()] == [2, 3]


def test_an_agent_that_is_gone_amid_a_result() -> None:
    play = Play()
    legacy = play.bind()
    play.client.says(2, search())
    play.client.voice.resets()
    assert play.over
    assert play.failure is not None
    assert play.failure.check(StreamClosed)
    assert play.outcomes() == [("ldap.search", "unknown", "")]
    assert legacy.heard()


EXPIRED = Refused(Reason.SESSION_EXPIRED, "the token has expired")


def test_an_expiry_leaves_the_connection_to_a_new_bind() -> None:
    play = Play()
    legacy = play.bind()
    play.client.says(2, search())
    play.cut(EXPIRED)
    assert play.client.told() == (2, Op.DONE, Code.STRONGER_AUTH)
    legacy.stream.abort()  # as the core does
    play.client.says(3, search())
    (message,) = play.client.heard()
    assert answers.read_result(message).code == Code.STRONGER_AUTH
    assert b"token expired" in answers.read_result(message).text
    fresh = play.bind(b"fresh", number=4)
    play.client.says(5, search())
    assert [one.id for one in fresh.heard()][-1] == 5


def test_an_expiry_while_a_request_waits_for_its_record() -> None:
    """It is answered too, and so is what came behind it."""
    play = Play()
    legacy = play.bind()
    record: Deferred[Permit] = Deferred()

    async def permit(operation: Operation) -> Permit:
        return await record

    play.admission.permit = permit  # type: ignore[method-assign]
    play.client.sends(codec.request(2, ber.encode(Op.DELETE, ANNA)) + codec.request(3, search()))
    play.cut(EXPIRED)
    legacy.stream.abort()
    first, second = play.client.heard()
    assert [(one.id, one.tag) for one in (first, second)] == [(2, Op.DELETE_RESPONSE), (3, Op.DONE)]
    assert {answers.read_result(one).code for one in (first, second)} == {Code.STRONGER_AUTH}


def test_an_expiry_that_nobody_mends_ends_with_a_notice() -> None:
    play = Play(Options(expired_grace=60))
    legacy = play.bind()
    play.cut(EXPIRED)
    legacy.stream.abort()
    play.client.voice.hears_nothing()
    play.clock.advance(61)
    assert notice(play) == Code.STRONGER_AUTH
    assert play.over


def test_an_expiry_without_grace_and_a_revocation_end_at_once() -> None:
    for options, refused in (
        (Options(expired_grace=0), EXPIRED),
        (Options(), Refused(Reason.SESSION_REVOKED, "revoked")),
    ):
        play = Play(options)
        play.bind()
        play.cut(refused)
        assert notice(play) == Code.STRONGER_AUTH


def test_a_peer_that_shows_no_certificate_hears_of_no_external() -> None:
    play = Play(plaintext=False)
    play.encrypted()
    play.client.says(1, search(b"", b"supportedSASLMechanisms", scope=0))
    found, _ = play.client.heard()
    assert b"EXTERNAL" not in found.raw
    assert b"PLAIN" in found.raw
