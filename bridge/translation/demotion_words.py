"""What became of a demotion, in plain words, from what was before and after."""

from __future__ import annotations

from bridge.translation.parts import Fields, part
from bridge.translation.vocabulary import DENIED, INTENT, SUCCESS

FILE = "configuration"
"""The subject of an event about a file that was refused: there is no demotion."""


def step(body: Fields) -> str:
    """The step in a few words; "" of an event that only says what is about to be done, or that nothing was."""
    change = part(body, "change")
    before, after = part(change, "before"), part(change, "after")
    if body.get("outcome") == DENIED:
        return "a configuration was refused" if change.get("subject") == FILE else "an attempt was refused"
    if body.get("phase") == INTENT or body.get("outcome") != SUCCESS:
        return ""
    if not before:
        return "requested"
    return "taken" if after.get("taken") else "approved"


def describe_demotion(body: Fields) -> str:
    change = part(body, "change")
    after = part(change, "after")
    what = step(body) or ("a step is about to be done" if body.get("phase") == INTENT else "nothing was changed")
    changes = [f"{one.get('key')}: {one.get('before')} to {one.get('after')}" for one in after.get("changes", ())]
    text = f"Demotion ({change.get('subject', '')}): {what}" + (f"; {'; '.join(changes)}" if changes else "")
    if after.get("requester"):
        approver = f", approved by {after['approver']}" if after.get("approver") else ""
        text += f"; asked for by {after['requester']}{approver}: {after.get('reason')}"
    if told := part(body, "detail").get("text"):
        text += f" ({told})"
    return text
