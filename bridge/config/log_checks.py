"""Cross checks of ``log``: nothing is deleted that is not archived."""

from __future__ import annotations

from bridge.config.findings import Findings


def check(found: Findings) -> None:
    place = found.root.get("log", "retention")
    if place is not None and found.root.get("log", "archive") is None:
        found.error(
            place, "has nowhere to archive to", "log.archive.folder: only what is archived is deleted", on_key=True
        )
