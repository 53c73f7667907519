"""Refusals in MySQL's words."""

import pytest

from adapters.mysql import codec
from adapters.mysql.refusals import MAX_TEXT, RULES, Spoken, answer, error_payload
from bridge.adapter import Reason, Refused
from bridge.admission.texts import TEXTS, askable


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_a_code_and_an_sqlstate(reason: Reason) -> None:
    fields = codec.parse_error(error_payload(Refused(reason, "no", reference="ses_1")))
    assert fields.code == RULES[reason].code
    assert len(fields.sqlstate) == 5
    assert fields.message.startswith("no (reference ses_1)")
    assert fields.message.endswith(f"[reason={reason.value} reference=ses_1]")


@pytest.mark.parametrize("reason", Reason)
def test_at_login_everything_is_final(reason: Reason) -> None:
    assert answer(Refused(reason, "no")).fatal


@pytest.mark.parametrize("reason", [Reason.ACTION_DENIED, Reason.QUOTA, Reason.LOG_UNAVAILABLE, Reason.UNSUPPORTED])
def test_a_session_survives_the_refusal_of_an_operation(reason: Reason) -> None:
    assert not answer(Refused(reason, "no"), live=True).fatal


def test_words_of_our_own_have_their_own_code() -> None:
    spoken = Spoken(Reason.UPSTREAM_UNAVAILABLE, 1049, "42000", "no such database")
    assert answer(spoken)[:2] == (1049, "42000")
    assert spoken.code == "upstream-unavailable-1049"


def test_long_and_unprintable_words_are_cut_and_cleaned() -> None:
    told = answer(Refused(Reason.INTERNAL, "a\x00b\x1b" + "é" * MAX_TEXT)).text
    assert told.startswith("a b é")
    assert len(told.encode()) <= MAX_TEXT


def test_what_programs_read_fits_where_access_can_be_asked_for() -> None:
    refused = askable(Refused(Reason.NOT_GRANTED, *TEXTS[Reason.NOT_GRANTED][:1], reference="ref_" + "x" * 16))
    message = codec.parse_error(error_payload(refused)).message
    assert message.endswith(f"--reference {refused.reference} [{refused.marks}]")
