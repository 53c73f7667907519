"""What Prometheus is told. Counted where it happens, read when it is asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from bridge.daemon.bridge import Bridge


class BridgeCollector:
    """Implements prometheus_client's custom collector."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge

    def collect(self) -> Iterator[Metric]:
        bridge, core = self._bridge, self._bridge.core
        live: Counter[str] = Counter(session.system.name for session in core.live)
        sessions = GaugeMetricFamily("idbridge_sessions", "Live sessions", labels=["system"])
        for name in bridge.systems:
            sessions.add_metric([name], live[name])
        yield sessions
        tally = core.tally
        opened = CounterMetricFamily("idbridge_sessions_opened", "Sessions admitted", labels=["system"])
        for system, count in tally.opened.items():
            opened.add_metric([system], count)
        yield opened
        refused = CounterMetricFamily("idbridge_refusals", "Refused by reason", labels=["system", "reason"])
        for (system, reason), count in tally.refused.items():
            refused.add_metric([system, reason], count)
        yield refused
        operations = CounterMetricFamily("idbridge_operations", "Operations by action", labels=["system", "action"])
        for (system, action), count in tally.operations.items():
            operations.add_metric([system, action], count)
        yield operations
        phases = HistogramMetricFamily("idbridge_phase_seconds", "Duration of each phase of a login", labels=["phase"])
        for phase, histogram in tally.phases.items():
            phases.add_metric([phase], histogram.buckets(), histogram.total)
        yield phases
        yield GaugeMetricFamily("idbridge_log_pending", "Events not durable yet", value=bridge.translation.pending())
        down = 1 if bridge.translation.unavailable else 0
        yield GaugeMetricFamily("idbridge_log_unavailable", "1 while the log cannot be written", value=down)
        ages = GaugeMetricFamily("idbridge_keys_age_seconds", "Age of an issuer's keys", labels=["issuer"])
        for name, state in bridge.issuers.state().items():
            if state["age"] is not None:
                ages.add_metric([name], state["age"])
        yield ages
        yield from self._sinks()

    def _sinks(self) -> Iterator[Metric]:
        gauges = {
            "delivered": GaugeMetricFamily("idbridge_sink_delivered_seq", "Last event delivered", labels=["sink"]),
            "behind": GaugeMetricFamily("idbridge_sink_behind", "Events not delivered yet", labels=["sink"]),
            "oldest_seconds": GaugeMetricFamily("idbridge_sink_oldest_seconds", "Age of the oldest", labels=["sink"]),
        }
        failing = GaugeMetricFamily("idbridge_sink_failing", "1 while it does not take events", labels=["sink"])
        failures = CounterMetricFamily("idbridge_sink_failures", "Attempts that failed", labels=["sink"])
        for sink in self._bridge.copies.sinks:
            row = sink.row()
            for name, gauge in gauges.items():
                gauge.add_metric([sink.name], row[name])
            failing.add_metric([sink.name], 1 if sink.failing_since else 0)
            failures.add_metric([sink.name], sink.failures)
        yield from (*gauges.values(), failing, failures)
