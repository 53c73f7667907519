"""The vaults of a configuration, ready to be asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bridge.accounts.vaults import (
    KeyValueVault,
    KeyValueVaults,
    KVSettings,
    RemoteVault,
    SecretReference,
    VaultLogin,
    Vaults,
)
from bridge.accounts.vaults.vaults import READ_TIMEOUT
from bridge.adapter import BridgeError
from bridge.config import Config, Vault
from bridge.https import https_agent


class VaultMisconfigured(BridgeError):
    """A vault's CA file cannot be used. The message names the vault and the file."""


def remote_vaults(config: Config, reactor: Any, vaults: Vaults) -> Mapping[str, RemoteVault]:
    """By scheme, for ``Vaults.remote``; ``vaults`` reads what they log in with. Raises VaultMisconfigured."""
    kv = {name: _key_value(name, one, reactor, vaults) for name, one in config.vaults.items()}
    return {"vault": KeyValueVaults(kv)}


def _key_value(name: str, vault: Vault, reactor: Any, vaults: Vaults) -> KeyValueVault:
    try:
        agent = https_agent(reactor, vault.ca.read_bytes() if vault.ca is not None else None)
    except (OSError, ValueError) as error:
        raise VaultMisconfigured(f"vault {name}: {error}") from None
    settings = KVSettings(vault.address.rstrip("/"), _login(vault), vault.mount, vault.namespace, vault.cache)
    return KeyValueVault(name, settings, agent, reactor, vaults.read, READ_TIMEOUT)


def _login(vault: Vault) -> VaultLogin:
    auth = vault.auth
    credential = auth.token or auth.secret_id
    reference = SecretReference.parse(credential) if credential else None
    return VaultLogin(auth.method, auth.mount or "", auth.role_id or auth.role or "", reference, auth.jwt_file)
