"""The kinds of values the file knows: how each is written, and what it becomes.

Each kind is an annotated type. A value of the wrong form raises a PydanticCustomError whose ``expected`` says how it is
written; the value itself is never part of the text. Relative file names need ``{"base": Path}`` as validation context.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, Strict, StringConstraints, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

from bridge.adapter import Address

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_DURATION = re.compile(r"([0-9]{1,9})(ms|s|m|h|d|w)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_SIZE = re.compile(r"([0-9]{1,9}) ?(B|KiB|MiB|GiB)")
_BYTES = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_HOST = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_][A-Za-z0-9_-]{0,62})*\.?")
_ENVIRONMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_STORED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,127}")
REFERENCE = "env:NAME, file:/path, store:NAME or vault:NAME/PATH#FIELD"
_IN_VAULT = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}(/[A-Za-z0-9._-]{1,128}){1,16}(#[A-Za-z0-9._-]{1,128})?")
_MAIL = re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9.-]{1,190}")
_CLOCK = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
NAME = r"^[a-z0-9][a-z0-9._-]{0,62}$"  # agents, systems, owners, roles, issuers, grants: one rule for all


def wrong(kind: str, message: str, expected: str) -> PydanticCustomError:
    """An error whose words end up in ``Problem.message`` and ``Problem.expected``."""
    return PydanticCustomError(kind, "{message}", {"message": message, "expected": expected})


def seconds(value: Any) -> float:
    """``"15m"``, ``"1500ms"`` or a whole number of seconds."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return float(value)
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise wrong("duration", "is not a duration", 'a number with ms, s, m, h, d or w ("15m"), or whole seconds')
    return round(int(found[1]) * _SECONDS[found[2]], 3)


def size(value: Any) -> int:
    """``"8KiB"`` or a whole number of bytes."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    found = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise wrong("size", "is not a size", 'a number with B, KiB, MiB or GiB ("8KiB"), or whole bytes')
    return int(found[1]) * _BYTES[found[2]]


def units(value: Any) -> float:
    """Cost units: a number with at most six decimals."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and 0 <= value <= 1_000_000_000 and round(value, 6) == value:
        return float(value)
    raise wrong("units", "is not a number of cost units", "0 to 1000000000, with at most six decimals")


def moment(value: Any) -> datetime:
    """A date (its first instant in UTC) or a date and time with an offset; always returned in UTC."""
    try:
        if isinstance(value, str) and len(value) == 10:
            day = date.fromisoformat(value)
            return datetime(day.year, day.month, day.day, tzinfo=UTC)
        if isinstance(value, str) and 16 <= len(value) <= 40:
            when = datetime.fromisoformat(value)
            if when.tzinfo is not None:
                return when.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise wrong("moment", "is not a date", "2027-03-01 (from 00:00 UTC on) or 2027-03-01T18:00:00+01:00")


def address(value: Any) -> Address:
    """``127.0.0.1:15432`` or ``[::1]:15432``; port 0 lets the system choose."""
    host, colon, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        literal = ipaddress.ip_address(bare)
        bracketed = (literal.version == 6) == (bare != host)
        if colon and bracketed and "%" not in bare and re.fullmatch("[0-9]{1,5}", port) and int(port) <= 65535:
            return Address(str(literal), int(port))
    except ValueError:
        pass
    raise wrong("address", "is not an address to listen on", "an IP address and a port: 127.0.0.1:15432, [::1]:15432")


def network(value: Any) -> Network:
    """``10.0.0.0/8``, or one address."""
    try:
        if isinstance(value, str):
            return ipaddress.ip_network(value)
    except ValueError as error:
        if "host bits set" in str(error):
            whole = ipaddress.ip_network(value, strict=False)
            raise wrong("network", "has bits set outside its mask", f"{whole}") from None
    raise wrong("network", "is not a network", "CIDR notation: 10.0.0.0/8, 2001:db8::/32, or one address")


def file_name(value: Any, info: ValidationInfo) -> Path:
    """A path; a relative one starts at the folder of the configuration file."""
    if not isinstance(value, str) or not value or "\x00" in value:
        raise wrong("file", "is not a file name", "a path, absolute or relative to this file")
    return _base(info) / value


def _base(info: ValidationInfo) -> Path:
    context = info.context if isinstance(info.context, dict) else {}
    base = context.get("base", Path())
    return base if isinstance(base, Path) else Path()


def secret_reference(value: Any, info: ValidationInfo) -> str:
    """A ``local_reference``, or ``vault:NAME/PATH`` with or without ``#FIELD``."""
    if isinstance(value, str) and value.startswith("vault:"):
        if _IN_VAULT.fullmatch(value[6:]) and ".." not in value:
            return value
        raise wrong("secret", "names nothing that a vault can hold", "vault:NAME/PATH or vault:NAME/PATH#FIELD")
    return _reference(value, info, f"a reference: {REFERENCE}")


