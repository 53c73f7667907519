"""``idbridge token`` and ``idbridge deny``."""

from __future__ import annotations

from pathlib import Path

import click

from bridge.cli import showing
from bridge.cli.calling import call, command
from bridge.cli.times import DURATION


@command("PGPASSWORD=$(idbridge token deploy-7) psql 'host=bridge user=agent dbname=app sslmode=verify-full'")
@click.argument("agent")
@click.option("--ttl", type=DURATION, default="15m", show_default=True, help="How long it is good, 15m at most.")
@click.option("--system", help="Good for this system only.")
def token(config: Path, as_json: bool, agent: str, ttl: int, system: str | None) -> None:
    """Print a short-lived token for AGENT from the built-in issuer, and nothing else."""
    answer = call(config, "token.issue", {"agent": agent, "ttl": ttl, "system": system})
    showing.as_json(answer) if as_json else click.echo(answer["token"])


@command("idbridge deny --issuer idbridge:prod-1 --token-id 3vQ… --reason leaked")
@click.option("--issuer", "iss", required=True, help="The token's iss claim, as the log has it.")
@click.option("--token-id", required=True, help="Its jti, or the digest that the log shows in its place.")
@click.option("--reason", help="Why; it stands in the log.")
def deny(config: Path, as_json: bool, iss: str, token_id: str, reason: str | None) -> None:
    """Refuse one token from now on and end the sessions that it opened."""
    answer = call(config, "token.deny", {"iss": iss, "token_id": token_id, "reason": reason})
    showing.as_json(answer) if as_json else click.echo(f"denied; {answer['sessions_ended']} live sessions ended")
