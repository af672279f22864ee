"""Tables of the documentation that are made out of the code, so that they cannot say anything else.

Sphinx loads this as an extension: ``.. generated:: limits`` stands for what `limits` below returns. The table of
options in README.md is text: ``python docs/generated.py`` writes it anew, and a test says when that is due.
"""

from __future__ import annotations

import ast
import inspect
import io
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

import attrs  # noqa: E402
from twisted.logger import Logger, LogPublisher  # noqa: E402

from mgate import config, counters, environment, interfaces, limits, link, options, sections  # noqa: E402
from mgate.errors import Kind  # noqa: E402
from mgate.journal import Journal  # noqa: E402
from mgate.logs import line_observer  # noqa: E402
from mgate.mqtt import choices, refusal  # noqa: E402
from mgate.tls import settings as tls  # noqa: E402
from tests import layers as law  # noqa: E402

Rows = list[tuple[str, ...]]

SAID_HERE = {
    "Tables.log": "The table ``[log]``, below.",
    "Tables.limits": "The table ``[limits]``, below: limits of every listener that sets none itself.",
    "Tables.plugin_dirs": "Folders to look for handlers in; relative ones are taken from where the file stands.",
    "Tables.seed_defaults": "Start the listeners of the Go mGate, as far as they are available, see below.",
    "Tables.listener": "The tables ``[[listener]]``, below. Each has a ``name`` of its own.",
    "Log.format": "``text`` or ``json``.",
    "Log.level": "The least severe that is written: ``debug``, ``info``, ``warn`` or ``error``.",
    "Listener.listen": "Where devices connect: ``:1884`` (all interfaces), ``127.0.0.1:1884``, ``[::1]:1884``, or an "
    "endpoint string of Twisted as in ``unix:/run/mgate.sock`` and ``systemd:domain=INET:name=mqtt``.",
    "Listener.target": "What is dialled for each device, as in ``mqtt://broker:1883``, ``mqtts://broker:8883`` (TLS) "
    "or ``unix:/run/broker.sock``. Of a list, each is tried in turn.",
    "Listener.protocol": "What devices speak here.",
    "Listener.tls": "The table ``[listener.tls]``: TLS towards devices.",
    "Listener.target_tls": "The table ``[listener.target_tls]``: TLS towards a target that is ``mqtts://``.",
    "Listener.trusted_proxies": "Networks, as in ``[\"10.0.0.0/8\", \"::1\"]``. If there are any, only who connects "
    "from there is served, and must begin with a header of the PROXY protocol (v1 or v2).",
    "Listener.send_proxy_protocol": "Tell the target who connected, with a header of the PROXY protocol (v2).",
    "Listener.handlers": "Who judges, in this order, each ``name`` or ``name:arguments``. Left out, the ``handlers`` "
    "of the whole file.",
    "Listener.versions": "The protocol levels that are served: 3 is MQTT 3.1, 4 is 3.1.1, 5 is 5.0.",
    "Listener.denied_publish": "A refused message: ``drop`` it and keep the connection, or ``disconnect``.",
    "Listener.denied_delivery": "A refused delivery: ``drop`` it and tell the target that it was received, or "
    "``disconnect``.",
    "Listener.denied_subscribe_31": "MQTT 3.1 cannot say that a filter was refused: ``disconnect``, or ``grant`` and "
    "never subscribe.",
    "Listener.denied_will": "A refused will: ``refuse`` the connection, or ``strip`` the will.",
    "Listener.limits": "The table ``[listener.limits]``: those that differ from ``[limits]``.",
    "Limits.max_connect_size": "The largest CONNECT, in bytes.",
    "Limits.max_packet_size": "The largest packet, in bytes.",
    "Limits.max_clientid_len": "The longest client identifier, in bytes.",
    "Limits.max_topic_levels": "The most levels of a topic name or filter.",
    "Limits.max_filters": "The most topic filters in one SUBSCRIBE, and the most rewritten ones that are remembered.",
    "Limits.max_user_properties": "The most User Properties of one packet (MQTT 5).",
    "Limits.max_connections": "The most open connections of the listener.",
    "Limits.max_connections_per_address": "The most open connections from one IP address.",
    "Counters.connections_total": "Accepted since the start.",
    "Counters.packets_downlink": "The same from the target.",
    "Counters.bytes_uplink": "Bytes that were forwarded to the target.",
    "Counters.bytes_downlink": "Bytes that were forwarded to the device.",
    "Counters.handler_faults": "Exceptions of handlers that were not ``Denied``, and answers that came too late.",
    "Counters.target_dials": "Attempts to connect to an address of the target.",
    "Counters.target_failures": "Those that failed.",
}
"""What the code does not say in a docstring below the field. A test sees to it that nothing here is said twice."""

