"""Controls: read, judged, passed on byte for byte."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ldap3.protocol.controls import build_control
from ldap3.protocol.rfc2696 import paged_search_control
from pyasn1.codec.ber import encoder
from pyasn1.type.univ import OctetString

from adapters.ldap import codec, controls
from adapters.ldap.codes import Oid
from adapters.ldap.framing import message
from adapters.ldap.refusals import Spoken
from bridge.adapter import PeerFault
from bridge.wire import ber
from tests.adapters.ldap.ldap3_messages import whole


def carrying(*encoded: bytes) -> bytes:
    return codec.request(1, codec.search(b"", 0, codec.present(b"cn"), ()), b"".join(encoded))


def judged(*encoded: bytes, more: frozenset[str] = frozenset()) -> list[str]:
    return [control.oid for control in controls.judge(controls.read(whole(carrying(*encoded))), more)]


def test_ldap3s_controls_read_as_it_wrote_them() -> None:
    paged = encoder.encode(paged_search_control(False, 2, b"cookie"))
    other = encoder.encode(build_control("1.2.3", True, OctetString(b"v"), encode_control_value=False))
    first, second = controls.read(whole(carrying(paged, other)))
    assert (first.oid, first.critical, first.raw) == (Oid.PAGED_RESULTS, False, paged)
    assert controls.page(first.value) == (2, b"cookie")
    assert (second.oid, second.critical, second.value) == ("1.2.3", True, b"v")


def test_served_controls_keep_their_bytes() -> None:
    """twisted/ldaptor#163: paging is broken through its proxy, which drops controls both ways."""
    odd = bytes.fromhex("3084000000") + bytes((len(Oid.PAGED_RESULTS) + 2 + 3,))
    odd += ber.encode(4, Oid.PAGED_RESULTS.encode()) + b"\x01\x01\x01"  # long length, criticality 01
    sent = whole(carrying(odd, controls.encode(Oid.MANAGE_DSA_IT)))
    kept = controls.judge(controls.read(sent))
    assert codec.rebuilt(sent, controls=controls.joined(kept)) == sent.raw


def test_an_unknown_critical_control_is_refused_12() -> None:
    """twisted/ldaptor#163: it answers success."""
    with pytest.raises(Spoken) as refused:
        judged(controls.encode("1.2.3", critical=True))
    assert refused.value.result == 12


def test_an_unknown_control_that_is_not_critical_is_taken_out() -> None:
    assert judged(controls.encode("1.2.3"), controls.encode(Oid.MANAGE_DSA_IT)) == [Oid.MANAGE_DSA_IT]


@pytest.mark.parametrize("oid", sorted(controls.NEVER - {Oid.SESSION_TRACKING}))
def test_some_controls_never_pass_whatever_the_options_say(oid: str) -> None:
    assert judged(controls.encode(oid), more=frozenset({oid})) == []
    with pytest.raises(Spoken):
        judged(controls.encode(oid, critical=True), more=frozenset({oid}))


def test_an_agents_own_session_tracking_is_taken_out_silently() -> None:
    """389ds/389-ds-base#6367, research C27."""
    for critical in (False, True):
        assert judged(controls.encode(Oid.SESSION_TRACKING, b"x", critical=critical)) == []


def test_options_let_more_controls_pass() -> None:
    assert judged(controls.encode(Oid.TREE_DELETE), more=frozenset({Oid.TREE_DELETE})) == [Oid.TREE_DELETE]
    assert judged(controls.encode(Oid.TREE_DELETE)) == []


def test_a_control_stands_once() -> None:
    with pytest.raises(Spoken) as refused:
        judged(controls.encode(Oid.MANAGE_DSA_IT), controls.encode(Oid.MANAGE_DSA_IT))
    assert refused.value.result == 2


def test_the_session_tracking_control_is_as_slapd_reads_it() -> None:
    control = controls.read(whole(carrying(controls.session_tracking("10.0.0.1", "bridge-01", "spiffe://td/agent/7"))))[
        0
    ]
    assert (control.oid, control.critical) == ("1.3.6.1.4.1.21008.108.63.1", False)
    value = control.value or b""
    at, stop = ber.expect(value, 0, len(value), ber.SEQUENCE)
    fields = []
    while at < stop:
        start, at = ber.expect(value, at, stop, ber.OCTET_STRING)
        fields.append(value[start:at])
    assert fields == [b"10.0.0.1", b"bridge-01", b"1.3.6.1.4.1.21008.108.63.1.3", b"spiffe://td/agent/7"]


def test_password_policy_answers() -> None:
    """slapd: accountLocked is ``81 01 01``, passwordExpired ``81 01 00`` (V)."""
    assert controls.read_ppolicy(b"\x30\x03\x81\x01\x01").cause == "account locked"
    assert controls.read_ppolicy(b"\x30\x03\x81\x01\x00").cause == "password expired"
    assert controls.read_ppolicy(b"\x30\x05\xa0\x03\x81\x01\x02") == controls.Ppolicy(-1, -1, 2)
    assert controls.read_ppolicy(b"\x30\x00").cause == ""
    assert controls.read_ppolicy(None) == controls.Ppolicy()


def test_sort_keys_are_named() -> None:
    def key(name: bytes, *more: bytes) -> bytes:
        return ber.encode(0x30, ber.encode(4, name), *more)

    assert controls.sort_keys(ber.encode(0x30, key(b"sn"), key(b"cn", ber.encode(0x80, b"2.5.13.3")))) == (b"sn", b"cn")
    for broken in (None, b"", b"\x30\x00", b"\x30\x01\x04"):
        with pytest.raises(PeerFault):
            controls.sort_keys(broken)


@given(st.binary(max_size=60))
def test_garbage_is_controls_or_a_fault(body: bytes) -> None:
    data = carrying(body) if body else carrying()
    with contextlib.suppress(PeerFault):
        found = controls.read(message(data, 0, len(data)))
        assert b"".join(control.raw for control in found) == body
    for read in (controls.sort_keys, controls.page, controls.read_ppolicy):
        with contextlib.suppress(PeerFault):
            read(body)
