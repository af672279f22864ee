"""The variables of one listener: names of both Go generations, and some of ours, become keys of its tables.

`mgate.environment` finds out which section of the environment a variable belongs to, and hands all of a section over.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mgate.addresses import TLS_SCHEMES, parse_target, split_host_port
from mgate.settings import Origin, Path, Tree

__all__ = ["KEYS", "SECTIONS", "SERVER_TLS", "Section", "Variables", "boolean", "variable", "whole"]


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the name that stands for one listener.

    Attributes:
        listener: the name of it.
        missing: why it cannot be started yet.
        tls: whether it listens with TLS; it never does without.
        mutual: whether its devices must have certificates.
    """

    listener: str
    missing: str = ""
    tls: bool = False
    mutual: bool = False


SECTIONS = {
    "MQTT_WITHOUT_TLS": Section("mqtt"),
    "MQTT_WITH_TLS": Section("mqtt-tls", tls=True),
    "MQTT_WITH_MTLS": Section("mqtt-mtls", tls=True, mutual=True),
    "MQTT_WS_WITHOUT_TLS": Section("ws", "protocol 'ws'"),
    "MQTT_WS_WITH_TLS": Section("ws-tls", "protocol 'ws'"),
    "MQTT_WS_WITH_MTLS": Section("ws-mtls", "protocol 'ws'"),
    "HTTP_WITHOUT_TLS": Section("http", "protocol 'http'"),
    "HTTP_WITH_TLS": Section("http-tls", "protocol 'http'"),
    "HTTP_WITH_MTLS": Section("http-mtls", "protocol 'http'"),
    "COAP_WITHOUT_DTLS": Section("coap", "protocol 'coap'"),
    "COAP_WITH_DTLS": Section("coap-dtls", "protocol 'coap'"),
}
ADDRESS_KEYS = (
    "ADDRESS", "TARGET", "HOST", "PORT", "TARGET_HOST", "TARGET_PORT", "TARGET_PROTOCOL", "TARGET_PATH", "PATH_PREFIX",
)  # fmt: skip


def boolean(text: str) -> bool:
    """Read a switch. Raises ValueError."""
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off"):
        return False
    raise ValueError("must be 1 or 0, true or false")


def whole(text: str) -> int:
    """Read a whole number. Raises ValueError."""
    try:
        return int(text)
    except ValueError:
        raise ValueError("must be a whole number") from None


def _file(text: str) -> str:
    return os.path.join(os.getcwd(), text)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _methods(text: str) -> list[str]:
    return list(dict.fromkeys(word.lower() for word in _words(text)))


@dataclass(frozen=True, slots=True)
class _Key:
    path: Path
    convert: Callable[[str], Any]


SERVER_TLS = {
    "CERT_FILE": _Key(("tls", "cert_file"), _file),
    "KEY_FILE": _Key(("tls", "key_file"), _file),
    "CLIENT_CA_FILE": _Key(("tls", "client_ca_file"), _file),
    "ALLOW_INSECURE_KEY": _Key(("tls", "allow_insecure_key"), boolean),
    "CERT_VERIFICATION_METHODS": _Key(("tls", "revocation", "methods"), _methods),
    "OCSP_DEPTH": _Key(("tls", "revocation", "ocsp_depth"), whole),
    "OCSP_RESPONDER_URL": _Key(("tls", "revocation", "ocsp_responder_url"), str),
    "CRL_DEPTH": _Key(("tls", "revocation", "crl_depth"), whole),
    "CRL_DISTRIBUTION_POINTS": _Key(("tls", "revocation", "crl_distribution_points"), _words),
    "CRL_DISTRIBUTION_POINTS_ISSUER_CERT_FILE": _Key(
        ("tls", "revocation", "crl_distribution_points_issuer_cert_file"), _file
    ),
    "OFFLINE_CRL_FILE": _Key(("tls", "revocation", "offline_crl_file"), _file),
    "OFFLINE_CRL_ISSUER_CERT_FILE": _Key(("tls", "revocation", "offline_crl_issuer_cert_file"), _file),
}
"""What only a listener with TLS has."""
KEYS = SERVER_TLS | {
    "SERVER_CA_FILE": _Key(("target_tls", "ca_file"), _file),
    "TARGET_CERT_FILE": _Key(("target_tls", "cert_file"), _file),
    "TARGET_KEY_FILE": _Key(("target_tls", "key_file"), _file),
    "TARGET_SERVER_NAME": _Key(("target_tls", "server_name"), str),
    "TRUSTED_PROXIES": _Key(("trusted_proxies",), _words),
    "SEND_PROXY_PROTOCOL": _Key(("send_proxy_protocol",), boolean),
    "HANDLERS": _Key(("handlers",), shlex.split),
}
"""Variables that stand for one key each."""


def variable(path: Path) -> str:
    """The variable that sets a key of TLS of a listener, as in ``MGATE_MQTT_WITH_TLS_CERT_FILE``; "" if none does."""
    for name, section in SECTIONS.items():
        if section.tls and path[:2] == ("listener", section.listener):
            return next((f"MGATE_{name}_{end}" for end, key in SERVER_TLS.items() if key.path == path[2:]), "")
    return ""


