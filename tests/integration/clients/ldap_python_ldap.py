"""python-ldap: pages, a compare, every kind of change; OAUTHBEARER by hand, and a refusal."""
# ruff: noqa: T201  what it prints is what the test reads

import json
import os

import ldap
import ldap.sasl
from ldap.controls import SimplePagedResultsControl

BASE = os.environ["BASE"]


def connect() -> ldap.ldapobject.LDAPObject:
    connection = ldap.initialize(f"ldaps://127.0.0.1:{os.environ['PORT']}")
    connection.set_option(ldap.OPT_X_TLS_CACERTFILE, os.environ["CA"])
    connection.set_option(ldap.OPT_X_TLS_NEWCTX, 0)
    connection.set_option(ldap.OPT_NETWORK_TIMEOUT, 20)
    connection.set_option(ldap.OPT_TIMEOUT, 20)
    connection.set_option(ldap.OPT_REFERRALS, 0)
    return connection


def pages(connection: ldap.ldapobject.LDAPObject) -> int:
    number, control = 0, SimplePagedResultsControl(True, size=7, cookie="")
    while True:
        sent = connection.search_ext(BASE, ldap.SCOPE_SUBTREE, os.environ["PEOPLE"], ["1.1"], serverctrls=[control])
        _, found, _, controls = connection.result3(sent)
        number += len([one for one in found if one[0]])
        control.cookie = controls[0].cookie
        if not control.cookie:
            return number


def main() -> None:
    connection = connect()
    connection.simple_bind_s("agent", os.environ["TOKEN"])
    found = connection.search_s(BASE, ldap.SCOPE_SUBTREE, os.environ["WANTED"], ["mail"])
    dn = f"ou=pythonldap,{BASE}"
    connection.add_s(dn, [("objectClass", [b"organizationalUnit"]), ("description", [b"made"])])
    connection.modify_s(dn, [(ldap.MOD_REPLACE, "description", [b"changed"])])
    compared = connection.compare_s(dn, "description", b"changed")
    connection.rename_s(dn, "ou=pythonldap-2")
    connection.delete_s(f"ou=pythonldap-2,{BASE}")
    number = pages(connection)
    who = connection.whoami_s()
    connection.unbind_s()

    reader = connect()
    payload = f"n,,\x01auth=Bearer {os.environ['READER']}\x01\x01".encode()
    reader.sasl_bind_s("", "OAUTHBEARER", payload)
    refused = 0
    try:
        reader.delete_s(found[0][0])
    except ldap.INSUFFICIENT_ACCESS as error:
        refused = error.args[0]["result"]
    mails = [values["mail"][0].decode() for name, values in found if name]
    print(json.dumps({"found": mails, "pages": number, "compared": bool(compared), "refused": refused, "who": who}))


main()
