"""A real OpenLDAP server with TLS, static accounts, a password policy, ``cn=Monitor`` and a stats log.

Beside what every directory here has there are an alias out of ``ou=people`` into ``ou=svc``, and a referral.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from rig.certificates import Authority
from rig.directory import PATH, SUFFIX, Directory, big_entry, dn, entry, found, hashed, tree
from rig.place import Place

ACCOUNTS = ("svc_reader", "svc_writer", "svc_locked", "svc_expired", "svc_narrow")
"""``svc_locked`` and ``svc_expired`` cannot log in whatever the password; ``svc_narrow`` reads ``ou=people`` only."""

LOCKED_AFTER = 3
"""Wrong passwords in a row."""

SETTINGS = """\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload back_ldap
moduleload back_monitor
moduleload ppolicy
moduleload syncprov
loglevel stats
sizelimit unlimited
threads 8
TLSCACertificateFile ca.pem
TLSCertificateFile server.crt
TLSCertificateKeyFile server.key
TLSVerifyClient try
access to dn.base="" by * read
access to dn.base="cn=Subschema" by * read
"""

DATABASE = f"""\
database monitor
access to dn.subtree="cn=Monitor"
  by dn.exact="cn=svc_reader,ou=svc,{SUFFIX}" read
  by dn.exact="cn=admin,{SUFFIX}" read
  by * none

database mdb
suffix "{SUFFIX}"
rootdn "cn=admin,{SUFFIX}"
directory data
maxsize 1073741824
dbnosync
index objectClass,uid,cn,mail eq
overlay ppolicy
ppolicy_default "cn=default,ou=policies,{SUFFIX}"
ppolicy_use_lockout
overlay syncprov
access to attrs=userPassword
  by dn.exact="cn=svc_writer,ou=svc,{SUFFIX}" write
  by self write
  by anonymous auth
  by * none
access to dn.subtree="ou=people,{SUFFIX}"
  by dn.exact="cn=svc_writer,ou=svc,{SUFFIX}" write
  by users read
  by * none
access to *
  by dn.exact="cn=svc_narrow,ou=svc,{SUFFIX}" none
  by dn.exact="cn=svc_writer,ou=svc,{SUFFIX}" write
  by users read
  by * none
"""


def available() -> bool:
    return shutil.which("slapd", path=PATH) is not None


class Slapd(Directory):
    """``many``: entries below ``ou=many``, about 1 kB each. ``log`` is OpenLDAP's, at ``log_level``."""

    def __init__(
        self, place: Place, authority: Authority, name: str = "slapd", *, many: int = 0, log_level: str = "stats"
    ) -> None:
        super().__init__(place, authority, name, ACCOUNTS)
        self.many = many
        self.log_level = log_level
        self._config = self.folder / "slapd.conf"

    def create(self) -> None:
        self.folder.mkdir()
        (self.folder / "data").mkdir()
        certificate, key = self._certificate()
        for source, target in ((certificate, "server.crt"), (key, "server.key"), (self.authority.ca, "ca.pem")):
            shutil.copy(source, self.folder / target)
        (self.folder / "server.key").chmod(0o600)
        self.place.secret_files.add(self.folder / "server.key")
        self._config.write_text(SETTINGS + DATABASE + f"rootpw {hashed(self.admin_password)}\n")
        ldif = self.folder / "entries.ldif"
        with ldif.open("w") as out:
            out.writelines(self._entries())
        self._give_away()
        self._run("slapadd", "-q", "-f", str(self._config), "-b", SUFFIX, "-l", str(ldif))
        ldif.unlink()
        self.start()

    def _command(self) -> list[str]:
        addresses = f"ldap://127.0.0.1:{self.port}/ ldaps://127.0.0.1:{self.tls_port}/"
        return [*self._as_user, found("slapd"), "-d", self.log_level, "-h", addresses, "-f", str(self._config)]

    def _entries(self) -> Iterator[str]:
        yield from tree(self.passwords, STATES)
        yield from _policies()
        leak = f"cn=leak,ou=people,{SUFFIX}"
        yield entry(leak, "alias extensibleObject", cn="leak", aliasedObjectName=dn("svc_reader"))
        elsewhere = f"ou=elsewhere,{SUFFIX}"
        yield entry(elsewhere, "referral extensibleObject", ou="elsewhere", ref=f"ldap://127.0.0.1:1/{elsewhere}")
        for number in range(self.many):
            yield big_entry(number)


STATES = {
    "svc_locked": {"pwdAccountLockedTime": "000001010000Z"},
    "svc_expired": {"pwdPolicySubentry": f"cn=short,ou=policies,{SUFFIX}", "pwdChangedTime": "20200101000000Z"},
}


def _policies() -> Iterator[str]:
    classes = "pwdPolicy organizationalRole"
    where = f"ou=policies,{SUFFIX}"
    yield entry(
        f"cn=default,{where}", classes, cn="default", pwdAttribute="userPassword", pwdLockout="TRUE",
        pwdMaxFailure=LOCKED_AFTER, pwdLockoutDuration=0,
    )  # fmt: skip
    yield entry(
        f"cn=short,{where}", classes, cn="short", pwdAttribute="userPassword", pwdMaxAge=60, pwdGraceAuthNLimit=0
    )
