"""Looking whether the log is what it was: every body, every hash, every checkpoint.

Ideas:

* Bodies are compared with the leaf hashes, leaf hashes with the inner ones, and both with every checkpoint that was
  signed; a finding says which of these disagree, and over which events.
* A checkpoint that somebody kept elsewhere (``held``) is what a stolen key cannot change.
* What stands beside the bodies, and is not in the tree, is compared with them (``columns``).
* What is missing may have been pruned: then an event of the log names it (``pruned``), and the hashes that stay take
  the place of the bodies. Whatever is missing otherwise is a finding.
* One read per ``CHUNK`` events, so that the log is written meanwhile; what cannot be read is narrowed down and named,
  and the rest is looked at all the same.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from sqlalchemy import Engine

from bridge.storage import StorageError, reading
from bridge.translation.archive import Archive, SegmentDamaged, segments
from bridge.translation.columns import DIFFERS, different, invented
from bridge.translation.findings import Gone, Report
from bridge.translation.key_change import in_thread_keys
from bridge.translation.note import COSIGNATURE, Checkpoint, Note, NoteRefused, VerifierKey
from bridge.translation.personal import wrong
from bridge.translation.pruned import Pruned, digest, every_pruned
from bridge.translation.stored_tree import STEP, StoredTree, TreeDamaged
from bridge.translation.tree import Growing, leaf_hash, root

BLOCK = 1 << STEP
CHUNK = BLOCK * 64
"""Events read at once: some 16 MiB."""

Rows = Sequence[Any]
"""Of (seq, body, whether something beside it is not what it says)."""


def in_thread_verify(
    engine: Engine,
    keys: Sequence[VerifierKey],
    *,
    held: Sequence[Checkpoint] = (),
    since: Checkpoint | None = None,
    archive: Archive | None = None,
    columns: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Blocks. ``keys``: of the log and of witnesses. ``held``: checkpoints kept elsewhere, opened already.

    With ``since`` bodies up to it are not read again; that the log still continues it is looked at.
    ``archive``: where what was pruned should be; its files are looked at as well. ``columns``: compare what stands
    beside the bodies too.
    ``progress`` is told how many events are done, of how many. Raises StorageError when nothing can be read.
    """
    return _Verification(engine, keys, [*held, *([since] if since else [])], archive, columns).run(since, progress)


