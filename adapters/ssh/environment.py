"""Which variables an agent may set on the host, and those that are the bridge's own.

sshd takes what its AcceptEnv names; the bridge lets through what cannot change which program runs or how.
"""

from __future__ import annotations

from collections.abc import Iterable

ALWAYS = ("LANG", "LANGUAGE", "LC_*", "TERM", "COLORTERM", "NO_COLOR", "TZ")
NEVER = (
    "LD_*", "DYLD_*", "PATH", "BASH_ENV", "ENV", "SHELLOPTS", "BASHOPTS", "IFS", "GIT_*", "PYTHON*", "PERL*", "RUBY*",
)  # fmt: skip
OURS = ("LC_BRIDGE_*", "IDBRIDGE_*")

SESSION, SESSION_WHERE_LC = "IDBRIDGE_SESSION", "LC_BRIDGE_SID"
"""Two names for the stamp: most hosts accept LC_* only."""


def allowed(name: str, extra: Iterable[str]) -> bool:
    """Ours and the dangerous ones never, whatever ``extra`` (names, or beginnings with ``*``) says."""
    if _any(name.upper(), (*OURS, *NEVER)) or not name.isascii() or not name.isprintable() or "=" in name:
        return False
    return _any(name, (*ALWAYS, *extra))


def stamps(stamp: str) -> tuple[tuple[str, str], ...]:
    return ((SESSION, stamp), (SESSION_WHERE_LC, stamp))


def _any(name: str, patterns: Iterable[str]) -> bool:
    return any(name.startswith(one[:-1]) if one.endswith("*") else name == one for one in patterns)
