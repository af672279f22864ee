"""What a relay writes to the journal and counts, when it is not the plain course of things."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mgate.errors import Denied, GateError

if TYPE_CHECKING:
    from mgate.mqtt.relay import MqttRelay

__all__ = ["connected", "denied", "ended"]


def connected(relay: MqttRelay) -> None:
    """The target has accepted a device."""
    session = relay.session
    relay.journal.event("connect", version=session.version, username=session.username, **_who(relay))


def denied(relay: MqttRelay, error: Denied) -> None:
    """A handler, or the gateway in its place, refused something; a fault of the handler is reported as well."""
    relay.counters.reject(error.reason)
    relay.journal.reject(
        error.reason, handler=error.handler, hook=error.hook, text=error.text, detail=error.detail, **_who(relay)
    )
    if error.__cause__ is not None:
        relay.counters.handler_faults += 1
        relay.journal.fault(error.handler, error.hook, error.__cause__)


def ended(relay: MqttRelay, error: GateError) -> None:
    """The gateway ends a connection."""
    relay.counters.reject(error.reason)
    relay.journal.reject(error.reason, text=error.text, **_who(relay))


def _who(relay: MqttRelay) -> dict[str, Any]:
    session = relay.session
    return {
        "peer": session.peer,
        "client_id": session.id,
        "connection_id": session.connection_id,
        "listener": session.listener,
    }
