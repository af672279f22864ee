"""Which URLs and addresses the gateway may be sent to by a certificate: pure rules, no name is looked up here.

A certificate names where its status can be asked for. Whoever has certificates issued could therefore make the gateway
send requests into the networks that it stands in. `mgate.tls.fetch` asks these rules before it connects to anything.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import NamedTuple
from urllib.parse import urlsplit

from mgate.errors import GateError

__all__ = ["FetchError", "Location", "is_public", "may_connect", "parse_networks", "parse_url"]

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

LONGEST_URL = 2048
DEFAULT_PORTS = {"http": 80, "https": 443}
GLOBAL_UNICAST = IPv6Network("2000::/3")  # RFC 4291 section 2.4: nothing else has been given out
SIX_TO_FOUR = IPv6Network("2002::/16")  # RFC 3056: carries an IPv4 address, perhaps a private one


class FetchError(GateError):
    """A URL that may not be, or could not be, read; `text` says why and is fit for a log."""

    reason = "fetch"


class Location(NamedTuple):
    """Where a URL leads.

    Attributes:
        scheme: ``"http"`` or ``"https"``.
        host: a name in lower case, or an address without brackets.
        port: as the URL says, or the scheme's own.
        target: path and query, as they are requested.
    """

    scheme: str
    host: str
    port: int
    target: str

    @property
    def host_header(self) -> str:
        """The value of the Host header (RFC 9110 section 7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The URL with its port written out."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.target}"


def parse_url(url: str, ports: Collection[int] | None) -> Location:
    """Take a URL apart, as far as it may be read at all.

    Args:
        url: from a certificate or from the configuration.
        ports: what it may name; None for any.

    Raises:
        FetchError: no http(s) URL, or one with a user name, with an address that is no plain one (``2130706433``,
            ``0x7f.1``, ``127.1``), or with a port that is not among `ports`.
    """
    if len(url) > LONGEST_URL:
        raise FetchError(f"URL of {len(url)} characters")
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise FetchError("URL with characters that have no place in one")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise FetchError(f"no URL: {error}") from None
    if parts.scheme not in DEFAULT_PORTS:
        raise FetchError(f"scheme {parts.scheme!r} is not read, only http and https")
    if "@" in parts.netloc:
        raise FetchError("URL with a user name")
    host = _host(parts.hostname or "", bracketed="[" in parts.netloc)
    port = DEFAULT_PORTS[parts.scheme] if port is None else port
    if port == 0 or (ports is not None and port not in ports):
        raise FetchError(f"port {port} is not allowed")
    query = f"?{parts.query}" if parts.query else ""
    return Location(parts.scheme, host, port, (parts.path or "/") + query)


def _host(host: str, bracketed: bool) -> str:
    """A host name or a plain address.

    Resolvers take ``127.1``, ``0x7f000001`` and ``017700000001`` for addresses; whatever ends like a number and is no
    plain address is one of those.
    """
    if bracketed:
        try:
            return str(IPv6Address(host if "%" not in host else ""))
        except ValueError:
            raise FetchError(f"{host!r} is no address") from None
    last = host.removesuffix(".").rpartition(".")[2]
    if last.isdigit() or last.startswith("0x"):
        try:
            return str(IPv4Address(host))
        except ValueError:
            raise FetchError(f"{host!r} is no plain address") from None
    labels = host.removesuffix(".").split(".")
    plain = all(0 < len(each) < 64 and each.replace("-", "").replace("_", "").isalnum() for each in labels)
    if len(host) > 253 or not plain:
        raise FetchError(f"{host[:64]!r} is no host name")
    return host


def parse_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Read `allowed_networks`.

    Raises:
        ValueError: one is no network in CIDR notation, or has bits set beyond its prefix.
    """
    return tuple(ip_network(text) for text in texts)


def is_public(address: Address) -> bool:
    """Whether an address is one of the public internet, and carries no other address that might not be.

    Not public are private, shared, loopback, link-local, multicast, reserved and unspecified ones (RFC 6890), and all
    of IPv6 beside global unicast, so that mapped IPv4 (``::ffff:10.0.0.1``), NAT64 and 6to4 are no way around the rule.
    """
    if isinstance(address, IPv6Address):
        return address in GLOBAL_UNICAST and address not in SIX_TO_FOUR and address.is_global
    return address.is_global and not address.is_multicast and not address.is_reserved


def may_connect(host: str, networks: Iterable[Network]) -> bool:
    """Whether the gateway may be sent to an address: a public one, or one in `networks`.

    Raises:
        ValueError: `host` is no address.
    """
    address = ip_address(host)
    return is_public(address) or any(address in network for network in networks)
