"""What a server is sent to change a password."""

from __future__ import annotations

import pytest

from adapters.mysql.rotating import UnknownPlugin, kept, plain, takes_alter_user
from bridge.adapter import BridgeError, Secret


@pytest.mark.parametrize(
    ("version", "takes"),
    [("8.0.36", True), ("5.7.6-log", True), ("5.6.51", False), ("10.11.6-MariaDB-0+deb12u1", False), ("?", False)],
)
def test_who_takes_alter_user(version: str, takes: bool) -> None:
    assert takes_alter_user(version) is takes


def test_what_a_server_keeps_is_known_by_plugin() -> None:
    """The first is the example of MySQL's manual; the second MariaDB's page on the plugin."""
    assert kept(Secret("mypass"), "mysql_native_password") == "*6C8989366EAF75BB670AD8EA7A7FC1176A95CEF4"
    assert kept(Secret("secret"), "ed25519") == "ZIgUREUg5PVgQ6LskhXmO+eZLS0nC8be6HPjYWR4YJY"
    with pytest.raises(UnknownPlugin, match="plugin parsec"):
        kept(Secret("x"), "parsec")


def test_a_password_that_needs_quoting_is_not_sent() -> None:
    with pytest.raises(BridgeError, match="quoting") as caught:
        plain(Secret("it's"))
    assert "it's" not in str(caught.value)
