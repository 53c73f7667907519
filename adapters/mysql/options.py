"""The protocol options of a MySQL or MariaDB system, under ``options:`` of its config entry. ``README.md`` explains
each."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Options(BaseModel):
    """What may be set for one MySQL or MariaDB system; the defaults are the safe choice."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    family: Literal["mysql", "mariadb"] = Field(
        default="mysql", description="What to tell clients until the first login upstream has shown what it is."
    )
    server_version: str | None = Field(
        default=None,
        min_length=1,
        max_length=60,
        pattern=r"^[ -~]+$",
        description="Version to tell clients in place of the legacy server's own.",
    )
    default_database: str | None = Field(
        default=None, min_length=1, max_length=64, description="Database of clients that name none."
    )
    multi_statements: bool = Field(
        default=False, description="Let clients send several statements in one command; each is checked."
    )
    local_infile: bool = Field(
        default=False, description="Let the legacy server ask clients for files (LOAD DATA LOCAL INFILE)."
    )
    ask_public_key: bool = Field(
        default=False,
        description="Take the RSA key that an unencrypted, distant legacy server sends; open to active attack.",
    )
    stamp_agent: bool = Field(default=False, description="Put the agent's id into the connection attributes too.")
    pass_upstream_errors: bool = Field(
        default=True,
        description="Tell the client the legacy server's own words when they concern what the client asked for.",
    )
