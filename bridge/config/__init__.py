"""The configuration: one YAML file -> typed, frozen objects.

Ideas:

* ``load`` reports every problem of a file at once, each as ``file:line:column: key: what is wrong, expected what``.
* The tree of values is ours (``reading``, ``tree``): keys keep their places, nothing in a file can run or explode.
* Models (``sections``, ``identities``, ``systems``, ``grants``, ``sinks``) hold the shape; cross checks (``*_checks``)
  what hangs together. Both run on every part, however wrong another part is.
* A secret is named, never written (``env:``, ``file:``, ``store:``, ``vault:``); no message quotes a value that
  could be one.
* The core knows no protocol: a system's ``options`` and what grants may narrow by come from its adapter.
"""

from bridge.config.change import difference
from bridge.config.grants import Grant, Hours
from bridge.config.identities import Agent, Binding, Issuer, Keys, Owner, Role
from bridge.config.loading import Config, load
from bridge.config.locating import admin_socket
from bridge.config.problem import ConfigErrors, Problem
from bridge.config.quotas import Price, Quota
from bridge.config.schema import schema
from bridge.config.sections import TLS, Admin, Bridge, Credentials, Limits, Log
from bridge.config.sinks import FileSink, Sink, SyslogSink, WebhookSink
from bridge.config.systems import Account, System, Upstream
from bridge.config.vaults import Vault

__all__ = [
    "TLS",
    "Account",
    "Admin",
    "Agent",
    "Binding",
    "Bridge",
    "Config",
    "ConfigErrors",
    "Credentials",
    "FileSink",
    "Grant",
    "Hours",
    "Issuer",
    "Keys",
    "Limits",
    "Log",
    "Owner",
    "Price",
    "Problem",
    "Quota",
    "Role",
    "Sink",
    "SyslogSink",
    "System",
    "Upstream",
    "Vault",
    "WebhookSink",
    "admin_socket",
    "difference",
    "load",
    "schema",
]
