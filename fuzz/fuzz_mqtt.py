"""Fuzz the MQTT codec: any bytes give a packet that is written back the same, or `Malformed`.

    python fuzz/fuzz_mqtt.py [atheris options]      with atheris installed, coverage guides it, until it is stopped
    python fuzz/fuzz_mqtt.py --runs=1000000         without it, that many damaged seeds

The first byte of an input chooses version and direction, the rest is a packet with its fixed header. Seeds are the
table of wire cases. What breaks the law ends the program with a traceback, and the input is printed before it.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from mgate.errors import Malformed  # noqa: E402
from mgate.mqtt.decode import decode  # noqa: E402
from mgate.mqtt.encode import encode  # noqa: E402
from mgate.mqtt.framing import split  # noqa: E402
from mgate.mqtt.packets import Connect  # noqa: E402
from mgate.outcome import Direction  # noqa: E402
from tests.mqtt.cases import CASES  # noqa: E402

CORPUS = Path(__file__).parent / "corpus" / "mqtt"
"""Where atheris keeps the inputs that reached something new; git ignores it."""
MODES = [(version, direction) for version in (3, 4, 5) for direction in Direction]
SEEDS = [bytes((MODES.index((case.version, case.direction)),)) + case.data for case in CASES if len(case.data) < 1000]


def check(data: bytes) -> None:
    """Judge one input; raises what breaks the law."""
    if not data:
        return
    version, direction = MODES[data[0] % len(MODES)]
    chunk = data[1:]
    for head, (start, body, stop) in ((head, span) for head, spans in split(chunk, 1 << 28)[0] for span in spans):
        try:
            packet = decode(version, direction, head, chunk, body, stop)
        except Malformed:
            continue
        level = packet.version if isinstance(packet, Connect) else version
        if encode(level, packet) != chunk[start:stop]:
            raise AssertionError(f"written differently: {packet}")


def damage(dice: random.Random, data: bytes) -> bytes:
    """A seed with a few bytes changed, put in, taken out or copied from elsewhere."""
    changed = bytearray(data)
    for _ in range(dice.randint(1, 4)):
        spot = dice.randrange(len(changed) + 1)
        cut = dice.choice((0, 0, 1, 1, 2, 8))
        other = dice.choice(SEEDS)
        from_ = dice.randrange(len(other))
        byte = dice.choice((b"\0", b"\1", b"\xff", b"\x80", b"/", b"#", dice.randbytes(1)))
        put = dice.choice((b"", byte, other[from_ : from_ + 8]))
        changed[spot : spot + cut] = put
    # Most damage moves the end; one packet of that length is worth more than none.
    if len(changed) > 2 and changed[2] < 128 and dice.random() < 0.8:
        changed[2] = min(len(changed) - 3, 127)
    return bytes(changed)


def loop(runs: int, seed: int) -> None:
    """The plain loop for machines without atheris."""
    dice = random.Random(seed)
    for _ in range(runs):
        data = damage(dice, dice.choice(SEEDS))
        try:
            check(data)
        except BaseException:
            sys.stderr.write(f"input: {data.hex()}\n")
            raise
    sys.stdout.write(f"{runs} inputs, seed {seed}: the law holds\n")


def main() -> None:
    """Run atheris where it is installed, else the loop."""
    if importlib.util.find_spec("atheris") is not None:
        atheris = importlib.import_module("atheris")
        atheris.instrument_all()
        CORPUS.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(SEEDS):
            CORPUS.joinpath(f"case-{number}").write_bytes(seed)
        atheris.Setup([*sys.argv, str(CORPUS)], check)
        atheris.Fuzz()
        return
    parser = argparse.ArgumentParser(description="Fuzz the MQTT codec.")
    parser.add_argument("--runs", type=int, default=1_000_000, help="how many inputs (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32), help="to repeat a run")
    options = parser.parse_args()
    loop(options.runs, options.seed)


if __name__ == "__main__":
    main()
