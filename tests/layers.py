"""The law of layers, as a table and a checker; docs/ say in words what stands here.

`tests/test_layers.py` holds the code to it. The Makefile asks ``python -m tests.layers modules`` and ``... tests``
which modules are below the transports, and which tests need no reactor: the ones must be covered by the others.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = ["Import", "breaches", "core_modules", "core_tests", "imports_of", "layer_of"]

ROOT = Path(__file__).resolve().parent.parent

LAYERS = {
    # 4: everything that is not named here, down to the service that assembles it
    "mgate": 4,
    # 0: values and interfaces
    "mgate.__init__": 0,
    "mgate.counters": 0,
    "mgate.errors": 0,
    "mgate.handler": 0,
    "mgate.hooks": 0,
    "mgate.interfaces": 0,
    "mgate.limits": 0,
    "mgate.outcome": 0,
    "mgate.session": 0,
    "mgate.tls.settings": 0,
    "mgate.tls.status": 0,
    # 1: codecs, rules, and the line that is written when something happened
    "mgate.journal": 1,
    "mgate.coap.message": 1,
    "mgate.http.answers": 1,
    "mgate.http.bodies": 1,
    "mgate.http.choices": 1,
    "mgate.http.credentials": 1,
    "mgate.http.forwarding": 1,
    "mgate.http.heads": 1,
    "mgate.http.paths": 1,
    "mgate.http.responses": 1,
    "mgate.http.rules": 1,
    "mgate.mqtt.connect": 1,
    "mgate.mqtt.decode": 1,
    "mgate.mqtt.encode": 1,
    "mgate.mqtt.fields": 1,
    "mgate.mqtt.framing": 1,
    "mgate.mqtt.packets": 1,
    "mgate.mqtt.properties": 1,
    "mgate.mqtt.reasons": 1,
    "mgate.mqtt.text": 1,
    "mgate.proxyprotocol.crc32c": 1,
    "mgate.proxyprotocol.encode": 1,
    "mgate.proxyprotocol.header": 1,
    "mgate.tls.crl": 1,
    "mgate.tls.fetch_rules": 1,
    "mgate.tls.identity": 1,
    "mgate.tls.ocsp": 1,
    "mgate.tls.signed": 1,
    "mgate.websocket.closing": 1,
    "mgate.websocket.frames": 1,
    "mgate.websocket.handshake": 1,
    # 2: decisions, and the relays with what they are made of
    "mgate.policy": 2,
    "mgate.verdict": 2,
    "mgate.handlers": 2,
    "mgate.coap": 2,
    "mgate.http": 2,
    "mgate.mqtt": 2,
    "mgate.websocket": 2,
    # 3: transports
    "mgate.dialling": 3,
    "mgate.flow": 3,
    "mgate.link": 3,
    "mgate.proxyprotocol": 3,
    "mgate.tls": 3,
    "mgate.coap.protocol": 3,
    "mgate.http.connection": 3,
    "mgate.http.device": 3,
    "mgate.http.pool": 3,
    "mgate.http.protocol": 3,
    "mgate.http.transfer": 3,
    "mgate.mqtt.protocol": 3,
    "mgate.websocket.carrier": 3,
    "mgate.websocket.device": 3,
    "mgate.websocket.protocol": 3,
    "mgate.websocket.target": 3,
}
"""The longest prefix decides, so that a new module of a protocol is part of its relay until it is named here."""

TRANSPORTS = 3
PROTOCOLS = ("coap", "http", "mqtt", "websocket")

ASSEMBLERS = (
    "mgate.__main__", "mgate.binding", "mgate.cli", "mgate.demo", "mgate.entrance", "mgate.listeners", "mgate.logs",
    "mgate.service", "mgate.serving", "mgate.targets", "mgate.testing",
)  # fmt: skip
"""What may choose a reactor, and beside layer 3 knows transports. `mgate.logs` is here because twistd makes a logger
without telling it the reactor."""

PERMITTED = {
    "mgate.interfaces": ("twisted.plugin",),
    "mgate.policy": ("twisted.internet.defer", "twisted.python.failure"),
    "mgate.http.heads": ("httptools",),
    "mgate.journal": ("twisted.logger", "twisted.python.failure"),
    "mgate.handlers": ("twisted.logger",),
    "mgate.tls.crl": ("cryptography",),
    "mgate.tls.identity": ("cryptography",),
    "mgate.tls.ocsp": ("cryptography",),
    "mgate.tls.signed": ("cryptography",),
    "mgate.websocket.frames": ("autobahn",),
}
"""What a module below the transports may import beside the standard library, zope.interface and lower layers."""

BLOCKING = (
    "asyncio", "concurrent", "multiprocessing", "select", "selectors", "socket", "ssl", "subprocess", "threading",
)  # fmt: skip
"""What of the standard library has no place below the transports."""

FORBIDDEN_MODULES = ("common", "helpers", "misc", "util", "utils")
FORBIDDEN_CLASSES = ("Engine", "Helper", "Manager", "Processor", "Utils")


class Import(NamedTuple):
    """One imported name: the full dotted name, the line, and whether it is imported as soon as the module is."""

    name: str
    line: int
    at_once: bool


class Source(NamedTuple):
    """A parsed module."""

    name: str
    path: str
    tree: ast.Module
    imports: list[Import]


def layer_of(module: str) -> int:
    """The layer of a module of mgate, by its dotted name."""
    if module == "mgate":
        return LAYERS["mgate.__init__"]
    while module not in LAYERS:
        module = module.rpartition(".")[0]
    return LAYERS[module]


def _within(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


def imports_of(tree: ast.Module) -> list[Import]:
    """Every name that a module imports, also inside of functions. Relative imports are named as they are written."""
    found: list[Import] = []

    def visit(node: ast.AST, at_once: bool) -> None:
        if isinstance(node, ast.Import):
            found.extend(Import(alias.name, node.lineno, at_once) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            found.extend(Import(f"{base}.{alias.name}", node.lineno, at_once) for alias in node.names)
        lazy = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        typing_only = isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        for child in ast.iter_child_nodes(node):
            visit(child, at_once and not lazy and not typing_only)

    visit(tree, True)
    return found


def read(root: Path, package: str) -> dict[str, Source]:
    """Parse every module of a package, by dotted name; a package itself has the name of its folder."""
    sources = {}
    for path in sorted((root / package).rglob("*.py")):
        relative = path.relative_to(root)
        parts = relative.with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        tree = ast.parse(path.read_bytes(), str(relative))
        sources[name] = Source(name, str(relative), tree, imports_of(tree))
    return sources


def breaches(root: Path = ROOT) -> list[str]:
    """Every breach of the law below `root`/mgate, as ``file:line: what is wrong``."""
    sources = read(root, "mgate")
    found = [breach for source in sources.values() for rule in RULES for breach in rule(source, sources)]
    return list(dict.fromkeys([*found, *_cycles(sources), *_private_openssl(sources)]))


def _module(name: str, sources: dict[str, Source]) -> str:
    """The module that an imported name of ours is or lives in."""
    while name not in sources and "." in name:
        name = name.rpartition(".")[0]
    return name


def _lower_layers_only(source: Source, sources: dict[str, Source]) -> Iterator[str]:
    mine = layer_of(source.name)
    for each in source.imports:
        if each.name.startswith("."):
            yield f"{source.path}:{each.line}: relative import"
        elif _within(each.name, ("mgate",)):
            module = _module(each.name, sources)
            if layer_of(module) > mine:
                yield f"{source.path}:{each.line}: layer {mine} imports {module} of layer {layer_of(module)}"


def _nothing_foreign_below_transports(source: Source, sources: dict[str, Source]) -> Iterator[str]:
    if layer_of(source.name) >= TRANSPORTS:
        return
    permitted = ["mgate", "zope.interface", *(n for n in sys.stdlib_module_names if n not in BLOCKING)]
    for module, names in PERMITTED.items():
        if _within(source.name, (module,)):
            permitted += names
    for each in source.imports:
        if not each.name.startswith(".") and not _within(each.name, tuple(permitted)):
            yield f"{source.path}:{each.line}: imports {each.name} below the transports"


def _transports_in_their_layer(source: Source, sources: dict[str, Source]) -> Iterator[str]:
    if layer_of(source.name) <= TRANSPORTS or _within(source.name, ASSEMBLERS):
        return
    for each in source.imports:
        if _within(each.name, ("twisted.internet",)) and not _within(each.name, ("twisted.internet.defer",)):
            yield f"{source.path}:{each.line}: imports {each.name}, but is no transport and assembles none"


def _reactors_are_chosen_late(source: Source, sources: dict[str, Source]) -> Iterator[str]:
    for each in source.imports:
        parts = each.name.split(".")
        reactor = parts[:2] == ["twisted", "internet"] and (parts[-1] == "reactor" or parts[2].endswith("reactor"))
        if reactor and not _within(source.name, ASSEMBLERS):
            yield f"{source.path}:{each.line}: chooses a reactor; it is an argument"
        elif reactor and each.at_once:
            yield f"{source.path}:{each.line}: imports a reactor as soon as it is imported"


def _protocols_do_not_know_each_other(source: Source, sources: dict[str, Source]) -> Iterator[str]:
    for mine in PROTOCOLS:
        others = tuple(f"mgate.{other}" for other in PROTOCOLS if other != mine)
        if _within(source.name, (f"mgate.{mine}",)):
            for each in source.imports:
                if _within(each.name, others):
                    yield f"{source.path}:{each.line}: {mine} imports {each.name}; listeners.py composes protocols"


def _names_say_something(source: Source, sources: dict[str, Source]) -> Iterator[str]:
    if source.name.rpartition(".")[2] in FORBIDDEN_MODULES:
        yield f"{source.path}:1: a module of this name has no one reason to exist"
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ClassDef) and node.name.endswith(FORBIDDEN_CLASSES):
            yield f"{source.path}:{node.lineno}: class {node.name} does not say what it does"


RULES = (
    _lower_layers_only,
    _nothing_foreign_below_transports,
    _transports_in_their_layer,
    _reactors_are_chosen_late,
    _protocols_do_not_know_each_other,
    _names_say_something,
)


def _cycles(sources: dict[str, Source]) -> Iterator[str]:
    """Modules that need each other before either is ready."""
    needs = {
        source.name: {_module(each.name, sources) for each in source.imports if each.at_once} & sources.keys()
        for source in sources.values()
    }
    done: set[str] = set()

    def walk(name: str, way: list[str]) -> Iterator[str]:
        if name in way:
            yield f"{sources[name].path}:1: imports in a circle: {' -> '.join([*way[way.index(name):], name])}"
        elif name not in done:
            for other in sorted(needs[name] - {name}):
                yield from walk(other, [*way, name])
            done.add(name)

    for name in needs:
        yield from walk(name, [])


def _private_openssl(sources: dict[str, Source]) -> Iterator[str]:
    """Private names of pyOpenSSL may change with each release: one file of mgate.tls may use them."""
    uses: dict[str, str] = {}
    for source in sources.values():
        aliases = set()
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Import):
                aliases |= {a.asname or a.name.split(".")[0] for a in node.names if _within(a.name, ("OpenSSL",))}
            elif isinstance(node, ast.ImportFrom) and _within(node.module or "", ("OpenSSL",)):
                aliases |= {alias.asname or alias.name for alias in node.names}
        lines = [
            each.line
            for each in source.imports
            if _within(each.name, ("cryptography.hazmat.bindings",))
            or (_within(each.name, ("OpenSSL",)) and "._" in each.name)
        ]
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
                if ast.unparse(node.value).split(".")[0] in aliases:
                    lines.append(node.lineno)
        if lines:
            uses[source.name] = f"{source.path}:{min(lines)}: uses private names of pyOpenSSL"
    for name, breach in uses.items():
        if not _within(name, ("mgate.tls",)):
            yield f"{breach} outside of mgate.tls"
    if len(uses) > 1:
        yield from (f"{breach}, as another file does" for breach in uses.values())


def core_modules(root: Path = ROOT) -> list[str]:
    """The files of layers 0 to 2, which know no transport."""
    return [source.path for name, source in read(root, "mgate").items() if layer_of(name) < TRANSPORTS]


def core_tests(root: Path = ROOT) -> list[str]:
    """The test files that import modules of layers 0 to 2, nothing above them, and nothing that does I/O: also
    through the modules of the test suite that they import."""
    sources = read(root, "tests")
    modules = read(root, "mgate")
    chosen = []
    for source in sources.values():
        if source.name.rpartition(".")[2].startswith("test_"):
            names = _reached(source.name, sources)
            ours = {_module(name, modules) for name in names if _within(name, ("mgate",))}
            does_io = any(_does_io(name) for name in names)
            if ours and not does_io and all(layer_of(name) < TRANSPORTS for name in ours):
                chosen.append(source.path)
    return chosen


def _does_io(name: str) -> bool:
    if _within(name, ("twisted.internet", "twisted.trial")):
        return not _within(name, ("twisted.internet.defer",))
    return _within(name, BLOCKING) and name != "asyncio.CancelledError"  # a name to raise, no I/O


def _reached(test: str, sources: dict[str, Source]) -> set[str]:
    """What a test module imports, itself or through other modules of the suite."""
    names: set[str] = set()
    waiting, seen = [test], {"tests"}
    while waiting:
        module = waiting.pop()
        if module in seen or module not in sources:
            continue
        seen.add(module)
        for each in sources[module].imports:
            names.add(each.name)
            if _within(each.name, ("tests",)):
                waiting.append(_module(each.name, sources))
    return names


if __name__ == "__main__":
    separator, listing = {"modules": (",", core_modules), "tests": (" ", core_tests)}[sys.argv[1]]
    print(separator.join(listing()))
