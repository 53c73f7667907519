"""A value that can be used but not shown."""

from __future__ import annotations

import hmac
from typing import NoReturn


class Secret:
    """A password, key or token. Prints as ``<secret>``, compares in constant time, cannot be pickled or hashed."""

    __slots__ = ("_value",)
    __hash__ = None  # type: ignore[assignment]  # a hash in a dict or log would be an oracle

    def __init__(self, value: str | bytes) -> None:
        self._value = value.encode() if isinstance(value, str) else bytes(value)

    def reveal(self) -> bytes:
        """The value itself, for the one place that puts it on the wire. Never store or format the result."""
        return self._value

    def reveal_text(self) -> str:
        """The value as text. Raises UnicodeDecodeError, with the value left out, when it is not UTF-8."""
        try:
            return self._value.decode()
        except UnicodeDecodeError:
            raise UnicodeDecodeError("utf-8", b"", 0, 0, "the secret is not UTF-8 text") from None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value, other._value)

    def __bool__(self) -> bool:
        return bool(self._value)

    def __repr__(self) -> str:
        return "<secret>"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "<secret>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled or copied out of the process")
