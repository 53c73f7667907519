"""Cross checks of ``requests``: can somebody approve what may be asked for, and is no token asked for in the clear?"""

from __future__ import annotations

from pydantic_core import PydanticCustomError

from bridge.config.findings import Findings
from bridge.config.tree import Place
from bridge.config.values import address


def check(found: Findings) -> None:
    general = found.root.get("requests", "approvers")
    for _, system in found.root.under("systems"):
        requests = system.get("requests")
        if requests is not None:
            _system(found, system, requests, general)
    _listen(found)


def _system(found: Findings, system: Place, requests: Place, general: Place | None) -> None:
    accounts = dict(system.under("accounts"))
    wanted = dict(requests.texts("accounts"))
    for name, place in wanted.items():
        if name not in accounts:
            found.unknown(place, "account", accounts)
    channels = {name for name, _ in alerts.under("channels")} if (alerts := found.root.get("alerts")) else set()
    for name, place in requests.texts("tell"):
        if name not in channels:
            found.unknown(place, "channel", channels)
    named = requests.get("approvers") or general
    for name, account in accounts.items():
        if (not wanted or name in wanted) and named is None and account.get("approvers") is None:
            found.error(requests, f"nobody may approve what is asked for of {name}", "approvers: [NAME]", on_key=True)


def _listen(found: Findings) -> None:
    listen = found.root.get("requests", "listen")
    if listen is None or found.root.get("tls") is not None:
        return
    try:
        loopback = address(listen.text).loopback
    except PydanticCustomError:
        return
    if not loopback:
        found.error(
            listen, "would take tokens in plaintext: the bridge has no certificate", "tls, or a loopback address"
        )
