"""Where secrets lie. One module a scheme; ``Vaults`` finds the right one for a reference."""

from bridge.accounts.vaults.environment import EnvironmentVault
from bridge.accounts.vaults.files import FileVault
from bridge.accounts.vaults.reference import SecretReference, SecretUnavailable, Vault
from bridge.accounts.vaults.store import Store, StoreKeyRefused
from bridge.accounts.vaults.vaults import Vaults

__all__ = [
    "EnvironmentVault",
    "FileVault",
    "SecretReference",
    "SecretUnavailable",
    "Store",
    "StoreKeyRefused",
    "Vault",
    "Vaults",
]
