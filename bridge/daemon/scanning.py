"""Whose secret lies where: the static secrets of a configuration, searched for in files. In the command line's own
process, which needs the right to read them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from bridge.accounts.forms import SHORTEST, forms
from bridge.accounts.scanning import Tally, Wanted, scan
from bridge.accounts.vaults import EnvironmentVault, FileVault, SecretReference, Store, Vault
from bridge.adapter import BridgeError
from bridge.config import Config
from bridge.daemon.calling import call, load_config
from bridge.daemon.fetching import fetch
from bridge.daemon.opening import open_storage
from bridge.storage import StorageError

DAY = 86_400


def scanned(config_path: Path, root: Path, now: float, *, history: bool) -> dict[str, Any]:
    """``findings``; a line an account with what is left until its sunset; and ``not_looked_for`` with the cause.

    Recorded before any secret is read, and after. Raises BridgeError.
    """
    config = load_config(config_path)
    request = call(config_path, "secret.scan", {"path": str(root.absolute())})["request"]
    wanted, missed = _wanted(config)
    tally = Tally()
    findings = [
        {
            "account": one.name,
            "form": one.form,
            "path": one.path,
            "line": one.line,
            "commit": one.commit,
            "hint": one.hint,
            "when": one.when,
        }
        for one in scan(root, wanted, tally, history=history)
    ]
    found = Counter(str(one["account"]) for one in findings)
    call(config_path, "secret.scanned", {"request": request, "counts": {name: str(n) for name, n in found.items()}})
    return {
        "findings": findings,
        "accounts": _accounts(config, found, now),
        "not_looked_for": missed,
        "files": tally.files,
        "objects": tally.objects,
        "unreadable": tally.unreadable,
        "skipped": tally.skipped,
    }


def _wanted(config: Config) -> tuple[list[Wanted], list[dict[str, str]]]:
    storage = open_storage(config)
    try:
        return _read(config, storage.store)
    finally:
        storage.dispose()


def _read(config: Config, store: Store) -> tuple[list[Wanted], list[dict[str, str]]]:
    local: dict[str, Vault] = {"env": EnvironmentVault(), "file": FileVault(), "store": store}
    named = _references(config)
    remote = {reference for _, reference in named if reference.scheme not in local}
    fetched = fetch(config, local, remote) if remote else {}
    wanted, missed = [], []
    for name, reference in named:
        try:
            found = fetched.get(reference)
            if isinstance(found, BridgeError):
                raise found
            secret = found if found is not None else local[reference.scheme].in_thread_read(reference.path)
        except (BridgeError, StorageError) as cause:
            missed.append({"account": name, "cause": str(cause)})
            continue
        needles = forms(secret.reveal())
        if needles:
            wanted.append(Wanted(name, needles))
        else:
            missed.append({"account": name, "cause": f"shorter than {SHORTEST} bytes: it would be found everywhere"})
    return wanted, missed


def _references(config: Config) -> list[tuple[str, SecretReference]]:
    return [
        (f"{system}/{name}", SecretReference.parse(account.secret))
        for system, one in config.systems.items()
        for name, account in one.accounts.items()
    ]


def _accounts(config: Config, found: Counter[str], now: float) -> list[dict[str, Any]]:
    rows = []
    for system, one in config.systems.items():
        for name, account in one.accounts.items():
            sunset = account.sunset
            rows.append(
                {
                    "account": f"{system}/{name}",
                    "secret": account.secret,
                    "places": found[f"{system}/{name}"],
                    "sunset": sunset.date().isoformat() if sunset else "",
                    "days_left": int((sunset.timestamp() - now) // DAY) if sunset else None,
                }
            )
    return rows
