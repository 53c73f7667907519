"""python-ldap with a client certificate: EXTERNAL, and who that is."""
# ruff: noqa: T201  what it prints is what the test reads

import os

import ldap
import ldap.sasl

connection = ldap.initialize(f"ldaps://127.0.0.1:{os.environ['PORT']}")
for option, name in (
    (ldap.OPT_X_TLS_CACERTFILE, "CA"), (ldap.OPT_X_TLS_CERTFILE, "CERTIFICATE"), (ldap.OPT_X_TLS_KEYFILE, "KEY"),
):  # fmt: skip
    connection.set_option(option, os.environ[name])
connection.set_option(ldap.OPT_X_TLS_NEWCTX, 0)
connection.set_option(ldap.OPT_NETWORK_TIMEOUT, 20)
connection.sasl_interactive_bind_s("", ldap.sasl.external())
print(connection.whoami_s())
