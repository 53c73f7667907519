"""The classes of OCSF 1.8.0 that events become: numbers and captions, as the schema has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

OTHER = 99


@dataclass(frozen=True, slots=True)
class EventClass:
    """``activities`` are captions by activity_id."""

    uid: int
    name: str
    category_uid: int
    category: str
    activities: Mapping[int, str]


_IAM = "Identity & Access Management"
_APPLICATION = "Application Activity"

AUTHENTICATION = EventClass(
    3002, "Authentication", 3, _IAM, {1: "Logon", 2: "Logoff", 3: "Authentication Ticket", 7: "Account Switch"}
)
ENTITY_MANAGEMENT = EventClass(
    3004,
    "Entity Management",
    3,
    _IAM,
    {1: "Create", 2: "Read", 3: "Update", 4: "Delete", 11: "Deactivate", 12: "Suspend", 13: "Resume", 99: "Other"},
)
DATASTORE_ACTIVITY = EventClass(
    6005,
    "Datastore Activity",
    6,
    _APPLICATION,
    {2: "Update", 4: "Query", 5: "Write", 6: "Create", 7: "Delete", 99: "Other"},
)
API_ACTIVITY = EventClass(
    6003, "API Activity", 6, _APPLICATION, {1: "Create", 2: "Read", 3: "Update", 4: "Delete", 99: "Other"}
)
EVENT_LOG_ACTIVITY = EventClass(
    1008, "Event Log Activity", 1, "System Activity", {3: "Export", 6: "Start", 7: "Stop", 9: "Enable", 99: "Other"}
)
DETECTION_FINDING = EventClass(2004, "Detection Finding", 2, "Findings", {1: "Create"})
BASE_EVENT = EventClass(0, "Base Event", 0, "Uncategorized", {99: "Other"})
