"""What a server is sent in place of a new password."""

from __future__ import annotations

import base64

from adapters.postgres.rotating import verifier
from bridge.wire import scram


def test_a_verifier_is_the_one_that_postgresql_makes() -> None:
    """The salt and the verifier of the example in RFC 7677, section 3, as PostgreSQL writes them."""
    salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    assert scram.in_thread_verifier(b"pencil", salt, 4096) == (
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
        "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
    )


def test_an_old_server_gets_md5_of_password_and_role() -> None:
    assert verifier(b"secret", b"svc", "on") == "md5f9649a4cbf9f1439bbf70c59082c1e69"
    assert verifier(b"secret", b"svc", "scram-sha-256").startswith("SCRAM-SHA-256$4096:")
