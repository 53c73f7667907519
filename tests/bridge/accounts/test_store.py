"""The encrypted store: what it keeps, what it shows, and what the database and the key file may look like."""

import base64
import os
import stat
import threading
from dataclasses import asdict

import pytest

from bridge.accounts.vaults import SecretUnavailable, Store, StoreKeyRefused
from bridge.adapter import Secret
from bridge.storage import open_engine, upgrade, writing

CANARY = "canary-9b2e77-ünïcode"


@pytest.fixture
def engine(tmp_path):
    opened = open_engine(tmp_path / "registry.db", kind="registry")
    upgrade(opened, "registry")
    yield opened
    opened.dispose()


@pytest.fixture
def key_file(tmp_path):
    return tmp_path / "store.key"


class Time:
    now = 1000.9

    def __call__(self):
        return self.now


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def store(engine, key_file, time):
    return Store(engine, key_file, time)


def test_a_secret_is_read_back_also_after_a_restart(engine, key_file, time, store):
    store.in_thread_set("warehouse/reader", Secret(CANARY))
    assert Store(engine, key_file, time).in_thread_read("warehouse/reader") == Secret(CANARY)


@pytest.mark.parametrize("value", [b"x", bytes(range(256)), b"y" * 65_536])
def test_any_bytes_up_to_the_limit_are_kept(store, value):
    store.in_thread_set("n", Secret(value))
    assert store.in_thread_read("n").reveal() == value


@pytest.mark.parametrize("value", [b"", b"y" * 65_537])
def test_nothing_and_too_much_are_refused(store, value):
    with pytest.raises(ValueError, match="1 to 65536 bytes"):
        store.in_thread_set("n", Secret(value))


@pytest.mark.parametrize("name", ["", "/x", "a b", "a" * 129, "ä", "x\n"])
def test_a_name_is_plain(store, name):
    with pytest.raises(ValueError, match="a name is 1 to 128"):
        store.in_thread_set(name, Secret("v"))


def test_setting_again_replaces_and_tells_both_without_values(store, time):
    before, first = store.in_thread_set("n", Secret("one"))
    time.now = 2000
    then, second = store.in_thread_set("n", Secret(CANARY))
    assert (before, then) == (None, first)
    assert asdict(second) == {"name": "n", "created": 1000, "updated": 2000, "revision": 2}
    assert store.in_thread_read("n") == Secret(CANARY)


def test_the_list_shows_names_and_times_and_never_values(store):
    for name in ("b", "a"):
        store.in_thread_set(name, Secret(CANARY))
    listed = store.in_thread_list()
    assert [one.name for one in listed] == ["a", "b"]
    assert "canary" not in repr(listed)


def test_a_deleted_secret_is_gone_and_deleting_tells_whether_it_was_there(store):
    store.in_thread_set("n", Secret("v"))
    assert store.in_thread_delete("n").name == "n"
    assert store.in_thread_delete("n") is None
    with pytest.raises(SecretUnavailable, match="store:n: not in the store; run `idbridge secret set n`"):
        store.in_thread_read("n")


def test_no_file_holds_the_secret_in_any_spelling(store, engine, tmp_path):
    for number in range(50):
        store.in_thread_set(f"n{number}", Secret(CANARY))
        store.in_thread_set(f"n{number}", Secret(CANARY * 2))
    store.in_thread_delete("n7")
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    engine.dispose()  # the write-ahead log goes into the database
    files |= {f"closed {path.name}": path.read_bytes() for path in tmp_path.iterdir()}
    assert "registry.db-wal" in files
    plain = CANARY.encode()
    ascii_part = plain[:13]  # base64 of a whole number of three bytes, then one and two bytes later
    spellings = [
        plain,
        ascii_part,
        plain.hex().encode(),
        plain.hex().upper().encode(),
        CANARY.encode("utf-16-le"),
        CANARY.encode("utf-16-be"),
        *(base64.b64encode(b"_" * shift + plain)[4:-4] for shift in range(3)),
    ]
    for name, content in files.items():
        assert not [one for one in spellings if one in content], name


