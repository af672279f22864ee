"""The environment as a source of configuration. ``MGATE_*`` names are parsed here and nowhere else.

Listeners have the names of both Go generations: ``<prefix><section>_ADDRESS`` and ``_TARGET``, or ``_HOST``, ``_PORT``,
``_TARGET_HOST``, ``_TARGET_PORT``, ``_TARGET_PROTOCOL`` and ``_TARGET_PATH``; the prefix is ``MGATE_`` or ``MPROXY_``.
Everything else is ours: ``MGATE_CONFIG``, ``MGATE_LIMITS_...``, ``MGATE_LOG_...``. An empty value counts as not set.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any

from mgate.addresses import parse_target, split_host_port
from mgate.limits import Limits
from mgate.settings import Origin, Path, Tree

__all__ = ["SECTIONS", "Environment"]

OURS = "MGATE_"
PREFIXES = (OURS, "MPROXY_")


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the name that stands for one listener; `missing` says why it cannot be started yet."""

    listener: str
    protocol: str
    missing: str = ""


SECTIONS = {
    "MQTT_WITHOUT_TLS": Section("mqtt", "mqtt"),
    "MQTT_WITH_TLS": Section("mqtt-tls", "mqtt", "TLS"),
    "MQTT_WITH_MTLS": Section("mqtt-mtls", "mqtt", "TLS"),
    "MQTT_WS_WITHOUT_TLS": Section("ws", "ws", "protocol 'ws'"),
    "MQTT_WS_WITH_TLS": Section("ws-tls", "ws", "protocol 'ws'"),
    "MQTT_WS_WITH_MTLS": Section("ws-mtls", "ws", "protocol 'ws'"),
    "HTTP_WITHOUT_TLS": Section("http", "http", "protocol 'http'"),
    "HTTP_WITH_TLS": Section("http-tls", "http", "protocol 'http'"),
    "HTTP_WITH_MTLS": Section("http-mtls", "http", "protocol 'http'"),
    "COAP_WITHOUT_DTLS": Section("coap", "coap", "protocol 'coap'"),
    "COAP_WITH_DTLS": Section("coap-dtls", "coap", "protocol 'coap'"),
}
ADDRESS_KEYS = (
    "ADDRESS", "TARGET", "HOST", "PORT", "TARGET_HOST", "TARGET_PORT", "TARGET_PROTOCOL", "TARGET_PATH", "PATH_PREFIX",
    "HANDLERS",
)  # fmt: skip
TLS_KEYS = (
    "CERT_FILE", "KEY_FILE", "SERVER_CA_FILE", "CLIENT_CA_FILE", "CERT_VERIFICATION_METHODS", "OCSP_DEPTH",
    "OCSP_RESPONDER_URL", "CRL_DEPTH", "CRL_DISTRIBUTION_POINTS", "CRL_DISTRIBUTION_POINTS_ISSUER_CERT_FILE",
    "OFFLINE_CRL_FILE", "OFFLINE_CRL_ISSUER_CERT_FILE",
)  # fmt: skip


