"""What an adapter's tests stand on; public, so that adapters from elsewhere use it too.

Ideas:

* ``memory_pair`` is a connection without a socket that keeps the contract of ``bridge.adapter.Stream``, TLS included.
* ``FakeDoor`` keeps the contract of ``bridge.adapter.Door`` and writes down in which order things happened.
* ``Voice`` makes a test read as a conversation.
* ``Stage`` (in ``stage``) is the real core on files in a folder, with the two networks played.
* ``ConformanceSuite`` (in ``conformance``) holds the promises that every adapter keeps, whatever its protocol.

The last two are imported from their modules, because they bring the whole core along.
"""

from bridge.testing.door import FakeAdmission, FakeDoor, FakePermit
from bridge.testing.playbook import Voice, now
from bridge.testing.streams import FakeTLS, MemoryStream, memory_pair

__all__ = ["FakeAdmission", "FakeDoor", "FakePermit", "FakeTLS", "MemoryStream", "Voice", "memory_pair", "now"]