def local_reference(value: Any, info: ValidationInfo) -> str:
    """``env:NAME``, ``file:/path`` (made absolute) or ``store:NAME``. Anything else is taken for the secret itself."""
    return _reference(value, info, "a reference: env:NAME, file:/path or store:NAME")


def _reference(value: Any, info: ValidationInfo, expected: str) -> str:
    scheme, colon, rest = value.partition(":") if isinstance(value, str) else ("", "", "")
    if not colon or scheme not in ("env", "file", "store"):
        raise wrong("secret", "is no reference; a secret itself must not stand in this file", expected)
    if scheme == "file" and rest and "\x00" not in rest:
        return f"file:{_base(info) / rest}"
    if (scheme == "env" and _ENVIRONMENT.fullmatch(rest)) or (scheme == "store" and _STORED.fullmatch(rest)):
        return f"{scheme}:{rest}"
    raise wrong("secret", f"names nothing that {scheme}: can hold", expected)


def host(value: Any) -> str:
    """A DNS name or an IP address, without port, scheme or user."""
    if isinstance(value, str):
        try:
            return str(ipaddress.ip_address(value))
        except ValueError:
            if _HOST.fullmatch(value):
                return value
    raise wrong("host", "is not a host", "a DNS name or an IP address, nothing else")


def host_pattern(value: Any) -> str:
    """A host, in lower case; in a DNS name ``*`` stands for anything."""
    if isinstance(value, str) and "*" in value and _HOST.fullmatch(value.replace("*", "a")):
        return value.lower()
    return host(value).lower()


def mail_address(value: Any) -> str:
    """``name@host``, without a display name."""
    if isinstance(value, str) and _MAIL.fullmatch(value):
        return value
    raise wrong("mail", "is not a mail address", "name@host, nothing else")


def https_url(value: Any) -> str:
    """An absolute https URL, plain http only to this machine; no user information, no fragment; kept as written."""
    try:
        parts = urlsplit(value) if isinstance(value, str) and re.fullmatch(r"[!-~]{1,2048}", value) else None
        local = parts is not None and parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1", "localhost")
        if parts and (parts.scheme == "https" or local) and not (parts.username or parts.password or parts.fragment):
            parts.port  # noqa: B018  # raises ValueError for a port out of range
            if parts.hostname:
                return str(value)
    except ValueError:
        pass
    raise wrong("url", "is not an https URL", "https://host/path without user name or fragment")


def ed25519_key(value: Any) -> str:
    """The ``x`` of an Ed25519 JWK (RFC 8037, section 2): 32 bytes, base64url without padding."""
    try:
        shaped = isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_-]{43}", value)
        if shaped and len(base64.urlsafe_b64decode(value + "=")) == 32:
            return str(value)
    except binascii.Error:
        pass
    raise wrong("public_key", "is not an Ed25519 public key", "32 bytes in base64url (43 characters)")


def witness_key(value: Any) -> str:
    """A verifier key of c2sp.org/tlog-cosignature, as text."""
    # Here, because the package of the log loads SQLAlchemy, and every command loads this module.
    from bridge.translation.note import COSIGNATURE, NoteRefused, VerifierKey

    try:
        if isinstance(value, str) and VerifierKey.parse(value).kind == COSIGNATURE:
            return value
    except NoteRefused:
        pass
    raise wrong("witness_key", "is not the key of a witness", "NAME+KEYID+KEY as `idbridge witness` prints it")


def clock(value: Any) -> str:
    if isinstance(value, str) and _CLOCK.fullmatch(value):
        return value
    raise wrong("clock", "is not a time of day", '"HH:MM" in quotes, 00:00 to 23:59')


def days(value: Any) -> tuple[str, ...]:
    """``[mon-fri, sun]`` -> each day once, in the order of the week. A range may pass Sunday (``sat-mon``)."""
    chosen: set[str] = set()
    for part in value if isinstance(value, list) and value else [None]:
        first, _, last = part.partition("-") if isinstance(part, str) else ("", "", "")
        last = last or first
        if first not in DAYS or last not in DAYS:
            raise wrong("days", "is not a list of days", "mon tue wed thu fri sat sun, or ranges: [mon-fri, sun]")
        at, span = DAYS.index(first), (DAYS.index(last) - DAYS.index(first)) % 7
        chosen.update(DAYS[(at + step) % 7] for step in range(span + 1))
    return tuple(day for day in DAYS if day in chosen)


