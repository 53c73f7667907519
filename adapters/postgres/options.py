"""The protocol options of a PostgreSQL system, under ``options:`` of its config entry. ``README.md`` explains each."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Options(BaseModel):
    """What may be set for one PostgreSQL system; the defaults are the safe choice."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    default_database: str | None = Field(
        default=None, min_length=1, max_length=63, description="Database of clients that name none."
    )
    replication: bool = Field(
        default=False, description="Let sessions whose grant allows `admin` open a replication connection."
    )
    protocol: Literal["3.0", "3.2"] = Field(
        default="3.0", description="Newest protocol to ask the legacy server for; 3.2 falls back to 3.0 once."
    )
    upstream_startup_options: bool = Field(
        default=True,
        description="Send settings in the startup packet; false: by set_config after login (pgbouncer in between).",
    )
    stamp_agent: bool = Field(
        default=False, description="Put the agent's id into application_name behind the session's stamp."
    )
    pass_upstream_errors: bool = Field(
        default=True,
        description="Tell the client the legacy server's own words when they concern what the client asked for.",
    )
