"""Cross checks of ``sinks``: what kind each is, and files that are named but not there."""

from __future__ import annotations

from bridge.adapter import Address
from bridge.config.building import Build
from bridge.config.findings import Findings
from bridge.config.sinks import Sink, SyslogSink
from bridge.config.tree import Place

KINDS = ("file", "syslog", "webhook")


def check(found: Findings, build: Build) -> None:
    for _, place in found.root.under("sinks"):
        given = [kind for kind in KINDS if place.get(kind) is not None]
        if not given:
            found.error(place, "says not where to", "one of " + ", ".join(KINDS), on_key=True)
        for kind in given[1:]:
            found.error(place.get(kind) or place, f"stands beside {given[0]}", "one of them", on_key=True)
    for name, sink in build.sinks.items():
        _sink(found, found.root.get("sinks", name), sink)
    _same_file(found, build)


def _sink(found: Findings, place: Place | None, sink: Sink) -> None:
    if place is None:
        return
    if sink.syslog is not None:
        _syslog(found, place, sink.syslog)
    if sink.webhook is not None:
        found.missing(place.get("webhook", "ca"), sink.webhook.ca)
    if sink.file is not None and not sink.file.path.parent.is_dir():
        found.warning(place.get("file", "path") or place, "its folder is not there", "a folder of the bridge's user")


def _syslog(found: Findings, place: Place, syslog: SyslogSink) -> None:
    for key in ("ca", "certificate", "key"):
        found.missing(place.get("syslog", key), getattr(syslog, key))
    if (syslog.certificate is None) != (syslog.key is None):
        at = place.get("syslog", "certificate") or place.get("syslog", "key") or place
        found.error(at, "stands alone", "certificate and key", on_key=True)
    local = syslog.host == "localhost" or Address(syslog.host, 0).loopback
    if syslog.tls == "disable" and not local:
        found.error(place.get("syslog", "tls") or place, "sends the log in plaintext", "verify-full or verify-ca")


def _same_file(found: Findings, build: Build) -> None:
    taken: dict[str, str] = {}
    for name, sink in build.sinks.items():
        place = found.root.get("sinks", name, "file", "path")
        if sink.file is not None and place is not None:
            other = taken.setdefault(str(sink.file.path), name)
            if other != name:
                found.error(place, f"sink {other} writes it already", "a file of its own")