def zone(value: Any) -> str:
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9+_-]+(/[A-Za-z0-9+_-]+)*", value):
        try:
            return ZoneInfo(value).key
        except (OSError, ValueError, LookupError):  # ZoneInfoNotFoundError is a KeyError
            pass
    raise wrong("zone", "is not a known time zone", "a name of the IANA database: Europe/Berlin, UTC")


def bounded(least: str, most: str) -> AfterValidator:
    """Limits of a duration, written as durations."""

    def check(value: float) -> float:
        if not seconds(least) <= value <= seconds(most):
            raise wrong("duration", "is out of range", f"{least} to {most}")
        return value

    return AfterValidator(check)


def within(least: int, most: int) -> AfterValidator:
    """Limits of a size in bytes."""

    def check(value: int) -> int:
        if not least <= value <= most:
            raise wrong("size", "is out of range", f"{least} to {most} bytes")
        return value

    return AfterValidator(check)


def unique(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(values)) != len(values):
        raise wrong("unique", "names something twice", "each once")
    return values


def _freeze(value: Mapping[str, Any]) -> Mapping[str, Any]:
    return MappingProxyType(dict(value))


def _text(pattern: str, **more: Any) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": pattern, **more})


def _number_or(pattern: str) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": pattern}]})


T = TypeVar("T")
Frozen = Annotated[Mapping[str, T], AfterValidator(_freeze)]
Many = Annotated[tuple[T, ...], AfterValidator(unique)]
Some = Annotated[tuple[T, ...], Field(min_length=1), AfterValidator(unique)]

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000)]
Note = Annotated[str, StringConstraints(strip_whitespace=True, max_length=1000)]
Name = Annotated[str, StringConstraints(pattern=NAME)]
Selector = Annotated[str, StringConstraints(pattern=r"^(\*|[a-z0-9][a-z0-9._-]{0,62})$")]
Flag = Annotated[bool, Strict()]
Count = Annotated[int, Strict(), Field(ge=1, le=1_000_000)]
Amount = Annotated[int, Strict(), Field(ge=1, le=1_000_000_000_000)]
Units = Annotated[float, BeforeValidator(units), WithJsonSchema({"type": "number", "minimum": 0})]
Port = Annotated[int, Strict(), Field(ge=1, le=65535)]
Duration = Annotated[float, BeforeValidator(seconds), _number_or("^[0-9]{1,9}(ms|s|m|h|d|w)$")]
Size = Annotated[int, BeforeValidator(size), _number_or("^[0-9]{1,9} ?(B|KiB|MiB|GiB)$")]
Moment = Annotated[datetime, BeforeValidator(moment), _text("^[0-9]{4}-[0-9]{2}-[0-9]{2}([T ].+)?$")]
Listen = Annotated[Address, BeforeValidator(address), _text("^(\\[[0-9a-fA-F:.]+\\]|[0-9.]+):[0-9]{1,5}$")]
CIDR = Annotated[Network, BeforeValidator(network), _text("^[0-9a-fA-F:.]+(/[0-9]{1,3})?$")]
FileName = Annotated[Path, BeforeValidator(file_name), _text("^.+$")]
SecretText = Annotated[str, BeforeValidator(secret_reference), _text("^(env|file|store|vault):.+$")]
LocalSecretText = Annotated[str, BeforeValidator(local_reference), _text("^(env|file|store):.+$")]
MountPath = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,128}(/[A-Za-z0-9._-]{1,128}){0,8}$")]
Host = Annotated[str, BeforeValidator(host), _text("^[A-Za-z0-9_.:-]+$")]
HostPattern = Annotated[str, BeforeValidator(host_pattern), _text("^[A-Za-z0-9_.:*-]+$")]
MailAddress = Annotated[str, BeforeValidator(mail_address), _text("^[^@ ]+@[^@ ]+$")]
HttpsURL = Annotated[str, BeforeValidator(https_url), _text("^https?://.+$")]
PublicKey = Annotated[str, BeforeValidator(ed25519_key), _text("^[A-Za-z0-9_-]{43}$")]
WitnessKey = Annotated[str, BeforeValidator(witness_key), _text(r"^[^\s+]+\+[0-9a-f]{8}\+[A-Za-z0-9+/=]+$")]
Clock = Annotated[str, BeforeValidator(clock), _text("^([01][0-9]|2[0-3]):[0-5][0-9]$")]
Days = Annotated[
    tuple[str, ...],
    BeforeValidator(days),
    WithJsonSchema({"type": "array", "minItems": 1, "items": {"type": "string", "pattern": "^[a-z]{3}(-[a-z]{3})?$"}}),
]
Zone = Annotated[str, BeforeValidator(zone), _text("^[A-Za-z0-9+_/-]+$")]

ONE_YEAR = timedelta(days=365)
