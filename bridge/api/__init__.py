"""The admin interface: named commands with plain JSON in and out.

Ideas:

* A command is a blocking function over ``Services``; the daemon runs it in a thread, the command line runs the same
  function in its own process when no daemon is running.
* What widens anybody's access is recorded before it is done; what narrows it is done even if it cannot be recorded.
* Every change has an actor: the operating-system user at the other end of the Unix socket.
* What needs the running bridge (live sessions, reload, doctor) goes through ``Live``.
"""
