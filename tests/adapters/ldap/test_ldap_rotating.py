"""What a directory is sent to change a password, and what its answers mean."""

from __future__ import annotations

import pytest
from ldap3.operation.modify import modify_operation

from adapters.ldap import answers, codec, controls
from adapters.ldap.codec import Change
from adapters.ldap.codes import Oid, Op
from adapters.ldap.extended import PasswordModify, password_modify, read_password_modify
from adapters.ldap.framing import Framer, Message
from adapters.ldap.rotating import judge, unicode_pwd
from bridge.adapter import BridgeError, NotTaken, Secret
from bridge.wire import ber


def answer(code: int, text: str = "", policy: int = -1, tag: int = Op.MODIFY_RESPONSE) -> Message:
    control = b""
    if policy >= 0:
        value = ber.encode(ber.SEQUENCE, ber.encode_integer(policy, 0x81))
        control = controls.encode(Oid.PPOLICY, value)
    framer = Framer(1 << 20)
    framer.add(answers.result(7, tag, code, text, controls=control))
    found = framer.next()
    assert found is not None
    return found


def test_a_password_modify_is_of_the_one_who_is_bound() -> None:
    """RFC 3062 section 2: passwdModifyRequest, userIdentity left out."""
    value = password_modify(b"old", b"new")
    assert value == bytes.fromhex("300a8103") + b"old" + bytes.fromhex("8203") + b"new"
    assert read_password_modify(value) == PasswordModify(b"", old=True, new=True)


def test_active_directory_is_given_both_in_quotes_and_utf_16() -> None:
    assert unicode_pwd(Secret("ab")) == b'"\0a\0b\0"\0'
    changes = (Change(codec.DELETE, b"unicodePwd", (b"1",)), Change(codec.ADD, b"unicodePwd", (b"2",)))
    ours = codec.modification(b"cn=a", *changes)
    theirs = modify_operation("cn=a", {"unicodePwd": [("MODIFY_DELETE", [b"1"]), ("MODIFY_ADD", [b"2"])]}, False)
    framer = Framer(1 << 20)
    framer.add(codec.request(1, ours))
    message = framer.next()
    assert message is not None
    found = codec.decode(message)
    assert found == codec.Modify(b"cn=a", changes)
    assert [int(one["operation"]) for one in theirs["changes"]] == [codec.DELETE, codec.ADD]


def test_a_password_that_is_no_text_is_not_sent() -> None:
    with pytest.raises(NotTaken, match="not UTF-8") as caught:
        unicode_pwd(Secret(b"\xff\xfe"))
    assert "xff" not in repr(caught.value)


def test_a_yes() -> None:
    judge(answer(0))
    judge(answer(0, tag=Op.EXTENDED_RESPONSE))


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (answer(19, "Password is too young to change", 7), "19: password too young; Password is too young to change"),
        (answer(19, "Failed to update password\n", 5), "19: password quality insufficient; Failed to update password"),
        (answer(50, "Insufficient access rights\n", 3), "50: password may not be modified; Insufficient access rights"),
        (answer(53, "unwilling to verify old password"), "53: unwilling to verify old password"),
        (answer(2), "2"),
        (
            answer(19, "0000052D: Constraint violation - check_password_restrictions: too young!\0"),
            "19: 0000052D: Constraint violation - check_password_restrictions: too young! (too short, too simple, used"
            " before, or younger than the domain's minimum age of a password)",
        ),
        (
            answer(53, "0000001F: SvcErr: DSID-031A12D2, problem 5003 (WILL_NOT_PERFORM), data 0\n"),
            "53: 0000001F: SvcErr: DSID-031A12D2, problem 5003 (WILL_NOT_PERFORM), data 0 (it takes a new password on"
            " an encrypted connection only)",
        ),
        (answer(19, "00000056: AtrErr: DSID-03191083"), "19: 00000056: AtrErr: DSID-03191083 (the old password is not"
         " right)"),
        (answer(50, "00000005: SecErr: DSID-031A1190"), "50: 00000005: SecErr: DSID-031A1190 (the account may not"
         " change its own password)"),
    ],
)  # fmt: skip
def test_a_no_in_the_directorys_words(message: Message, text: str) -> None:
    with pytest.raises(NotTaken) as caught:
        judge(message)
    assert str(caught.value) == text


@pytest.mark.parametrize("code", [1, 3, 52, 80])
def test_an_answer_that_may_mean_either(code: int) -> None:
    with pytest.raises(BridgeError, match=f"{code}: who knows") as caught:
        judge(answer(code, "who knows"))
    assert not isinstance(caught.value, NotTaken)
