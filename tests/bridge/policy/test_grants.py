"""What a grant may say, and when its hours are."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from bridge.policy import Effect, Grant, Hours, SystemPolicy


def at(text: str, zone: str = "UTC") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"systems": {"s"}, "account": "a"}, "allows nobody in particular"),
        ({"agents": {"x"}, "account": "a"}, "names neither systems nor labels"),
        ({"agents": {"x"}, "systems": {"s"}}, "names the account"),
        ({"agents": {"x"}, "systems": {"s"}, "account": "a", "actions": frozenset()}, "names no action"),
        ({"effect": Effect.DENY, "default": True}, "cannot make an account the default"),
        ({"effect": Effect.DENY, "sources": ("10.0.0.1/8",)}, "has host bits set"),
    ],
)
def test_a_grant_that_says_too_little_or_nonsense_is_refused(fields, complaint):
    with pytest.raises(ValueError, match=complaint):
        Grant(id="g", **fields)


def test_hours_follow_the_zone_through_a_change_of_clocks():
    window = Hours.parse(["mon"], "08:00", "18:00", "Europe/Berlin")
    assert not window.contains(at("2026-03-23T06:59", "UTC"))  # winter time: UTC+1
    assert window.contains(at("2026-03-23T07:00", "UTC"))
    assert window.contains(at("2026-03-30T06:00", "UTC"))  # summer time: UTC+2
    assert not window.contains(at("2026-03-30T16:00", "UTC"))


def test_hours_past_midnight_belong_to_the_day_they_began_on():
    window = Hours.parse(["fri"], "22:00", "02:00")
    assert window.contains(at("2026-11-27T23:00"))  # Friday
    assert window.contains(at("2026-11-28T01:59"))
    assert not window.contains(at("2026-11-28T02:00"))
    assert not window.contains(at("2026-11-27T01:00"))


def test_the_whole_day_is_from_midnight_to_twenty_four():
    window = Hours.parse([], "00:00", "24:00")
    assert all(window.contains(at(f"2026-11-25T{hour:02}:59")) for hour in range(24))


@pytest.mark.parametrize(
    "wrong",
    [
        (["someday"], "08:00", "09:00", "UTC"),
        ([], "8", "09:00", "UTC"),
        ([], "08:00", "24:01", "UTC"),
        ([], "08:00", "09:00", "Mars/Base"),
    ],
)
def test_hours_that_make_no_sense_say_which_part(wrong):
    with pytest.raises(ValueError, match=r"unknown day|not a time of day|unknown time zone"):
        Hours.parse(*wrong)


def test_a_deny_grant_that_names_no_system_speaks_about_all_and_labels_select_environments():
    system = SystemPolicy("orders", ("ro",), frozenset({"pii"}), environment="prod")
    assert Grant(id="d", effect=Effect.DENY).selects(system)
    assert Grant(id="d", effect=Effect.DENY, labels=frozenset({"environment:prod"})).selects(system)
    assert not Grant(id="d", effect=Effect.DENY, labels=frozenset({"environment:dev"})).selects(system)
