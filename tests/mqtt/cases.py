"""One table of wire cases: each is one whole packet as bytes, and the packet or the reason code that it must give.

The codec tests walk through all of it, later tests pick from it, and the fuzzer starts from it. A fix of the parser
comes with a new row. Rows carry the name of their row in the threat catalogue where they have one (`M10`, `U03`).
"""

from __future__ import annotations

from typing import NamedTuple

from mgate.mqtt.packets import Packet
from mgate.outcome import Direction
from tests.mqtt.accepted import ACCEPTED
from tests.mqtt.refused import REFUSED

__all__ = ["BAD", "CASES", "GOOD", "Case"]


class Case(NamedTuple):
    """One packet on the wire. `expected` is the packet, or the reason code of the `Malformed`."""

    name: str
    version: int
    direction: Direction
    data: bytes
    expected: Packet | int


GOOD = [Case(*row) for row in ACCEPTED]
BAD = [Case(*row) for row in REFUSED]
CASES = [*GOOD, *BAD]
