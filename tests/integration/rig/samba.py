"""A real Active Directory domain controller (Samba), with the LDAP service alone.

Its ports cannot be chosen (389 and 636), so each has a loopback address of its own; only root may listen there.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil

from rig.certificates import Authority
from rig.directory import PATH, PEOPLE, Directory, found
from rig.place import Place

ACCOUNTS = ("svc_reader", "svc_writer", "svc_disabled")

SUFFIX = "DC=ad,DC=example,DC=org"
REALM, DOMAIN = "AD.EXAMPLE.ORG", "AD"

SETTINGS = """\
[global]
  log level = 1 auth_json_audit:3
  logging = file
  tls enabled = yes
  ldap server require strong auth = yes
"""

FILL = """\
import json, sys
from samba.auth import system_session
from samba.param import LoadParm
from samba.samdb import SamDB
wanted = json.load(sys.stdin)
settings = LoadParm()
settings.load(wanted["config"])
directory = SamDB(wanted["database"], session_info=system_session(), lp=settings)
directory.set_pwdProperties("0")  # a random password may lack a digit
directory.create_ou("OU=svc," + wanted["suffix"])
directory.create_ou("OU=people," + wanted["suffix"])
directory.setpassword("(sAMAccountName=Administrator)", wanted["administrator"])
for name, password in wanted["accounts"].items():
    directory.newuser(name, password, userou="OU=svc", description="a static account")
for number in range(1, wanted["people"] + 1):
    name = f"user{number:02}"
    directory.newuser(name, wanted["filler"], userou="OU=people", mailaddress=f"{name}@example.org", surname="Number")
directory.add_remove_group_members("Domain Admins", ["svc_writer"])
directory.disable_account("(sAMAccountName=svc_disabled)")
"""
"""Run by Debian's own Python, which has Samba's modules; passwords come by its standard input."""


def available() -> bool:
    return os.getuid() == 0 and shutil.which("samba", path=PATH) is not None


def dn(account: str) -> str:
    return f"CN={account},OU=svc,{SUFFIX}"


class Samba(Directory):
    """``svc_writer`` is an administrator, ``svc_disabled`` is disabled. ``log`` has the audit of logins in JSON."""

    suffix = SUFFIX
    administrator = f"CN=Administrator,CN=Users,{SUFFIX}"

    def __init__(self, place: Place, authority: Authority, name: str = "samba") -> None:
        super().__init__(place, authority, name, ACCOUNTS)
        self.host = f"127.{secrets.randbelow(200) + 20}.{secrets.randbelow(250) + 1}.{secrets.randbelow(250) + 1}"
        self.port, self.tls_port = 389, 636
        self._as_user = []
        self._config = self.folder / "etc" / "smb.conf"

    def dn(self, account: str) -> str:
        return dn(account)

    def create(self) -> None:
        self.folder.mkdir()
        interfaces = f"interfaces={self.host}/8"
        self._run(
            "samba-tool", "domain", "provision", f"--realm={REALM}", f"--domain={DOMAIN}", "--server-role=dc",
            "--dns-backend=NONE", f"--targetdir={self.folder}", "--host-name=dc1", f"--host-ip={self.host}",
            "--option=bind interfaces only=yes", f"--option={interfaces}", seconds=300,
        )  # fmt: skip
        self._settle()
        wanted = {
            "config": str(self._config), "database": str(self.folder / "private" / "sam.ldb"), "suffix": SUFFIX,
            "administrator": self.admin_password, "accounts": self.passwords, "people": PEOPLE,
            "filler": f"Aa1!{secrets.token_urlsafe(18)}",
        }  # fmt: skip
        self._run("/usr/bin/python3", "-c", FILL, stdin=json.dumps(wanted).encode())
        self.start()

    def _settle(self) -> None:
        certificate, key = self._certificate()
        private = self.folder / "private"
        own = {
            "tls keyfile": private / "tls.key",
            "tls certfile": private / "tls.crt",
            "tls cafile": private / "ca.pem",
        }
        for source, target in zip((key, certificate, self.authority.ca), own.values(), strict=True):
            shutil.copy(source, target)
        (private / "tls.key").chmod(0o600)
        self.log = self.folder / "samba.log"
        places = {**own, "log file": self.log, "pid directory": self.folder / "run", "ncalrpc dir": self.folder / "rpc",
                  "ntp signd socket directory": self.folder / "signd", "winbindd socket directory": self.folder / "wb",
                  }  # fmt: skip
        lines = [f"  {name} = {path}\n" for name, path in places.items()]
        self._config.write_text(self._config.read_text() + SETTINGS + "".join(lines))
        for folder in ("run", "rpc", "wb"):
            (self.folder / folder).mkdir()

    def _command(self) -> list[str]:
        services = "--option=server services=ldap"
        return [found("samba"), "-F", "--no-process-group", "-M", "single", "-s", str(self._config), services]
