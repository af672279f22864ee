"""Plain integers that a listener counts in. One object per listener is handed down; exporters read it."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Counters", "ServiceCounters"]


@dataclass(slots=True)
class Counters:
    """What happened on one listener since the start. Every field only grows, but for `connections`."""

    connections: int = 0
    """Open now."""
    connections_total: int = 0
    connections_refused: int = 0
    """Closed at accept, because of a limit."""
    sessions_total: int = 0
    """CONNACK 0 of the target reached the device."""
    packets_uplink: list[int] = field(default_factory=lambda: [0] * 16)
    """Whole packets that came, by packet type."""
    packets_downlink: list[int] = field(default_factory=lambda: [0] * 16)
    bytes_uplink: int = 0
    bytes_downlink: int = 0
    questions: int = 0
    """Decisions that a handler did not make at once."""
    rejects: dict[str, int] = field(default_factory=dict)
    """Refusals and protocol errors by reason, a closed list of words (see `mgate.errors`)."""
    handler_faults: int = 0
    target_dials: int = 0
    target_failures: int = 0

    def reject(self, reason: str) -> None:
        """Count one refusal. `reason` comes from the code, never from a device."""
        self.rejects[reason] = self.rejects.get(reason, 0) + 1


@dataclass(slots=True)
class ServiceCounters:
    """What happened to the whole gateway since the start; `mgate.service` counts."""

    reloads: int = 0
    """Reloads that succeeded."""
    reload_failures: int = 0
    """Reloads that were given up; what served before serves on."""
    last_reload_succeeded: int = 1
    """1 or 0; also 1 before the first reload."""