def test_rows_cannot_be_exchanged(store, engine):
    store.in_thread_set("reader", Secret("r"))
    store.in_thread_set("admin", Secret(CANARY))
    with writing(engine) as connection:
        connection.exec_driver_sql(
            "UPDATE stored_secret SET (nonce, ciphertext) ="
            " (SELECT nonce, ciphertext FROM stored_secret WHERE name = 'admin') WHERE name = 'reader'"
        )
    with pytest.raises(SecretUnavailable, match="store:reader: the stored row was altered"):
        store.in_thread_read("reader")


def test_an_altered_row_is_found(store, engine):
    store.in_thread_set("n", Secret(CANARY))
    with writing(engine) as connection:
        sealed = bytearray(connection.exec_driver_sql("SELECT ciphertext FROM stored_secret").scalar())
        sealed[0] ^= 1
        connection.exec_driver_sql("UPDATE stored_secret SET ciphertext = ?", (bytes(sealed),))
    with pytest.raises(SecretUnavailable, match="altered") as caught:
        store.in_thread_read("n")
    assert "canary" not in str(caught.value)


def test_another_key_file_is_told_apart_from_an_altered_row(store, engine, tmp_path, key_file, time):
    store.in_thread_set("n", Secret("v"))
    key_file.write_bytes(os.urandom(32))
    with pytest.raises(SecretUnavailable, match="store:n: was stored under another key file"):
        Store(engine, key_file, time).in_thread_read("n")


def test_equal_secrets_do_not_look_equal(store, engine):
    store.in_thread_set("a", Secret(CANARY))
    store.in_thread_set("b", Secret(CANARY))
    with writing(engine) as connection:
        rows = connection.exec_driver_sql("SELECT nonce, ciphertext FROM stored_secret").all()
    assert rows[0][0] != rows[1][0]
    assert rows[0][1] != rows[1][1]


# -- the key file


def test_the_key_file_is_for_us_alone_and_nothing_else_is_left(store, key_file, tmp_path):
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    assert len(key_file.read_bytes()) == 32
    assert {path.name for path in tmp_path.iterdir()} <= {
        "store.key",
        "registry.db",
        "registry.db-wal",
        "registry.db-shm",
    }


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_key_file_that_others_can_read_is_refused(store, engine, key_file, time, mode):
    key_file.chmod(mode)
    with pytest.raises(StoreKeyRefused, match="bridge's user alone"):
        Store(engine, key_file, time)


@pytest.mark.parametrize("content", [b"", b"x" * 31, b"x" * 33])
def test_half_a_key_is_refused(engine, key_file, time, content):
    key_file.write_bytes(content)
    key_file.chmod(0o600)
    with pytest.raises(StoreKeyRefused, match="not a key of 32 bytes"):
        Store(engine, key_file, time)


def test_a_directory_or_a_pipe_in_place_of_the_key_is_refused(engine, tmp_path, time):
    (tmp_path / "dir").mkdir(mode=0o700)
    os.mkfifo(tmp_path / "fifo", 0o600)
    for name in ("dir", "fifo"):
        with pytest.raises(StoreKeyRefused, match="must be a plain file"):
            Store(engine, tmp_path / name, time)


def test_a_lost_key_is_told_instead_of_replaced(store, engine, key_file, time):
    """A new key would let new secrets in beside old ones that no one can read any more."""
    store.in_thread_set("n", Secret("v"))
    key_file.unlink()
    with pytest.raises(StoreKeyRefused, match="restore it from your backup"):
        Store(engine, key_file, time)
    assert not key_file.exists()


def test_a_directory_that_is_not_there_is_told(engine, tmp_path, time):
    with pytest.raises(StoreKeyRefused, match="cannot be written: No such file"):
        Store(engine, tmp_path / "absent" / "store.key", time)


def test_processes_that_start_together_share_one_key(engine, key_file, time):
    stores, begin = [], threading.Barrier(6)

    def in_thread_start():
        begin.wait()
        stores.append(Store(engine, key_file, time))

    threads = [threading.Thread(target=in_thread_start) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({one._key_id for one in stores}) == 1
    assert len(stores) == 6
