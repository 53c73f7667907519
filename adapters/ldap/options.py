"""The protocol options of an LDAP system, under ``options:`` of its config entry. ``README.md`` explains each."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from adapters.ldap.controls import ON_REQUEST

_OID = re.compile(r"\d+(\.\d+)+")


def _oid(value: str) -> str:
    if not _OID.fullmatch(value):
        raise ValueError("expected an object identifier such as 1.3.6.1.4.1.4203.1.11.3")
    return value


def _control(value: str) -> str:
    if value not in ON_REQUEST:
        raise ValueError(f"expected one of {', '.join(sorted(ON_REQUEST))}")
    return value


class Options(BaseModel):
    """What may be set for one LDAP system; the defaults are the safe choice."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    encryption: Literal["ldaps", "starttls"] = Field(
        default="ldaps", description="How to encrypt towards the directory: TLS from the first byte, or StartTLS."
    )
    certificate_alone: bool = Field(
        default=False, description="An anonymous Bind with a TLS client certificate is a login by that certificate."
    )
    bind_names: tuple[str, ...] = Field(
        default=(), description="Names that a Bind may carry beside the agent's own and the static account's."
    )
    stamp: bool = Field(
        default=True, description="Put the session into the directory's log (session tracking control)."
    )
    stamp_agent: bool = Field(
        default=True, description="Put the agent's id there too; else the session's stands twice."
    )
    max_entries: int = Field(
        default=0, ge=0, le=2**31 - 1, description="Most entries of one search, all its pages together; 0: no limit."
    )
    max_seconds: int = Field(
        default=0, ge=0, le=86400, description="Longest time of one search in the directory; 0: no limit."
    )
    answer_timeout: int = Field(
        default=300, ge=0, le=86400, description="Seconds that the directory may leave an operation without a word."
    )
    max_outstanding: int = Field(
        default=256, ge=1, le=100_000, description="Operations that one session may have under way."
    )
    max_stalled: int = Field(
        default=4, ge=1, le=100_000, description="Agents that may leave results unread while others want something."
    )
    expired_grace: int = Field(
        default=60, ge=0, le=3600, description="Seconds to bind anew on the same connection after an expiry; 0: none."
    )
    secrets: tuple[str, ...] = Field(
        default=(), description="Attributes with secrets (userPassword …) that grants may open; else nobody sees them."
    )
    controls: tuple[Annotated[str, AfterValidator(_control)], ...] = Field(
        default=(), description="Controls to serve beside the usual ones, by OID."
    )
    extensions: tuple[Annotated[str, AfterValidator(_oid)], ...] = Field(
        default=(), description="Extended operations to relay beside the usual ones, by OID; each counts as admin."
    )
    special_names: bool = Field(
        default=False, description="Take Active Directory's <GUID=…>, <SID=…> and <WKGUID=…> as names of entries."
    )
    url: str = Field(
        default="", pattern=r"^(ldaps?://[^/\s]+)?$", description="Where agents reach this door, for referrals."
    )
    managed_hosts: tuple[str, ...] = Field(
        default=(), description="Legacy hosts that this door leads to; referrals to them are rewritten to its URL."
    )
    pass_references: bool = Field(
        default=False, description="Pass search references to managed hosts on, rewritten; else they are left out."
    )
    stats_log: str = Field(
        default="", description="OpenLDAP's stats log, for reconcile where the account may not read cn=Monitor."
    )
    keep_hosts: bool = Field(default=False, description="Show the directory's own host names in the rootDSE.")
