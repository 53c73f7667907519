"""Grammar of the short texts that identities are made of: claims, agent ids, SPIFFE IDs."""

from __future__ import annotations

import re
from typing import Any

MAX_TEXT = 255  # characters of a claim that names somebody; longer ones break columns and screens, not IdPs

# Control characters, line separators and direction overrides: each can make a log line show what is not there.
_UNCLEAN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_AGENT_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_SPIFFE = re.compile(r"spiffe://([a-z0-9._-]{1,255})((?:/[A-Za-z0-9._-]+)+)")
_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}")


def is_clean(value: Any) -> bool:
    """Whether ``value`` is a string of 1 to 255 characters without control characters."""
    return isinstance(value, str) and 0 < len(value) <= MAX_TEXT and _UNCLEAN.search(value) is None


def is_agent_id(value: Any) -> bool:
    return isinstance(value, str) and _AGENT_ID.fullmatch(value) is not None


def is_trust_domain(value: str) -> bool:
    return _TRUST_DOMAIN.fullmatch(value) is not None


def trust_domain_of(spiffe_id: Any) -> str | None:
    """The trust domain of a workload's SPIFFE ID, None when it is not one (SPIFFE-ID, section 2).

    Lower-case trust domain, no percent-encoding, no empty, ``.`` or ``..`` segment, no trailing slash, no root path.
    """
    if not is_clean(spiffe_id):
        return None
    match = _SPIFFE.fullmatch(spiffe_id)
    if match is None or not {".", ".."}.isdisjoint(match[2].split("/")):
        return None
    return match[1]
