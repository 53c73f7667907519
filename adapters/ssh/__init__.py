"""SSH: agents reach legacy hosts as static accounts.

Five ideas.

* **Three layers, two legs.** Towards the agent Twisted Conch negotiates and exchanges keys, towards the legacy host
  paramiko does; both without a thread. What remains on each side is a ``leg.Leg``: messages of the connection protocol
  (RFC 4254) in and out. Everything after the login is written once, against two legs.
* **The relay passes on, it does not terminate.** Channel numbers and windows are each side's own, and a leg is read
  only while the other takes what was read: memory is bounded by construction and order is kept by construction.
* **A gate in front of every request.** A channel, a command, a subsystem, a forward and every SFTP operation is
  permitted and recorded before the legacy host hears of it.
* **Requested is exact, observed is a recording.** Commands and file operations are read off the protocol; what happens
  in a terminal is recorded as seen.
* **Strict towards strangers.** Nothing is answered before the first key exchange but the exchange itself.
"""
