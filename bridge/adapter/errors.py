"""The error tree that adapters and the core share.

::

    BridgeError
    ├── Refused        the client must hear why, in its own protocol   (bridge.adapter.refusal)
    ├── PeerFault      a peer broke the protocol: answer if the protocol can, then close
    ├── StreamClosed   the peer went away (orderly or not)
    └── TimedOut       a wait reached its limit
"""

from __future__ import annotations


class BridgeError(Exception):
    """Everything the bridge raises on purpose."""


class PeerFault(BridgeError):
    """A peer sent something its protocol forbids. The message names the rule, never the peer's bytes."""


class StreamClosed(BridgeError):
    """The peer closed the connection, or it broke, while more was to be read or written."""


class TimedOut(BridgeError):
    """A wait reached its limit. The message names what was waited for."""
