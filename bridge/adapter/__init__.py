"""The contract between the core and the protocols.

Ideas:

* ``Adapter.serve`` is one linear coroutine per connection over a ``Stream``.
* ``Door.admit`` is the only way to a legacy login and a legacy connection.
* Nothing is done upstream that was not permitted, and so recorded, first (``Admission.permit``).
* What the client must hear is a ``Refused``; the adapter says it in the protocol's own words.
* A ``Secret`` can be used, never shown.
"""

from bridge.adapter.adapter import (
    Adapter,
    AdapterOptions,
    Check,
    Discovering,
    LegacySession,
    Naming,
    Observing,
    Rekeying,
    Rotating,
    SystemFacts,
    Trusting,
)
from bridge.adapter.admission import Admission, AdmissionRequest, AgentFacts, Door, Login, Permit, Recording
from bridge.adapter.credential import BearerToken, ClientCertificate, Credential, SSHCertificate, SSHPublicKey
from bridge.adapter.deadline import Deadline
from bridge.adapter.errors import BridgeError, NotTaken, PeerFault, StreamClosed, TimedOut
from bridge.adapter.operation import Action, Operation, Outcome, Result, StatementLogging, Target
from bridge.adapter.refusal import Reason, Refused
from bridge.adapter.secret import Secret
from bridge.adapter.stream import Address, Stream, Take, TLSFacts, TLSSettings

__all__ = [
    "Action",
    "Adapter",
    "AdapterOptions",
    "Address",
    "Admission",
    "AdmissionRequest",
    "AgentFacts",
    "BearerToken",
    "BridgeError",
    "Check",
    "ClientCertificate",
    "Credential",
    "Deadline",
    "Discovering",
    "Door",
    "LegacySession",
    "Login",
    "Naming",
    "NotTaken",
    "Observing",
    "Operation",
    "Outcome",
    "PeerFault",
    "Permit",
    "Reason",
    "Recording",
    "Refused",
    "Rekeying",
    "Result",
    "Rotating",
    "SSHCertificate",
    "SSHPublicKey",
    "Secret",
    "StatementLogging",
    "Stream",
    "StreamClosed",
    "SystemFacts",
    "TLSFacts",
    "TLSSettings",
    "Take",
    "Target",
    "TimedOut",
    "Trusting",
]
