"""The conversations of the relay's tests, for all of them."""

from tests.adapters.postgres.conversation import classifier, start

__all__ = ["classifier", "start"]
