"""One sub-package per protocol. An adapter imports ``bridge.adapter`` and ``bridge.wire`` only."""
