"""Operations kept for the next text of the same shape."""

from __future__ import annotations

from bridge.adapter.kept_operations import KEPT_OPERATIONS, KeptOperations


def test_kept_operations_are_bounded() -> None:
    kept = KeptOperations()
    for number in range(KEPT_OPERATIONS + 5):
        kept.put("app", b"%d" % number, ())
    assert kept.get("app", b"0") is None
    assert kept.get("app", b"%d" % KEPT_OPERATIONS) == ()
    assert kept.get("other", b"%d" % KEPT_OPERATIONS) is None
