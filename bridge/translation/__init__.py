"""The translation log: which agent, owned by whom, did what as which account, with what outcome.

Ideas:

* No event, no action: what is to be recorded is durable before the legacy side acts; a log that cannot be written
  refuses.
* An event is canonical JSON whose exact bytes are kept (``record``, FORMAT.md); nothing is ever changed,
  and deleted only from its front, once it is archived and the log says so (``pruning``).
* One place commits (``appending``), in a process of its own (``appender_process``); one thread of the bridge gives it
  what is to be written (``writing``); the sequence has no gaps.
* Sessions and operations write through ``SessionLog``, which holds what their events share.
* Secrets and tokens cannot get in (``canonical``).
"""

from bridge.translation.appending import in_thread_append
from bridge.translation.log import LogUnavailable, TranslationLog
from bridge.translation.operations import OpenOperation, SessionFacts, SessionLog
from bridge.translation.reading import Filters, LoggedEvent, LogReader, Suspect
from bridge.translation.record import Event, IndexKeys
from bridge.translation.recovery import in_thread_close_open
from bridge.translation.sql import SQLLog

__all__ = [
    "Event",
    "Filters",
    "IndexKeys",
    "LogReader",
    "LogUnavailable",
    "LoggedEvent",
    "OpenOperation",
    "SQLLog",
    "SessionFacts",
    "SessionLog",
    "Suspect",
    "TranslationLog",
    "in_thread_append",
    "in_thread_close_open",
]
