"""Why an alert did not arrive."""

from __future__ import annotations


class DeliveryFailed(Exception):
    """It was not taken; the text says why, without any secret."""


def words(failure: Exception) -> str:
    """What failed, on one line."""
    reasons = getattr(failure, "reasons", ())  # twisted.web wraps what went wrong below
    said = "; ".join(dict.fromkeys(one.getErrorMessage() for one in reasons)) or str(failure)
    return " ".join(said.split())[:500] or type(failure).__name__
