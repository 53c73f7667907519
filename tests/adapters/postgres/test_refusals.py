"""Every reason has its SQLSTATE."""

import pytest

from adapters.postgres import codec
from adapters.postgres.refusals import RULES, Spoken, answer, error_message
from bridge.adapter import Reason, Refused


def test_every_reason_has_a_rule() -> None:
    assert set(RULES) == set(Reason)


@pytest.mark.parametrize(
    ("reason", "sqlstate"),
    [
        (Reason.CREDENTIAL_INVALID, "28P01"),
        (Reason.CREDENTIAL_EXPIRED, "28P01"),
        (Reason.PLAINTEXT, "28000"),
        (Reason.AGENT_INACTIVE, "28000"),
        (Reason.NOT_GRANTED, "42501"),
        (Reason.TOO_MANY, "53300"),
        (Reason.QUOTA, "53300"),
        (Reason.UPSTREAM_UNAVAILABLE, "08001"),
        (Reason.UPSTREAM_LOST, "08006"),
        (Reason.LOG_UNAVAILABLE, "57P03"),
        (Reason.SHUTDOWN, "57P01"),
        (Reason.SESSION_IDLE, "57P05"),
    ],
)
def test_a_refusal_at_login_is_fatal(reason: Reason, sqlstate: str) -> None:
    assert answer(Refused(reason, "no"))[:2] == ("FATAL", sqlstate)


@pytest.mark.parametrize(
    ("reason", "severity", "sqlstate"),
    [
        (Reason.ACTION_DENIED, "ERROR", "42501"),
        (Reason.LOG_UNAVAILABLE, "ERROR", "58030"),
        (Reason.UNSUPPORTED, "ERROR", "0A000"),
        (Reason.SESSION_REVOKED, "FATAL", "57P01"),
        (Reason.SESSION_EXPIRED, "FATAL", "57P01"),
    ],
)
def test_some_refusals_leave_a_live_session_alive(reason: Reason, severity: str, sqlstate: str) -> None:
    assert answer(Refused(reason, "no"), live=True)[:2] == (severity, sqlstate)


def test_the_message_has_text_reference_and_hint_and_for_programs_a_detail() -> None:
    refused = Refused(Reason.NOT_GRANTED, "not\0 \x1b[granted", reference="R1", detail="secret cause")
    fields = codec.parse_error(error_message(refused)[5:])
    assert fields.message == "not   [granted (reference R1)"
    assert fields.all["H"]
    assert fields.all["D"] == "reason=not-granted reference=R1"
    assert "secret cause" not in str(fields.all)


def test_spoken_has_its_own_sqlstate_and_log_code() -> None:
    spoken = Spoken(Reason.PROTOCOL, "3D000", "no database named")
    assert answer(spoken).sqlstate == "3D000"
    assert spoken.code == "protocol-3D000"
