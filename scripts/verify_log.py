#!/usr/bin/env python3
"""Verifies the translation log of an identity bridge without the bridge.

For auditors: one file, needs Python 3.9 or newer and the package `cryptography`; it imports nothing of the bridge,
opens no network connection and changes nothing (a pack is unpacked into a temporary folder meanwhile). Take it from a
release that you trust, not from the bridge's host.

    verify_log.py --key KEY evidence.json            proofs that `idbridge log prove` wrote
    verify_log.py --key KEY november.tar.gz          an evidence pack that `idbridge log pack` wrote
    verify_log.py --key KEY 0000…-0000….jsonl        segments that `idbridge log archive` wrote
    verify_log.py --key KEY translation.db           a whole log: a copy of the database, with its -wal file if any
    verify_log.py --key KEY --checkpoint kept.txt translation.db     … which must continue a checkpoint kept elsewhere

KEY is the log's public key as `idbridge log key` printed it when the log was set up. Ask somebody else than the
bridge's administrators for it. With --witness KEY each proof must also be signed by that witness.

Ends with status 0 when everything verifies, 1 when something does not, 2 when it cannot be read.
Formats: bridge/translation/FORMAT.md; RFC 6962 section 2.1; c2sp.org/signed-note, /tlog-checkpoint, /tlog-cosignature,
/tlog-proof.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import sqlite3
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import IO, Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

PROOF = "idbridge-proof-1"
SEGMENT = "idbridge-segment-1"
PACK = "idbridge-pack-1"
PACKED = {
    "summary.md", "policy.json", "registry.json", "checkpoint.txt", "checkpoints.jsonl", "events.jsonl",
    "events.proofs.jsonl", "context.jsonl", "context.proofs.jsonl",
}  # fmt: skip
LARGEST_HEAD = 64 * 1024
CHUNK = 10_000


class Wrong(Exception):
    """Something does not verify, or cannot be read. The text says what."""


# -- keys and signed notes


class Key:
    """A public key as text: NAME+KEYID+KEY."""

    def __init__(self, text: str) -> None:
        try:
            self.name, id, encoded = text.strip().split("+", 2)
            raw = base64.b64decode(encoded, validate=True)
        except ValueError:
            raise Wrong(f"not a key: {text!r}") from None
        self.id = hashlib.sha256(self.name.encode() + b"\n" + raw).digest()[:4]
        if len(raw) != 33 or raw[0] not in (1, 4) or self.id.hex() != id.lower():
            raise Wrong(f"not an Ed25519 key, or damaged: {text!r}")
        self.witness = raw[0] == 4
        self.text, self.since, self.until = text.strip(), 0, sys.maxsize
        self._key = Ed25519PublicKey.from_public_bytes(raw[1:])

    def verifies(self, text: str, signature: bytes) -> bool:
        message = text.encode()
        if self.witness:
            time = int.from_bytes(signature[:8], "big")
            message, signature = f"cosignature/v1\ntime {time}\n{text}".encode(), signature[8:]
        try:
            self._key.verify(signature, message)
        except InvalidSignature:
            return False
        return True


def signed_by(note: str, key: Key) -> bool:
    """Whether ``key`` signed the note. Raises Wrong when a signature claims to be its and is not."""
    text, gap, lines = note.rpartition("\n\n")
    if not gap:
        raise Wrong("not a signed note")
    found = False
    for line in lines.splitlines():
        try:
            dash, name, encoded = line.split(" ")
            raw = base64.b64decode(encoded, validate=True)
        except ValueError:
            raise Wrong("not a signed note: a signature line is damaged") from None
        if (dash, name, raw[:4]) == ("—", key.name, key.id):
            if not key.verifies(text + "\n", raw[4:]):
                raise Wrong(f"a signature of {key.name} is not valid")
            found = True
    return found


def checkpoint(note: str, keys: Sequence[Key]) -> tuple[int, bytes]:
    """Size and root of a checkpoint that a key of the log signed. Raises Wrong."""
    lines = note.split("\n")
    if len(lines) < 4 or not lines[1].isdecimal():
        raise Wrong("not a checkpoint")
    size, own = int(lines[1]), [key for key in keys if key.name == lines[0] and not key.witness]
    signed = [key for key in own if signed_by(note, key)]
    if not signed:
        raise Wrong(f"no key given here signed this checkpoint of {lines[0]}, {size} events")
    if not any(key.since < size <= key.until for key in signed):
        raise Wrong(f"the key that signed this checkpoint of {size} events was replaced at {signed[0].until}")
    try:
        root = base64.b64decode(lines[2], validate=True)
    except ValueError:
        raise Wrong("not a checkpoint: its root cannot be read") from None
    return size, root


def with_changes(keys: Sequence[Key], notes: Sequence[str]) -> list[Key]:
    """The keys given, and those that came before and after them: each change is a checkpoint that both keys signed."""
    known = {key.text: Key(key.text) for key in keys}
    found = [change for note in notes for change in [changed(note)] if change]
    for _, old, new in reversed(found):
        if new.text in known:
            known.setdefault(old.text, old)
    for size, old, new in found:
        before = known.get(old.text)
        if before and before.since < size <= before.until:
            before.until, new.since = size, size
            known[new.text] = new
    return list(known.values())


def changed(note: str) -> tuple[int, Key, Key] | None:
    for line in note.split("\n\n")[0].split("\n")[3:]:
        if line.startswith("idbridge-key-change "):
            old, new = (Key(text) for text in line.split(" ")[1:3])
            if old.name == new.name == note.split("\n")[0] and signed_by(note, old) and signed_by(note, new):
                return int(note.split("\n")[1]), old, new
    return None


# -- the tree


def leaf(data: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + data).digest()


def inner(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def included(index: int, size: int, hash: bytes, path: Sequence[bytes], root: bytes) -> bool:
    """RFC 9162, 2.1.3.2."""
    if not 0 <= index < size:
        return False
    last = size - 1
    for step in path:
        if last == 0:
            return False
        if index & 1 or index == last:
            hash = inner(step, hash)
            while not index & 1 and index:
                index, last = index >> 1, last >> 1
        else:
            hash = inner(hash, step)
        index, last = index >> 1, last >> 1
    return last == 0 and hash == root


def consistent(old: int, new: int, old_root: bytes, new_root: bytes, path: Sequence[bytes]) -> bool:
    """RFC 9162, 2.1.4.2."""
    if old == new:
        return not path and old_root == new_root
    if not 0 < old < new or not path:
        return False
    steps = [old_root, *path] if old & (old - 1) == 0 else list(path)
    index, last = old - 1, new - 1
    while index & 1:
        index, last = index >> 1, last >> 1
    before = after = steps[0]
    for step in steps[1:]:
        if last == 0:
            return False
        if index & 1 or index == last:
            before, after = inner(step, before), inner(step, after)
            while not index & 1 and index:
                index, last = index >> 1, last >> 1
        else:
            after = inner(after, step)
        index, last = index >> 1, last >> 1
    return last == 0 and before == old_root and after == new_root


class Tree:
    """Grows leaf by leaf; keeps one hash per level."""

    def __init__(self, size: int = 0, peaks: Sequence[bytes] = ()) -> None:
        self.size = size
        self._peaks = list(peaks)

    def add(self, hash: bytes) -> None:
        size = self.size
        while size & 1:
            hash, size = inner(self._peaks.pop(), hash), size >> 1
        self._peaks.append(hash)
        self.size += 1

    def root(self) -> bytes:
        if not self._peaks:
            return hashlib.sha256(b"").digest()
        hash = self._peaks[-1]
        for left in reversed(self._peaks[:-1]):
            hash = inner(left, hash)
        return hash


# -- a file with proofs


def verify_proofs(proofs: dict[str, Any], keys: Sequence[Key], witnesses: Sequence[Key], say: Any) -> None:
    keys = with_changes(keys, proofs.get("keys", ()))
    for event in proofs["events"]:
        proof, _, note = event["proof"].partition("\n\n")
        first, second, *lines = proof.split("\n")
        if first != "c2sp.org/tlog-proof@v1" or second != f"index {event['seq'] - 1}":
            raise Wrong(f"event {event['seq']}: not the proof of this event")
        size, root = checkpoint(note, keys)
        path = [base64.b64decode(line, validate=True) for line in lines]
        if not included(event["seq"] - 1, size, leaf(event["body"].encode()), path, root):
            raise Wrong(f"event {event['seq']}: is not the one that was logged: it is not in the tree that was signed")
        if json.loads(event["body"])["seq"] != event["seq"]:
            raise Wrong(f"event {event['seq']}: calls itself something else")
        for one in event.get("personal", ()):
            verify_person(event, one["token"], bytes.fromhex(one["salt"]), one["value"])
        for witness in witnesses:
            if not signed_by(note, witness):
                raise Wrong(f"event {event['seq']}: {witness.name} did not sign the checkpoint of {size} events")
    say(f"verified: {len(proofs['events'])} events of {proofs['log']}")


def verify_person(event: dict[str, Any], token: str, salt: bytes, value: str) -> None:
    """That a name is the one whose salted digest the event has."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(salt + value.encode()).digest()).decode().rstrip("=")
    if token != f"pii:{digest}" or json.dumps(token) not in event["body"]:
        raise Wrong(f"event {event['seq']}: {value!r} is not the person that the event has a digest of")


