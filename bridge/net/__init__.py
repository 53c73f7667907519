"""Sockets: accepting, dialling, and the ``Stream`` over them.

Ideas:

* ``Connection`` writes straight through: the socket is tried at once, and only what it does not take is queued.
* All connections read into one shared buffer, so an idle one owns no memory for reading.
* TLS is a layer of memory BIOs inside the connection; the bytes below it take the same path.
* ``Listener`` bounds what strangers can hold: connections in total, per address, and before authentication.
* Time and the reactor are arguments.
"""

from bridge.net.connection import Connection
from bridge.net.dialer import ConnectFailed, Dialer
from bridge.net.limits import AcceptLimits, StreamLimits
from bridge.net.listener import Listener
from bridge.net.tls import ServerTLS, TLSMisconfigured, UpstreamTLS

__all__ = [
    "AcceptLimits",
    "ConnectFailed",
    "Connection",
    "Dialer",
    "Listener",
    "ServerTLS",
    "StreamLimits",
    "TLSMisconfigured",
    "UpstreamTLS",
]
