"""Each algorithm of each level with a real sshd that offers nothing else: what paramiko has dropped and is back.

Without the bridge's process: the host's side alone, driven by this one's reactor.
"""

from __future__ import annotations

import base64
import itertools
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from rig.place import Place
from rig.sshd import Account, Sshd, run
from twisted.internet import reactor  # noqa: TID251  # tests own the process
from twisted.internet.threads import deferToThread

from adapters.ssh.host_exchange import HostKeyRefused, NothingInCommon
from adapters.ssh.levels import LEVELS
from adapters.ssh.options import Options
from adapters.ssh.trusting import trust
from adapters.ssh.upstream import HostLeg, LoginRefused, log_in
from bridge.adapter import Login, Secret, Stream, SystemFacts
from bridge.net.dialer import Dialer
from bridge.wire.ssh_keys import fingerprint

TIMEOUT = 20.0
AMOUNT = 6_400_000
_names = itertools.count()


async def deferring(function: Callable[..., Any], *arguments: Any) -> Any:
    return await deferToThread(function, *arguments)


class Started:
    """Starts a host for one test."""

    def __init__(self, place: Place, account: Account) -> None:
        self._place = place
        self._account = account
        self._running: list[Sshd] = []

    def __call__(self, settings: str = "", kinds: str = "ed25519") -> Sshd:
        host = Sshd(self._place, self._account, f"sshd-{next(_names)}", settings, kinds)
        host.start()
        self._running.append(host)
        return host

    def stop(self) -> None:
        for host in self._running:
            host.stop()


@pytest.fixture
def start(place: Place, account: Account) -> Iterator[Started]:
    starting = Started(place, account)
    yield starting
    starting.stop()


async def dial(host: Sshd) -> Stream:
    return await Dialer(reactor).connect("127.0.0.1", host.port, TIMEOUT)


async def logged_in(host: Sshd, login: Login, **options: Any) -> tuple[Stream, HostLeg]:
    given = {"known_hosts": str(host.known_hosts), **options}
    stream = await dial(host)
    try:
        leg = await log_in(stream, login=login, options=Options(**given), host="127.0.0.1", timeout=TIMEOUT,
                           deferring=deferring, clock=time.monotonic)  # fmt: skip
    except BaseException:
        stream.abort()
        raise
    return stream, leg


async def facts(host: Sshd, login: Login, **options: Any) -> dict[str, str]:
    stream, leg = await logged_in(host, login, **options)
    leg.disconnect(11, "done")
    await leg.flush()
    await stream.close()
    return dict(leg.facts)


def by_password(account: Account) -> Login:
    return Login(account.name, Secret(account.password))


def by_key(account: Account) -> Login:
    return Login(account.name, Secret(account.key), Secret(account.passphrase))


def by_rsa(account: Account) -> Login:
    return Login(account.name, Secret(account.rsa_key))


def supported(what: str) -> set[str]:
    """By this machine's sshd."""
    listed = subprocess.run(["ssh", "-Q", what], capture_output=True, check=True, timeout=20)
    return set(listed.stdout.decode().split())


EXCHANGES = [(level, name) for level, one in LEVELS.items() for name in one.kex]


@pytest.mark.parametrize(("level", "kex"), EXCHANGES, ids=["-".join(one) for one in EXCHANGES])
@pytest_twisted.ensureDeferred
async def test_key_exchanges(start: Started, account: Account, level: str, kex: str) -> None:
    if kex not in supported("kex"):
        pytest.skip(f"this sshd has no {kex}")
    host = start(f"KexAlgorithms {kex}\n")
    assert (await facts(host, by_key(account), level=level))["kex"] == kex
    assert host.logins() == 1


@pytest.mark.parametrize("cipher", LEVELS["legacy"].ciphers)
@pytest_twisted.ensureDeferred
async def test_ciphers(start: Started, account: Account, cipher: str) -> None:
    level = next(level for level, one in LEVELS.items() if cipher in one.ciphers)
    host = start(f"Ciphers {cipher}\n")
    assert (await facts(host, by_key(account), level=level))["cipher"] == cipher


@pytest.mark.parametrize("mac", LEVELS["legacy"].macs)
@pytest_twisted.ensureDeferred
async def test_macs(start: Started, account: Account, mac: str) -> None:
    level = next(level for level, one in LEVELS.items() if mac in one.macs)
    host = start(f"MACs {mac}\nCiphers aes128-ctr\n")
    assert (await facts(host, by_key(account), level=level))["mac"] == mac


