"""What became of a break-glass, in plain words, from what was before and after."""

from __future__ import annotations

from bridge.translation.parts import Fields, part
from bridge.translation.vocabulary import DENIED, INTENT, SUCCESS


def step(body: Fields) -> str:
    """The step in a few words; "" of an event that only says what is about to be done, or that nothing was."""
    if body.get("outcome") == DENIED:
        return "an attempt was refused"
    if body.get("phase") == INTENT or body.get("outcome") != SUCCESS:
        return ""
    change = part(body, "change")
    before, after = part(change, "before"), part(change, "after")
    if not before:
        return "requested"
    if len(after.get("approvals", ())) > len(before.get("approvals", ())):
        return f"approved ({len(after['approvals'])} of {after.get('approvals_needed')})"
    if after.get("reviewed") and not before.get("reviewed"):
        return "reviewed"
    if before.get("rotation_due") and not after.get("rotation_due"):
        return "the static password was changed"
    if after.get("overdue"):
        return "its review is overdue"
    if after.get("ended") and not before.get("ended"):
        return "over"
    return "in use" if after.get("began") else ""


def describe_emergency(body: Fields) -> str:
    change = part(body, "change")
    after = part(change, "after")
    what = step(body) or ("a step is about to be done" if body.get("phase") == INTENT else "nothing was changed")
    text = f"Break-glass {change.get('subject', '')}: {what}"
    if after:
        text += f"; {after.get('agent')} as {after.get('account')} on {after.get('system')} for"
        text += f" {after.get('requester')}: {after.get('reason')}"
    if told := part(body, "detail").get("text"):
        text += f" ({told})"
    return text
