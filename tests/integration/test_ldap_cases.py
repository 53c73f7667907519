"""What went wrong elsewhere (research C), tried on a real bridge before a real slapd."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rig.bridge import Bridge
from rig.certificates import Authority
from rig.directory import SUFFIX, document, environment, grant, system
from rig.ldap_door import PEOPLE, Talk
from rig.place import Place
from rig.slapd import Slapd

from adapters.ldap import answers, codec, controls
from adapters.ldap.codes import Code, Oid, Op
from bridge.wire import ber

MANY = 20_000
BIG = f"ou=many,{SUFFIX}"


@pytest.fixture(scope="module")
def big(place: Place, authority: Authority) -> Iterator[Slapd]:
    """A directory of this module's own, to be killed, with 20,000 entries of 1 kB."""
    server = Slapd(place, authority, "slapd-big", many=MANY)
    server.create()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def door(place: Place, authority: Authority, big: Slapd) -> Iterator[Bridge]:
    systems = {
        "directory": system(big, "svc_reader", "svc_writer"),
        "impatient": system(big, "svc_writer", answer_timeout=2),
        "alone": system(big, "svc_reader", certificate_alone=True, expired_grace=1),
    }
    grants = [
        grant("reader", "directory", "svc_reader", "read"),
        grant("writer", "directory", "svc_writer", "read", "write", "admin"),
        grant("writer", "impatient", "svc_writer", "read", "write", "admin"),
        grant("reader", "alone", "svc_reader", "read"),
    ]
    running = Bridge(place, authority, "cases", document(systems, grants), environment(big))
    running.document["tls"]["client_ca"] = str(authority.ca)
    running.document["limits"] = {"stall": "12s"}
    running.write()
    try:
        running.start()
        running.agent("reader-1", "reader")
        running.agent("writer-1", "writer")
        binding = {"issuer": "certificate", "claims": {"sub": "CN=cert-agent", "issuer_dn": "CN=test CA"}}
        running.agent("cert-1", "reader", bindings=[binding])
        yield running
    finally:
        assert running.stop() == 0


@pytest.fixture(scope="module")
def reader(door: Bridge) -> str:
    return door.token("reader-1")


@pytest.fixture(scope="module")
def certificate(authority: Authority, place: Place) -> tuple[Path, Path]:
    files = authority.issue_for_client(place.folder, "cert-agent")
    place.secret_files.add(files[1])
    return files


def bound(door: Bridge, token: str, system: str = "directory") -> Talk:
    talk = Talk(door.ports[system]).tls(door.authority.ca)
    assert talk.bind(token).code == 0
    return talk


def session_of(door: Bridge) -> str:
    return str([one for one in door.events() if one["type"] == "session.open"][-1]["corr"]["session"])


