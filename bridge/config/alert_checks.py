"""Cross checks of ``alerts``: does each channel have what its kind needs, does every name exist?"""

from __future__ import annotations

from bridge.config.findings import Findings
from bridge.config.tree import Place

NEEDED = {"webhook": ("url",), "slack": ("secret",), "pagerduty": ("secret",), "mail": ("to",)}
TAKEN = {
    "webhook": ("url", "secret", "ca"),
    "slack": ("secret", "ca"),
    "pagerduty": ("secret", "url", "ca"),
    "mail": ("to",),
}
ROUTE = "channel:"
LOOPBACK = ("127.0.0.1", "::1", "localhost")


def check(found: Findings) -> None:
    alerts = found.root.get("alerts")
    names = {name for name, _ in alerts.under("channels")} if alerts is not None else set()
    for _, owner in found.root.under("owners"):
        on_call = owner.get("on_call")
        if on_call is not None and (on_call.text or "").startswith(ROUTE):
            _named(found, on_call, (on_call.text or "").removeprefix(ROUTE), names)
    if alerts is None:
        return
    for key in ("security", "leadership"):
        for text, place in alerts.texts(key):
            _named(found, place, text, names)
    for _, channel in alerts.under("channels"):
        _channel(found, channel)
    _mail(found, alerts)
    if names and alerts.get("security") is None:
        found.warning(alerts, "names no channel for security", "security: [CHANNEL]", on_key=True)


def _named(found: Findings, place: Place, name: str, names: set[str]) -> None:
    if name not in names:
        found.error(place, "names no channel of alerts.channels", ", ".join(sorted(names)) or "a channel")


def _channel(found: Findings, channel: Place) -> None:
    kind = channel.get("kind")
    if kind is None or kind.text not in NEEDED:
        return
    what = f"a channel of kind {kind.text}"
    foreign = {key for keys in TAKEN.values() for key in keys} - set(TAKEN[kind.text])
    found.fits(channel, what, NEEDED[kind.text], foreign, f"what {what} needs")


def _mail(found: Findings, alerts: Place) -> None:
    mail = alerts.get("mail")
    if mail is None:
        for name, channel in alerts.under("channels"):
            if (kind := channel.get("kind")) is not None and kind.text == "mail":
                found.error(channel, f"{name} sends mail, and there is no alerts.mail", "a mail server", on_key=True)
        return
    tls, host = mail.get("tls"), mail.get("host")
    if tls is not None and tls.text == "none" and host is not None and host.text not in LOOPBACK:
        found.error(tls, "would send alerts and the password in plaintext", "starttls or tls, unless on this machine")
    if (mail.get("user") is None) != (mail.get("password") is None):
        found.error(mail, "has one of user and password", "both, or none", on_key=True)