# -- a segment of an archive


def verify_segment(text: str, keys: Sequence[Key], witnesses: Sequence[Key], say: Any) -> None:
    """Raises Wrong; ValueError, KeyError … when it is damaged so that nothing of it can be read."""
    top, *bodies = text.split("\n")[:-1]
    header = json.loads(top)
    first, last, peaks = header["first"], header["last"], [bytes.fromhex(hash) for hash in header["peaks"]]
    size, root = checkpoint(header["checkpoint"], with_changes(keys, header.get("keys", ())))
    if size != last or len(bodies) != last - first + 1:
        raise Wrong(f"a segment of events {first} to {last} that holds {len(bodies)}: it was cut, or written by halves")
    if len(peaks) != bin(first - 1).count("1"):
        raise Wrong("the hashes of what comes before the segment are not those of a tree")
    tree = Tree(first - 1, peaks)
    for body in bodies:
        tree.add(leaf(body.encode()))
    if tree.root() != root:
        raise Wrong(f"events {first} to {last}: are not those that were signed")
    for witness in witnesses:
        if not signed_by(header["checkpoint"], witness):
            raise Wrong(f"{witness.name} did not sign the checkpoint of {size} events")
    say(f"verified: events {first} to {last}")


# -- an evidence pack


def verify_pack(path: Path, keys: Sequence[Key], witnesses: Sequence[Key], kept: Sequence[str], say: Any) -> None:
    with tempfile.TemporaryDirectory() as folder, tarfile.open(path, "r:gz") as archive:
        place, members = Path(folder), iter(archive)
        text = head(archive, next(members, None), "manifest.json")
        keys = with_changes(keys, json.loads(text).get("keys", ()))
        manifest = told(text, head(archive, next(members, None), "manifest.note"), keys)
        unpack(archive, members, manifest["files"], place)
        note = (place / "checkpoint.txt").read_text(encoding="utf-8")
        size, root = checkpoint(note, keys)
        if (size, root.hex()) != (manifest["checkpoint"]["size"], manifest["checkpoint"]["root"]):
            raise Wrong("checkpoint.txt: is not the one that the manifest names")
        for witness in witnesses:
            if not signed_by(note, witness):
                raise Wrong(f"{witness.name} did not sign the checkpoint of {size} events")
        known = verify_checkpoints(place / "checkpoints.jsonl", size, root, keys)
        for one in kept:
            verify_kept(one, keys, known)
        for name in ("events", "context"):
            verify_section(place, name, manifest[name], size, root)
        verify_policy(place)
    say_pack(manifest, len(known), say)


