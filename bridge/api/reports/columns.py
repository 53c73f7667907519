"""The columns of reports, in their order. Apart, so that the command line need not load what rows are made from."""

from __future__ import annotations

FRAMEWORK_COLUMNS = ("number", "requirement", "status", "value", "exceptions", "query")

REVIEW_COLUMNS = (
    "agent", "owner", "owner_kind", "agent_expires", "system", "account", "labels", "actions", "granted", "grants",
    "mode", "last_used", "last_read", "last_write", "last_admin", "sessions", "unused_actions",
)  # fmt: skip
"""``actions`` is what the bridge lets through, ``granted`` what grants give: they differ where a mode only observes."""

UNUSED_COLUMNS = ("grant", "account", "actions", "used_by", "last_used", "unused_actions", "unused_by", "expires",
                  "reason", "ticket")  # fmt: skip
