"""What an operator chooses where MQTT leaves a choice; one frozen value for each listener."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DEFAULT", "Choices"]


@dataclass(frozen=True, slots=True)
class Choices:
    """The choices of one MQTT listener.

    Attributes:
        versions: the protocol levels that are served: 3 (MQTT 3.1), 4 (3.1.1), 5.
        denied_publish: ``"drop"`` keeps the connection (version 5 tells the reason code, 3.x is acknowledged and
            goes nowhere), ``"disconnect"`` ends it.
        denied_delivery: ``"drop"`` tells the target that the message was received, ``"disconnect"`` ends the link.
        denied_subscribe_31: MQTT 3.1 has no code for a refused filter: ``"disconnect"`` ends the connection,
            ``"grant"`` answers as if it had been granted and never subscribes.
        denied_will: ``"refuse"`` refuses the CONNECT, ``"strip"`` lets it pass without the will.
    """

    versions: frozenset[int] = frozenset((3, 4, 5))
    denied_publish: str = "drop"
    denied_delivery: str = "drop"
    denied_subscribe_31: str = "disconnect"
    denied_will: str = "refuse"


DEFAULT = Choices()