@pytest.mark.parametrize("algorithm", LEVELS["legacy"].host_keys)
@pytest_twisted.ensureDeferred
async def test_host_keys(start: Started, account: Account, algorithm: str) -> None:
    level = next(level for level, one in LEVELS.items() if algorithm in one.host_keys)
    kind = {"ssh-ed25519": "ed25519", "ssh-dss": "dsa"}.get(algorithm, "ecdsa" if "ecdsa" in algorithm else "rsa")
    bits = algorithm[-3:] if kind == "ecdsa" else ""
    host = start(f"HostKeyAlgorithms {algorithm}\n", kind + (f":{bits}" if bits else ""))
    assert (await facts(host, by_key(account), level=level))["host_key"] == algorithm


@pytest.mark.parametrize(("level", "offer"), [
    ("modern", "KexAlgorithms diffie-hellman-group14-sha1\n"), ("compat", "KexAlgorithms diffie-hellman-group1-sha1\n"),
    ("modern", "Ciphers aes128-cbc\n"), ("compat", "Ciphers 3des-cbc\n"),
    ("modern", "MACs hmac-sha1\nCiphers aes128-ctr\n"), ("compat", "MACs hmac-md5\nCiphers aes128-ctr\n"),
])  # fmt: skip
@pytest_twisted.ensureDeferred
async def test_what_a_level_has_not_is_refused_before_the_login(
    start: Started, account: Account, level: str, offer: str
) -> None:
    host = start(offer)
    with pytest.raises(NothingInCommon):
        await facts(host, by_key(account), level=level)
    assert host.attempts() == 0


@pytest_twisted.ensureDeferred
async def test_the_levels_prefer_what_is_best(start: Started, account: Account) -> None:
    """A modern host is talked to in the same way whatever the level."""
    host = start()
    found = [await facts(host, by_key(account), level=level) for level in LEVELS]
    assert [(one["kex"], one["cipher"]) for one in found] == [("curve25519-sha256", "aes128-gcm@openssh.com")] * 3


# -- proofs


@pytest_twisted.ensureDeferred
async def test_each_proof(start: Started, account: Account) -> None:
    host = start()
    for login in (by_key(account), by_rsa(account), by_password(account)):
        assert await facts(host, login)
    assert host.logins() == 3


@pytest_twisted.ensureDeferred
async def test_refused_proofs(start: Started, account: Account) -> None:
    """Each is tried once."""
    host = start("PubkeyAuthentication no\n")
    with pytest.raises(LoginRefused, match="the key was refused; the host takes password"):
        await facts(host, by_key(account))
    with pytest.raises(LoginRefused, match="the password was refused"):
        await facts(host, Login(account.name, Secret("another password")))
    assert host.log.read_text().count("Failed password") == 1


@pytest.mark.parametrize("kex", ["curve25519-sha256", "diffie-hellman-group14-sha256"])
@pytest_twisted.ensureDeferred
async def test_new_keys_while_bytes_go_both_ways(start: Started, account: Account, kex: str) -> None:
    """The host exchanges keys after each mebibyte; the channel echoes what it is given (paramiko#822)."""
    host = start(f"RekeyLimit 1M\nKexAlgorithms {kex}\n")
    stream, leg = await logged_in(host, by_key(account))
    window, sent, got, exchanges = 0, 0, 0, set()
    leg.write(b"\x5a" + b"\0\0\0\x07session" + bytes(4) + (2**31 - 1).to_bytes(4, "big") + (32768).to_bytes(4, "big"))

    def take(payload: bytes) -> None:
        nonlocal window, sent, got
        exchanges.add(leg.engine.H)
        if payload[0] == 91:  # the channel is open: its window, and the command
            window = int.from_bytes(payload[9:13], "big")
            leg.write(b"\x62" + bytes(4) + b"\0\0\0\x04exec\x01\0\0\0\x03cat")
        elif payload[0] == 93:
            window += int.from_bytes(payload[5:9], "big")
        elif payload[0] == 94:
            got += len(payload) - 9
        while payload[0] in (93, 99) and window >= 32000 and sent < AMOUNT:
            leg.write(b"\x5e" + bytes(4) + (32000).to_bytes(4, "big") + bytes(32000))
            sent, window = sent + 32000, window - 32000
        if got == AMOUNT:
            leg.disconnect(11, "done")

    await leg.flush()
    await leg.run(take, leg.flush)
    await stream.close()
    assert got == sent == AMOUNT
    assert len(exchanges) > 5