def resident(door: Bridge) -> int:
    """kB."""
    assert door.process is not None
    status = Path(f"/proc/{door.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def descriptors(door: Bridge) -> int:
    assert door.process is not None
    return len(os.listdir(f"/proc/{door.process.pid}/fd"))


# -- logins ------------------------------------------------------------------------------------------------------------


def test_oauthbearer(door: Bridge, reader: str) -> None:
    with Talk(door.ports["directory"]).tls(door.authority.ca) as talk:
        bad = talk.sasl("OAUTHBEARER", b"n,,\x01auth=Bearer a.b.c\x01\x01")
        assert (bad.code, bad.sasl) == (14, b'{"status": "invalid_token"}')
        assert talk.search(PEOPLE)[1] == Code.OPERATIONS_ERROR
        assert talk.sasl("OAUTHBEARER", b"\x01").code == 49
        assert talk.sasl("OAUTHBEARER", b"n,a=reader-1,\x01auth=Bearer " + reader.encode() + b"\x01\x01").code == 0
        assert talk.search(PEOPLE, "cn")[1] == 0


def test_external_by_a_client_certificate(door: Bridge, reader: str, certificate: tuple[Path, Path]) -> None:
    with Talk(door.ports["directory"]).tls(door.authority.ca, certificate) as talk:
        entries, _ = talk.search("", "supportedSASLMechanisms", scope=0)
        assert b"EXTERNAL" in entries[0].raw
        assert talk.bind("").code == 0
        assert talk.search(PEOPLE)[1] == 8, "a certificate alone is no login here"
        assert talk.sasl("EXTERNAL", b"").code == 0
        who = talk.ask(codec.extended(Oid.WHO_AM_I))
        assert who.value == b"u:cert-1"
        assert talk.search(PEOPLE, "cn")[1] == 0
        assert talk.bind(reader).code == 49, "the token is another agent's"
    with Talk(door.ports["directory"]).tls(door.authority.ca) as talk:
        assert talk.sasl("EXTERNAL", b"").code == 49
    with Talk(door.ports["alone"]).tls(door.authority.ca, certificate) as talk:
        assert talk.bind("").code == 0
        assert talk.ask(codec.extended(Oid.WHO_AM_I)).value == b"u:cert-1"
    assert door.session_events(session_of(door))[0]["credential"]["alg"] == "x509"


def test_health_checks_open_nothing(door: Bridge, big: Slapd) -> None:
    """twisted/ldaptor#105."""
    before = len(big.lines("ACCEPT"))
    for _ in range(1000):
        socket.create_connection(("127.0.0.1", door.ports["directory"]), 5).close()
    assert len(big.lines("ACCEPT")) == before


def test_an_empty_password_is_refused_and_recorded(door: Bridge, big: Slapd) -> None:
    """TremoloSecurity/MyVirtualDirectory#65: such a Bind succeeded through a proxy."""
    before = len(big.lines("ACCEPT"))
    with Talk(door.ports["directory"]).tls(door.authority.ca) as talk:
        refused = talk.bind("", f"cn=admin,{SUFFIX}")
    assert refused.code == Code.UNWILLING
    (found,) = re.findall(rb"reference (\w+)", refused.text)
    event = door.refusal(found.decode())
    assert (event["type"], event["reason"]) == ("session.refused", "credential-missing")
    assert len(big.lines("ACCEPT")) == before


def test_failing_binds_leave_no_descriptors(door: Bridge) -> None:
    """privacyidea/privacyidea-ldap-proxy#9: EMFILE after some 1,000."""
    before = descriptors(door)
    for _ in range(35):  # more would wait a second each: proofs that fail too often do
        with Talk(door.ports["directory"]).tls(door.authority.ca) as talk:
            assert talk.bind("a.b.c").code == 49
    door.wait(lambda: descriptors(door) <= before + 5, 10, "as many descriptors as before, but for the bridge's own")


def test_unknown_agents_and_bad_signatures_hear_the_same(door: Bridge, reader: str) -> None:
    """389ds/389-ds-base#4609: another code told which entries exist."""
    head, body, signature = reader.split(".")
    heard = set()
    for token in (f"{head}.{body}.{signature[::-1]}", f"{head}.e30.{signature}", "a.b.c", "x" * 500):
        with Talk(door.ports["directory"]).tls(door.authority.ca) as talk:
            result = talk.bind(token)
        heard.add((result.code, re.sub(rb"reference[ =]\w+", b"", result.text)))
    assert len(heard) == 1


def test_sessions_follow_each_other_on_one_connection(door: Bridge, reader: str) -> None:
    """privacyidea/privacyidea-ldap-proxy#30."""
    writer = door.token("writer-1")
    with bound(door, reader) as talk:
        talk.search(PEOPLE, "cn", scope=0)
        first = session_of(door)
        assert talk.bind(writer).code == 0
        second = session_of(door)
        assert talk.ask(ber.encode(Op.DELETE, f"uid=nobody,{PEOPLE}".encode())).code == 32
        assert talk.bind("bad").code == 49
        assert talk.search(PEOPLE, "cn")[1] == 8
    for session, agent, verb in ((first, "reader-1", "ldap.search"), (second, "writer-1", "ldap.delete")):
        opened, *_ = door.session_events(session, closed=True)
        assert opened["agent"]["id"] == agent
        assert [one["action"]["verb"] for one in door.operations(session)] == [verb]


# -- operations --------------------------------------------------------------------------------------------------------


def test_abandon_stops_the_directory(door: Bridge, reader: str) -> None:
    with bound(door, reader) as talk:
        number = talk.say(codec.search(BIG.encode(), 2, codec.present(b"objectClass"), ()))
        assert talk.hear().id == number
        talk.say(codec.abandon(number))
        last = talk.say(codec.search(PEOPLE.encode(), 0, codec.present(b"objectClass"), (b"1.1",)))
        count = 0
        while (message := talk.hear()).id == number:
            count += 1
        assert (message.id, message.tag) == (last, Op.ENTRY)
        assert count < MANY - 1
        session = session_of(door)
    first, *_ = door.operations(session)
    assert (first["outcome"], first["result"]["detail"]) == ("aborted", "abandoned by the agent")


def test_a_referral_is_not_followed_and_not_told(door: Bridge, reader: str) -> None:
    """vt-middleware/ldaptive#25: the entry refers to port 1 of this machine."""
    with bound(door, reader) as talk:
        _, code = talk.search(f"cn=x,ou=elsewhere,{SUFFIX}", "cn")
        assert code == Code.UNWILLING
        talk.say(codec.search(SUFFIX.encode(), 1, codec.present(b"objectClass"), (b"1.1",)))
        assert {one.tag for one in talk.all()} == {Op.ENTRY, Op.DONE}
        manage = controls.encode(Oid.MANAGE_DSA_IT)
        entries, code = talk.search(f"ou=elsewhere,{SUFFIX}", "ou", scope=0, controls=manage)
        assert (len(entries), code) == (1, 0)


def test_nobody_follows_a_reference(door: Bridge, reader: str, big: Slapd) -> None:
    """The same, with somebody listening where it leads to: the static account's login must not come there."""
    with socket.create_server(("127.0.0.1", 0)) as trap, bound(door, reader) as talk:
        trap.settimeout(1)
        name, here = f"cn=trap,{SUFFIX}", f"ldap://127.0.0.1:{trap.getsockname()[1]}/dc=x"
        with big.admin() as administrator:
            administrator.add(name, ["referral", "extensibleObject"], {"ref": here})
        assert talk.search(name, "cn")[1] == Code.UNWILLING
        talk.say(codec.search(SUFFIX.encode(), 1, codec.present(b"objectClass"), (b"1.1",)))
        assert {one.tag for one in talk.all()} == {Op.ENTRY, Op.DONE}
        with pytest.raises(TimeoutError):
            trap.accept()


def test_after_unbind_the_connection_closes_in_order(door: Bridge, reader: str) -> None:
    """go-ldap/ldap#275: FIN and no RST, also amid a result that nobody reads; a reset would be ConnectionResetError."""
    for amid in (False, True):
        with bound(door, reader) as talk:
            if amid:
                talk.say(codec.search(BIG.encode(), 2, codec.present(b"objectClass"), ()))
            else:
                assert talk.search(PEOPLE, "cn", scope=0)[1] == 0
            talk.say(codec.unbind())
            while data := talk.socket.recv(65536):
                assert amid, data


def test_an_agents_own_session_tracking_never_reaches_the_directory(door: Bridge, reader: str, big: Slapd) -> None:
    """389ds/389-ds-base#6367; the bridge's own stands on every line of an operation."""
    forged = controls.session_tracking("192.0.2.66", "forged-name", "forged-user")
    with bound(door, reader) as talk:
        session = session_of(door)
        for _ in range(2):
            assert talk.search(PEOPLE, "cn", scope=0, controls=forged)[1] == 0
    (connection,) = {re.findall(r"conn=\d+", line)[0] for line in big.lines(f"NAME=ib:{session}")}
    searches = [line for line in big.lines(f"{connection} ") if f'SRCH base="{PEOPLE}"' in line]
    assert len(searches) == 2
    assert all(f"[IP=127.0.0.1 NAME=ib:{session} USERNAME=reader-1]" in line for line in searches)
    assert not big.lines("forged")


def test_a_password_is_changed_for_another_and_never_logged(door: Bridge, place: Place) -> None:
    password = place.new_secret("a new password by Password Modify")
    user = f"uid=user09,{PEOPLE}".encode()
    value = ber.encode(ber.SEQUENCE, ber.encode(0x80, user), ber.encode(0x82, password.encode()))
    with bound(door, door.token("writer-1")) as talk:
        assert talk.ask(codec.extended(Oid.PASSWORD_MODIFY, value)).code == 0
        generated = talk.ask(codec.extended(Oid.PASSWORD_MODIFY, ber.encode(ber.SEQUENCE, ber.encode(0x80, user))))
        assert generated.code == 0
        assert generated.value is not None
        place.secrets["a generated password"] = generated.value[4:]
        session = session_of(door)
    assert [(one["action"]["verb"], one["action"]["kind"]) for one in door.operations(session)] == [
        ("ldap.extended.password_modify", "admin")
    ] * 2


def test_every_entry_of_a_big_search_arrives(door: Bridge, reader: str) -> None:
    with bound(door, reader) as talk:
        entries, code = talk.search(BIG, scope=1)
        assert (len(entries), code) == (MANY, 0)
        session = session_of(door)
    (search,) = door.operations(session)
    assert search["result"]["rows"] == MANY
    assert search["result"]["bytes"] == sum(len(entry.raw) for entry in entries)


# -- ends --------------------------------------------------------------------------------------------------------------


def test_readers_that_stall_cost_little_memory_and_block_nobody(door: Bridge, reader: str) -> None:
    """Ten of them block an eight-threaded slapd for good; and a proxy that reads on fills its memory."""
    with bound(door, reader) as talk:
        talk.search(PEOPLE, "cn")
    before = resident(door)
    stalled = [bound(door, reader) for _ in range(10)]
    for talk in stalled:
        talk.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        talk.say(codec.search(BIG.encode(), 2, codec.present(b"objectClass"), ()))
    door.wait_calm()
    assert resident(door) - before < 40_000

    def served() -> bool:
        try:
            with Talk(door.ports["directory"]).tls(door.authority.ca) as talk:
                talk.socket.settimeout(2)
                return talk.bind(reader).code == 0 and talk.search(PEOPLE, "cn")[1] == 0
        except TimeoutError:
            return False

    door.wait(served, 20, "served")
    assert door.call("session.list"), "the stalled ones make room before the time of all of them is up"
    for talk in stalled:
        talk.socket.close()


def test_a_stalled_reader_is_cut_in_time_and_its_directory_connection_too(
    door: Bridge, reader: str, big: Slapd
) -> None:
    with bound(door, reader) as talk:
        session = session_of(door)
        talk.say(codec.search(BIG.encode(), 2, codec.present(b"objectClass"), ()))
        door.wait(lambda: door.session_events(session)[-1]["type"] == "session.close", 25, "cut")
    (close,) = (one for one in door.session_events(session) if one["type"] == "session.close")
    assert "took nothing" in str(close) or close["reason"] == "connection-lost"
    line = next(line for line in big.lines(f"NAME=ib:{session}"))
    number = line[line.index("conn=") :].split()[0]
    door.wait(lambda: any("closed" in one for one in big.lines(f"{number} fd=")), 5, "closed in the directory")


def test_a_revocation_says_goodbye(door: Bridge) -> None:
    door.agent("doomed-1", "reader")
    with bound(door, door.token("doomed-1")) as talk:
        assert talk.search(PEOPLE, "cn")[1] == 0
        door.call("agent.revoke", id="doomed-1", reason="a test")
        goodbye = answers.read_result(talk.hear())
        assert (goodbye.code, goodbye.name) == (8, Oid.NOTICE_OF_DISCONNECTION.encode())
        assert b"revoked" in goodbye.text
        assert talk.closed()


def test_a_token_that_expires_is_told_and_a_fresh_one_goes_on(door: Bridge) -> None:
    short = door.token("reader-1", ttl=3)
    with bound(door, short) as talk, bound(door, short, "alone") as alone:
        door.wait(lambda: talk.search(PEOPLE, "cn", scope=0)[1] == 8, 8, "expired")
        result = talk.ask(codec.search(PEOPLE.encode(), 0, codec.present(b"objectClass"), ()))
        assert (result.code, b"token expired" in result.text) == (8, True)
        assert talk.bind(short).code == 49
        assert talk.bind(door.token("reader-1")).code == 0
        assert talk.search(PEOPLE, "cn", scope=0)[1] == 0
        assert answers.read_result(alone.hear()).code == 8, "after the grace the connection ends with a notice"
        assert alone.closed()


def test_a_directory_that_restarts(door: Bridge, reader: str, big: Slapd) -> None:
    """gravitational/teleport#9808: the dead connection was used for ever."""
    with bound(door, reader) as talk, bound(door, reader) as idle:
        talk.say(codec.search(BIG.encode(), 2, codec.present(b"objectClass"), ()))
        assert talk.hear().tag == Op.ENTRY
        assert big.process is not None
        big.process.kill()
        big.process.wait()
        while (message := talk.hear()).tag == Op.ENTRY:
            pass
        assert answers.read_result(message).code == Code.UNAVAILABLE
        assert talk.closed()
        assert answers.read_result(idle.hear()).code == Code.UNAVAILABLE
    started = time.monotonic()
    with Talk(door.ports["directory"]).tls(door.authority.ca) as talk:
        assert talk.bind(reader).code == Code.UNAVAILABLE
    assert time.monotonic() - started < 11
    big.start()
    with bound(door, reader) as talk:
        assert talk.search(PEOPLE, "cn")[1] == 0


def test_a_directory_that_does_not_answer(door: Bridge, big: Slapd) -> None:
    """It holds the connection and says nothing; when it speaks again, the session goes on."""
    token = door.token("writer-1")
    assert big.process is not None
    with bound(door, token, "impatient") as talk, bound(door, token, "impatient") as waiting:
        session = session_of(door)
        big.process.send_signal(signal.SIGSTOP)
        try:
            talk.say(codec.search(PEOPLE.encode(), 0, codec.present(b"objectClass"), (b"cn",)))
            started = time.monotonic()
            assert answers.read_result(talk.hear()).code == Code.TIME_LIMIT
            assert 1.5 < time.monotonic() - started < 20
            talk.say(ber.encode(Op.DELETE, f"cn=nobody,{PEOPLE}".encode()))
            assert answers.read_result(talk.hear()).code == Code.UNAVAILABLE
            search = codec.search(PEOPLE.encode(), 0, codec.present(b"cn"), (), time_limit=1)
            assert waiting.ask(search).code == Code.TIME_LIMIT
        finally:
            big.process.send_signal(signal.SIGCONT)
        assert talk.search(PEOPLE, "cn", scope=0)[1] == 0
        assert waiting.search(PEOPLE, "cn", scope=0)[1] == 0
    assert [one["outcome"] for one in door.operations(session)][:1] == ["failure"]
    assert big.lines("ABANDON msg=")


def test_many_agents_at_once(door: Bridge, reader: str) -> None:
    failed: list[object] = []

    def work() -> None:
        try:
            for _ in range(5):
                with bound(door, reader) as talk:
                    entries, code = talk.search(PEOPLE, "uid", scope=1)
                    if (len(entries) < 20) or code:
                        failed.append((len(entries), code))
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failed
