"""FORMAT.md is complete, and a body that was written once must decode for ever."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import bridge.translation
from bridge.adapter import Reason
from bridge.translation import Event
from bridge.translation.canonical import canonical
from bridge.translation.describe import describe
from bridge.translation.record import SECTIONS
from bridge.translation.vocabulary import OUTCOMES, PHASES, REASONS, TYPES

FORMAT = (Path(bridge.translation.__file__).parent / "FORMAT.md").read_text()
SAMPLES = (Path(__file__).parent / "samples_v1.jsonl").read_text().splitlines()


@pytest.mark.parametrize("code", [*TYPES, *PHASES, *filter(None, OUTCOMES), *REASONS])
def test_every_code_has_its_line(code: str) -> None:
    assert f"| `{code}` |" in FORMAT


@pytest.mark.parametrize("section", sorted(SECTIONS))
def test_every_section_is_explained(section: str) -> None:
    assert f"`{section}." in FORMAT


@pytest.mark.parametrize("line", SAMPLES)
def test_old_samples_still_decode_and_all_their_fields_are_documented(line: str) -> None:
    fields = json.loads(line)
    assert canonical(fields) == line
    for name, value in fields.items():
        if isinstance(value, dict) and name not in ("detail", "change"):
            assert [key for key in value if f"`{name}.{key}`" not in FORMAT and f"`{key}`" not in FORMAT] == []
        elif not isinstance(value, dict):
            assert f"| `{name}` |" in FORMAT


def test_an_event_reads_as_a_sentence() -> None:
    sentences = [describe(json.loads(line)) for line in SAMPLES]
    assert sentences == [
        "Deploy 7 (owner payments) was let in to warehouse as svc_reader",
        "Deploy 7 (owner payments), for alice, ran a SELECT of ledger on warehouse as svc_reader: 120 rows",
        "Somebody from 10.1.2.3:5 was refused at warehouse: credential-invalid",
        "ops-1 changed the agent registry (agent deploy-7)",
        "The session of Deploy 7 (owner payments) on warehouse as svc_reader ended (unknown): bridge-stopped",
    ]


def test_every_type_has_a_sentence() -> None:
    assert all("  " not in describe({"type": type, "outcome": "success", "reason": "ok"}) for type in TYPES)


@pytest.mark.parametrize("reason", [reason.value for reason in Reason])
def test_reasons_of_refusals_are_reasons_of_the_log(reason: str) -> None:
    assert Event("session.refused", outcome="denied", reason=reason).reason == reason


@pytest.mark.parametrize(
    "codes",
    [("no.type",), ("alarm", "later"), ("alarm", "complete", "maybe"), ("alarm", "intent", "success"),
     ("alarm", "complete", "failure", "Not A Code")],
)  # fmt: skip
def test_an_unknown_code_is_refused(codes: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"unknown|reason"):
        Event(*codes)
