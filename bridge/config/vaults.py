"""Where secrets lie outside of the bridge: ``vaults``."""

from __future__ import annotations

from typing import Annotated, Literal

from bridge.config.sections import Section, inherited
from bridge.config.values import Duration, FileName, HttpsURL, LocalSecretText, MountPath, Note, Text, bounded

LONGEST_CACHE = "30s"  # not over the breaker's first pause: the try after a refused password reads the new one


class VaultAuth(Section):
    """``token``; or ``role_id`` and ``secret_id`` (AppRole); or ``role`` and ``jwt_file`` (Kubernetes).

    ``mount``: where the auth method is mounted; its own name unless it says otherwise.
    """

    method: Literal["token", "approle", "kubernetes"]
    mount: MountPath | None = inherited(None)
    token: LocalSecretText | None = None
    role_id: Text | None = None
    secret_id: LocalSecretText | None = None
    role: Text | None = None
    jwt_file: FileName | None = None


class Vault(Section):
    """A HashiCorp Vault or an OpenBao, KV version 2 at ``mount``. ``cache``: how long a secret is kept in memory."""

    address: HttpsURL
    namespace: Note = ""
    mount: MountPath = "secret"
    ca: FileName | None = None
    cache: Annotated[Duration, bounded("0s", LONGEST_CACHE)] = 10.0
    auth: VaultAuth