NAME = ("``name``", "", "Required, and no two the same: what the log, ``--set listener.NAME.key`` and hooks call it.")
"""The first key of a listener, which is no field: configurations keep listeners by name."""


def described(table: type) -> dict[str, str]:
    """What each field of a class means: the docstring below it or in that of the class, or what is said here."""
    tree = ast.parse(inspect.getsource(sys.modules[table.__module__]))
    attributes = _attributes(inspect.getdoc(table) or "")
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == table.__name__)
    found: dict[str, str] = {}
    for node, below in zip(body, [*body[1:], ast.Pass()], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            said = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
            text = inspect.cleandoc(below.value.value) if said else ""  # type: ignore[attr-defined]
            text = text or attributes.get(node.target.id, "")
            found[node.target.id] = text or SAID_HERE.get(f"{table.__name__}.{node.target.id}", "")
    return found


def _attributes(docstring: str) -> dict[str, str]:
    """What the part "Attributes" of a docstring says of each; several names may share a text."""
    _, _, part = docstring.partition("\nAttributes:\n")
    found = {}
    for names, text in re.findall(r"^    (\w[\w, ]*): ((?:.*\n?)(?:^        .*\n?)*)", part, re.M):
        text = re.sub(r"^see `\w+`\.$", "A table of its own, below.", " ".join(text.split()))
        found |= {name.strip(): text[:1].upper() + text[1:] for name in names.split(",")}
    return found


# The tables, as reStructuredText.


def tables() -> str:
    """Keys of the whole file."""
    return _keys(config.Tables)


def log() -> str:
    """Keys of ``[log]``."""
    return _keys(config.Log)


def listener() -> str:
    """Keys of ``[[listener]]``."""
    return _keys(config.Listener, NAME)


def listener_tls() -> str:
    """Keys of ``[listener.tls]``."""
    return _keys(tls.ServerTls)


def listener_tls_revocation() -> str:
    """Keys of ``[listener.tls.revocation]``."""
    return _keys(tls.Revocation)


def listener_tls_server_name() -> str:
    """Keys of ``[[listener.tls.server_name]]``."""
    return _keys(tls.ServerName)


def listener_target_tls() -> str:
    """Keys of ``[listener.target_tls]``."""
    return _keys(tls.TargetTls)


def limits_() -> str:
    """Keys of ``[limits]``."""
    return _keys(limits.Limits)


def environment_variables() -> str:
    """Every variable that is read, but for those of listeners."""
    rows: Rows = []
    for name, general in environment._GENERAL.items():
        rows.append((f"``{name}``", f"``{'.'.join(general.path)}``" if general.path else "The file to read."))
    return _table(("variable", "key of the file"), rows)


def environment_sections() -> str:
    """The listeners that have variables of their own."""
    rows = [
        (f"``{name}``", f"``{section.listener}``", f"{section.missing} is not there yet" if section.missing else "")
        for name, section in sections.SECTIONS.items()
    ]
    return _table(("section", "listener", ""), rows)


def environment_keys() -> str:
    """The ends of names that stand for a key of a listener."""
    rows = [(f"``{name}``", f"``{'.'.join(key.path)}``") for name, key in sections.KEYS.items()]
    return _table(("end of the name", "key of the listener"), rows)


def command_line() -> str:
    """The options of ``twistd mgate`` and ``mgate run``."""
    made = options.Options()
    made.synopsis = "Usage: mgate run [options]"
    usage = re.sub(r"(?<=\.) {3,}(?=\w)", " ", made.getUsage(width=100))  # where a docstring goes on in a new line
    return ".. code-block:: text\n\n" + _indented(usage.strip("\n"))


def hooks() -> str:
    """Every hook of a handler."""
    return _methods(interfaces.IHandler)


def interceptor() -> str:
    """Both hooks of an interceptor."""
    return _methods(interfaces.IInterceptor)


def maker() -> str:
    """What a plugin offers."""
    return _methods(interfaces.IHandlerMaker)


def codes() -> str:
    """The codes of each kind of refusal in MQTT."""
    rows = []
    for kind in Kind:
        code = refusal.CODES[kind]
        rest = (code.connack5, code.suback, code.puback, code.disconnect)
        rows.append((f"``{kind.value}``", str(code.connack3), *(f"0x{number:02X}" for number in rest)))
    return _table(("kind", "CONNACK 3.x", "CONNACK 5", "SUBACK 5", "PUBACK, PUBREC 5", "DISCONNECT 5"), rows)


def counters_() -> str:
    """What a listener counts."""
    return _table(("field", "what"), [(f"``{name}``", text) for name, text in described(counters.Counters).items()])


def states() -> str:
    """The life of a link."""
    rows = [
        (f"``{state}``", ", ".join(f"``{event}`` → ``{then}``" for event, then in events.items()) or "the end")
        for state, events in link.LINK_STATES.items()
    ]
    return _table(("state", "what happens → then"), rows)


def layers() -> str:
    """Which module belongs to which layer, of those that exist."""
    what = ("values and interfaces", "codecs", "decisions and relays", "transports", "configuration and assembly")
    members: dict[int, list[str]] = {number: [] for number in range(len(what))}
    for module in law.read(ROOT, "mgate"):
        if module != "mgate" and not module.startswith(("mgate.demo.", "mgate.testing.", "mgate.handlers.")):
            members[law.layer_of(module)].append(f"``{module.removeprefix('mgate.')}``")
    rows = [(f"{number} {text}", ", ".join(members[number])) for number, text in enumerate(what)]
    return _table(("layer", "modules of ``mgate``"), rows)


def log_lines() -> str:
    """The same refusal in both formats."""
    written = []
    for form in ("text", "json"):
        stream = io.StringIO()
        Journal(log=Logger("mgate", observer=LogPublisher(line_observer(stream, form)))).reject(
            "not_authorised", handler="tenant-rules", hook="auth_publish", text="publish below alice/",
            peer=("192.0.2.7", 50123), client_id="pump-3", connection_id="mqtt-17", listener="mqtt",
        )  # fmt: skip
        written.append(stream.getvalue().rstrip())
    return ".. code-block:: text\n\n" + _indented("\n\n".join(written))


GENERATED: dict[str, Callable[[], str]] = {
    "codes": codes, "command-line": command_line, "counters": counters_, "environment-keys": environment_keys,
    "environment-sections": environment_sections, "environment-variables": environment_variables, "hooks": hooks,
    "interceptor": interceptor, "layers": layers, "limits": limits_, "listener": listener,
    "listener-target-tls": listener_target_tls, "listener-tls": listener_tls,
    "listener-tls-revocation": listener_tls_revocation, "listener-tls-server-name": listener_tls_server_name,
    "log": log, "log-lines": log_lines, "maker": maker, "states": states, "tables": tables,
}  # fmt: skip
"""What ``.. generated::`` knows."""


def _keys(table: type, *first: tuple[str, ...]) -> str:
    texts = described(table)
    rows = [(f"``{name}``", f"``{value}``" if value else "", texts[name]) for name, value in _defaults(table)]
    return _table(("key", "default", "what"), [*first, *rows])


def _defaults(table: type) -> list[tuple[str, str]]:
    """Every key with its default as TOML writes it; "" for a table, and for what has none."""
    found = []
    for field in fields(table) if is_dataclass(table) else attrs.fields(table):
        value = field.default
        plain = isinstance(value, bool | int | float | str | tuple | frozenset)
        found.append((field.name, _toml(value) if plain else ""))
    return found


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, tuple | frozenset):
        return str(sorted(value))
    return f"{value:_}" if isinstance(value, int) and value >= 10_000 else f"{value:g}"


