"""Finds the installed adapters: the sub-packages of ``adapters``, then the entry points ``bridge.adapters``.

The core never names a protocol. A sub-package is an adapter when it has a module ``adapter`` with an attribute
``ADAPTER``, the class; an entry point refers to the class itself.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from pydantic import BaseModel

from bridge.adapter import Adapter, BridgeError

GROUP = "bridge.adapters"
_BREAKAGES = (ImportError, AttributeError, SyntaxError, TypeError, ValueError, NameError, LookupError, OSError)


class BrokenAdapter(BridgeError):
    """An adapter that is installed cannot be used. The message names it; the cause is chained."""


def find_adapters(package: str = "adapters", group: str = GROUP) -> dict[str, type[Adapter]]:
    """The adapter classes by protocol name. Raises BrokenAdapter, naming the first one that cannot be used."""
    found: dict[str, type[Adapter]] = {}
    origins: dict[str, str] = {}
    for origin, adapter in (*_packaged(package), *_entered(group)):
        name = _checked(origin, adapter)
        if name in found and found[name] is not adapter:
            raise BrokenAdapter(f"{origin}: {origins[name]} already speaks {name!r}; remove one of them")
        found[name], origins[name] = adapter, origin
    return found


def _packaged(package: str) -> Iterator[tuple[str, Any]]:
    try:
        parent = importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name == package:
            return
        raise BrokenAdapter(f"{package}: cannot be imported: {error}") from error
    for module in sorted(pkgutil.iter_modules(parent.__path__), key=lambda module: module.name):
        name = f"{package}.{module.name}"
        if not module.ispkg or not _has_adapter(name):
            continue
        try:
            yield name, importlib.import_module(f"{name}.adapter").ADAPTER
        except _BREAKAGES as error:
            raise BrokenAdapter(f"{name}: cannot be loaded: {type(error).__name__}: {error}") from error


def _has_adapter(name: str) -> bool:
    """A sub-package without a module ``adapter`` is shared code of adapters, or one that is being written."""
    try:
        return importlib.util.find_spec(f"{name}.adapter") is not None
    except _BREAKAGES as error:
        raise BrokenAdapter(f"{name}: cannot be loaded: {type(error).__name__}: {error}") from error


def _entered(group: str) -> Iterator[tuple[str, Any]]:
    for entry in sorted(entry_points(group=group), key=lambda entry: (entry.name, entry.value)):
        yield _origin(entry), _loaded(entry)


def _origin(entry: EntryPoint) -> str:
    distribution = f" of {entry.dist.name}" if entry.dist is not None else ""
    return f"entry point {entry.name} = {entry.value}{distribution}"


def _loaded(entry: EntryPoint) -> Any:
    try:
        return entry.load()
    except _BREAKAGES as error:
        raise BrokenAdapter(f"{_origin(entry)}: cannot be loaded: {type(error).__name__}: {error}") from error


def _checked(origin: str, adapter: Any) -> str:
    """The adapter's name, after a look at what the core will use of it (``bridge.adapter.Adapter``)."""
    if not isinstance(adapter, type):
        raise BrokenAdapter(f"{origin}: is not a class")
    required = (
        ("name", str), ("default_port", int), ("Options", type), ("targets", frozenset),
        ("operation_targets", frozenset), ("encrypts", bool),
    )  # fmt: skip
    for attribute, kind in required:
        if not isinstance(getattr(adapter, attribute, None), kind):
            raise BrokenAdapter(f"{origin}: its {attribute} is not a {kind.__name__}")
    if not issubclass(adapter.Options, BaseModel):  # type: ignore[attr-defined]
        raise BrokenAdapter(f"{origin}: its Options is not a pydantic model")
    for method in ("serve", "examine", "start", "stop"):
        if not callable(getattr(adapter, method, None)):
            raise BrokenAdapter(f"{origin}: has no method {method}")
    return str(adapter.name)  # type: ignore[attr-defined]
