"""Compare what mgate costs with a blind relay and with no gateway at all, side by side, in one run.

    python benchmarks/run.py
    python benchmarks/run.py --workloads qos0,qos1 --peers direct,mgate-agree --rounds 3 --seconds 0.5

README.md in this folder says what the columns mean and how far they can be trusted.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peers import PEERS, PeerError, Running
from procfs import busy_cores
from programs import NoCompilerError, build_rig, without_tls
from report import summarise, table
from rig import Rig, Round
from workloads import IDLE_CONNECTIONS, WORKLOADS, Workload, idle_connections

IDLE_ROUNDS = 2  # memory hardly differs from one start to the next


def main(words: Sequence[str] | None = None) -> int:
    """Measure what the command line asks for. Returns the exit status: 1 if anything that was asked for is missing."""
    options = read_options(words)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a kill ends the peers as well
    try:
        programs = build_rig()
    except NoCompilerError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 1
    facts = machine()
    names = [name for name in options.workloads if not (WORKLOADS[name].tls and without_tls())]
    left_out = ", ".join(name for name in options.workloads if name not in names)
    if left_out:
        print(f"\n!!! NOT MEASURED: {left_out}: {without_tls()}\n", file=sys.stderr)
    found: dict[str, dict[str, list[Round]]] = {}
    rig = Rig(programs, options.seconds, options.tls)
    try:
        peers = [peer for peer in options.peers if starts(rig, peer)]
        complete = peers == options.peers and not left_out
        if any(WORKLOADS[name].tls for name in names):
            facts["openssl"] = {peer: PEERS[peer].openssl() for peer in peers}
        print(introduction(rig, options, facts), flush=True)
        if left_out:
            print(f"!!! NOT MEASURED: {left_out}: {without_tls()}", flush=True)
        for name in names:
            if sys.stderr.isatty():
                print(f"... {name}", end="\r", file=sys.stderr, flush=True)
            found[name] = measure(rig, WORKLOADS[name], peers, options.rounds)
            print("\n" + table(WORKLOADS[name], found[name]), flush=True)
            complete &= not any("failed" in r for rounds in found[name].values() for r in rounds)
    except KeyboardInterrupt:
        print("\nInterrupted; what is above stands.", file=sys.stderr)
        complete = False
    finally:
        rig.close()
    if options.json:
        summaries = {name: summarise(rounds) for name, rounds in found.items()}
        document = {"machine": facts, "rounds": found, "summary": summaries}
        options.json.write_text(json.dumps(document, indent=1) + "\n")
    return 0 if complete else 1


def starts(rig: Rig, peer: str) -> bool:
    """Try whether a peer can be measured at all, and say loudly why not."""
    why = PEERS[peer].missing()
    try:
        if not why:
            rig.start(peer).stop()
    except PeerError as error:
        why = str(error)
    if why:
        print(f"\n!!! NOT MEASURED: {PEERS[peer].title}: {why}\n", file=sys.stderr)
    return not why


def measure(rig: Rig, workload: Workload, peers: Sequence[str], count: int) -> dict[str, list[Round]]:
    """Take the peers in turn, `count` times, each time beginning with another one. All of them stand all the time;
    only for memory each gets a fresh process."""
    gateways_only = workload.idle or workload.tls
    rounds: dict[str, list[Round]] = {peer: [] for peer in peers if not (gateways_only and peer == "direct")}
    taking = list(rounds)
    running: dict[str, Running] = {}
    try:
        for turn in range(min(count, IDLE_ROUNDS) if workload.idle else count):
            first = turn % max(1, len(taking))
            for peer in taking[first:] + taking[:first]:
                try:
                    running[peer] = running.get(peer) or rig.start(peer, workload)
                except PeerError as error:
                    rounds[peer].append({"failed": str(error).partition(";")[0]})
                    continue
                rounds[peer].append(rig.measure(workload, running[peer]))
                if workload.idle:
                    running.pop(peer).stop()
    finally:
        for process in running.values():
            process.stop()
    return rounds


def introduction(rig: Rig, options: argparse.Namespace, facts: dict[str, Any]) -> str:
    """What was measured where, and what the reader should know before the first table."""
    lines = [
        "# mgate benchmark: MQTT over TCP and TLS",
        "",
        f"{facts['processor']}, cores: {facts['cores']}; Linux {facts['kernel']}; Python {facts['python']}. "
        f"Medians; rounds: {options.rounds}, of {options.seconds:g} s each.",
    ]
    if rig.rig_cores == rig.gateway_cores:
        lines.append("!!! There is one core only: the gateway shares it with the rig; messages/s mean little.")
    else:
        lines.append(f"The gateway has core {rig.gateway_cores[0]} alone; load and sink share the rest.")
    if facts["busy_cores"] > 0.2:
        lines.append(
            f"!!! Other programs keep {facts['busy_cores']:.1f} cores busy: CPU per message hardly changes, rates and "
            "latencies do."
        )
    if openssl := {PEERS[peer].title: version for peer, version in facts.get("openssl", {}).items() if version}:
        versions = "; ".join(f"{title}: {version}" for title, version in openssl.items())
        lines.append(f"TLS {options.tls}, full handshakes, AES-128-GCM, X25519. {versions}.")
    held = idle_connections(IDLE_CONNECTIONS)
    if "idle" in options.workloads and held < IDLE_CONNECTIONS:
        lines.append(
            f"!!! Only {held:,} idle connections instead of {IDLE_CONNECTIONS:,}: the hard limit on open files (ulimit "
            "-Hn) is too low."
        )
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    """Where this runs, and what else runs there now."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "processor": models[0].partition(":")[2].strip() if models else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "busy_cores": round(busy_cores(0.5), 2),
    }


def read_options(words: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line; a name that does not exist ends the program with the list of those that do."""

    def names(known: Sequence[str]) -> Any:
        def parse(text: str) -> list[str]:
            asked = [name.strip() for name in text.split(",") if name.strip()]
            if unknown := [name for name in asked if name not in known]:
                raise argparse.ArgumentTypeError(f"{', '.join(unknown)} not known; there are: {', '.join(known)}")
            return asked or list(known)

        return parse

    def positive(kind: type[int] | type[float]) -> Any:
        def parse(text: str) -> float:
            value = kind(text)
            if not 0 < value < 3600:
                raise argparse.ArgumentTypeError("must be above 0, and below 3600")
            return value

        return parse

    rows = "\n".join(f"  {workload.name:<20} {workload.title}" for workload in WORKLOADS.values())
    peers = "\n".join(f"  {name:<16} {peer.title}" for name, peer in PEERS.items())
    parser = argparse.ArgumentParser(
        prog="benchmarks/run.py",
        description=(__doc__ or "").partition("\n")[0],
        epilog=f"workloads:\n{rows}\n\npeers:\n{peers}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--peers", type=names(list(PEERS)), default=list(PEERS), help="comma-separated; all")
    parser.add_argument("--workloads", type=names(list(WORKLOADS)), default=list(WORKLOADS), help="the same")
    parser.add_argument("--rounds", type=positive(int), default=5, help="turns that each peer gets (5)")
    parser.add_argument("--seconds", type=positive(float), default=1.0, help="length of one turn (1)")
    parser.add_argument("--tls", choices=("1.2", "1.3"), default="1.3", help="version of TLS (1.3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every round and the medians here")
    return parser.parse_args(words)


if __name__ == "__main__":
    sys.exit(main())
