"""The order of every security step, once for all protocols.

Ideas:

* ``door`` is the ordered flow: verify, resolve, check, decide, choose the account, commit the open record, read the
  secret. Whatever fails is a refused record and a ``Refused``.
* ``session`` is one live session: what an adapter holds after the door, its operations, and its end.
* ``live`` knows the sessions that are live, so that a revocation finds them.
* ``attendance`` runs an adapter on a connection and writes the end, whatever it was.
"""
