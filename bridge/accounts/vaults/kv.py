"""Secrets in a HashiCorp Vault or an OpenBao: its KV secrets engine, version 2.

Source: the pages "KV secrets engine - version 2", "AppRole auth method", "Kubernetes auth method" and "HTTP status
codes" of Vault's HTTP API. No answer's text goes into a message: only its status does.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from twisted.internet.defer import CancelledError, DeferredLock
from twisted.internet.interfaces import IReactorTime
from twisted.web.iweb import IAgent

from bridge.accounts.vaults.reference import SecretReference, SecretUnavailable
from bridge.adapter import Secret
from bridge.https import Document, Fetcher, FetchFailed

FIELD = "password"
"""What is read of a secret when the reference names no ``#field``."""

LEASE_USED = 0.8
"""The part of a login's lease after which the bridge logs in again: in time, so that no read meets an expired token."""

_STANDBY = "the node does not answer requests; give the address of the active node or of the load balancer"
_CAUSES = {
    301: _STANDBY,
    302: _STANDBY,
    307: _STANDBY,
    404: "no such secret, or its newest version is deleted",
    429: _STANDBY,
    472: _STANDBY,
    473: _STANDBY,
    503: "the vault is sealed or down for maintenance",
}


@dataclass(frozen=True, slots=True)
class VaultLogin:
    """How the bridge proves itself to the vault. ``mount``: where the auth method is mounted.

    ``role``: AppRole's role_id, or the name of the Kubernetes role. ``credential``: the token, or AppRole's secret_id.
    ``jwt_file``: the service account token that the kubelet keeps fresh.
    """

    method: Literal["token", "approle", "kubernetes"]
    mount: str = ""
    role: str = ""
    credential: SecretReference | None = None
    jwt_file: Path | None = None


@dataclass(frozen=True, slots=True)
class KVSettings:
    """``address`` without a closing slash. ``cache``: seconds for which a secret is served from memory."""

    address: str
    login: VaultLogin
    mount: str = "secret"
    namespace: str = ""
    cache: float = 0.0


@dataclass(frozen=True, slots=True)
class _Token:
    """``until``: on the clock; None for one that the configuration gave."""

    value: str
    until: float | None


