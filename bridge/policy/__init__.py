"""Which agent may do what, as which static account of which legacy system.

Ideas:

* Grants are plain data with a closed vocabulary; there is no language to evaluate.
* Nothing is allowed unless a grant allows it; a deny grant wins over every allow grant.
* A refusal has grounds, every ground has a mode, and a ground that is not enforced is recorded instead of applied.
* The policy also *chooses* the account when the agent names none.
* In an emergency several people's signatures make a grant for minutes (``emergency``); two make modes less strict
  (``phases``, ``demotion``).
* Quotas say how much, whatever the mode; what was used is counted in a ledger.
* Live decisions, ``explain`` and the reverse questions are one code path, so their answers cannot differ.

Pure: no clock, no I/O. Times are Unix seconds given by the caller.
"""

from bridge.policy.decision import Decision, Request, Subject
from bridge.policy.document import DocumentUnreadable, document, policy_of
from bridge.policy.explanation import Explanation, Trace
from bridge.policy.grants import ANYONE, Delegated, Effect, Grant, Hours, Mode, SystemPolicy
from bridge.policy.ledger import Changes, Ledger, Meter, Use
from bridge.policy.policy import Policy
from bridge.policy.questions import Access, Circumstances
from bridge.policy.quotas import Exceeded, Measure, Per, Price, Quota, Running
from bridge.policy.standing import Standing

__all__ = [
    "ANYONE",
    "Access",
    "Changes",
    "Circumstances",
    "Decision",
    "Delegated",
    "DocumentUnreadable",
    "Effect",
    "Exceeded",
    "Explanation",
    "Grant",
    "Hours",
    "Ledger",
    "Measure",
    "Meter",
    "Mode",
    "Per",
    "Policy",
    "Price",
    "Quota",
    "Request",
    "Running",
    "Standing",
    "Subject",
    "SystemPolicy",
    "Trace",
    "Use",
    "document",
    "policy_of",
]
