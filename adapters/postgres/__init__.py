"""PostgreSQL, protocol 3.0 and 3.2.

Ideas:

* The client's startup packet is parsed and rebuilt, never forwarded.
* The token travels as the cleartext password, inside TLS only; the static account's password is ours alone.
* The client hears yes only after the legacy system said yes.
* Codec, startup, login and refusals know no I/O; ``adapter`` tells the session's story, ``relaying`` its long middle.

``bridge.discovery`` looks for ``ADAPTER`` in ``adapters.postgres.adapter``.
"""