class Environment:
    """What the variables say.

    Args:
        environ: the environment of the process.

    Attributes:
        file: the configuration file that ``MGATE_CONFIG`` names.
        seed_defaults: ``MGATE_SEED_DEFAULTS``, None where it is not set.
        problems: variables that cannot be used, one line each.
        warnings: names that nobody knows, and values without effect, one line each.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.problems: list[str] = []
        self.warnings: list[str] = []
        self._general: dict[str, Any] = {}
        self._sections: dict[str, dict[str, str]] = {}
        self._names: dict[tuple[str, str], str] = {}
        for name in sorted(environ):
            if name.startswith(PREFIXES) and environ[name].strip():
                self._read(name, environ[name].strip())
        self.file: str | None = self._general.pop("MGATE_CONFIG", None)
        self.seed_defaults: bool | None = self._general.get("MGATE_SEED_DEFAULTS")

    def apply(self, tree: Tree) -> list[str]:
        """Put everything over what the file says.

        Returns:
            What is wrong with variables that belong together, one line each.
        """
        for name, value in self._general.items():
            tree.set(_GENERAL[name].path, value, Origin("environment", name))
        problems: list[str] = []
        for section, values in self._sections.items():
            missing = SECTIONS[section].missing or ("TLS" if any(key in TLS_KEYS for key in values) else "")
            if missing:
                first = next((key for key in values if key in TLS_KEYS), next(iter(values)))
                problems.append(f"{self._names[section, first]}: {missing} is not available in this version")
            else:
                self._apply_section(section, values, tree, problems)
        return problems

    def _apply_section(self, section: str, values: dict[str, str], tree: Tree, problems: list[str]) -> None:
        path = ("listener", SECTIONS[section].listener)
        for names, key, build in (
            (("ADDRESS", "HOST", "PORT"), "listen", _listen),
            (("TARGET", "TARGET_HOST", "TARGET_PORT", "TARGET_PROTOCOL"), "target", _target),
        ):
            given = [name for name in names if name in values]
            if not given:
                continue
            try:
                value = build(values, tree.get((*path, key)))
            except ValueError as error:
                problems.append(f"{', '.join(self._names[section, name] for name in given)}: {error}")
                continue
            tree.set((*path, key), value, Origin("environment", self._names[section, given[0]]))
        if "HANDLERS" in values:
            name = self._names[section, "HANDLERS"]
            try:
                tree.set((*path, "handlers"), shlex.split(values["HANDLERS"]), Origin("environment", name))
            except ValueError as error:
                problems.append(f"{name}: {error}")
        for key in ("PATH_PREFIX", "TARGET_PATH"):
            if values.get(key, "/") != "/":
                self.warnings.append(f"{self._names[section, key]}: has no meaning for MQTT")

    def _read(self, name: str, value: str) -> None:
        if name in _GENERAL:
            try:
                self._general[name] = _GENERAL[name].convert(value)
            except ValueError as error:
                self.problems.append(f"{name}: {error}")
            return
        prefix = next(prefix for prefix in PREFIXES if name.startswith(prefix))
        for section in SECTIONS:
            key = name.removeprefix(f"{prefix}{section}_")
            if key in ADDRESS_KEYS or key in TLS_KEYS:
                values = self._sections.setdefault(section, {})
                if values.get(key, value) != value:
                    self.problems.append(f"{self._names[section, key]} and {name} differ: set one of them")
                values[key] = value
                self._names.setdefault((section, key), name)
                return
        found = get_close_matches(name, _known_names(prefix), 1, 0.8)
        hint = f" (did you mean {found[0]}?)" if found else ""
        self.warnings.append(f"{name}: nothing knows this variable{hint}")


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
    targets = [item.strip() for item in values.get("TARGET", "").split(",") if item.strip()]
    if not any(key in values for key in ("TARGET_HOST", "TARGET_PORT", "TARGET_PROTOCOL")):
        return targets
    base = targets or ([below] if isinstance(below, str) else below) or []
    first = parse_target(base[0]) if len(base) == 1 and isinstance(base[0], str) else None
    host, port = (first.host, str(first.port)) if first is not None else ("localhost", "1883")
    if targets:
        if first is None:
            raise ValueError("TARGET names several addresses, so the others cannot be set")
        _agree("TARGET", host, "TARGET_HOST", values.get("TARGET_HOST"))
        _agree("TARGET", port, "TARGET_PORT", values.get("TARGET_PORT"))
    host, port = values.get("TARGET_HOST", host), values.get("TARGET_PORT", port)
    host = f"[{host}]" if ":" in host and not host.startswith("[") else host
    return [f"{values.get('TARGET_PROTOCOL', 'mqtt')}://{host}:{port}"]


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


def _known_names(prefix: str) -> list[str]:
    names = [f"{prefix}{section}_{key}" for section in SECTIONS for key in (*ADDRESS_KEYS, *TLS_KEYS)]
    return [*names, *_GENERAL] if prefix == OURS else names


def _boolean(text: str) -> bool:
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off"):
        return False
    raise ValueError("must be 1 or 0, true or false")


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError("must be a whole number") from None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError("must be a number") from None


def _folders(text: str) -> list[str]:
    return [os.path.abspath(folder) for folder in text.split(os.pathsep) if folder]


@dataclass(frozen=True, slots=True)
class _General:
    path: Path
    convert: Callable[[str], Any]


_GENERAL = {
    "MGATE_CONFIG": _General((), str),
    "MGATE_SEED_DEFAULTS": _General(("seed_defaults",), _boolean),
    "MGATE_PLUGIN_DIRS": _General(("plugin_dirs",), _folders),
    "MGATE_HANDLERS": _General(("handlers",), shlex.split),
    "MGATE_LOG_FORMAT": _General(("log", "format"), str),
    "MGATE_LOG_LEVEL": _General(("log", "level"), str),
    "MGATE_LOG_LINES_PER_SECOND": _General(("log", "lines_per_second"), _whole),
} | {
    f"MGATE_LIMITS_{field.name.upper()}": _General(
        ("limits", field.name), _whole if str(field.type) == "int" else _number
    )
    for field in fields(Limits)
}
