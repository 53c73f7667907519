"""Cross checks of ``vaults``: what each way to log in needs and no other has, and that references name a vault."""

from __future__ import annotations

from bridge.config.findings import Findings
from bridge.config.tree import Place

NEEDED = {"token": ("token",), "approle": ("role_id", "secret_id"), "kubernetes": ("role", "jwt_file")}


def check(found: Findings) -> None:
    for _, vault in found.root.under("vaults"):
        _auth(found, vault)
    for _, system in found.root.under("systems"):
        for _, account in system.under("accounts"):
            for key in ("secret", "passphrase"):
                _reference(found, account.get(key))


def _auth(found: Findings, vault: Place) -> None:
    auth, method = vault.get("auth"), vault.get("auth", "method")
    needed = NEEDED.get(method.text or "") if method is not None else None
    if auth is None or method is None or needed is None:
        return
    what = f"method {method.text}"
    foreign = {key for keys in NEEDED.values() for key in keys} - set(needed)
    found.fits(auth, what, needed, foreign, f"{what} needs {' and '.join(needed)}")


def _reference(found: Findings, place: Place | None) -> None:
    text = (place.text or "") if place is not None else ""
    name = text.removeprefix("vault:").partition("/")[0]
    if place is not None and text.startswith("vault:") and name not in found.names("vaults"):
        known = ", ".join(sorted(found.names("vaults"))) or "no vault is declared"
        found.error(place, f'no vault "{name[:63]}"', known)
