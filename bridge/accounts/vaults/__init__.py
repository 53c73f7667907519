"""Where secrets lie. One module a scheme; ``Vaults`` finds the right one for a reference."""

from bridge.accounts.vaults.environment import EnvironmentVault
from bridge.accounts.vaults.files import FileVault
from bridge.accounts.vaults.kv import KeyValueVault, KeyValueVaults, KVSettings, VaultLogin
from bridge.accounts.vaults.reference import RemoteVault, SecretReference, SecretUnavailable, Vault
from bridge.accounts.vaults.store import MAX_NAME, Store, StoreKeyRefused
from bridge.accounts.vaults.vaults import Vaults

__all__ = [
    "MAX_NAME",
    "EnvironmentVault",
    "FileVault",
    "KVSettings",
    "KeyValueVault",
    "KeyValueVaults",
    "RemoteVault",
    "SecretReference",
    "SecretUnavailable",
    "Store",
    "StoreKeyRefused",
    "Vault",
    "VaultLogin",
    "Vaults",
]
