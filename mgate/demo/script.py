"""What `mgate demo` prints before it begins: who is where, and what to type next."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mgate.demo.handlers import Accounts
from mgate.demo.narration import HEADINGS

__all__ = ["HOST", "PORTS", "Place", "lines"]

HOST = "127.0.0.1"
PORTS = {"broker": 1883, "mgate": 1884, "TLS": 8883, "mutual TLS": 8884}
"""Where everything listens, if it can."""
LISTENS = {
    "broker": "the broker listens", "mgate": "mgate listens", "TLS": "mgate listens for TLS",
    "mutual TLS": "mgate listens for mutual TLS",
}  # fmt: skip

BANNER = """\
mgate demo - in memory, on this computer only, until you press Ctrl-C

    your clients -> mgate on {host}:{port} -> demo broker, not for production, on {host}:{broker}
                    TLS on {host}:{tls}, mutual TLS on {host}:{mutual}

Users: alice (password wonderland) and bob (password builder). The rules, in {handlers}:
    accounts     only these two may connect; on port {mutual} by their certificates, not by passwords
    own-topics   publish and read below your own name; news/# is for reading only
    plant        what you publish below <name>/up/ reaches the broker below plant/
"""

HOW = "In a second terminal, type the first of each pair if you have Mosquitto's clients, else the second."
CERTIFICATES = """
With TLS: certificates and keys are in {folder} until the demo ends. Bob's is revoked;
mgate is told so by the demo's own OCSP responder and CRL."""

MORE = " \\\n        "
"""A shell reads on in the next line."""

STEPS = (
    ("Watch what reaches the broker, in a terminal of its own", "sub", "{broker}", "-t '#' -v", ""),
    ("A publish that is allowed", "pub", "{port}", "-u alice -P wonderland -q 1 -t alice/hello -m hi", ""),
    ("A publish that is refused", "pub", "{port}", "-u alice -P wonderland -q 1 -t bob/hello -m hi", ""),
    ("A topic that is rewritten", "pub", "{port}", "-u alice -P wonderland -q 1 -t alice/up/temperature -m 21", ""),
    ("Three filters, of which one is refused", "sub", "{port}",
     "-u alice -P wonderland" + MORE + "-t 'alice/#' -t 'bob/#' -t 'news/#' -W 3", " -d"),
    ("A login that is refused", "pub", "{port}", "-u alice -P sesame -t alice/hello -m hi", ""),
)  # fmt: skip
"""What to type: title, command, at which port, the rest of the line, and what Mosquitto's client needs to tell all."""

TLS_STEPS = (
    ("TLS, and the password as before", "pub", "{tls}",
     "--cafile {ca} -q 1 -t alice/hello -m hi" + MORE + "-u alice -P wonderland", ""),
    ("A certificate instead of the password", "pub", "{mutual}",
     "--cafile {ca} -q 1 -t alice/hello -m hi" + MORE + "--cert {alice} --key {alice_key}", ""),
    ("A certificate that was revoked", "pub", "{mutual}",
     "--cafile {ca} -q 1 -t bob/hello -m hi" + MORE + "--cert {bob} --key {bob_key}", " -d"),
    ("No certificate", "pub", "{mutual}", "--cafile {ca} -q 1 -t alice/hello -m hi", " -d"),
)  # fmt: skip


@dataclass(frozen=True)
class Place:
    """Where everything is.

    Attributes:
        ports: by the names in `PORTS`.
        folder: where the certificates are.
        wanted: the port that the user asked for, 0 for any, or None.
    """

    ports: dict[str, int]
    folder: Path
    wanted: int | None = None


def lines(place: Place) -> Iterator[str]:
    """All that is printed, for `mgate.demo.stage`."""
    ports = place.ports
    fields: dict[str, object] = {
        "host": HOST, "port": ports["mgate"], "broker": ports["broker"], "tls": ports["TLS"],
        "mutual": ports["mutual TLS"], "handlers": _short(sys.modules[Accounts.__module__].__file__ or ""),
        "folder": place.folder, **_files(place.folder),
    }  # fmt: skip
    yield BANNER.format_map(fields)
    yield from _moved(place)
    yield HOW
    for number, (title, command, where, rest, verbosely) in enumerate(STEPS + TLS_STEPS, 1):
        if number == len(STEPS) + 1:
            yield CERTIFICATES.format_map(fields)
        yield f"\n{number}. {title}:"
        typed = f"-p {where} {rest}".format_map(fields)
        yield f"    mosquitto_{command} -V mqttv5 {typed}{verbosely}"
        yield f"    {_client()} {command} {typed}"
    yield f"\nEvery decision, as it happens:\n\n{HEADINGS}"


def _moved(place: Place) -> Iterator[str]:
    """Ports that are not the usual ones, unless nobody expects those."""
    usual = {**PORTS, "mgate": place.wanted or PORTS["mgate"]}
    for name, number in place.ports.items() if place.wanted != 0 else ():
        if number != usual[name]:
            yield f"Port {usual[name]} is taken, so {LISTENS[name]} on {number}.\n"


def _files(folder: Path) -> dict[str, str]:
    """What the steps call the files, as a shell reads them."""
    return {
        "ca": shlex.quote(str(folder / "ca.pem")),
        **{name: shlex.quote(str(folder / f"{name}.pem")) for name in ("alice", "bob")},
        **{f"{name}_key": shlex.quote(str(folder / f"{name}.key")) for name in ("alice", "bob")},
    }


def _client() -> str:
    """How this installation's client is started from the same folder, whether or not its commands are on the path."""
    beside = os.path.join(os.path.dirname(sys.executable), "mgate")
    if not os.path.exists(beside):
        return f"{_short(sys.executable)} -m mgate"
    found = shutil.which("mgate")
    return "mgate" if found is not None and os.path.samefile(found, beside) else _short(beside)


def _short(path: str) -> str:
    """A path as one would type it here."""
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative
