"""Secrets from the environment and from files, read in a pool within a time limit."""

import os
import threading

import pytest
import pytest_twisted
from twisted.internet import reactor  # noqa: TID251  the pool needs the real one
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from bridge.accounts.vaults import EnvironmentVault, FileVault, SecretReference, SecretUnavailable, Vaults
from bridge.adapter import Secret
from bridge.storage import ThreadPool

CANARY = "canary-5f1c"
CANARY_BYTES = CANARY.encode()


# -- references


@pytest.mark.parametrize("text", ["env:PG_READER", "file:/etc/idbridge/reader", "store:warehouse/reader"])
def test_a_reference_reads_back_as_written(text):
    assert str(SecretReference.parse(text)) == text


@pytest.mark.parametrize("text", ["", CANARY, f":{CANARY}", "env:", f"{CANARY}:x", f"p4ss:{CANARY}"])
def test_what_is_no_reference_may_be_a_password_and_is_not_repeated(text):
    with pytest.raises(ValueError, match="expected env:NAME") as caught:
        SecretReference.parse(text)
    assert CANARY not in str(caught.value)


# -- environment


def test_a_variable_gives_its_value():
    assert EnvironmentVault({"PG": CANARY}).in_thread_read("PG") == Secret(CANARY)


@pytest.mark.parametrize("environment", [{}, {"PG": ""}])
def test_a_missing_or_empty_variable_is_named(environment):
    with pytest.raises(SecretUnavailable, match="env:PG: the variable is not set"):
        EnvironmentVault(environment).in_thread_read("PG")


# -- files


def write(path, value=CANARY_BYTES, mode=0o600):
    path.write_bytes(value)
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize(
    ("written", "read"),
    [(b"a\n", b"a"), (b"a\r\n", b"a"), (b"a\n\n", b"a\n"), (b"a\r", b"a\r"), (b" a ", b" a "), (b"\xff\0", b"\xff\0")],
)
def test_one_line_end_is_no_part_of_the_secret_everything_else_is(tmp_path, written, read):
    assert FileVault().in_thread_read(write(tmp_path / "s", written)).reveal() == read


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_file_for_us_alone_is_read(tmp_path, mode):
    assert FileVault().in_thread_read(write(tmp_path / "s", mode=mode)) == Secret(CANARY)


@pytest.mark.parametrize("mode", [0o640, 0o644, 0o604, 0o620, 0o660, 0o700, 0o444, 0o4600])
def test_a_file_that_lets_others_in_is_refused(tmp_path, mode):
    with pytest.raises(SecretUnavailable, match=f"mode {mode:04o} lets others in") as caught:
        FileVault().in_thread_read(write(tmp_path / "s", mode=mode))
    assert CANARY not in str(caught.value)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@needs_root
def test_a_credential_that_root_hands_to_a_group_is_read(tmp_path):
    path = write(tmp_path / "s", mode=0o440)
    os.chown(path, 0, 12345)
    assert FileVault().in_thread_read(path) == Secret(CANARY)


@needs_root
@pytest.mark.parametrize("mode", [0o600, 0o440])
def test_a_file_of_another_user_is_refused(tmp_path, mode):
    path = write(tmp_path / "s", mode=mode)
    os.chown(path, 12345, 0)
    with pytest.raises(SecretUnavailable, match="owned by another user"):
        FileVault().in_thread_read(path)


def test_a_link_is_as_good_as_what_it_leads_to(tmp_path):
    (tmp_path / "good").symlink_to(write(tmp_path / "a"))
    (tmp_path / "bad").symlink_to(write(tmp_path / "b", mode=0o644))
    assert FileVault().in_thread_read(str(tmp_path / "good")) == Secret(CANARY)
    with pytest.raises(SecretUnavailable, match="lets others in"):
        FileVault().in_thread_read(str(tmp_path / "bad"))


def test_what_is_no_secret_file_is_refused_with_its_cause(tmp_path):
    os.mkfifo(tmp_path / "fifo", 0o600)
    (tmp_path / "dir").mkdir(mode=0o700)
    causes = {
        "absent": "No such file",
        "fifo": "not a regular file",
        "dir": "not a regular file",
        "nul\0": "not a path",
        os.path.basename(write(tmp_path / "empty", b"\n")): "the file is empty",
        os.path.basename(write(tmp_path / "large", b"x" * 65_537)): "larger than 64 KiB",
    }
    for name, cause in causes.items():
        with pytest.raises(SecretUnavailable, match=cause):
            FileVault().in_thread_read(str(tmp_path / name))
    assert len(FileVault().in_thread_read(write(tmp_path / "most", b"x" * 65_536)).reveal()) == 65_536


# -- all of them


class Stuck:
    def __init__(self):
        self.gate = threading.Event()

    def in_thread_read(self, path):
        self.gate.wait(5)
        return Secret("late")


class Broken:
    def in_thread_read(self, path):
        raise SecretUnavailable(f"broken:{path}: out of order")


@pytest.fixture
def pool():
    made = ThreadPool("vault", 1, reactor, queue_limit=1)
    yield made
    if made._stopped is None:
        pytest_twisted.blockon(made.stop(1))


@pytest_twisted.ensureDeferred
async def test_a_reference_finds_its_vault(pool):
    vaults = Vaults({"env": EnvironmentVault({"PG": CANARY}), "broken": Broken()}, pool, Clock())
    assert await vaults.read(SecretReference("env", "PG")) == Secret(CANARY)
    with pytest.raises(SecretUnavailable, match="out of order"):
        await vaults.read(SecretReference("broken", "x"))
    with pytest.raises(SecretUnavailable, match="kv:x: no vault of this kind"):
        await vaults.read(SecretReference("kv", "x"))


@pytest_twisted.ensureDeferred
async def test_a_vault_that_hangs_is_waited_for_five_seconds(pool):
    clock, stuck = Clock(), Stuck()
    reading = Deferred.fromCoroutine(Vaults({"stuck": stuck}, pool, clock).read(SecretReference("stuck", "x")))
    clock.advance(4.9)
    assert not reading.called
    clock.advance(0.2)
    with pytest.raises(SecretUnavailable, match="stuck:x: no answer within 5 s"):
        await reading
    stuck.gate.set()


@pytest_twisted.ensureDeferred
async def test_a_pool_that_is_full_or_stopped_is_a_secret_unavailable(pool):
    stuck = Stuck()
    vaults = Vaults({"stuck": stuck}, pool, Clock())
    waiting = [Deferred.fromCoroutine(vaults.read(SecretReference("stuck", "x"))) for _ in range(2)]
    with pytest.raises(SecretUnavailable, match="calls wait already"):
        await vaults.read(SecretReference("stuck", "x"))
    stuck.gate.set()
    assert [await one for one in waiting] == [Secret("late")] * 2
    await pool.stop(1)
    with pytest.raises(SecretUnavailable, match="stopped"):
        await vaults.read(SecretReference("stuck", "x"))
