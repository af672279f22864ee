"""Listen and target addresses as the configuration writes them, parsed without touching a network.

A listener binds ``":1884"`` (all interfaces), ``"127.0.0.1:1884"``, ``"[::1]:1884"``, or a Twisted endpoint string such
as ``"unix:/run/mgate.sock"`` or ``"systemd:domain=INET:name=mqtt"``. A target is ``"mqtt://broker:1883"``,
``"broker:1883"``, ``"broker"``, ``"mqtts://broker:8883"`` (with TLS) or ``"unix:/run/broker.sock"``. `mgate.tables`
calls both parsers.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

__all__ = ["ListenAddress", "TargetAddress", "parse_listen", "parse_target", "split_host_port"]

ENDPOINTS = ("tcp", "tcp6", "unix", "systemd")
REPLACED_ENDPOINTS = {
    "ssl": "write the address alone, and the certificate into [listener.tls]",
    "tls": "write the address alone, and the certificates into [listener.tls]",
    "haproxy": "write the address alone, and who may send a PROXY header into trusted_proxies",
}
"""Endpoints of Twisted that would bring their own TLS or PROXY protocol, and what stands for them here."""
LATER_ENDPOINTS = ("autobahn",)
PLAIN_SCHEMES = ("mqtt", "tcp")
TLS_SCHEMES = ("mqtts", "ssl", "tls")
LATER_SCHEMES = ("ws", "wss", "http", "https", "coap", "coaps")
MQTT_PORT = 1883
MQTTS_PORT = 8883


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Where a listener binds. Either `endpoint` is set, or `host` and `port`; host "" is all interfaces."""

    text: str
    host: str = ""
    port: int = 0
    endpoint: str = ""

    def __str__(self) -> str:
        return self.text

    def overlaps(self, other: ListenAddress) -> bool:
        """Whether both cannot be bound at once."""
        if self.endpoint or other.endpoint:
            return self.endpoint == other.endpoint
        if self.port != other.port:
            return False
        if not self.host or not other.host or self.host == other.host:
            return True
        mine, theirs = ip_address(self.host), ip_address(other.host)
        return mine.version == theirs.version and (mine.is_unspecified or theirs.is_unspecified)

    def serves(self, target: TargetAddress) -> bool:
        """Whether who dials `target` gets here, as far as addresses alone can tell."""
        if target.path:
            return self.endpoint.split(":")[:2] == ["unix", target.path]
        if self.endpoint or self.port != target.port:
            return False
        try:
            dialled = ip_address("127.0.0.1" if target.host.lower() == "localhost" else target.host)
        except ValueError:
            return False  # a name
        if not self.host or ip_address(self.host).is_unspecified:
            same = not self.host or ip_address(self.host).version == dialled.version
            return same and (dialled.is_loopback or dialled.is_unspecified)
        return ip_address(self.host) == dialled


@dataclass(frozen=True, slots=True)
class TargetAddress:
    """Where a target is dialled: a host and a port, with TLS or without, or the path of a unix socket."""

    host: str = ""
    port: int = 0
    path: str = ""
    tls: bool = False

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        scheme = "mqtts" if self.tls else "mqtt"
        return f"{scheme}://[{self.host}]:{self.port}" if ":" in self.host else f"{scheme}://{self.host}:{self.port}"


def parse_listen(text: str) -> ListenAddress:
    """Read the `listen` key of a listener.

    Raises:
        ValueError: says what is wrong with it.
    """
    prefix = text.partition(":")[0].lower()
    if prefix in ENDPOINTS:
        return ListenAddress(text, endpoint=text)
    if prefix in REPLACED_ENDPOINTS:
        raise ValueError(f"{prefix!r} endpoints are not used: {REPLACED_ENDPOINTS[prefix]}")
    if prefix in LATER_ENDPOINTS:
        raise ValueError(f"{prefix!r} endpoints are not available in this version")
    host, port = split_host_port(text)
    if port is None:
        raise ValueError(f"{text!r} has no port: write \":1884\" or \"127.0.0.1:1884\"")
    if host == "localhost":
        host = "127.0.0.1"
    if host:
        try:
            ip_address(host)
        except ValueError:
            raise ValueError(
                f"{host!r} is not an IP address: write one, or \":{port}\" for all interfaces"
            ) from None
    return ListenAddress(text, host, port)


def parse_target(text: str) -> TargetAddress:
    """Read one address of the `target` key.

    Raises:
        ValueError: says what is wrong with it; credentials that stood in it are not repeated.
    """
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        path = "/" + path.lstrip("/") if path.startswith("//") else path
        if not path.startswith("/"):
            raise ValueError("the path of a unix socket must begin with '/'")
        return TargetAddress(path=path)
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = "mqtt", text
    if "@" in rest:
        raise ValueError("credentials have no place in a target: a handler can set them in auth_connect")
    if scheme.lower() in LATER_SCHEMES:
        raise ValueError(f"{scheme!r} targets are not available in this version")
    tls = scheme.lower() in TLS_SCHEMES
    if not tls and scheme.lower() not in PLAIN_SCHEMES:
        raise ValueError(f"{scheme!r} is no known scheme: write mqtt://host:port or mqtts://host:port")
    host, port = split_host_port(rest.removesuffix("/") if separator else rest)
    if not host:
        raise ValueError(f"{text!r} has no host: write mqtt://host:port")
    if port is None:
        port = MQTTS_PORT if tls else MQTT_PORT
    return TargetAddress(host, port, tls=tls)


def split_host_port(text: str) -> tuple[str, int | None]:
    """Split ``host:port``, ``:port``, ``[v6]:port`` or ``host``; a port that is not there is None.

    Raises:
        ValueError: a port outside 1 to 65535, or a host that cannot be one.
    """
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")) or ":" not in host:
            raise ValueError(f"{text!r} is not an address: write [::1]:1883")
        ip_address(host)
        port_text: str | None = rest[1:] if rest else None
    else:
        host, colon, tail = text.partition(":")
        port_text = tail if colon else None
        if ":" in tail:
            raise ValueError(f"{text!r} has more than one colon: write an IPv6 address in brackets, [::1]:1883")
    if not host.isascii() or not host.isprintable() or any(character in " /?#\\" for character in host):
        raise ValueError(f"{host!r} is not a host name")
    if port_text is None:
        return host, None
    if not (port_text.isascii() and port_text.isdigit()) or not 1 <= int(port_text[:6]) <= 65535:
        raise ValueError(f"port {port_text!r} is not a number from 1 to 65535")
    return host, int(port_text)
