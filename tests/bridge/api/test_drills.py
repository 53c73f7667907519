"""Who came through a drill, from what the log has."""

from __future__ import annotations

import pytest

from bridge.api.commands.drills import verdict


@pytest.mark.parametrize(
    ("story", "expected"),
    [
        ("", "not seen"),
        ("a", "not challenged"),
        ("aa", "not challenged"),
        ("ab", "refreshed"),
        ("a!", "failed"),
        ("!", "failed"),
        ("a!b", "refreshed"),
        ("a!b!", "failed"),
        ("a!!!", "failed"),
    ],
)
def test_a_story_of_tokens_and_ends(story: str, expected: str) -> None:
    """A letter is a session with that token, ``!`` the end of one."""
    assert verdict([("expired", "t", "") if one == "!" else ("open", "t", one) for one in story]) == expected