# -- host keys


@pytest.mark.parametrize("pinned", ["ed25519", "rsa", "ecdsa"])
@pytest_twisted.ensureDeferred
async def test_any_one_pinned_key_suffices(start: Started, account: Account, pinned: str) -> None:
    """sshpiper#554: the host has more keys than are pinned."""
    host = start(kinds="ed25519 rsa ecdsa")
    lines = [line for line in host.known_hosts.read_text().splitlines() if pinned in line.split()[1]]
    host.known_hosts.write_text("\n".join(lines))
    assert pinned in (await facts(host, by_key(account)))["host_key"]


@pytest_twisted.ensureDeferred
async def test_a_fingerprint(start: Started, account: Account) -> None:
    host = start()
    kind, key = host.public_keys[0].split()
    shown = fingerprint(base64.b64decode(key))
    assert (await facts(host, by_key(account), known_hosts="", fingerprints=(shown,)))["host_key"] == kind
    with pytest.raises(HostKeyRefused):
        await facts(host, by_key(account), known_hosts="", fingerprints=(shown[:-1] + "x",))


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa"])
@pytest_twisted.ensureDeferred
async def test_an_authority(start: Started, account: Account, tmp_path: Path, kind: str) -> None:
    """The host shows a certificate; a key of its own without one is refused."""
    host = start(kinds=kind)
    authority, other = tmp_path / "authority", tmp_path / "other"
    for path in (authority, other):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True, timeout=20)
    given = {"known_hosts": "", "host_ca": (authority.with_suffix(".pub").read_text().strip(),)}
    with pytest.raises((HostKeyRefused, NothingInCommon)):
        await facts(host, by_key(account), **given)
    host.certify(authority)
    assert (await facts(host, by_key(account), **given))["host_key"].endswith("-cert-v01@openssh.com")
    with pytest.raises(HostKeyRefused, match="another authority"):
        await facts(host, by_key(account), known_hosts="", host_ca=(other.with_suffix(".pub").read_text().strip(),))


@pytest_twisted.ensureDeferred
async def test_idbridge_ssh_trust_shows_every_key(start: Started, account: Account) -> None:
    """With what is pinned already; nothing is said of an account."""
    host = start(kinds="ed25519 rsa ecdsa")
    host.known_hosts.write_text(host.known_hosts.read_text().splitlines()[0] + "\n")
    system = SystemFacts("hosts", Options(known_hosts=str(host.known_hosts)), host="127.0.0.1")
    rows = await trust(lambda: dial(host), system, "", deferring=deferring, clock=time.monotonic)
    assert {(row["type"], row["state"]) for row in rows} == {
        ("ssh-ed25519", "pinned"), ("ssh-rsa", "new"), ("ecdsa-sha2-nistp256", "new")
    }  # fmt: skip
    assert sorted(row["line"].split(" ", 1)[1] for row in rows) == sorted(host.public_keys)
    assert host.attempts() == 0


PAM_QUESTION = "UsePAM yes\nPasswordAuthentication no\nKbdInteractiveAuthentication yes\nPubkeyAuthentication no\n"


@pytest_twisted.ensureDeferred
async def test_the_question_of_a_real_host(start: Started, account: Account) -> None:
    """As PAM asks it."""
    host = start(PAM_QUESTION)
    assert await facts(host, by_password(account))
    with pytest.raises(LoginRefused, match="the password was refused"):
        await facts(host, Login(account.name, Secret("another password")))


@pytest_twisted.ensureDeferred
async def test_a_real_host_that_demands_another_password(start: Started, account: Account) -> None:
    """It is refused and nothing is changed: the password is the operators' affair."""
    host = start(PAM_QUESTION)
    run("chage", "-d", "0", account.name)
    try:
        with pytest.raises(LoginRefused, match="more than the password"):
            await facts(host, by_password(account))
    finally:
        run("chage", "-d", "-1", account.name)
    assert await facts(host, by_password(account))