class KeyValueVault:
    """One vault. ``local`` reads what the login needs; ``agent`` trusts the vault's authority."""

    def __init__(
        self,
        name: str,
        settings: KVSettings,
        agent: IAgent,
        clock: IReactorTime,
        local: Callable[[SecretReference], Awaitable[Secret]],
        timeout: float,
    ) -> None:
        self._name = name
        self._settings = settings
        self._clock = clock
        self._local = local
        self._fetcher = Fetcher(agent, clock, http_loopback=True, timeout=timeout)
        self._token: _Token | None = None
        self._cache: dict[str, tuple[float, Secret]] = {}
        self._one_by_one = DeferredLock()  # so that a crowd of sessions is one login and one read

    async def read(self, path: str) -> Secret:
        """``path``: ``TEAM/NAME`` or ``TEAM/NAME#FIELD``. Raises SecretUnavailable."""
        await self._one_by_one.acquire()
        try:
            return await self._read(path)
        except FetchFailed as failure:
            raise self._unavailable(path, str(failure)) from None
        except (SecretUnavailable, CancelledError):
            raise
        except Exception as failure:  # what a connection fails with: refused, reset, a certificate, a name
            raise self._unavailable(path, f"no connection to the vault ({type(failure).__name__})") from None
        finally:
            self._one_by_one.release()

    async def _read(self, path: str) -> Secret:
        until, held = self._cache.get(path, (0.0, None))
        if held is not None and self._clock.seconds() < until:
            return held
        name, _, field = path.partition("#")
        document = await self._get(name)
        if document.status == 403 and self._token is not None and self._token.until is not None:
            self._token = None  # revoked before its time
            document = await self._get(name)
        if document.status != 200:
            raise self._unavailable(path, self._cause(document.status, name))
        secret = self._field(path, document.body, field or FIELD)
        if self._settings.cache:
            self._cache[path] = (self._clock.seconds() + self._settings.cache, secret)
        return secret

    async def _get(self, name: str) -> Document:
        token = await self._current_token(name)
        address = f"{self._settings.address}/v1/{quote(self._settings.mount)}/data/{quote(name)}"
        return await self._fetcher.exchange("GET", address, self._headers() | {"X-Vault-Token": token})

    def _headers(self) -> dict[str, str]:
        namespace = {"X-Vault-Namespace": self._settings.namespace} if self._settings.namespace else {}
        return {"X-Vault-Request": "true"} | namespace

    async def _current_token(self, path: str) -> str:
        """Of method ``token`` the reference is read each time: whoever renews it just writes the file."""
        login = self._settings.login
        if login.method == "token":
            return (await self._credential()).decode("utf-8", "replace")
        if self._token is None or (self._token.until is not None and self._clock.seconds() >= self._token.until):
            self._token = await self._log_in(path)
        return self._token.value

    async def _credential(self) -> bytes:
        reference = self._settings.login.credential
        return (await self._local(reference)).reveal() if reference is not None else b""

    async def _log_in(self, path: str) -> _Token:
        login, started = self._settings.login, self._clock.seconds()
        if login.method == "approle":
            fields = {"role_id": login.role, "secret_id": (await self._credential()).decode("utf-8", "replace")}
        else:
            fields = {"role": login.role, "jwt": self._service_account_token(path)}
        address = f"{self._settings.address}/v1/auth/{quote(login.mount or login.method)}/login"
        headers = self._headers() | {"Content-Type": "application/json"}
        document = await self._fetcher.exchange("POST", address, headers, json.dumps(fields).encode())
        if document.status != 200:
            cause = _CAUSES.get(document.status, f"the vault refused the bridge's login (status {document.status})")
            raise self._unavailable(path, cause)
        match _parsed(document.body):
            case {"auth": {"client_token": str(token), "lease_duration": int(lease)}} if token and lease >= 0:
                return _Token(token, started + lease * LEASE_USED if lease else float("inf"))
        raise self._unavailable(path, "the vault's answer to the login is none that is known")

    def _service_account_token(self, path: str) -> str:
        file = self._settings.login.jwt_file
        try:
            return file.read_text().strip() if file is not None else ""
        except (OSError, ValueError):
            raise self._unavailable(path, f"the service account token {file} cannot be read") from None

    def _field(self, path: str, body: bytes, field: str) -> Secret:
        match _parsed(body):
            case {"data": {"data": Mapping() as values}}:
                value = values.get(field)
                if isinstance(value, str) and value:
                    return Secret(value)
                raise self._unavailable(path, f"the secret has no text in its field {field!r}")
        raise self._unavailable(path, "not a secret of the KV engine, version 2")

    def _cause(self, status: int, name: str) -> str:
        if status == 403:
            return f"not permitted: the bridge's policy needs read on {self._settings.mount}/data/{name}"
        return _CAUSES.get(status, f"the vault answered with status {status}")

    def _unavailable(self, path: str, cause: str) -> SecretUnavailable:
        return SecretUnavailable(f"vault:{self._name}/{path}: {cause}")


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:  # also of bytes that are no text
        return None


class KeyValueVaults:
    """The vaults of the configuration: ``NAME/PATH#FIELD``."""

    def __init__(self, by_name: Mapping[str, KeyValueVault]) -> None:
        self._by_name = dict(by_name)

    async def read(self, path: str) -> Secret:
        name, _, rest = path.partition("/")
        vault = self._by_name.get(name)
        if vault is None:
            raise SecretUnavailable(f"vault:{path}: no vault {name!r} is configured")
        return await vault.read(rest)
