"""The JWT verifier: envelope, issuer, key, signature, profile, claims, delegation, in this order.

Order matters: whatever comes before the signature reads only configuration and memory, and the first rule that fails
ends it. What is cached is that one signature is good; times, audience, issuer keys and everything the caller asks
afterwards (deny list, registry, policy) are looked at anew for each login.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from bridge.identity.claims import check_audience, check_times, confirmed_key, flatten
from bridge.identity.delegation import IsAgent, normalise
from bridge.identity.envelope import Envelope, open_envelope
from bridge.identity.jwk import BadKeySet, KeySet, VerificationKey, canonical, ed25519_key
from bridge.identity.key_sets import FixedKeys, KeySource, KeysUnavailable
from bridge.identity.profiles import check_profile
from bridge.identity.settings import AGENT_ISSUER_PREFIX, IssuerSettings, KeyLocation
from bridge.identity.text import is_agent_id, is_clean, trust_domain_of
from bridge.identity.verifier import CredentialRejected, Delegation, VerifiedCredential

__all__ = ["AgentKeys", "IssuerSettings", "JWTVerifier", "KeyLocation"]

AgentKeys = Callable[[str], tuple[str, ...]]
"""agent id → its registered Ed25519 keys (raw, base64url); empty when there is no such agent."""

MAX_CACHED = 1024  # about 4 KiB each
MAX_AGENT_KEYS = 8


@dataclass(frozen=True, slots=True)
class _Genuine:
    """A token whose signature was good under ``key``."""

    envelope: Envelope
    settings: IssuerSettings
    key: VerificationKey


class JWTVerifier:
    """Implements ``Verifier`` for all issuer records; make a new one when the configuration changes.

    ``key_sources`` by issuer record name (none for profile ``agent-key``). Raises ValueError when records clash.
    """

    def __init__(
        self,
        issuers: Iterable[IssuerSettings],
        key_sources: Mapping[str, KeySource],
        *,
        bridge_audience: str,
        is_agent: IsAgent,
        agent_keys: AgentKeys = lambda agent: (),
    ) -> None:
        self._by_iss: dict[str, IssuerSettings] = {}
        self._by_trust_domain: dict[str, IssuerSettings] = {}
        self._agent_issuer: IssuerSettings | None = None
        self._sources = dict(key_sources)
        self._bridge_audience = bridge_audience
        self._is_agent = is_agent
        self._agent_keys = agent_keys
        self._genuine: OrderedDict[bytes, _Genuine] = OrderedDict()
        self._max_bytes = 0
        for settings in issuers:
            self._add(settings)

    def _add(self, settings: IssuerSettings) -> None:
        self._max_bytes = max(self._max_bytes, settings.max_token_bytes)
        if settings.profile == "agent-key":
            if self._agent_issuer is not None:
                raise ValueError("two issuer records of profile agent-key")
            self._agent_issuer = settings
            return
        if settings.name not in self._sources:
            raise ValueError(f"issuer {settings.name} has no source of keys")
        names = [(self._by_iss, settings.iss), (self._by_trust_domain, settings.trust_domain)]
        for records, name in names:
            if name and records.setdefault(name, settings) is not settings:
                raise ValueError(f"issuer {settings.name} claims the iss or trust domain of {records[name].name}")

    async def verify(self, token: bytes, *, audiences: frozenset[str], now: float) -> VerifiedCredential:
        """As in ``Verifier``. Returns at once unless the key is unknown, then after 3 s at most."""
        if len(token) > self._max_bytes:
            raise CredentialRejected("jwt-size", f"the token is longer than {self._max_bytes} bytes")
        name = hashlib.sha256(token).digest()
        genuine = self._genuine.get(name)
        if genuine is not None and await self._key(genuine.envelope, genuine.settings) == genuine.key:
            self._genuine.move_to_end(name)
            return self._accept(genuine, audiences, now)
        genuine = await self._check_signature(open_envelope(token, max_bytes=self._max_bytes))
        credential = self._accept(genuine, audiences, now)
        self._remember(name, genuine)
        return credential

    def forget(self) -> None:
        """Drops the cache. Not needed for safety: a key that is gone takes its tokens with it at once."""
        self._genuine.clear()

    def _remember(self, name: bytes, genuine: _Genuine) -> None:
        self._genuine[name] = genuine
        if len(self._genuine) > MAX_CACHED:
            self._genuine.popitem(last=False)

    async def _check_signature(self, envelope: Envelope) -> _Genuine:
        settings = self._issuer_of(envelope)
        if envelope.size > settings.max_token_bytes:
            raise CredentialRejected("jwt-size", f"the token is longer than {settings.max_token_bytes} bytes")
        if not settings.allows(envelope.alg):
            raise CredentialRejected("alg", f"not an algorithm that issuer {settings.name} may use")
        key = await self._key(envelope, settings)
        if not key.verifies(envelope.signing_input, envelope.signature):
            raise CredentialRejected("signature", "the signature does not match")
        return _Genuine(envelope, settings, key)

    def _issuer_of(self, envelope: Envelope) -> IssuerSettings:
        """By exact equality of the claim that is not authentic yet: it selects a record and nothing more."""
        iss = envelope.claims.get("iss")
        if iss is None:
            settings = self._by_trust_domain.get(trust_domain_of(envelope.claims.get("sub")) or "")
        elif not is_clean(iss):
            raise CredentialRejected("iss", "not a short string")
        elif iss.startswith(AGENT_ISSUER_PREFIX):
            settings = self._agent_issuer if is_agent_id(iss.removeprefix(AGENT_ISSUER_PREFIX)) else None
        else:
            settings = self._by_iss.get(iss)
        if settings is None:
            raise CredentialRejected("issuer-unknown", "no issuer record has this iss")
        return settings

    async def _key(self, envelope: Envelope, settings: IssuerSettings) -> VerificationKey:
        source = self._source(envelope, settings)
        found = _choose(source, envelope) if source.ready() else None
        if found is None:
            await source.look_again(envelope.kid)
            found = _choose(source, envelope)
        if found is None:
            raise CredentialRejected("kid-unknown", f"issuer {settings.name} has no such key, or several and no kid")
        if found.alg != canonical(envelope.alg):
            raise CredentialRejected("alg", "not the algorithm of the key that kid names")
        return found

    def _source(self, envelope: Envelope, settings: IssuerSettings) -> KeySource:
        if settings.profile != "agent-key":
            return self._sources[settings.name]
        keys = self._agent_keys(str(envelope.claims["iss"]).removeprefix(AGENT_ISSUER_PREFIX))
        if not keys:
            raise CredentialRejected("issuer-unknown", "no such agent, or it has no key of its own")
        try:
            return FixedKeys(KeySet(frozenset(ed25519_key(key) for key in keys[:MAX_AGENT_KEYS])))
        except BadKeySet:
            raise CredentialRejected("keys-unavailable", "a registered key of the agent is damaged") from None

    def _accept(self, genuine: _Genuine, audiences: frozenset[str], now: float) -> VerifiedCredential:
        """Everything that is true of a genuine token only now and only here."""
        envelope, settings = genuine.envelope, genuine.settings
        claims = envelope.claims
        profile = check_profile(envelope, settings)
        audience = check_audience(claims, settings, self._accepted(settings, audiences))
        expires_at = check_times(claims, settings, now, iat_required=profile.iat)
        iss = str(claims.get("iss", f"spiffe://{settings.trust_domain}"))
        flat = flatten(claims)
        subject, delegation = str(claims["sub"]), Delegation()
        if profile.delegable:
            subject, flat, delegation = normalise(claims, flat, iss=iss, issuer=settings.name, is_agent=self._is_agent)
        jti, confirmation = str(claims.get("jti", "")), confirmed_key(claims)
        return VerifiedCredential(
            issuer=settings.name,
            profile=settings.profile,
            iss=iss,
            subject=subject,
            claims=flat,
            jti=jti,
            token_id=jti or envelope.digest,
            digest=envelope.digest,
            kid=genuine.key.kid,
            alg=envelope.alg,
            audience=audience,
            issued_at=claims.get("iat"),
            expires_at=expires_at,
            binding="jkt" if confirmation else "none",
            confirmation=confirmation,
            delegation=delegation,
        )

    def _accepted(self, settings: IssuerSettings, audiences: frozenset[str]) -> frozenset[str]:
        bridge_wide = frozenset({self._bridge_audience})
        accepted = (audiences - bridge_wide) | settings.audiences
        return accepted | bridge_wide if settings.accept_bridge_audience else accepted


def _choose(source: KeySource, envelope: Envelope) -> VerificationKey | None:
    """The one key that ``kid`` names; without ``kid`` the only one of the algorithm; None when there is not one.

    Two keys of one name and different algorithms are told apart by the header's; a sender gains nothing by it.
    """
    try:
        keys = source.keys()
    except KeysUnavailable as problem:
        raise CredentialRejected("keys-unavailable", str(problem)) from None
    alg = canonical(envelope.alg)
    found = keys.named(envelope.kid) if "kid" in envelope.header else keys.for_algorithm(alg)
    if len(found) > 1:
        found = [key for key in found if key.alg == alg]
    return found[0] if len(found) == 1 else None
