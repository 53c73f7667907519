"""What clients are told before the legacy server is known: the greeting (research notes, B1 and B4).

Each login upstream teaches what the server is; the next greeting says so. Until the first one, only what every server
has is offered: then no client believes in something that the server lacks (Warpgate#2337).
"""

from __future__ import annotations

from adapters.mysql.carriers import CACHING_SHA2
from adapters.mysql.codec import Cap, Greeting, Status
from adapters.mysql.options import Options

VERSIONS = {"mysql": b"8.0.36", "mariadb": b"5.5.5-10.11.0-MariaDB"}

UTF8MB4 = 45  # utf8mb4_general_ci, which every server since 5.5.3 has

OWN = (
    Cap.LONG_PASSWORD | Cap.CONNECT_WITH_DB | Cap.PROTOCOL_41 | Cap.SECURE_CONNECTION
    | Cap.PLUGIN_AUTH | Cap.CONNECT_ATTRS | Cap.PLUGIN_AUTH_LENENC
)  # fmt: skip
"""What concerns the login on our side only, whatever the server has. LONG_PASSWORD: no extensions of MariaDB's."""

EVERYWHERE = (
    Cap.FOUND_ROWS | Cap.LONG_FLAG | Cap.NO_SCHEMA | Cap.ODBC | Cap.IGNORE_SPACE | Cap.INTERACTIVE
    | Cap.IGNORE_SIGPIPE | Cap.TRANSACTIONS | Cap.MULTI_RESULTS
)  # fmt: skip
"""Passed through; every server since 4.1 has them."""

SHAPING = Cap.PS_MULTI_RESULTS | Cap.SESSION_TRACK | Cap.DEPRECATE_EOF
"""Passed through once the server has shown them. COMPRESS, ZSTD, QUERY_ATTRIBUTES, OPTIONAL_METADATA, MULTI_FACTOR and
REMEMBER_OPTIONS are never offered: they would hide statements or change what they look like."""


def passed_through(options: Options) -> int:
    """Flags that mean the same on both sides, when both have them."""
    flags = EVERYWHERE | SHAPING
    if options.multi_statements:
        flags |= Cap.MULTI_STATEMENTS
    if options.local_infile:
        flags |= Cap.LOCAL_FILES
    return flags


class Probe:
    """What the legacy server showed last. One per system."""

    def __init__(self) -> None:
        self._learnt: Greeting | None = None

    def learn(self, greeting: Greeting) -> None:
        self._learnt = greeting

    def greeting(self, options: Options, *, connection_id: int, nonce: bytes, encrypts: bool) -> Greeting:
        """``encrypts``: TLS can be offered."""
        learnt = self._learnt
        version = options.server_version.encode() if options.server_version else None
        through = passed_through(options)
        offered = through & ~SHAPING if learnt is None else through & learnt.capabilities
        return Greeting(
            version or (learnt.version if learnt else VERSIONS[options.family]),
            connection_id,
            nonce,
            OWN | offered | (Cap.SSL if encrypts else 0),
            learnt.collation if learnt else UTF8MB4,
            Status.AUTOCOMMIT,
            CACHING_SHA2,
        )
