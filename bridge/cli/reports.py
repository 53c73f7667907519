"""``idbridge report``: figures for auditors, as Markdown, CSV or JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from bridge.api.reports.columns import FRAMEWORK_COLUMNS, REVIEW_COLUMNS, UNUSED_COLUMNS
from bridge.cli import showing
from bridge.cli.calling import call, command
from bridge.cli.times import MOMENT, UNTIL

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--since", type=MOMENT, help="Beginning of the period; 90 days before its end when not given."),
    click.option("--until", type=UNTIL, help="End of the period; now when not given. A date alone includes its day."),
    click.option("--format", "format", type=click.Choice(["markdown", "csv"]), default="markdown", show_default=True),
    click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="A file; default stdout."),
)


def _reporting(function: F) -> F:
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


@click.group()
def report() -> None:
    """Reports for auditors: frameworks, the access review, unused grants. Making one is itself recorded."""


@command("idbridge report framework pci --since 2026-07-01 --until 2026-09-30 --format csv --output pci-q3.csv")
@click.argument("name", type=click.Choice(["soc2", "pci", "sox", "finra"]))
@_reporting
def framework(config: Path, as_json: bool, format: str, output: Path | None, **given: Any) -> None:
    """List each testable requirement of a framework with the figure that answers it, or "not covered".

    soc2: SOC 2 CC6 and CC7. pci: PCI DSS 4.0.1 requirements 7, 8.6 and 10. sox: IT general controls. finra: FINRA 4511
    and 3110, SEC 17a-4. A report counts; it never says that a requirement is met.
    """
    _give(call(config, "report.framework", given), FRAMEWORK_COLUMNS, as_json, format, output)


@command("idbridge report access --until 2026-09-30 --output review.md")
@_reporting
def access(config: Path, as_json: bool, format: str, output: Path | None, **given: Any) -> None:
    """List who has what at the end of the period, by which grants, and when it was last used in the period."""
    _give(call(config, "report.access", given), REVIEW_COLUMNS, as_json, format, output)


@command("idbridge report unused --since 2026-09-01")
@_reporting
def unused(config: Path, as_json: bool, format: str, output: Path | None, **given: Any) -> None:
    """List the allow grants of which something was not used in the period: all, some actions, or by some agents."""
    _give(call(config, "report.unused", given), UNUSED_COLUMNS, as_json, format, output)


def _give(answer: dict[str, Any], columns: Sequence[str], as_json: bool, format: str, output: Path | None) -> None:
    from bridge.cli import documents

    text = showing.json_text(answer) if as_json else documents.FORMATS[format](answer, columns)
    if note := documents.lacking(answer):
        click.echo(f"idbridge: {note}", err=True)
    if output is None:
        click.echo(text, nl=False)
    else:
        output.write_text(text, encoding="utf-8")


report.add_command(framework)
report.add_command(access)
report.add_command(unused)
