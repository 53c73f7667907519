"""Secrets in the daemon's environment, as containers and systemd give them."""

from __future__ import annotations

import os
from collections.abc import Mapping

from bridge.accounts.vaults.reference import SecretUnavailable
from bridge.adapter import Secret


class EnvironmentVault:
    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._environment = environment

    def in_thread_read(self, path: str) -> Secret:
        value = self._environment.get(path)
        if not value:
            raise SecretUnavailable(f"env:{path}: the variable is not set in the bridge's environment")
        return Secret(os.fsencode(value))
