"""Why an alert did not arrive."""

from __future__ import annotations


class DeliveryFailed(Exception):
    """It was not taken; the text says why, without any secret."""
