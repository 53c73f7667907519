"""A real 389 Directory Server with TLS, two static accounts and an access log."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import ldap3
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12
from rig.certificates import Authority
from rig.directory import PATH, SUFFIX, Directory, dn, found, hashed, tree
from rig.place import Place

ACCOUNTS = ("svc_reader", "svc_writer")

TEMPLATES = Path("/usr/share/dirsrv/data")
FOLDERS = ("lock", "tmp", "config", "ldif", "bak", "run", "inst", "log", "db", "nss")

RIGHTS = [
    '(targetattr != "userPassword")(version 3.0; acl "all read"; allow (read, search, compare) userdn = "ldap:///all";)',
    f'(targetattr = "*")(version 3.0; acl "writer"; allow (all) userdn = "ldap:///{dn("svc_writer")}";)',
]


def available() -> bool:
    return shutil.which("ns-slapd", path=PATH) is not None and TEMPLATES.exists()


class DS389(Directory):
    """``svc_writer`` may do everything, ``svc_reader`` see all but passwords. ``log`` is the access log."""

    administrator = "cn=Directory Manager"

    def __init__(self, place: Place, authority: Authority, name: str = "ds389") -> None:
        super().__init__(place, authority, name, ACCOUNTS)
        self.log = self.folder / "log" / "access"

    def create(self) -> None:
        for folder in FOLDERS:
            (self.folder / folder).mkdir(parents=True)
        config = self.folder / "config"
        (config / "schema").mkdir()
        (config / "schema" / "99user.ldif").write_text("dn: cn=schema\n")
        (config / "dse.ldif").write_text(self._settings())
        shutil.copy("/etc/dirsrv/config/slapd-collations.conf", config)
        shutil.copy("/etc/dirsrv/config/certmap.conf", config)
        self._place_certificate()
        ldif = self.folder / "ldif" / "entries.ldif"
        ldif.write_text("".join(tree(self.passwords, {}, aci=RIGHTS)))
        self._give_away()
        self._run("ns-slapd", "ldif2db", "-D", str(config), "-n", "userRoot", "-i", str(ldif))
        ldif.unlink()
        self.start()

    def _command(self) -> list[str]:
        config, pid = str(self.folder / "config"), str(self.folder / "run" / "pid")
        return [*self._as_user, found("ns-slapd"), "-D", config, "-i", pid, "-d", "0"]

    def show_sessions(self, account: str) -> None:
        """Lets the account see who is connected, for ``idbridge reconcile``."""
        right = (
            f'(targetattr = "connection")(version 3.0; acl "sessions"; allow (read) userdn = "ldap:///{dn(account)}";)'
        )
        with self.admin() as connection:
            connection.modify("cn=monitor", {"aci": [(ldap3.MODIFY_ADD, [right])]})

    def _settings(self) -> str:
        config = str(self.folder / "config")
        listening = {
            "nsslapd-securePort": self.tls_port, "nsslapd-security": "on", "nsslapd-listenhost": self.host,
            "nsslapd-securelistenhost": self.host, "nsslapd-accesslog-logbuffering": "off",
        }  # fmt: skip
        values = {
            **{f"{name}_dir": str(self.folder / name) for name in FOLDERS},
            "cert_dir": str(self.folder / "nss"), "schema_dir": f"{config}/schema",
            "db_home_dir": str(self.folder / "db"),
            "ds_port": "\n".join([str(self.port), *(f"{name}: {value}" for name, value in listening.items())]),
            "fqdn": "localhost", "ds_user": "nobody", "rootdn": self.administrator,
            "ds_passwd": hashed(self.admin_password), "ldapi_enabled": "off", "ldapi": str(self.folder / "run/ldapi"),
            "ldapi_autobind": "off", "ds_suffix": SUFFIX, "ds_bename": "userRoot", "db_lib": "bdb",
        }  # fmt: skip
        text = (TEMPLATES / "template-dse.ldif").read_text() + "\n"
        text += (TEMPLATES / "template-suffix-db.ldif").read_text()
        text = re.sub("^#.*\n", "", text, flags=re.MULTILINE)
        text = re.sub("\n{3,}", "\n\n", text)
        return re.sub("%([a-z_]+)%", lambda found: values[found[1]], text)

    def _place_certificate(self) -> None:
        """Into an NSS database without a password."""
        certificate, key = self._certificate()
        bundle = self.folder / "nss" / "server.p12"
        private = serialization.load_pem_private_key(key.read_bytes(), None)
        public = x509.load_pem_x509_certificate(certificate.read_bytes())
        bundle.write_bytes(pkcs12.serialize_key_and_certificates(
            b"Server-Cert", private, public, [self.authority.certificate],
            serialization.BestAvailableEncryption(b"x"),
        ))  # fmt: skip
        database = f"sql:{self.folder / 'nss'}"
        self._run("certutil", "-N", "-d", database, "--empty-password", as_user=False)
        self._run("pk12util", "-i", str(bundle), "-d", database, "-W", "x", "-K", "", as_user=False)
        self._run("certutil", "-A", "-d", database, "-n", "ca", "-t", "CT,,", "-a", "-i", str(self.authority.ca),
                  as_user=False)  # fmt: skip