def head(archive: tarfile.TarFile, member: tarfile.TarInfo | None, name: str) -> str:
    """One of the two files that come first."""
    if member is None or member.name != name or not member.isreg() or member.size > LARGEST_HEAD:
        raise Wrong(f"not an evidence pack: {name} is not where it belongs")
    file = archive.extractfile(member)
    return "" if file is None else file.read().decode()


def told(text: str, note: str, keys: Sequence[Key]) -> dict[str, Any]:
    """The manifest, once a key of the log has signed it."""
    manifest: dict[str, Any] = json.loads(text)
    if manifest["format"] != PACK:
        raise Wrong(f"of another format: {manifest['format']}")
    digest, log = hashlib.sha256(text.encode()).hexdigest(), manifest["log"]
    if not note.startswith(f"{PACK}\n{log}\nsha256:{digest}\n\n"):
        raise Wrong("manifest.json: is not the one that was signed")
    present = [key for key in keys if key.name == log and not key.witness and key.until == sys.maxsize]
    if not any(signed_by(note, key) for key in present):
        raise Wrong(f"no key given here signed this pack of {log}")
    return manifest


def unpack(archive: tarfile.TarFile, members: Iterator[tarfile.TarInfo], files: dict[str, Any], place: Path) -> None:
    """What the manifest names and nothing else, each as it names it."""
    missing = dict(files)
    for member in members:
        expected = missing.pop(member.name, None)
        if expected is None or member.name not in PACKED or not member.isreg() or member.size != expected["size"]:
            raise Wrong(f"{member.name}: is not in the manifest, or not as the manifest has it")
        source = archive.extractfile(member)
        if source is None or copied(source, place / member.name) != expected["sha256"]:
            raise Wrong(f"{member.name}: was altered")
    if missing:
        raise Wrong(f"{min(missing)}: is missing")


