"""The README of the adapter says all that it should."""

from pathlib import Path

import adapters.mysql
from adapters.mysql.options import Options
from adapters.mysql.refusals import RULES
from adapters.mysql.upstream import CLIENT_WORDS, POOL_WORDS

README = (Path(adapters.mysql.__file__).parent / "README.md").read_text()


def test_every_option_is_documented_with_its_default() -> None:
    for name, field in Options.model_fields.items():
        row = next((line for line in README.splitlines() if line.startswith(f"| `{name}` ")), "")
        assert row, f"{name} is not documented"
        default = {None: "none", True: "`true`", False: "`false`"}.get(field.default, f'`"{field.default}"`')
        assert row.split("|")[2].strip() == default


def test_every_option_is_described_in_the_schema() -> None:
    assert all(field.description for field in Options.model_fields.values())


def test_every_error_is_documented_with_its_sqlstate() -> None:
    for rule in RULES.values():
        assert f"| {rule.code} | {rule.sqlstate} |" in README
    for code in (1040, 1049, 1053):
        assert code in {*CLIENT_WORDS, *POOL_WORDS}
        assert f"| {code} |" in README
