"""Who may come: ``issuers``, ``owners``, ``agents``, ``roles``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from bridge.config.sections import LONGEST_LEEWAY, LONGEST_LIFETIME, Section, inherited
from bridge.config.values import (
    Duration,
    FileName,
    Flag,
    Frozen,
    Host,
    HttpsURL,
    Many,
    Moment,
    Name,
    Note,
    PublicKey,
    Some,
    Text,
    bounded,
)

Profile = Literal["builtin", "at+jwt", "oidc", "k8s-sa", "github", "gitlab", "jwt-svid", "ssh-certificate"]
Algorithm = Literal["ES256", "ES384", "EdDSA", "PS256", "RS256"]
ALGORITHMS: tuple[Algorithm, ...] = ("ES256", "ES384", "EdDSA", "PS256", "RS256")  # no HMAC, no "none": RFC 8725bis


class Keys(Section):
    """Where the issuer's public keys come from: exactly one of the first three, or ``ssh_file`` for SSH certificates.

    ``origins`` are further origins (``https://host``) at which a discovered key set may lie.
    """

    discovery: Flag = False
    jwks_url: HttpsURL | None = None
    jwks_file: FileName | None = None
    ssh_file: FileName | None = None
    origins: Many[HttpsURL] = ()


class Issuer(Section):
    """``issuer`` is compared as text with the token's ``iss``. ``max_lifetime`` and ``leeway``: see ``credentials``.

    ``audiences`` are accepted besides the bridge's own; ``trust_domain`` belongs to profile ``jwt-svid``, and
    ``revoked`` to ``ssh-certificate``.
    """

    profile: Profile
    issuer: Text | None = None
    keys: Keys | None = None
    algorithms: Some[Algorithm] = ALGORITHMS
    audiences: Many[Text] = ()
    multiple_audiences: Flag = False
    trust_domain: Host | None = None
    max_lifetime: Annotated[Duration, bounded("10s", LONGEST_LIFETIME)] = inherited(900.0)
    lifetime: Literal["reject", "clamp"] = "reject"
    leeway: Annotated[Duration, bounded("0s", LONGEST_LEEWAY)] = inherited(30.0)
    legacy_jwt: Flag = False
    ca: FileName | None = None
    revoked: FileName | None = None


class Owner(Section):
    """Who answers for an agent: a team, a person, or the people behind a shared service."""

    kind: Literal["team", "person", "shared-service"]
    contact: Text
    on_call: Note = ""


class Binding(Section):
    """An identity at ``issuer``: every claim must be equal, as text, for a token to be this agent's."""

    issuer: Name
    claims: Annotated[Frozen[Text], Field(min_length=1)]


class Agent(Section):
    """An agent declared in the file instead of the registry. ``public_keys``: Ed25519 keys it signs its tokens with."""

    name: Note = inherited("")
    owner: Name
    purpose: Text
    roles: Many[Name] = ()
    environment: Note = ""
    cost_centre: Note = ""
    data_classes: Many[Text] = ()
    expires: Moment
    bindings: tuple[Binding, ...] = ()
    public_keys: Many[PublicKey] = ()


class Role(Section):
    description: Note = ""
