"""``idbridge log verify``, ``prove`` and ``key``: that the log is what it was, shown to others."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bridge.cli import showing
from bridge.cli.calling import call, command, fail

if TYPE_CHECKING:
    from bridge.translation.findings import Report
    from bridge.translation.note import Checkpoint, VerifierKey

SIGNED_WITHIN = 20.0
"""Seconds to wait for a checkpoint over an event that was just written: twice what a running bridge needs."""

T = TypeVar("T")

_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)
_FOLDER = click.Path(path_type=Path, file_okay=False)


@command("idbridge log verify --since october.checkpoint")
@click.option("--since", type=_FILE, help="A checkpoint kept earlier: bodies up to it are not read again.")
@click.option("--checkpoint", "kept", type=_FILE, multiple=True, help="A checkpoint kept elsewhere; may be repeated.")
@click.option("--key", "keys", multiple=True, help="A key of the log instead of the one in the state directory.")
@click.option("--witness", "witnesses", multiple=True, help="A witness's key, to say what it has seen.")
@click.option("--columns", is_flag=True, help="Also what stands beside the events, for finding: a third as fast.")
@click.option("--archive", "folder", type=_FOLDER, help="Where pruned events should be; default: log.archive.folder.")
def verify(
    config: Path, as_json: bool, since: Path | None, kept: tuple[Path, ...], keys: tuple[str, ...], witnesses: Any,
    folder: Path | None, columns: bool,
) -> None:  # fmt: skip
    """Look whether events, tree and checkpoints are what they were; ends with status 1 if not.

    A log that was rewritten with its stolen key verifies by itself: only checkpoints kept elsewhere, or a witness, show
    it. See bridge/translation/FORMAT.md for what no log can show.
    """
    from bridge.daemon import keeping
    from bridge.daemon.calling import load_config
    from bridge.daemon.opening import log_evidence
    from bridge.translation.archive import Archive
    from bridge.translation.key_change import in_thread_keys
    from bridge.translation.note import VerifierKey
    from bridge.translation.verifying import in_thread_verify

    loaded = load_config(config)
    engine, own = log_evidence(loaded)
    archive = Archive(engine, folder) if folder else keeping.archive(loaded, engine)
    given = [VerifierKey.parse(text) for text in (*(keys or [str(own)]), *witnesses)]
    known = in_thread_keys(engine, given).all
    held = [_checkpoint(path, known) for path in kept]
    with _progress(quiet=as_json) as progress:
        report = in_thread_verify(
            engine, given, held=held, since=_checkpoint(since, known) if since else None, archive=archive,
            columns=columns, progress=progress,
        )  # fmt: skip
    finding = str(report.findings[0]) if report.findings else ""
    call(config, "log.verified", {"size": report.size, "root": report.root.hex(), "finding": finding})
    if as_json:
        showing.as_json(report.row())
    else:
        _tell(report, own, archive.folder if archive else None)
    sys.exit(1 if report.findings else 0)


@command("idbridge log prove ses_v4wcf473jx9cn7qh --output evidence.json")
@click.argument("what", metavar="SESSION|EVENT")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False, writable=True), help="Default: stdout.")
def prove(config: Path, as_json: bool, what: str, output: Path | None) -> None:
    """Write the events of SESSION (or one EVENT), each with its proof and a checkpoint, in one file.

    Whoever has the log's key (`idbridge log key`) verifies it with scripts/verify_log.py, without the bridge.
    """
    from bridge.daemon.calling import load_config
    from bridge.daemon.opening import log_evidence
    from bridge.translation.proving import in_thread_prove

    found = call(config, "log.proved", {"what": what})
    engine, key = log_evidence(load_config(config))
    proved = when_signed(lambda: in_thread_prove(engine, found["events"], key))
    proof = json.dumps(proved, indent=1, ensure_ascii=False) + "\n"
    if output is None:
        click.echo(proof, nl=False)
        return
    output.write_text(proof, encoding="utf-8")
    summary = {"events": len(found["events"]), "file": str(output)}
    click.echo(json.dumps(summary) if as_json else f"{summary['events']} events with proofs in {output}", err=True)


@command("idbridge log archive --folder /mnt/worm/log")
@click.option("--folder", type=_FOLDER, help="Where segments lie; default: log.archive.folder.")
def archive(config: Path, as_json: bool, folder: Path | None) -> None:
    """Write the events that FOLDER does not have yet as files that verify without the log (scripts/verify_log.py).

    A bridge with log.archive does so by itself; what a crash left by halves is written again.
    """
    from bridge.daemon import keeping
    from bridge.daemon.calling import load_config
    from bridge.daemon.opening import log_evidence
    from bridge.translation.archive import Archive

    loaded = load_config(config)
    engine, _ = log_evidence(loaded)
    kept = Archive(engine, folder) if folder else keeping.archive(loaded, engine)
    if kept is None:
        fail("log.archive is not configured: say where with --folder", as_json=as_json, field="folder")
    call(config, "log.archived", {"folder": str(kept.folder)})
    written = [str(one.path) for one in kept.in_thread_write()]
    if as_json:
        showing.as_json({"segments": written})
    else:
        click.echo("\n".join(written) or "nothing new")


@command("idbridge log retention")
def retention(config: Path, as_json: bool) -> None:
    """Show what log.retention lets go, and what was pruned already; deletes nothing (the running bridge does).

    Only what is archived goes, oldest first. Leaf hashes and checkpoints stay, so all that is left still verifies.
    """
    from bridge.daemon.calling import load_config
    from bridge.daemon.keeping import in_thread_would_go
    from bridge.daemon.opening import log_evidence
    from bridge.translation.reading import LogReader

    loaded = load_config(config)
    engine, _ = log_evidence(loaded)
    due = in_thread_would_go(loaded, engine, time.time())
    extent = LogReader(engine).in_thread_extent()
    row = {
        "first": extent.plain()["first"], "last": extent.size, "pruned": extent.plain().get("pruned"),
        "due": {"first": due.first, "last": due.last} if due.segments else None, "held": due.held,
    }  # fmt: skip
    if as_json:
        showing.as_json(row)
        return
    click.echo(showing.of_log(extent.plain()))
    goes = f"events {due.first} to {due.last} will be deleted within a day" if due.segments else "nothing is to go"
    click.echo(f"{goes}; what is after that stays: {due.held}" if due.held else goes)


@command("idbridge log erase alice@corp.example --dry-run")
@click.argument("subject")
@click.option("--dry-run", is_flag=True, help="Only say what would be erased.")
def erase(config: Path, as_json: bool, subject: str, dry_run: bool) -> None:
    """Erase the name SUBJECT of a person from beside the log (log.personal: salted); its events stay as they are.

    They have a salted digest instead, which nobody can take back to the name then, also in archives and proofs. Events
    from before log.personal was salted have the name in clear: they go with log.retention only.
    """
    from bridge.daemon.calling import load_config
    from bridge.daemon.opening import log_evidence
    from bridge.translation.personal import in_thread_erasable, in_thread_erase

    engine, _ = log_evidence(load_config(config))
    found = in_thread_erasable(engine, subject)
    row = {"found": found.tokens, "clear": found.clear, "erased": 0}
    if found.tokens and not dry_run:
        request = call(config, "log.erased", {"count": found.tokens})["request"]
        row["erased"] = in_thread_erase(engine, subject)
        call(config, "log.erased", {"count": row["erased"], "request": request})
    if as_json:
        showing.as_json(row)
        return
    click.echo(
        f"{row['erased']} erased" if row["erased"] else f"{found.tokens} would be erased" if dry_run else "nothing"
    )
    if found.clear:
        click.echo(f"in clear in {found.clear} events: those go with log.retention only", err=True)


@command("idbridge log key rotate")
@click.argument("action", type=click.Choice(["show", "prepare", "rotate"]), default="show")
def key(config: Path, as_json: bool, action: str) -> None:
    """Show the public key that the log's checkpoints are verified with: give it to auditors and witnesses.

    prepare makes the next key and shows it, so that witnesses can be given it (idbridge witness --log, beside the
    present one). rotate, while the bridge is stopped, signs a last checkpoint with the old key, which names the new
    one; whoever trusts the old key then knows the new one from the log. A witness cosigns nothing under a key that it
    was not given: so a stolen key cannot be replaced in silence.
    """
    from bridge.daemon.calling import load_config
    from bridge.daemon.opening import changed_log_key, log_evidence, prepared_log_key
    from bridge.translation.key_change import in_thread_keys

    loaded = load_config(config)
    if action == "rotate":
        changed_log_key(loaded)
    engine, own = log_evidence(loaded)
    if action == "prepare":
        own = prepared_log_key(loaded)
    former = [str(one) for one in in_thread_keys(engine, [own]).all if one != own]
    if as_json:
        showing.as_json({"origin": own.name, "key": str(own), "former": former})
    else:
        click.echo(str(own))


def _checkpoint(path: Path, keys: list[VerifierKey]) -> Checkpoint:
    from bridge.translation.note import NoteRefused, opened

    try:
        return opened(path.read_text(encoding="utf-8"), keys)
    except (NoteRefused, UnicodeDecodeError) as problem:
        raise NoteRefused(f"{path}: {problem}") from None


def when_signed(made: Callable[[], T]) -> T:
    """What ``made`` returns, once the running bridge has made the checkpoint it needs, within seconds."""
    from bridge.translation.proving import NotSignedYet

    end = time.monotonic() + SIGNED_WITHIN
    while True:
        try:
            return made()
        except NotSignedYet:
            if time.monotonic() > end:
                raise
        time.sleep(0.5)


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error, for people."""
    if quiet or not sys.stderr.isatty():
        yield lambda done, total: None
        return
    with click.progressbar(length=1, label="verifying", file=sys.stderr, show_pos=True) as bar:

        def progress(done: int, total: int) -> None:
            bar.length = total
            bar.update(done - bar.pos)

        yield progress


def _tell(report: Report, key: VerifierKey, archive: Path | None) -> None:
    if report.findings:
        click.echo(f"NOT VERIFIED: {len(report.findings)} findings in {report.size} events")
        for finding in report.findings:
            showing.say(f"  {finding}")
        return
    click.echo(f"verified: {report.size} events, root {report.root.hex()}")
    for gone in report.pruned:
        click.echo(f"  {gone}; " + (f"their segments in {archive} too" if archive else "no archive was looked at"))
    if report.since:
        click.echo(f"  since the checkpoint of {report.since} events: {report.read} read, the rest as it was then")
    click.echo(f"  signed by {key.name}: {report.signed}; after that, not yet: {report.size - report.signed}")
    if report.witnessed:
        click.echo(f"  seen by a witness: {report.witnessed}, at {showing.moment(report.witnessed_at)}")
    else:
        click.echo("  seen by a witness: none; whoever has the log's key could have rewritten all of it")
