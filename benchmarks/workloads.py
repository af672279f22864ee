"""What is measured: the arguments that load gets, which counter of the sink must agree, and the targets."""

from __future__ import annotations

import resource
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["IDLE_CONNECTIONS", "WORKLOADS", "Workload", "idle_connections"]

IDLE_CONNECTIONS = 9_500
IDLE_TLS_CONNECTIONS = 2_000
"""How many idle connections are held where the limit on open files allows it; each of TLS costs a handshake first."""


@dataclass(frozen=True, slots=True)
class Workload:
    """One row of `WORKLOADS`.

    Attributes:
        name: for ``--workloads``.
        title: for the report.
        arguments: of load; the head of load.c explains them.
        counted: the counter of the sink that has to grow by what load counted, or "" where nothing is sent.
        unit: what one unit of the figures is.
        limited_by: ``gateway`` where units per second say what the gateway can do, ``rate`` where load sets the pace.
        latency: whether load measures it: the round trip to the target and back, or the way down for deliveries.
        certificate: what the gateway ends TLS with, ``p256`` or ``rsa`` (2048 bits); "" where there is no TLS.
        mutual: whether devices have a certificate of their own (P-256), and must.
        connections: how many are to be held, where they are idle.
        targets: peer to the figure that it should not exceed: CPU microseconds per unit, or KiB per connection.
    """

    name: str
    title: str
    arguments: str
    counted: Literal["", "publishes", "delivered", "connects"] = "publishes"
    unit: str = "message"
    limited_by: Literal["gateway", "rate"] = "gateway"
    latency: bool = False
    certificate: Literal["", "p256", "rsa"] = ""
    mutual: bool = False
    connections: int = IDLE_CONNECTIONS
    targets: dict[str, float] = field(default_factory=dict)

    @property
    def idle(self) -> bool:
        """Whether it measures memory of connections that say nothing."""
        return not self.counted

    @property
    def tls(self) -> bool:
        """Whether devices speak TLS. The target never does."""
        return bool(self.certificate)


# The windows of QoS 0 are messages: 780 of 64 B are 71 KiB in flight for each connection, 16 of 64 KiB are 1 MiB.
# So no peer wins by buffering what it did not deliver.
WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload(
            "qos0",
            "QoS 0 flood, 64 B, 50 connections, MQTT 3.1.1",
            "-m publish -c 50 -w 780",
            targets={"mgate-agree": 1.2, "mgate-unwatched": 0.8},
        ),
        Workload(
            "qos0-v5",
            "QoS 0 flood, 64 B, 50 connections, MQTT 5.0",
            "-m publish -c 50 -w 780 -v 5",
            targets={"mgate-agree": 1.2, "mgate-unwatched": 0.8},
        ),
        Workload(
            "qos1",
            "QoS 1, 64 B, 50 connections, window 100, MQTT 3.1.1",
            "-m publish -q 1 -c 50 -w 100",
            latency=True,
            targets={"mgate-agree": 2.2},
        ),
        Workload(
            "64k",
            "QoS 0, payloads of 64 KiB, 4 connections",
            "-m publish -c 4 -s 65536 -w 16",
            targets={"mgate-agree": 55},
        ),
        Workload(
            "sparse",
            "one packet per wake-up: QoS 0, 64 B, 200 connections in turn, 20,000 messages/s in all",
            "-m publish -c 200 -r 20000",
            limited_by="rate",
        ),
        Workload(
            "latency",
            "added latency: QoS 1 round trip, 64 B, 10 connections in turn, 200 messages/s in all",
            "-m publish -q 1 -c 10 -r 200",
            limited_by="rate",
            latency=True,
        ),
        Workload(
            "fan",
            "fan-out downlink: QoS 0, 64 B, 100 subscribers, 8 publishes in flight",
            "-m fan -c 100 -w 8",
            counted="delivered",
            unit="delivery",
            latency=True,
        ),
        Workload(
            "churn",
            "connect, CONNACK, DISCONNECT; 16 at a time",
            "-m churn -c 16",
            counted="connects",
            unit="connection",
            latency=True,
        ),
        Workload(
            "idle",
            "idle connections: memory of the gateway",
            "-m idle",
            counted="",
            unit="connection",
            targets={"mgate-agree": 6.0, "mgate-unwatched": 6.0},
        ),
        Workload(
            "tls-handshake-p256",
            "TLS handshake, P-256, then as churn; 16 at a time",
            "-m churn -c 16",
            counted="connects",
            unit="connection",
            latency=True,
            certificate="p256",
        ),
        Workload(
            "tls-handshake-rsa",
            "TLS handshake, RSA 2048, then as churn; 16 at a time",
            "-m churn -c 16",
            counted="connects",
            unit="connection",
            latency=True,
            certificate="rsa",
        ),
        Workload(
            "tls-handshake-mutual",
            "TLS handshake, P-256 on both sides, then as churn; 16 at a time",
            "-m churn -c 16",
            counted="connects",
            unit="connection",
            latency=True,
            certificate="p256",
            mutual=True,
        ),
        Workload(
            "tls-qos0",
            "TLS: QoS 0 flood, 64 B, 50 connections, MQTT 3.1.1",
            "-m publish -c 50 -w 780",
            certificate="p256",
        ),
        Workload(
            "tls-16k",
            "TLS: QoS 0, payloads of 16 KiB, 4 connections",
            "-m publish -c 4 -s 16384 -w 64",
            certificate="p256",
        ),
        Workload(
            "tls-paced",
            "TLS, one packet per wake-up: QoS 0, 64 B, 200 connections in turn, 10,000 messages/s in all",
            "-m publish -c 200 -r 10000",
            limited_by="rate",
            certificate="p256",
        ),
        Workload(
            "tls-idle",
            "idle TLS connections: memory of the gateway",
            "-m idle",
            counted="",
            unit="connection",
            certificate="p256",
            connections=IDLE_TLS_CONNECTIONS,
        ),
    )
}


def idle_connections(wanted: int) -> int:
    """How many of `wanted` idle connections this machine lets us hold: a gateway needs two files for each."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        return wanted
    return max(1, min(wanted, (hard - 200) // 2))
