"""The README explains every option, and none that there is not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from adapters.ldap.codes import Oid
from adapters.ldap.options import Options

README = Path(__file__).parents[3] / "adapters" / "ldap" / "README.md"


def test_the_readme_explains_every_option() -> None:
    section = README.read_text().partition("## Options")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == set(Options.model_fields)


@pytest.mark.parametrize(
    "given",
    [
        {"controls": [Oid.PROXIED_AUTHORIZATION]},
        {"controls": ["paged"]},
        {"extensions": ["whoami"]},
        {"encryption": "none"},
        {"url": "http://x"},
        {"max_entries": -1},
        {"unknown": 1},
    ],
)
def test_what_no_option_may_be(given: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Options.model_validate(given)


def test_options_that_may_be() -> None:
    given = {
        "controls": [Oid.TREE_DELETE],
        "extensions": ["1.3.6.1.4.1.1466.101.119.1"],
        "url": "ldaps://b.example:636",
    }
    assert Options.model_validate(given).controls == (Oid.TREE_DELETE,)
