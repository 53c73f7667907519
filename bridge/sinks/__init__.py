"""Sinks: copies of the translation log, sent to where others keep and watch it.

Ideas:

* A sink reads the log from the database, behind it and on its own: the log never waits for a sink, and what a sink may
  hold in memory is one batch, however long it was unreachable.
* A *cursor* on the disk says what was delivered. It moves only after the destination has taken a batch: at least once.
  It also holds the digest of the last event delivered, so that a log that was exchanged or cut is noticed.
* The batch that is being sent is noted before it is sent; after a crash the very same batch goes again, under the same
  idempotency key.
* A destination that fails is tried again at growing intervals, for ever. Sessions do not care, unless the sink is
  ``required``: then nobody is admitted while it is too far behind.
"""

from bridge.sinks.delivery import Delivery, Settings
from bridge.sinks.destination import Batch, DeliveryFailed, Destination
from bridge.sinks.files import FileDestination
from bridge.sinks.sinks import Sinks
from bridge.sinks.source import Source
from bridge.sinks.syslog import SyslogDestination
from bridge.sinks.webhook import WebhookDestination

__all__ = [
    "Batch",
    "Delivery",
    "DeliveryFailed",
    "Destination",
    "FileDestination",
    "Settings",
    "Sinks",
    "Source",
    "SyslogDestination",
    "WebhookDestination",
]
