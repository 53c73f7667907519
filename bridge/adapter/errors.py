"""The error tree that adapters and the core share.

::

    BridgeError
    ├── Refused        the client must hear why, in its own protocol   (bridge.adapter.refusal)
    ├── PeerFault      a peer broke the protocol: answer if the protocol can, then close
    ├── NotTaken       a legacy system refused a change of its account's secret
    ├── StreamClosed   the peer went away (orderly or not)
    └── TimedOut       a wait reached its limit
"""

from __future__ import annotations


class BridgeError(Exception):
    """Everything the bridge raises on purpose."""


class PeerFault(BridgeError):
    """A peer sent something its protocol forbids. The message names the rule, never the peer's bytes."""


class NotTaken(BridgeError):
    """The legacy system said that it does not take the new secret: the old one counts. The message has its words."""


class StreamClosed(BridgeError):
    """The peer closed the connection, or it broke, while more was to be read or written."""


class TimedOut(BridgeError):
    """A wait reached its limit. The message names what was waited for."""