@dataclass(slots=True)
class Variables:
    """What the variables of one section say: their values and their full names, by the end of the name."""

    section: str
    values: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)

    def add(self, end: str, name: str, value: str) -> str | None:
        """Take a variable; returns what is wrong if another prefix says something else."""
        known, first = self.values.get(end, value), self.names.setdefault(end, name)
        self.values[end] = value
        return f"{first} and {name} differ: set one of them" if known != value else None

    def apply(self, tree: Tree, problems: list[str], warnings: list[str]) -> None:
        """Put it over what the file says. A listener with TLS gets its table even if nothing is said about it, so that
        certificates are missed."""
        section = SECTIONS[self.section]
        alien = next((end for end in self.values if end in SERVER_TLS and not section.tls), None)
        if section.missing:
            problems.append(f"{next(iter(self.names.values()))}: {section.missing} is not available in this version")
        elif alien is not None:
            secure = self.section.replace("WITHOUT", "WITH"), self.section.replace("WITHOUT_TLS", "WITH_MTLS")
            problems.append(f"{self.names[alien]}: this listener has no TLS: use {' or '.join(secure)}")
        else:
            self._apply_addresses(("listener", section.listener), tree, problems)
            self._apply_keys(("listener", section.listener), tree, problems)
            if section.tls:
                tree.set(("listener", section.listener, "tls"), {}, self._origin(next(iter(self.names))))
            for end in ("PATH_PREFIX", "TARGET_PATH"):
                if self.values.get(end, "/") != "/":
                    warnings.append(f"{self.names[end]}: has no meaning for MQTT")

    def _apply_addresses(self, path: Path, tree: Tree, problems: list[str]) -> None:
        for ends, key, build in (
            (("ADDRESS", "HOST", "PORT"), "listen", _listen),
            (("TARGET", "TARGET_HOST", "TARGET_PORT", "TARGET_PROTOCOL"), "target", _target),
        ):
            given = [end for end in ends if end in self.values]
            if not given:
                continue
            try:
                value = build(self.values, tree.get((*path, key)))
            except ValueError as error:
                problems.append(f"{', '.join(self.names[end] for end in given)}: {error}")
                continue
            tree.set((*path, key), value, self._origin(given[0]))

    def _apply_keys(self, path: Path, tree: Tree, problems: list[str]) -> None:
        for end, key in KEYS.items():
            if end in self.values:
                try:
                    tree.set((*path, *key.path), key.convert(self.values[end]), self._origin(end))
                except ValueError as error:
                    problems.append(f"{self.names[end]}: {error}")

    def _origin(self, end: str) -> Origin:
        return Origin("environment", self.names[end])


def _listen(values: Mapping[str, str], below: Any) -> str:
    """The listen address out of both generations; one of HOST and PORT alone replaces that part of what is below."""
    address = values.get("ADDRESS")
    if "HOST" not in values and "PORT" not in values:
        return address or ""
    host, port = _parts(address if address is not None else below)
    if address is not None:
        _agree("ADDRESS", host, "HOST", values.get("HOST"))
        _agree("ADDRESS", port, "PORT", values.get("PORT"))
        return address
    host, port = values.get("HOST", host), values.get("PORT", port)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}" if port else host


def _target(values: Mapping[str, str], below: Any) -> list[str]:
    """The target out of both generations; TARGET may name several, with commas between them."""
    targets = _words(values.get("TARGET", ""))
    if not any(key in values for key in ("TARGET_HOST", "TARGET_PORT", "TARGET_PROTOCOL")):
        return targets
    protocol = values.get("TARGET_PROTOCOL")
    base = targets or ([below] if isinstance(below, str) else below) or []
    text = base[0] if len(base) == 1 and isinstance(base[0], str) else None
    if text is not None and targets and protocol is not None and "://" not in text:
        text = f"{protocol}://{text}"
    first = parse_target(text) if text is not None else None
    if targets:
        if first is None or first.path:
            what = "names several addresses" if first is None else "is a unix socket"
            raise ValueError(f"TARGET {what}, so the others cannot be set")
        _agree("TARGET", first.host, "TARGET_HOST", values.get("TARGET_HOST"))
        _agree("TARGET", str(first.port), "TARGET_PORT", values.get("TARGET_PORT"))
    elif first is None or first.path:
        first = parse_target(f"{protocol or 'mqtt'}://localhost")
    scheme = "mqtts" if first.tls else "mqtt"  # kept: one variable alone must not take TLS away
    if targets and protocol is not None and (protocol.lower() in TLS_SCHEMES) is not first.tls:
        raise ValueError("TARGET and TARGET_PROTOCOL differ: set one of them")
    host, port = values.get("TARGET_HOST", first.host), values.get("TARGET_PORT", str(first.port))
    host = f"[{host}]" if ":" in host and not host.startswith("[") else host
    return [f"{protocol or scheme}://{host}:{port}"]


def _parts(address: Any) -> tuple[str, str]:
    if not isinstance(address, str):
        return "", ""
    try:
        host, port = split_host_port(address)
    except ValueError:
        return "", ""  # an endpoint string
    return host, str(port or "")


def _agree(one: str, mine: str, other: str, theirs: str | None) -> None:
    if theirs is not None and theirs != mine:
        raise ValueError(f"{one} and {other} differ: set one of them")
