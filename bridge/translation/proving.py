"""Proofs that somebody without the bridge can verify: of single events, and under which root an answer was given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine

from bridge.adapter import BridgeError
from bridge.storage import reading
from bridge.translation.checkpoints import Signed, first_signed, last_signed
from bridge.translation.key_change import changes
from bridge.translation.note import VerifierKey, hash_line
from bridge.translation.personal import known
from bridge.translation.stored_tree import ManyProofs, StoredTree

FORMAT = "idbridge-proof-1"
TLOG_PROOF = "c2sp.org/tlog-proof@v1"


class NotSignedYet(BridgeError):
    """The newest of the events is in no checkpoint yet; one follows within seconds of an event."""


@dataclass(frozen=True, slots=True)
class Root:
    """What the log was when it was asked: ``size`` events, the tree's root, and the last checkpoint (a signed note,
    with the witnesses' lines; "" before the first) that covers ``checkpoint_size`` of them."""

    size: int
    root: bytes
    checkpoint: str
    checkpoint_size: int


def root_of(engine: Engine) -> Root:
    """Blocks for a millisecond or two. Raises StorageError."""
    with reading(engine) as connection:
        return root_in(connection)


def root_in(connection: Connection) -> Root:
    """In the transaction of whoever needs it. Raises TreeDamaged."""
    tree = StoredTree(connection)
    size = tree.size()
    signed = last_signed(connection)
    note = cosigned(connection, signed) if signed else ""
    return Root(size, tree.root(size), note, signed.size if signed else 0)


def in_thread_prove(engine: Engine, events: Sequence[int], key: VerifierKey) -> dict[str, Any]:
    """One file for all of ``events`` (sequence numbers): texts, each with a C2SP tlog-proof, under one checkpoint.

    The best one there is: the newest that a witness signed too, else the newest. Raises NotSignedYet, StorageError.
    """
    last = max(events)
    with reading(engine) as connection:
        signed = _newest(connection, last)
        if signed is None:
            raise NotSignedYet(f"event {last} is in no checkpoint yet; try again in ten seconds")
        note = cosigned(connection, signed)
        tree = ManyProofs(connection, signed.size)
        proofs = [{**_body(connection, seq), "proof": _tlog_proof(tree, seq, signed.size, note)} for seq in events]
        told = {"keys": notes} if (notes := changes(connection)) else {}
    return {"format": FORMAT, "log": key.name, "key": str(key), "events": proofs, **told}


def _body(connection: Connection, seq: int) -> dict[str, Any]:
    """The text, and the people in it by the salts that their tokens were made with."""
    body = str(connection.exec_driver_sql("SELECT body FROM event WHERE seq = ?", (seq,)).scalar_one())
    people = [{"token": one.token, "salt": one.salt.hex(), "value": one.value}
              for one in known(connection, [body]).values()]  # fmt: skip
    return {"seq": seq, "body": body, **({"personal": people} if people else {})}


def _tlog_proof(tree: StoredTree, seq: int, size: int, note: str) -> str:
    lines = [TLOG_PROOF, f"index {seq - 1}", *map(hash_line, tree.inclusion(seq, size))]
    return "\n".join(lines) + "\n\n" + note


def _newest(connection: Connection, least: int) -> Signed | None:
    """Of the checkpoints with at least ``least`` events, those that a witness signed first."""
    witnessed = "size IN (SELECT size FROM attestation WHERE kind = 'cosignature' AND size >= ?)"
    signed = first_signed(connection, f"WHERE size >= ? AND {witnessed} ORDER BY size DESC", least, least)
    return signed or first_signed(connection, "WHERE size >= ? ORDER BY size DESC", least)


def cosigned(connection: Connection, signed: Signed) -> str:
    """The note with the lines of the witnesses."""
    sql = "SELECT body FROM attestation WHERE kind = 'cosignature' AND size = ? ORDER BY witness"
    return signed.note + "".join(row[0].decode() for row in connection.exec_driver_sql(sql, (signed.size,)))
