"""Evidence packs: one signed archive with what an auditor needs of a period, verified without the bridge.

Ideas:

* Every event stands in it as its exact text, with the proof that it is in the tree that a checkpoint signed.
* ``manifest.json`` names every file with its SHA-256, and ``manifest.note`` is the log's signature over it.
* The same question gives the same bytes, whenever it is asked: nothing in an archive is of the time it was made, and of
  the checkpoints that have its events, the first is taken (the first that a witness signed, if one did).

::

    manifest.json  manifest.note  summary.md  policy.json  registry.json
    checkpoint.txt  checkpoints.jsonl
    events.jsonl  events.proofs.jsonl  context.jsonl  context.proofs.jsonl

FORMAT.md explains each; ``scripts/verify_log.py`` reads it.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

from sqlalchemy import Connection, Engine

from bridge.storage import reading
from bridge.translation.checkpoints import Signed, first_signed
from bridge.translation.key_change import changes
from bridge.translation.note import Signer, hash_line
from bridge.translation.pack_summary import Summary
from bridge.translation.proving import NotSignedYet, cosigned
from bridge.translation.reading import LoggedEvent
from bridge.translation.stored_tree import ManyProofs, StoredTree

FORMAT = "idbridge-pack-1"

Pages = Iterator[list[LoggedEvent]]

_HOUR = 3_600_000
"""Of the checkpoints within a period, the last of each hour is enough: the consistency proofs span the rest."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What was asked: the query as text, and the period in Unix milliseconds. ``notes`` go into the summary;
    ``pruned`` is the last event of the period that the log has no more, 0 when it has all."""

    query: str
    since: int
    until: int
    notes: tuple[str, ...] = ()
    pruned: int = 0


@dataclass(slots=True)
class Section:
    """A file of events beside the file of their proofs."""

    name: str
    count: int = 0
    first: int = 0
    last: int = 0

    def row(self) -> dict[str, Any]:
        gapless = self.count == self.last - self.first + 1 if self.count else False
        return {"count": self.count, "first": self.first, "last": self.last, "gapless": gapless}


@dataclass(slots=True)
class Packed:
    """What an archive has, for the people who asked for it."""

    size: int
    root: str
    sections: dict[str, dict[str, Any]] = field(default_factory=dict)


def covering(connection: Connection, last: int) -> Signed:
    """The first checkpoint with at least ``last`` events; the first that a witness signed too, if there is one.

    Raises NotSignedYet.
    """
    witnessed = "AND size IN (SELECT size FROM attestation WHERE kind = 'cosignature')"
    for more in (witnessed, ""):
        if (signed := first_signed(connection, f"WHERE size >= ? {more} ORDER BY size", last)) is not None:
            return signed
    raise NotSignedYet(f"event {last} is in no checkpoint yet; try again in ten seconds")


def in_thread_pack(
    engine: Engine, signer: Signer, scope: Scope, events: Pages, context: Pages, last: int,
    documents: Mapping[str, Any], target: Path,
) -> Packed:  # fmt: skip
    """Writes the archive to ``target``. ``last`` is the highest sequence number in ``events`` and ``context``;
    ``documents`` are JSON files of it by name. Raises NotSignedYet, StorageError, OSError."""
    with TemporaryDirectory(dir=target.parent, prefix=".pack-") as folder, reading(engine) as connection:
        place = Path(folder)
        signed = covering(connection, last)
        tree = ManyProofs(connection, signed.size)
        packed = Packed(signed.size, signed.checkpoint.root.hex())
        summary = Summary(scope.query, scope.since, scope.until, scope.notes)
        for name, pages, heard in (("events", events, summary), ("context", context, None)):
            packed.sections[name] = _section(place, name, pages, tree, signed.size, heard)
        (place / "checkpoint.txt").write_text(cosigned(connection, signed), encoding="utf-8")
        _checkpoints(place, connection, tree, signed, packed.sections["events"]["first"])
        for name, content in documents.items():
            (place / name).write_text(_json(content), encoding="utf-8")
        text = summary.text(signer.key.name, packed.sections["events"], packed.size, packed.root)
        (place / "summary.md").write_text(text, encoding="utf-8")
        _manifest(place, signer, scope, packed, changes(connection))
        _archive(place, target)
    return packed


def _json(content: Any) -> str:
    return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _section(
    place: Path, name: str, pages: Pages, tree: StoredTree, size: int, summary: Summary | None
) -> dict[str, Any]:
    section = Section(name)
    with ExitStack() as files:
        bodies = files.enter_context(open(place / f"{name}.jsonl", "w", encoding="utf-8", newline="\n"))
        proofs = files.enter_context(open(place / f"{name}.proofs.jsonl", "w", encoding="utf-8", newline="\n"))
        for page in pages:
            for event in page:
                bodies.write(event.body + "\n")
                proofs.write(_proof(tree, event.seq, size) + "\n")
                section.count, section.last = section.count + 1, event.seq
                section.first = section.first or event.seq
                if summary is not None:
                    summary.add(event)
    return section.row()


def _proof(tree: StoredTree, seq: int, size: int) -> str:
    path = [hash_line(hash) for hash in tree.inclusion(seq, size)]
    return json.dumps({"seq": seq, "path": path}, separators=(",", ":"))


def _checkpoints(place: Path, connection: Connection, tree: StoredTree, signed: Signed, first: int) -> None:
    """From the last one before ``first`` on: one an hour and those that witnesses signed, each with the proof that the
    checkpoint of the archive continues it."""
    sql = (
        "SELECT size, at, note, size IN (SELECT size FROM attestation WHERE kind = 'cosignature') FROM checkpoint"
        " WHERE size <= ? AND size >= coalesce((SELECT max(size) FROM checkpoint WHERE size < ?), 0) ORDER BY size"
    )
    rows = connection.exec_driver_sql(sql, (signed.size, first)).all()
    with open(place / "checkpoints.jsonl", "w", encoding="utf-8", newline="\n") as file:
        for (size, at, note, witnessed), following in zip(rows, [*rows[1:], None], strict=True):
            if witnessed or following is None or at // _HOUR != following[1] // _HOUR:
                path = [hash_line(hash) for hash in tree.consistency(size, signed.size)]
                one = {"size": size, "note": cosigned(connection, Signed(size, at, note)), "consistency": path}
                file.write(json.dumps(one, separators=(",", ":"), ensure_ascii=False) + "\n")


def _manifest(place: Path, signer: Signer, scope: Scope, packed: Packed, keys: list[str]) -> None:
    files = {path.name: {"sha256": _digest(path), "size": path.stat().st_size} for path in sorted(place.iterdir())}
    manifest = {
        "format": FORMAT,
        "log": signer.key.name,
        "key": str(signer.key),
        "query": scope.query,
        "since": scope.since,
        "until": scope.until,
        "checkpoint": {"size": packed.size, "root": packed.root},
        "files": files,
        **packed.sections,
        **({"pruned": scope.pruned} if scope.pruned else {}),
        **({"keys": keys} if keys else {}),
    }
    text = _json(manifest)
    (place / "manifest.json").write_text(text, encoding="utf-8")
    # No checkpoint can read like this one: its second line would be a number.
    statement = f"{FORMAT}\n{signer.key.name}\nsha256:{hashlib.sha256(text.encode()).hexdigest()}\n"
    (place / "manifest.note").write_text(f"{statement}\n{signer.sign(statement)}", encoding="utf-8")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _archive(place: Path, target: Path) -> None:
    """The manifest first, so that a reader knows what it may unpack; owners, times and modes are always the same."""
    first = ["manifest.json", "manifest.note"]
    names = first + sorted(path.name for path in place.iterdir() if path.name not in first)
    draft = place / ".archive"
    with (
        open(draft, "wb") as out,
        gzip.GzipFile("", "wb", 6, out, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for name in names:
            with (place / name).open("rb") as file:
                archive.addfile(_member(name, file), file)
    draft.chmod(0o600)
    draft.replace(target)


def _member(name: str, file: IO[bytes]) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = file.seek(0, 2)
    file.seek(0)
    member.mode = 0o644
    return member
