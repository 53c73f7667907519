"""Health and metrics over HTTP, on loopback only: /healthz (alive), /readyz (would admit an agent), /metrics."""

from __future__ import annotations

import json
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from twisted.web.resource import Resource

from bridge.daemon.bridge import Bridge
from bridge.daemon.metrics import BridgeCollector


class Health(Resource):
    isLeaf = True

    def __init__(self, bridge: Bridge) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._bridge = bridge
        self._registry = CollectorRegistry()
        self._registry.register(BridgeCollector(bridge))

    def render_GET(self, request: Any) -> bytes:
        if request.path == b"/healthz":
            return _json(request, 200, {"alive": True})
        if request.path == b"/readyz":
            problems = self.problems()
            return _json(request, 503 if problems else 200, {"ready": not problems, "problems": problems})
        if request.path == b"/metrics":
            request.setHeader("Content-Type", CONTENT_TYPE_LATEST)
            return generate_latest(self._registry)
        return _json(request, 404, {"error": "expected /healthz, /readyz or /metrics"})

    def problems(self) -> list[str]:
        """What keeps agents from being admitted now."""
        found = []
        if not self._bridge.ready:
            found.append("starting or stopping")
        if self._bridge.translation.unavailable:
            found.append(f"translation log: {self._bridge.translation.unavailable}")
        if self._bridge.copies.withheld:
            found.append(self._bridge.copies.withheld)
        for name, state in self._bridge.issuers.state().items():
            if not state["ready"]:
                found.append(f"issuer {name}: no usable keys")
        return found


def _json(request: Any, status: int, value: Any) -> bytes:
    request.setResponseCode(status)
    request.setHeader("Content-Type", "application/json")
    return json.dumps(value).encode() + b"\n"
