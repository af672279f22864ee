"""What is wrong with the tables of TLS, of revocation and of the PROXY protocol, as far as no file need be opened.

`mgate.tables` has the raw values of each table checked here, so that one mistake does not hide another; `mgate.config`
asks for what does not fit together, and for what has no effect. Whether certificates and keys can be used is found out
by `mgate.tls.contexts` and `mgate.tls.client`, at the start and by ``mgate check``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from typing import Any

from mgate.addresses import TargetAddress
from mgate.settings import Path, Tree, numbered
from mgate.tls.fetch_rules import FetchError, parse_url

__all__ = [
    "bad_proxies", "bad_revocation", "bad_server_name", "bad_server_tls", "bad_target_tls", "target_conflicts",
    "without_effect",
]  # fmt: skip

LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
HOST_NAME = re.compile(rf"(?=.{{1,253}}$){LABEL}(?:\.{LABEL})*", re.IGNORECASE)
OF_METHODS = {
    "ocsp": ("ocsp_depth", "ocsp_responder_url", "ocsp_method", "require_nonce"),
    "crl": (
        "crl_depth", "crl_distribution_points", "crl_distribution_points_issuer_cert_file", "offline_crl_file",
        "offline_crl_issuer_cert_file",
    ),
}  # fmt: skip
"""The keys that only one method of asking reads."""
ISSUERS = {
    "crl_distribution_points_issuer_cert_file": "crl_distribution_points",
    "offline_crl_issuer_cert_file": "offline_crl_file",
}
SERVER_NAME, FILES = "server_name", ("cert_file", "key_file")

Mistakes = Iterator[tuple[Path, str]]


def bad_server_tls(values: dict[str, Any]) -> Mistakes:
    """``[listener.tls]``: files that are not named, names that two certificates share, methods without certificates."""
    yield from _unnamed(values)
    found = values.get(SERVER_NAME)
    entries = [entry if isinstance(entry, dict) else {} for entry in (found if isinstance(found, list) else ())]
    seen: set[str] = set()
    for number, entry in enumerate(entries, 1):
        for place, name in _texts(entry.get("names")):
            if name.lower() in seen:
                yield (SERVER_NAME, numbered(number), "names", numbered(place)), f"{name!r} is there already"
            seen.add(name.lower())
    revocation = values.get("revocation")
    asked = isinstance(revocation, dict) and revocation.get("methods")
    if asked and not any(table.get("client_ca_file") for table in (values, *entries)):
        yield ("revocation", "methods"), "there are no certificates of devices to ask about: set client_ca_file"


def bad_server_name(values: dict[str, Any]) -> Mistakes:
    """``[[listener.tls.server_name]]``: files that are not named, and names that none can ask for (RFC 6066, 3)."""
    yield from _unnamed(values)
    for place, name in _texts(values.get("names")):
        if not _is_host_name(name.removeprefix("*.")):
            yield ("names", numbered(place)), f"{name!r} is no host name: write a.example.com or *.example.com"


def bad_revocation(values: dict[str, Any]) -> Mistakes:
    """``[listener.tls.revocation]``: numbers out of range, and what is no URL or no network."""
    methods: set[str] = set()
    for place, method in _texts(values.get("methods")):
        if method in methods:
            yield ("methods", numbered(place)), f"{method!r} is there already"
        methods.add(method)
    for key, value in values.items():
        if key in ("ocsp_depth", "crl_depth") and type(value) is int and value < 0:
            yield (key,), "must be 0, for all, or above"
        if key in ("deadline", "max_pending") and type(value) in (int, float) and value <= 0:
            yield (key,), "must be above 0"
    responder = values.get("ocsp_responder_url")
    if isinstance(responder, str) and responder:
        yield from ((("ocsp_responder_url",), mistake) for mistake in _url_mistakes(responder))
    for place, url in _texts(values.get("crl_distribution_points")):
        path = ("crl_distribution_points", numbered(place))
        yield from ((path, mistake) for mistake in _url_mistakes(url))
    if values.get("ocsp_method") == "get" and values.get("require_nonce") is True:
        yield ("require_nonce",), "a request by GET has no nonce: leave one of them out"
    ports = values.get("allowed_ports")
    for place, port in enumerate(ports if isinstance(ports, list) else (), 1):
        if type(port) is int and not 1 <= port <= 65535:
            yield ("allowed_ports", numbered(place)), f"{port} is no port from 1 to 65535"
    yield from _bad_networks("allowed_networks", values)


def bad_target_tls(values: dict[str, Any]) -> Mistakes:
    """``[listener.target_tls]``: half of the gateway's own certificate, and what is no name of a host."""
    for key, other in (FILES, FILES[::-1]):
        if values.get(other) and not values.get(key):
            yield (key,), "missing"
    name = values.get(SERVER_NAME)
    if isinstance(name, str) and name and not (_is_address(name) or _is_host_name(name)):
        yield (SERVER_NAME,), f"{name!r} is no host name: write broker.example.com"