def copied(source: IO[bytes], target: Path) -> str:
    digest = hashlib.sha256()
    with target.open("wb") as file:
        while data := source.read(1 << 20):
            digest.update(data)
            file.write(data)
    return digest.hexdigest()


def verify_checkpoints(path: Path, size: int, root: bytes, keys: Sequence[Key]) -> dict[int, bytes]:
    """Roots by size: each was signed, and the checkpoint of the pack continues it."""
    known = {}
    for line in lines_of(path):
        one = json.loads(line)
        older, its_root = checkpoint(one["note"], keys)
        if not consistent(older, size, its_root, root, hashes(one["consistency"])):
            raise Wrong(f"the checkpoint of {size} events does not continue the one of {older}: the log was rewritten")
        known[older] = its_root
    return known


def verify_kept(note: str, keys: Sequence[Key], known: dict[int, bytes]) -> None:
    """A checkpoint kept elsewhere can be compared with one of the same size only."""
    size, root = checkpoint(note, keys)
    if size not in known:
        raise Wrong(f"the pack has no checkpoint of {size} events to compare with the one kept elsewhere")
    if known[size] != root:
        raise Wrong(f"the checkpoint of {size} events is not the one kept elsewhere: the log was rewritten")


def verify_section(place: Path, name: str, said: dict[str, Any], size: int, root: bytes) -> None:
    """Each event is in the tree that was signed, each after the one before, and as many as the manifest says."""
    first = last = count = 0
    proofs = lines_of(place / f"{name}.proofs.jsonl")
    for body in lines_of(place / f"{name}.jsonl"):
        seq, proof = json.loads(body)["seq"], json.loads(next(proofs, "{}"))
        if proof.get("seq") != seq or seq <= last:
            raise Wrong(f"{name}.jsonl: event {seq} has no proof, or is not in its place")
        if not included(seq - 1, size, leaf(body.encode()), hashes(proof["path"]), root):
            raise Wrong(f"event {seq}: is not the one that was logged: it is not in the tree that was signed")
        first, last, count = first or seq, seq, count + 1
        if count % CHUNK == 0:
            progress(count)
    found = {"count": count, "first": first, "last": last, "gapless": bool(count) and count == last - first + 1}
    if found != said or next(proofs, None) is not None:
        raise Wrong(f"{name}.jsonl: has not the events that the manifest names")


def verify_policy(place: Path) -> None:
    """policy.json repeats the last policy that context.jsonl proves."""
    path = place / "policy.json"
    if not path.exists():
        return
    policy = json.loads(path.read_text(encoding="utf-8"))
    proven: dict[str, Any] = {}
    for line in lines_of(place / "context.jsonl"):
        event = json.loads(line)
        if event["type"] == "policy.version":
            proven = event
    if not proven or (policy["event"], policy["policy"]) != (proven["seq"], proven["change"]["after"]):
        raise Wrong("policy.json: is not the policy that the log has")


