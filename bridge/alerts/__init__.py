"""Alerts: what somebody must hear of, told to the agent's owner by the owner's own route.

Ideas:

* The rules (``watching``, pure) read the log's events as they became durable, behind the log and off its path; a cursor
  says how far, so that a restart neither forgets nor repeats.
* An alert has a key; while it was sent lately, further ones are counted and not sent (``outbox``).
* An owner's route is ``on_call: channel:NAME``, else the mail address in ``contact``; what has no owner, or an owner
  without a route, goes to the channels of ``alerts.security``. Of a break-glass or a demotion all hear, with those of
  ``alerts.leadership``, each time and at once.
* Each alert says what happened in plain words and names the command that stops the agent.
* Deliveries that fail are tried again for a day; what became of each alert stands in the log.
"""

from bridge.alerts.channels import Channel, Channels, Kind, Mail
from bridge.alerts.failure import DeliveryFailed
from bridge.alerts.outbox import Delivery, Outbox
from bridge.alerts.watching import Alert, Rules, Watch

__all__ = ["Alert", "Channel", "Channels", "Delivery", "DeliveryFailed", "Kind", "Mail", "Outbox", "Rules", "Watch"]
