"""The README of the adapter says all that it should."""

from pathlib import Path

import adapters.postgres
from adapters.postgres.options import Options
from adapters.postgres.refusals import RULES
from adapters.postgres.startup import FORBIDDEN_SETTINGS

README = (Path(adapters.postgres.__file__).parent / "README.md").read_text()


def test_every_option_is_documented_with_its_default() -> None:
    for name, field in Options.model_fields.items():
        row = next((line for line in README.splitlines() if line.startswith(f"| `{name}` ")), "")
        assert row, f"{name} is not documented"
        default = {None: "none", True: "`true`", False: "`false`"}.get(field.default, f'`"{field.default}"`')
        assert row.split("|")[2].strip() == default


def test_every_option_is_described_in_the_schema() -> None:
    assert all(field.description for field in Options.model_fields.values())


def test_every_sqlstate_is_documented() -> None:
    for rule in RULES.values():
        for sqlstate in (rule.login, rule.live):
            assert sqlstate in README


def test_every_forbidden_setting_is_documented() -> None:
    for name in FORBIDDEN_SETTINGS - {"is_superuser"}:
        assert f"`{name}`" in README
