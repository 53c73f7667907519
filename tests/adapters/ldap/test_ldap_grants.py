"""Bases and attributes in grants have one form, the one that operations have."""

from __future__ import annotations

import pytest

from adapters.ldap.adapter import LDAPAdapter
from adapters.ldap.names import Names
from adapters.ldap.schema import Schema
from bridge.adapter import Naming


def test_the_adapter_names() -> None:
    assert isinstance(LDAPAdapter, Naming)


@pytest.mark.parametrize(
    ("fact", "written", "form"),
    [
        ("base", "OU=People , DC=Example", "ou=people,dc=example"),
        ("base", r"2.5.4.11=\70eople,dc=example", "ou=people,dc=example"),
        ("base", "ou=*,dc=example", "ou=*,dc=example"),
        ("base", "*", "*"),
        ("attribute", "Surname", "sn"),
        ("attribute", "2.5.4.4", "sn"),
        ("attribute", "employee*", "employee*"),
        ("attribute", "1.3.6.1.4.1.99999.1", "1.3.6.1.4.1.99999.1"),
        ("attribute", "customNumber", "customnumber"),
    ],
)
def test_one_form(fact: str, written: str, form: str) -> None:
    assert LDAPAdapter.names(fact, written)[0] == form


@pytest.mark.parametrize(
    ("fact", "written"), [("base", "people"), ("base", ""), ("attribute", "a b"), ("attribute", "")]
)
def test_what_has_no_form(fact: str, written: str) -> None:
    with pytest.raises(ValueError, match="name"):
        LDAPAdapter.names(fact, written)


def test_a_question_about_an_entry_is_about_all_above_it() -> None:
    assert LDAPAdapter.names("base", "UID=a,OU=b,DC=c") == ("uid=a,ou=b,dc=c", "ou=b,dc=c", "dc=c")
    assert LDAPAdapter.names("attribute", "mail")[0] == "mail"
    assert "0.9.2342.19200300.100.1.3" in LDAPAdapter.names("attribute", "mail")


def test_a_directory_that_calls_a_standard_type_otherwise_first_is_read_the_same() -> None:
    schema = Schema.of_definitions(["( 2.5.4.11 NAME ( 'organizationalUnitName' 'ou' ) SUP name )"])
    assert schema.names(b"ou") == ("ou", "organizationalunitname", "2.5.4.11")
    assert Names(schema).read(b"organizationalUnitName=People,dc=x").text == "ou=people,dc=x"
