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
        ("aA", "failed"),
        ("aAa", "not challenged"),
        ("A", "failed"),
        ("Ab", "refreshed"),
        ("aAb", "refreshed"),
        ("abA", "refreshed"),
        ("bA", "refreshed"),
        ("aAbB", "refreshed"),
        ("aAb!", "failed"),
        ("aA!b", "refreshed"),
        ("aA!!!", "failed"),
        ("!", "failed"),
    ],
)
def test_a_story_of_tokens_and_ends(story: str, expected: str) -> None:
    """A small letter is a session with that token, a capital one the end of that, ``!`` a refusal of ``a``."""

    def happened(one: str) -> tuple[str, str, str]:
        what = "refused" if one == "!" else "expired" if one.isupper() else "open"
        return what, "t", "a" if one == "!" else one.lower()

    assert verdict([happened(one) for one in story]) == expected
