"""What the Go mGate starts by default, for ``--seed-defaults``: the listeners that there are here, on its ports.

Those with TLS are started where their certificates are named; to listen without them in plain text would be worse than
not to listen.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from mgate.settings import Origin, Tree

__all__ = ["plant"]

ORIGIN = Origin("default", "of the seed")
TARGET = "mqtt://localhost:1883"
LATER = "WebSocket 8083 to 8085, HTTP 8086 to 8088, CoAP 5682 and 5684"


@dataclass(frozen=True, slots=True)
class Listener:
    """One listener of the seed; `needs` says what must be set before a listener with TLS is started."""

    listen: str
    needs: str = ""


LISTENERS = {
    "mqtt": Listener(":1884"),
    "mqtt-tls": Listener(":8883", "MGATE_MQTT_WITH_TLS_CERT_FILE and _KEY_FILE"),
    "mqtt-mtls": Listener(":8884", "MGATE_MQTT_WITH_MTLS_CERT_FILE, _KEY_FILE and _CLIENT_CA_FILE"),
}


def plant(tree: Tree, wanted: Collection[str]) -> list[str]:
    """Put in what other sources leave out. `mgate.config.load` calls it before the environment, and again after all.

    Args:
        tree: where.
        wanted: listeners that variables speak of. Of one with TLS that is named here or in the tree, certificates are
            demanded.

    Returns:
        Notes about what is not started, and why.
    """
    notes = [f"seed defaults: not available in this version: {LATER}"]
    for name, listener in LISTENERS.items():
        if listener.needs and name not in wanted and name not in tree.listeners:
            notes.append(f"seed defaults: {name} ({listener.listen}) is not started: it needs {listener.needs}")
            continue
        tree.plant(("listener", name), {"protocol": "mqtt", "listen": listener.listen, "target": [TARGET]}, ORIGIN)
        if listener.needs:
            tree.plant(("listener", name), {"tls": {}}, ORIGIN)
    return notes