def lines_of(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8", newline="\n") as file:
        for line in file:
            yield line.rstrip("\n")


def hashes(lines: Sequence[str]) -> list[bytes]:
    return [base64.b64decode(line, validate=True) for line in lines]


def say_pack(manifest: dict[str, Any], checkpoints: int, say: Any) -> None:
    events, context, size = manifest["events"], manifest["context"], manifest["checkpoint"]["size"]
    first, last = events["first"], events["last"]
    say(f"verified: {events['count']} events of {manifest['log']}, and {context['count']} of its policy and agents")
    say(f"  asked for: {manifest['query'] or 'everything'}")
    if events["gapless"]:
        say(f"  events {first} to {last}: all that the log has between them")
    elif events["count"]:
        say(f"  chosen from {first} to {last}; a pack cannot show that nothing that was asked for was left out")
    if manifest.get("pruned"):
        say(f"  events of the period up to {manifest['pruned']} were pruned: the archive's segments have them")
    say(f"  under the checkpoint of {size} events, one of {checkpoints} that continue each other")


# -- a whole log


def verify_database(path: Path, keys: Sequence[Key], witnesses: Sequence[Key], kept: Sequence[str], say: Any) -> None:
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
        signed = database.execute("SELECT size, note FROM checkpoint ORDER BY size").fetchall()
        keys = with_changes(keys, [note for _, note in signed if "\nidbridge-key-change " in note])
        wanted = {size: [("the checkpoint", checkpoint(note, keys), size)] for size, note in signed}
        for note in kept:
            size, root = checkpoint(note, keys)
            wanted.setdefault(size, []).append(("the checkpoint kept elsewhere", (size, root), size))
        prunings = pruned(database)
        claimed = {one["last"]: one for one in prunings}
        tree, last = Tree(), 0
        for seq, hash, body in events(database, prunings[-1]["last"] if prunings else 0):
            if seq != tree.size + 1:
                raise Wrong(f"event {tree.size + 1}: is missing; the next one there is {seq}")
            tree.add(hash if body is None else leaf(body.encode() if isinstance(body, str) else bytes(body)))
            left(prunings, seq, body)
            if seq in claimed and tree.root() != claimed[seq]["root"]:
                raise Wrong(f"events 1 to {seq}: are not those that event {claimed[seq]['seq']} says were pruned")
            if seq in wanted:
                agree(wanted.pop(seq), tree.root(), last)
                last = seq
            if seq % CHUNK == 0:
                progress(seq)
        wanted.pop(0, None)
        if wanted:
            raise Wrong(f"events {tree.size + 1} to {max(wanted)}: are not there any more, but a checkpoint has them")
        for witness in witnesses:
            say(f"  {witness.name} signed {witnessed(database, witness)} events of it")
    for one in prunings:
        say(remains(one))
    say(f"verified: {tree.size} events, root {tree.root().hex()}; {last} of them signed, {len(signed)} checkpoints")


def agree(wanted: Sequence[tuple[str, tuple[int, bytes], int]], root: bytes, last: int) -> None:
    for name, (size, expected), place in wanted:
        if size != place:
            raise Wrong(f"{name} of {place} events is really one of {size}")
        if expected != root:
            raise Wrong(f"events {last + 1} to {size}: are not those of {name}")


def events(database: sqlite3.Connection, pruned: int) -> Iterator[tuple[int, bytes, Any]]:
    """Sequence number, kept hash, and text: of those that may be ``pruned`` None where it is not there."""
    sql = "SELECT leaf.seq, hash, body FROM leaf LEFT JOIN event ON event.seq = leaf.seq WHERE leaf.seq <= ?"
    if pruned:
        yield from database.execute(f"{sql} ORDER BY leaf.seq", (pruned,))
    for seq, body in database.execute("SELECT seq, body FROM event WHERE seq > ? ORDER BY seq", (pruned,)):
        yield seq, b"", body


def pruned(database: sqlite3.Connection) -> list[dict[str, Any]]:
    """What the log says is missing on purpose; each continues the one before. Verified with the rest."""
    found: list[dict[str, Any]] = []
    for seq, body in database.execute("SELECT seq, body FROM event WHERE type = 'log.prune' ORDER BY seq"):
        try:
            event = json.loads(body)
            detail = event["detail"]
            own = {"seq": seq, "ts": event["ts"], "root": bytes.fromhex(detail["root"]), "left": [], "unfinished": 0}
            right = (event["type"], event["seq"]) == ("log.prune", seq) and 0 < detail["first"] <= detail["last"] < seq
            follows = detail["first"] == (found[-1]["last"] if found else 0) + 1
            one = {name: detail[name] for name in ("first", "last", "types", "kept", "kept_digest", "segments")}
        except (ValueError, LookupError, TypeError):
            right = False
        if not right:
            raise Wrong(f"event {seq}: does not say what was pruned")
        if follows:
            found.append({**one, **own})
    return found


def left(prunings: Sequence[dict[str, Any]], seq: int, body: Any) -> None:
    """Remembers what is still there of what was pruned."""
    if body is None or not prunings or seq > prunings[-1]["last"]:
        return
    one = next(one for one in prunings if seq <= one["last"])
    if json.loads(body)["type"] in one["types"]:
        one["left"].append(seq)
    else:
        one["unfinished"] += 1


def remains(one: dict[str, Any]) -> str:
    """What is said of a pruning. Raises Wrong when other events are left than it says."""
    where = f"events {one['first']} to {one['last']}"
    seqs = "".join(f"{seq}\n" for seq in one["left"])
    if hashlib.sha256(seqs.encode()).hexdigest() != one["kept_digest"]:
        raise Wrong(f"{where}: {one['kept']} of them were kept, as event {one['seq']} says, and other ones are left")
    kept = f", {one['kept']} of them kept" if one["kept"] else ""
    unfinished = f"; {one['unfinished']} are not deleted yet" if one["unfinished"] else ""
    files = f"  their texts are in {len(one['segments'])} segments of the archive: {min(one['segments'])} …"
    return f"  {where} pruned on {one['ts']} (event {one['seq']}){kept}, hashes verified{unfinished}\n  {files}"


def witnessed(database: sqlite3.Connection, witness: Key) -> int:
    sql = (
        "SELECT size, note, body FROM attestation JOIN checkpoint USING (size)"
        " WHERE kind = 'cosignature' AND witness = ? ORDER BY size DESC LIMIT 1"
    )
    for size, note, line in database.execute(sql, (witness.name,)):
        if signed_by(note + line.decode(), witness):
            return int(size)
    raise Wrong(f"{witness.name} signed none of the checkpoints")


def progress(done: int) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{done} events ")
        sys.stderr.flush()


# -- the command


def verify(path: Path, keys: Sequence[Key], witnesses: Sequence[Key], kept: Sequence[str], say: Any) -> None:
    with path.open("rb") as file:
        begin = file.read(16)
    if begin == b"SQLite format 3\x00":
        verify_database(path, keys, witnesses, kept, say)
        return
    try:
        if begin[:2] == b"\x1f\x8b":
            verify_pack(path, keys, witnesses, kept, say)
            return
        text = path.read_text(encoding="utf-8")
        if text.startswith(f'{{"format": "{SEGMENT}"'):
            verify_segment(text, keys, witnesses, say)
            return
        proofs = json.loads(text)
        if proofs["format"] != PROOF:
            raise Wrong(f"{path}: of another format: {proofs['format']}")
        verify_proofs(proofs, keys, witnesses, say)
    except (KeyError, TypeError, ValueError, AttributeError, EOFError, OSError, tarfile.TarError, zlib.error) as error:
        raise Wrong(f"{path}: neither proofs nor a pack nor a log, or damaged ({type(error).__name__})") from None


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--key", action="append", required=True, help="public key of the log; may be repeated")
    parser.add_argument("--witness", action="append", default=[], help="public key of a witness that must have signed")
    parser.add_argument("--checkpoint", action="append", default=[], type=Path, help="a checkpoint kept elsewhere")
    parser.add_argument("file", nargs="+", type=Path)
    given = parser.parse_args(arguments)
    status = 0
    try:
        keys, witnesses = [Key(text) for text in given.key], [Key(text) for text in given.witness]
        kept = [path.read_text(encoding="utf-8") for path in given.checkpoint]
    except (Wrong, OSError, ValueError) as error:
        print(f"cannot begin: {error}", file=sys.stderr)
        return 2
    for path in given.file:
        try:
            print(f"{path}:")
            verify(path, keys, witnesses, kept, print)
        except Wrong as error:
            print(f"NOT VERIFIED: {error}")
            status = max(status, 1)
        except (OSError, sqlite3.Error, ValueError) as error:
            print(f"cannot be read: {error}")
            status = 2
    return status


if __name__ == "__main__":
    sys.exit(main())
