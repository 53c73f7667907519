"""Regular expressions that Debian 12's own Python (3.11.2) would match wrongly, and so let a secret into the log."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
POSSESSIVE_GROUP = re.compile(r"(?<!\\)\)[*+?]\+")  # gh-106052: wrong before 3.11.5; (?>…) is right everywhere


@pytest.mark.parametrize(
    "source", sorted([*ROOT.glob("bridge/**/*.py"), *ROOT.glob("adapters/**/*.py")]), ids=lambda path: path.name
)
def test_no_possessive_group(source: Path) -> None:
    lines = source.read_text().splitlines()
    code = [line.split("#")[0] for line in lines if not line.lstrip().startswith("#")]
    assert [line for line in code if re.search(r"""r[bf]?["']""", line) and POSSESSIVE_GROUP.search(line)] == []
