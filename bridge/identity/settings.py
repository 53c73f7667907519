"""What the configuration pins about one issuer. Everything a token could try to choose stands here instead."""

from __future__ import annotations

from dataclasses import dataclass, field

from bridge.identity.jwk import ALGORITHMS, canonical
from bridge.identity.text import is_trust_domain

PROFILES = frozenset({"at+jwt", "oidc", "k8s-sa", "github", "gitlab", "jwt-svid", "builtin", "agent-key"})
AGENT_ISSUER_PREFIX = "idbridge:agent:"  # + agent id: the `iss` of tokens that an agent signs with its own key

MAX_LEEWAY = 60
TOKEN_BYTES = 8192
MAX_TOKEN_BYTES = 16384  # what the smallest password field of the served protocols carries


@dataclass(frozen=True, slots=True)
class KeyLocation:
    """Where an issuer's keys come from: exactly one of the first four.

    ``discovery``: OpenID Connect discovery below ``iss``. ``origins`` are further origins (``https://host[:port]``) at
    which a discovered ``jwks_uri`` may lie. ``http_loopback`` allows plain http to this machine, for tests.
    """

    jwks_uri: str = ""
    discovery: bool = False
    jwks_file: str = ""
    jwks_inline: str = ""
    origins: tuple[str, ...] = ()
    ca_file: str = ""
    http_loopback: bool = False

    def __post_init__(self) -> None:
        if sum(map(bool, (self.jwks_uri, self.discovery, self.jwks_file, self.jwks_inline))) > 1:
            raise ValueError("name one source of keys: jwks_uri, discovery, jwks_file or jwks_inline")


@dataclass(frozen=True, slots=True)
class IssuerSettings:
    """One issuer record. ``lifetime`` is ``reject`` or ``clamp``; times are seconds.

    ``clamp`` takes tokens that live longer than ``max_lifetime``, but only while they are younger than it.
    ``audiences`` are accepted besides those of the system. ``legacy_jwt`` lets profile ``at+jwt`` take tokens without
    RFC 9068's ``typ``. ``trust_domain`` belongs to profile ``jwt-svid``, where ``iss`` may be empty.
    """

    name: str
    iss: str
    profile: str
    algorithms: tuple[str, ...] = ALGORITHMS
    audiences: frozenset[str] = frozenset()
    accept_bridge_audience: bool = False
    multiple_audiences: bool = False
    max_lifetime: int = 900
    lifetime: str = "reject"
    leeway: int = 30
    max_token_bytes: int = TOKEN_BYTES
    legacy_jwt: bool = False
    trust_domain: str = ""
    keys: KeyLocation = field(default_factory=KeyLocation)

    def __post_init__(self) -> None:
        if self.profile not in PROFILES:
            raise ValueError(f"profile is one of {', '.join(sorted(PROFILES))}")
        if self.lifetime not in ("reject", "clamp"):
            raise ValueError("lifetime is 'reject' or 'clamp'")
        if not 0 <= self.leeway <= MAX_LEEWAY:
            raise ValueError(f"leeway is 0 to {MAX_LEEWAY} seconds")
        if self.max_lifetime < 1 or not 1 <= self.max_token_bytes <= MAX_TOKEN_BYTES:
            raise ValueError(f"max_lifetime is at least 1, max_token_bytes 1 to {MAX_TOKEN_BYTES}")
        if not self.algorithms or not {canonical(alg) for alg in self.algorithms} <= set(ALGORITHMS):
            raise ValueError(f"algorithms are some of {', '.join(ALGORITHMS)}")
        if self.legacy_jwt and self.profile != "at+jwt":
            raise ValueError("legacy_jwt belongs to profile at+jwt")
        self._check_name()

    def _check_name(self) -> None:
        if self.profile == "jwt-svid":
            if not is_trust_domain(self.trust_domain):
                raise ValueError("profile jwt-svid needs a trust_domain in lower case")
        elif not self.iss and self.profile != "agent-key":
            raise ValueError("iss is required: the exact value of the claim")
        if self.profile != "agent-key" and self.iss.startswith(AGENT_ISSUER_PREFIX):
            raise ValueError(f"iss {AGENT_ISSUER_PREFIX}… belongs to the agents' own keys")
        if self.profile == "agent-key" and self.iss:
            raise ValueError("profile agent-key has no iss of its own")

    def allows(self, alg: str) -> bool:
        return canonical(alg) in {canonical(name) for name in self.algorithms}
