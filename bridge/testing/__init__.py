"""What an adapter's tests stand on; public, so that adapters from elsewhere use it too.

Ideas:

* ``memory_pair`` is a connection without a socket that keeps the contract of ``bridge.adapter.Stream``, TLS included.
* ``FakeDoor`` keeps the contract of ``bridge.adapter.Door`` and writes down in which order things happened.
* ``Playbook`` makes a test read as a conversation.
* ``ConformanceSuite`` holds the promises that every adapter keeps, whatever its protocol.
"""

from bridge.testing.streams import FakeTLS, MemoryStream, memory_pair

__all__ = ["FakeTLS", "MemoryStream", "memory_pair"]
