"""The issuers' key sources, and the verifier over them. Sources survive a reload that does not touch their issuer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from twisted.logger import Logger

from bridge.adapter import BridgeError
from bridge.config import Config, Issuer
from bridge.daemon import conversion
from bridge.https import https_agent
from bridge.identity.agents import Directory
from bridge.identity.certificates import CertificateSettings, verify_certificate
from bridge.identity.issuer import BuiltinIssuer
from bridge.identity.jwk import BadKeySet
from bridge.identity.jwt import IssuerSettings, JWTVerifier
from bridge.identity.key_sets import FixedKeys, KeySetChange, KeySource, fixed_keys, remote_keys
from bridge.identity.ssh import PROFILE as SSH_PROFILE
from bridge.identity.ssh import Revoked, SSHAuthority, SSHIdentities, authority_keys
from bridge.identity.verifier import VerifiedCredential
from bridge.translation import facts
from bridge.translation.record import Event
from bridge.translation.vocabulary import KEY_CHANGE

Sources = dict[str, tuple[IssuerSettings, KeySource]]

CERTIFICATE_ISSUER = "certificate"


class KeysMisconfigured(BridgeError):
    """An issuer's key or CA file cannot be used. The message names the issuer and the file."""


class Issuers:
    """``changed`` takes the event of each change of an issuer's keys."""

    log = Logger()

    def __init__(self, reactor: Any, changed: Callable[[Event], None]) -> None:
        self._reactor = reactor
        self._changed = changed
        self._sources: Sources = {}

    def prepare(
        self, config: Config, builtin: BuiltinIssuer, directory: Callable[[], Directory]
    ) -> tuple[JWTVerifier, Sources]:
        """The verifier for a configuration, and its sources for ``take``; nothing changes before that.

        Raises KeysMisconfigured, ValueError.
        """
        records = conversion.issuers(config, builtin)
        held = {one.name: (one, self._source(one, builtin)) for one in records if one.profile != "agent-key"}
        sources = {name: source for name, (_, source) in held.items()}

        def agent_keys(agent: str) -> tuple[str, ...]:
            found = directory().by_id(agent)
            return found.public_keys if found else ()

        verifier = JWTVerifier(
            records,
            sources,
            bridge_audience=conversion.bridge_audience(config),
            is_agent=lambda issuer, claims: directory().knows(issuer, claims),
            agent_keys=agent_keys,
        )
        return verifier, held

    def take(self, prepared: Sources) -> None:
        """From now on these sources serve; those that are not among them stop."""
        kept = {id(source) for _, source in prepared.values()}
        for _, source in self._sources.values():
            if id(source) not in kept:
                source.stop()
        self._sources = prepared

    def certificates(self, config: Config) -> Callable[[tuple[bytes, ...], float], VerifiedCredential]:
        """For client certificates, whose path the TLS layer has checked against ``tls.client_ca``."""
        trust_domains = [one.trust_domain for one in config.issuers.values() if one.trust_domain]
        settings = CertificateSettings(CERTIFICATE_ISSUER, trust_domains[0] if len(trust_domains) == 1 else "")
        return lambda chain, now: verify_certificate(chain, settings, now=now)

    def ssh(self, config: Config, directory: Callable[[], Directory]) -> SSHIdentities:
        """Raises KeysMisconfigured."""
        authorities = [_ssh_authority(name, one) for name, one in config.issuers.items() if one.profile == SSH_PROFILE]
        try:
            return SSHIdentities(authorities, lambda key: directory().by_key(key))
        except ValueError as error:
            raise KeysMisconfigured(str(error)) from None

    def _source(self, settings: IssuerSettings, builtin: BuiltinIssuer) -> KeySource:
        known = self._sources.get(settings.name)
        if known is not None and known[0] == settings and not settings.keys.jwks_file:
            return known[1]
        return self._new_source(settings, builtin)

    def _new_source(self, settings: IssuerSettings, builtin: BuiltinIssuer) -> KeySource:
        if settings.profile == "builtin":
            return FixedKeys(builtin.key_set())
        try:
            if settings.keys.jwks_file:
                return fixed_keys(settings, Path(settings.keys.jwks_file).read_bytes())
            authorities = Path(settings.keys.ca_file).read_bytes() if settings.keys.ca_file else None
            agent = https_agent(self._reactor, authorities)
        except (OSError, BadKeySet, ValueError) as error:
            raise KeysMisconfigured(f"issuer {settings.name}: {error}") from None
        return remote_keys(
            settings, agent, self._reactor, on_change=self._key_set_changed, on_failure=self._fetch_failed
        )

    def start(self) -> None:
        """Begins fetching; a source that runs already is left alone."""
        for _, source in self._sources.values():
            source.start()

    def stop(self) -> None:
        for _, source in self._sources.values():
            source.stop()

    def state(self) -> Mapping[str, dict[str, Any]]:
        """For ``status`` and /readyz: whether each issuer's keys are usable, and their age in seconds."""
        state = {}
        for name, (_, source) in self._sources.items():
            age = source.age()
            state[name] = {"ready": source.ready(), "age": int(age) if age is not None else None}
        return state

    def _key_set_changed(self, change: KeySetChange) -> None:
        detail = facts.detail_section(
            issuer=change.issuer, added=list(change.added), removed=list(change.removed), size=change.size
        )
        self._changed(Event(KEY_CHANGE, sections={"detail": detail}))

    def _fetch_failed(self, issuer: str, cause: str) -> None:
        self.log.warn("the keys of issuer {issuer} cannot be fetched: {cause}", issuer=issuer, cause=cause)


def _ssh_authority(name: str, issuer: Issuer) -> SSHAuthority:
    keys = issuer.keys.ssh_file if issuer.keys is not None else None
    try:
        if keys is None:
            raise ValueError("keys.ssh_file is missing")
        revoked = Revoked.parse(issuer.revoked.read_text()) if issuer.revoked is not None else Revoked()
        found = authority_keys(keys.read_text())
    except (OSError, ValueError) as error:
        raise KeysMisconfigured(f"issuer {name}: {error}") from None
    return SSHAuthority(name, found, int(issuer.max_lifetime), int(issuer.leeway), revoked)
