"""The protocol options of an SSH system, under ``options:`` of its config entry. ``README.md`` explains each."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Method = Literal["token", "certificate", "key"]
Level = Literal["modern", "compat", "legacy"]


class Options(BaseModel):
    """What may be set for one SSH system; the defaults are the safe choice."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # -- towards the agents

    methods: tuple[Method, ...] = Field(
        default=("token", "certificate", "key"),
        min_length=1,
        description="What agents prove themselves with: a token (as password or keyboard-interactive answer), an "
        "OpenSSH user certificate, a key (beside a token).",
    )
    public_key_alone: bool = Field(
        default=False, description="A registered public key is enough; false: it only comes before a token."
    )
    banner: str = Field(default="", max_length=2000, description="Shown to every client before its login.")
    host_key: tuple[str, ...] = Field(
        default=(),
        description="Private host key files (OpenSSH or PEM, no passphrase); none: an ed25519 key is made and kept.",
    )
    max_channels: int = Field(default=32, ge=1, le=1000, description="Open channels of one connection.")
    jump: bool = Field(default=True, description="Serve `ssh -J`: the inner connection is ended at the bridge.")
    jump_user: str = Field(
        default="jump", min_length=1, max_length=64, description="User name of the outer connection."
    )

    # -- towards the hosts

    level: Level = Field(
        default="modern",
        description="Algorithms towards the host: `modern`, `compat` (adds SHA-1) or `legacy` (adds group1, CBC, 3DES, "
        "DSS, MD5).",
    )
    known_hosts: str = Field(default="", description="File of the hosts' keys, as OpenSSH writes it.")
    fingerprints: tuple[str, ...] = Field(default=(), description="Host keys by fingerprint (`SHA256:…`).")
    host_ca: tuple[str, ...] = Field(
        default=(), description="Public keys of authorities that sign host certificates, a line each."
    )
    handshakes: int = Field(
        default=8, ge=1, le=100, description="Logins to one host at a time, below its sshd's MaxStartups."
    )

    keepalive: int = Field(
        default=60, ge=0, le=3600,
        description="Seconds of silence after which the host, or the agent, is asked whether it is there; 0: never.",
    )  # fmt: skip
    keepalive_unanswered: int = Field(
        default=3, ge=1, le=100, description="So many unanswered keepalives, and one more interval, end the session."
    )

    # -- what an agent may do

    environment: tuple[str, ...] = Field(
        default=(), description="Variables that are passed on beside LANG and LC_*; `*` at the end matches the rest."
    )
    read_commands: tuple[str, ...] = Field(
        default=("true", "id", "whoami", "hostname", "uptime", "pwd"),
        description="Commands that count as reading, whole lines, `*` matches anything; all others count as writing.",
    )
    exec_only: bool = Field(default=False, description="Commands and file transfers only, no interactive shell.")
    forwarding: bool = Field(
        default=False,
        description="TCP forwarding, where a grant that names `forward` (or narrows by nothing) allows it.",
    )
    recording: Literal["off", "best-effort", "required"] = Field(
        default="best-effort", description="Record what terminals show; `required` ends the session when it fails."
    )