class _Verification:
    def __init__(
        self, engine: Engine, keys: Sequence[VerifierKey], held: Sequence[Checkpoint], archive: Archive | None,
        columns: bool,
    ) -> None:  # fmt: skip
        self._columns = columns
        beside = DIFFERS if columns else "0"
        self._statement = f"SELECT seq, body, {beside} FROM event WHERE seq > ? AND seq <= ? ORDER BY seq"
        self._engine = engine
        self._archive = archive
        self._witnesses_keys = [key for key in keys if key.kind == COSIGNATURE]
        self._keys = in_thread_keys(engine, [key for key in keys if key.kind != COSIGNATURE])
        self._held = sorted(held, key=lambda one: one.size)
        self._growing = Growing()
        self._agreed = {"rewritten": 0, "forked": 0}  # sizes up to which the checkpoints of either kind agree
        self._unreadable: set[int] = set()
        self._pruned: list[Pruned] = []
        self._left: dict[int, list[int]] = {}  # by the event that says so: what it says is kept, and is there
        self._unfinished: Counter[int] = Counter()
        self.report = Report()

    def run(self, since: Checkpoint | None, progress: Callable[[int, int], None]) -> Report:
        report = self.report
        self._ends()
        self._claims()
        if since is not None and since.size <= report.size:
            self._skip(since)
        start = report.since
        while start < report.size:
            end = min(report.size, start - start % CHUNK + CHUNK)
            self._chunk(start, end)
            start = end
            progress(start - report.since, report.size - report.since)
        report.root = self._growing.root()
        self._prunings()
        self._sessions()
        self._upper_levels()
        self._names()
        self._witnesses()
        return report

    def _read(self, sql: str, *parameters: object) -> Rows:
        with reading(self._engine) as connection:
            return connection.exec_driver_sql(sql, parameters).all()

    def _ends(self) -> None:
        """The size, and what there is beyond it."""
        report = self.report
        sql = "SELECT (SELECT max(seq) FROM leaf), min(seq), max(seq), (SELECT max(size) FROM checkpoint) FROM event"
        size, first, last, signed = (value or 0 for value in self._read(sql)[0])
        report.size = size
        if first < 0 or (last and not first):
            report.found("added", "has no place in the tree", first)
        if last > size:
            report.found("added", "is not in the tree: not written by the bridge, or cut out of it", size + 1, last)
        for name, end in (
            ("a signed checkpoint", signed),
            *(("the checkpoint kept elsewhere", one.size) for one in self._held),
        ):
            if end > size:
                report.found("cut", f"not there any more: the log ends at {size}, {name} has {end}", size + 1, end)

    def _claims(self) -> None:
        with suppress(StorageError), reading(self._engine) as connection:  # where it is damaged, the bodies say so
            self._pruned = list(every_pruned(connection))

    def _skip(self, since: Checkpoint) -> None:
        """Begins after a checkpoint, if the tree still contains it; else the whole log is read, to say where."""
        try:
            with reading(self._engine) as connection:
                growing = StoredTree(connection).growing(since.size)
        except TreeDamaged:
            return
        if growing.root() == since.root:
            self._growing, self.report.since = growing, since.size
            self._agreed = dict.fromkeys(self._agreed, since.size)

    # -- a chunk

    def _chunk(self, start: int, end: int) -> None:
        leaves = self._leaves(start, end)
        self._bodies(start, end, leaves)
        signed = self._read(
            "SELECT size, at, note FROM checkpoint WHERE size > ? AND size <= ? ORDER BY size", start, end
        )
        sql = "SELECT position, hash FROM node WHERE level = ? AND position >= ? AND position < ?"
        nodes = dict(map(tuple, self._read(sql, STEP, start // BLOCK, end // BLOCK)))
        for block in range(start - start % BLOCK, end, BLOCK):
            first, last = max(block, start), min(block + BLOCK, end)
            self._block(first, last, leaves[first - start : last - start], signed, nodes)

    def _block(self, first: int, last: int, hashes: list[bytes], signed: Rows, nodes: dict[int, bytes]) -> None:
        """Its part of the tree, and the checkpoints that lie in it."""
        for size, at, note in signed:
            if first < size <= last:
                self._signed(size, at, note, hashes[: size - first])
        for held in self._held:
            if first < held.size <= last:
                text = f"not those of the checkpoint of {held.size} events that was kept elsewhere"
                self._agrees("forked", held, hashes[: held.size - first], text)
        for one in self._pruned:
            if first < one.last <= last and self._root(hashes[: one.last - first]) != one.root:
                self.report.found("pruned", f"not those that event {one.seq} says were pruned", one.first, one.last)
        if last - first < BLOCK:
            for hash in hashes:
                self._growing.add(hash)
            return
        inner = root(hashes)
        self._growing.add(inner, STEP)
        if nodes.get(first // BLOCK) != inner:
            self.report.found("tree", "the hash over them is missing or wrong", first + 1, last)

    def _signed(self, size: int, at: int, note: str, hashes: list[bytes]) -> None:
        report = self.report
        report.checkpoints += 1
        try:
            checkpoint = self._keys.opened(note)
        except NoteRefused as problem:
            report.found("signature", f"the checkpoint of {size} events: {problem}")
            return
        if checkpoint.size != size:
            report.found("signature", f"the checkpoint of {size} events is really one of {checkpoint.size}")
        elif self._agrees("rewritten", checkpoint, hashes, "not those that were signed in the next checkpoint"):
            report.signed = size

    def _agrees(self, code: str, checkpoint: Checkpoint, hashes: list[bytes], text: str) -> bool:
        agreed = self._root(hashes) == checkpoint.root
        if agreed:
            self._agreed[code] = checkpoint.size
        elif code not in {one.code for one in self.report.findings}:  # all that follow disagree because of the first
            self.report.found(code, text, self._agreed[code] + 1, checkpoint.size)
        return agreed

    def _root(self, hashes: list[bytes]) -> bytes:
        """Of what was looked at until now and these leaves."""
        growing = self._growing.copy()
        for hash in hashes:
            growing.add(hash)
        return growing.root()

    def _leaves(self, start: int, end: int) -> list[bytes]:
        """The kept hashes; b"" where one is missing."""
        rows = self._read("SELECT seq, hash FROM leaf WHERE seq > ? AND seq <= ? ORDER BY seq", start, end)
        leaves = [hash for _, hash in rows]
        if len(leaves) == end - start and all(type(hash) is bytes and len(hash) == 32 for hash in leaves):
            return leaves
        kept = {seq: hash for seq, hash in rows if isinstance(hash, bytes) and len(hash) == 32}
        for seq in range(start + 1, end + 1):
            if seq not in kept:
                self.report.found("tree", "its hash is missing", seq)
        return [kept.get(seq, b"") for seq in range(start + 1, end + 1)]

    # -- the bodies

    def _bodies(self, start: int, end: int, leaves: list[bytes]) -> None:
        """Compares them with ``leaves``, and fills in the hashes that are missing there."""
        rows = self._rows(start, end)
        self.report.read += len(rows)
        if len(rows) < end - start:
            self._missing(start, end, {row[0] for row in rows})
        self._remains(start, end, rows)
        for seq, _, differs in rows:
            if differs:
                self._beside(seq)
        hashes = [leaf_hash(_data(body)) for _, body, _ in rows]
        if hashes == leaves:
            return
        for (seq, body, _), hash in zip(rows, hashes, strict=True):
            kept = leaves[seq - start - 1]
            if not kept:
                leaves[seq - start - 1] = hash
            elif kept != hash:
                self.report.found("changed", _changed(seq, body), seq)

    def _beside(self, seq: int) -> None:
        with reading(self._engine) as connection:
            names = different(connection, seq)
        self.report.found("columns", f"beside it, for finding: not what its text says: {', '.join(names)}", seq)

    def _rows(self, start: int, end: int) -> Rows:
        """Halves what cannot be read until single events are left."""
        try:
            return self._read(self._statement, start, end)
        except StorageError as problem:
            if end - start == 1:
                self._unreadable.add(end)
                self.report.found("unreadable", str(problem), end)
                return []
        middle = (start + end) // 2
        return [*self._rows(start, middle), *self._rows(middle, end)]

    def _missing(self, start: int, end: int, present: set[int]) -> None:
        upto = self._pruned[-1].last if self._pruned else 0
        for seq in range(max(start, upto) + 1, end + 1):
            if seq not in present and seq not in self._unreadable:
                self.report.found("missing", "not there any more", seq)

    def _remains(self, start: int, end: int, rows: Rows) -> None:
        """What is still there of what was pruned: what is to stay, and what a killed bridge did not come to."""
        for one in self._pruned:
            if one.first <= end and one.last > start:
                for seq, body, _ in rows:
                    if one.first <= seq <= one.last:
                        if _type(body) in one.types:
                            self._left.setdefault(one.seq, []).append(seq)
                        else:
                            self._unfinished[one.seq] += 1

    def _prunings(self) -> None:
        for one in self._pruned:
            if one.last <= self.report.since:
                continue
            left = self._left.get(one.seq, [])
            if one.first > self.report.since and digest(left) != one.kept_digest:
                text = f"{one.kept} of them were kept, as event {one.seq} says, and other ones are left: {len(left)}"
                self.report.found("pruned", text, one.first, one.last)
            gone = Gone(one.first, one.last, one.kept, one.seq, one.at, self._unfinished[one.seq])
            self.report.pruned.append(gone)
            self._archived(one)

    def _archived(self, one: Pruned) -> None:
        """The files that took its place, where they can be looked at."""
        if self._archive is None:
            return
        present = {file.path.name: file for file in segments(self._archive.folder)}
        for name, expected in one.segments.items():
            try:
                found = self._archive.in_thread_check(present[name])
            except KeyError:
                self.report.found("archive", f"{self._archive.folder / name}, where they should be, is not there",
                                  one.first, one.last)  # fmt: skip
            except (SegmentDamaged, OSError) as problem:
                self.report.found("archive", str(problem), one.first, one.last)
            else:
                if found != expected:
                    self.report.found(
                        "archive", f"{name} is not the file that event {one.seq} names", one.first, one.last
                    )

    # -- what is left

    def _upper_levels(self) -> None:
        level = 2 * STEP
        while count := self.report.size >> level:
            for position in range(count):
                first, last = (position << level) + 1, (position + 1) << level
                with reading(self._engine) as connection:
                    tree = StoredTree(connection)
                    try:
                        agree = tree.perfect(level, position) == tree.perfect(level, position, kept=False)
                    except TreeDamaged:
                        agree = False
                if not agree:
                    self.report.found("tree", "the hash over them is missing or wrong", first, last)
            level += STEP

    def _sessions(self) -> None:
        if not self._columns:
            return
        gone = self._pruned[-1].last if self._pruned else 0
        with suppress(StorageError), reading(self._engine) as connection:
            for seq in invented(connection, max(gone, self.report.since)):
                self.report.found("columns", "a session that no event opens is said to begin there", seq)

    def _names(self) -> None:
        """What stands beside the log for tokens in it; what was erased is not there."""
        for seq in sorted(set(wrong(self._read("SELECT token, seq, salt, value FROM personal")))):
            self.report.found("personal", "a name beside it is not the one that was logged", seq)

    def _witnesses(self) -> None:
        """The last checkpoint that each known witness cosigned, where the log agreed with it."""
        agreed = min(self._agreed["rewritten"], self.report.signed)
        for key in self._witnesses_keys:
            sql = (
                "SELECT size, note, body FROM attestation JOIN checkpoint USING (size)"
                " WHERE kind = 'cosignature' AND witness = ? AND size <= ? ORDER BY size DESC LIMIT 1"
            )
            for size, note, line in self._read(sql, key.name, agreed):
                self._witnessed(key, size, note + line.decode())

    def _witnessed(self, key: VerifierKey, size: int, note: str) -> None:
        try:
            for _, signature in Note.parse(note).signed_by([key]):
                if size >= self.report.witnessed:
                    self.report.witnessed, self.report.witnessed_at = size, signature.at
        except NoteRefused as problem:
            self.report.found("signature", f"the cosignature of the checkpoint of {size} events: {problem}")


def _data(body: object) -> bytes:
    """Whatever somebody put there."""
    return body.encode() if isinstance(body, str) else bytes(body) if isinstance(body, bytes) else b""


def _type(body: object) -> str:
    try:
        return str(json.loads(_data(body))["type"])
    except (ValueError, TypeError, KeyError):
        return ""


def _changed(seq: int, body: object) -> str:
    try:
        said = json.loads(_data(body))["seq"]
    except (ValueError, TypeError, KeyError):
        return "its text is not the one that was logged, and no event"
    if said != seq:
        return f"in its place stands an event that calls itself {said}"
    return "its text is not the one that was logged"