def bad_proxies(values: dict[str, Any]) -> Mistakes:
    """``[[listener]]``: proxies that are no networks, and those that cannot be told from strangers."""
    yield from _bad_networks("trusted_proxies", values)
    listen = values.get("listen")
    if values.get("trusted_proxies") and isinstance(listen, str) and listen.lower().startswith("unix:"):
        yield ("trusted_proxies",), "who connects to a unix socket has no address to be trusted by"


def target_conflicts(tree: Tree, listener: str, targets: tuple[TargetAddress, ...]) -> Mistakes:
    """TLS for targets that have none. SERVER_CA_FILE alone is no mistake: the Go mGate reads it and ignores it."""
    path = ("listener", listener, "target_tls")
    table = tree.get(path)
    if not isinstance(table, dict) or any(target.tls for target in targets):
        return
    if [*table] != ["ca_file"] or tree.origin_of_value((*path, "ca_file")).kind != "environment":
        yield path, "no target is mqtts://, so none has TLS"


def without_effect(tree: Tree, listener: str, targets: tuple[TargetAddress, ...]) -> Mistakes:
    """What is no mistake, but does nothing; asked when the tables are known to be good."""
    path = ("listener", listener, "target_tls", "ca_file")
    if tree.get(path) is not None and not any(target.tls for target in targets):
        yield path, "has no effect, as no target is mqtts://"
    path = ("listener", listener, "tls", "revocation")
    revocation = tree.get(path) or {}
    methods = revocation.get("methods") or ()
    if not methods:
        keys = [key for key in revocation if key != "methods"]
        if keys:
            foreign = tree.origin_of_value((*path, keys[0])).kind == "environment"
            yield (
                (*path, keys[0]) if foreign else path,
                f"has no effect without {'CERT_VERIFICATION_METHODS' if foreign else 'methods'}",
            )
        return
    for method, keys_of_it in OF_METHODS.items():
        for key in keys_of_it:
            if key in revocation and method not in methods:
                yield (*path, key), f"has no effect, as methods does not name {method}"
    for key, needed in ISSUERS.items():
        if revocation.get(key) and not revocation.get(needed) and "crl" in methods:
            yield (*path, key), f"has no effect without {needed}"


def _unnamed(values: dict[str, Any]) -> Mistakes:
    return (((key,), "must name a file") for key in FILES if values.get(key) == "")


def _texts(values: Any) -> Iterator[tuple[int, str]]:
    """The strings of a list, with their numbers; what is something else is found by the converter."""
    for number, value in enumerate(values if isinstance(values, list) else (), 1):
        if isinstance(value, str):
            yield number, value


def _bad_networks(key: str, values: dict[str, Any]) -> Mistakes:
    for place, text in _texts(values.get(key)):
        try:
            ip_network(text)
        except ValueError:
            try:
                hint = f"has bits behind its prefix: write {ip_network(text, strict=False)}"
            except ValueError:
                hint = "is no network: write 10.0.0.0/8, or one address"
            yield (key, numbered(place)), f"{text!r} {hint}"


def _url_mistakes(url: str) -> Iterator[str]:
    """What the fetcher would say; whatever port the operator names is meant."""
    try:
        parse_url(url, None)
    except FetchError as error:
        shown = "" if "@" in url else f"{url!r}: "  # credentials are not repeated
        yield f"{shown}{error.text}"


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _is_host_name(text: str) -> bool:
    return HOST_NAME.fullmatch(text) is not None and not _is_address(text)