def _methods(interface: Any) -> str:
    """Each attribute and method of an interface with its docstring, in the order of the source."""
    source = inspect.getsource(sys.modules[interface.__module__])
    source = source[source.index(f"class {interface.__name__}(") :]
    parts = {}
    for name, part in interface.namesAndDescriptions():
        method = hasattr(part, "getSignatureString")
        at = source.index(f"def {name}(" if method else f"    {name} = ")
        heading = f".. py:method:: {name}{part.getSignatureString()}" if method else f".. py:attribute:: {name}"
        # Args, Returns and Raises stand on lines of their own; what belongs to them is indented.
        text = re.sub(r"\n+(Args|Returns|Raises):", r"\n\n**\1**:", inspect.cleandoc(part.getDoc()))
        text = re.sub(r"\n +", "\n", text)
        parts[at] = f"{heading}\n   :no-index:\n\n{_indented(text)}"
    return "\n\n".join(parts[at] for at in sorted(parts))


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [".. list-table::", "   :header-rows: 1", "   :widths: auto", ""]
    for row in (headings, *rows):
        for index, cell in enumerate(row):
            lines.append(f"   {'* -' if index == 0 else '  -'} {' '.join(cell.split())}".rstrip())
    return "\n".join(lines)


def _indented(text: str) -> str:
    return "\n".join(f"   {line}".rstrip() for line in text.split("\n"))


