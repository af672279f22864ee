"""Every limit and time-out that an untrusted device meets, with its default. Each is a key of the configuration."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DEFAULT", "Limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one listener. Sizes in bytes, times in seconds. `DEFAULT` for what nobody sets."""

    connect_timeout: float = 10.0
    """From accept to a whole CONNECT."""
    proxy_header: float = 3.0
    """From accept to the whole header of the PROXY protocol."""
    tls_handshake: float = 10.0
    """From accept to the end of the TLS handshake, the question of the status of the certificate included."""
    connack_timeout: float = 10.0
    """From the forwarded CONNECT to the CONNACK of the target."""
    packet_timeout: float = 30.0
    """From the first to the last byte of a packet."""
    handler_timeout: float = 5.0
    """For one decision of a handler."""
    dial_timeout: float = 5.0
    """To connect to one address of the target."""
    drain_timeout: float = 30.0
    """For held packets and written bytes to leave after one side ended."""
    max_connect_size: int = 128 * 1024
    max_packet_size: int = 1024 * 1024
    max_clientid_len: int = 1024
    max_topic_levels: int = 128
    max_filters: int = 1024
    max_user_properties: int = 64
    max_connections: int = 100_000
    max_connections_per_address: int = 1_000
    max_connection_rate: int = 1_000
    """Accepted connections a second, of the listener."""
    write_buffer_high: int = 256 * 1024
    """Unsent bytes at which the other side is no longer read; it is read again once all are sent."""
    http_head_timeout: float = 10.0
    """From the first to the last byte of the head of an HTTP request; the first one counts from accept."""
    http_body_timeout: float = 30.0
    """For the body of an HTTP request."""
    http_keep_alive: float = 60.0
    """Between two HTTP requests of a connection."""
    http_answer_timeout: float = 30.0
    """For the HTTP target to begin its response, and for each pause in it."""
    http_target_keep_alive: float = 15.0
    """How long an unused connection to an HTTP target is kept."""
    http_max_head: int = 16 * 1024
    """Bytes of the head of an HTTP request, or of a WebSocket handshake."""
    http_max_fields: int = 100
    """Header fields in it."""
    http_max_body: int = 1024 * 1024
    """Bytes of the body of an HTTP request."""
    http_max_idle_targets: int = 256
    """Unused connections to an HTTP target that are kept."""


DEFAULT = Limits()