# README.md, which is Markdown and stands in the repository.

BEGIN, END = "<!-- options: made by docs/generated.py -->", "<!-- end -->"


def readme_table() -> str:
    """The keys that a listener has."""
    lines = ["| key | default | what |", "|---|---|---|", f"| {' | '.join(NAME).replace('``', '`')} |"]
    texts = described(config.Listener)
    for name, default in _defaults(config.Listener):
        text = " ".join(texts[name].split()).replace("``", "`").replace("|", "\\|")
        lines.append(f"| `{name}` | {f'`{default}`' if default else ''} | {text} |")
    return "\n".join(lines)


def with_options(readme: str) -> str:
    """The text of README.md with its table made anew."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{readme_table()}\n{END}{after}"


def _named_defaults(app: Any, what: str, name: str, thing: Any, options: Any, signature: str | None, to: Any) -> Any:
    """Called for each signature: write defaults as readers import them, not as our modules do."""
    for alias, module in (("limits_module", limits), ("choices_module", choices)):
        signature = signature and signature.replace(f"{alias}.", f"{module.__name__}.")
    return signature, to


def setup(app: Any) -> dict[str, Any]:
    """Called by Sphinx."""
    from docutils import nodes
    from sphinx.util.docutils import SphinxDirective

    class Generated(SphinxDirective):
        required_arguments = 1

        def run(self) -> list[nodes.Node]:
            return self.parse_text_to_nodes(GENERATED[self.arguments[0]]())

    app.add_directive("generated", Generated)
    app.connect("autodoc-process-signature", _named_defaults)
    return {"parallel_read_safe": True}


if __name__ == "__main__":
    file = ROOT / "README.md"
    file.write_text(with_options(file.read_text()))
