"""Starts the sink, the peers and load, and measures one round of one workload through one peer."""

from __future__ import annotations

import json
import os
import resource
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peers import PEERS, PeerError, Running, Tls, mgate_variables
from procfs import usage
from programs import HERE
from workloads import Workload, idle_connections

__all__ = ["Rig", "RigError", "Round"]

Round = dict[str, Any]
"""What one round measured: numbers by name, or ``failed`` with the reason. `Rig.measure` says which."""

SET_UP_SECONDS = 90.0
QUIET_SECONDS = 30.0
REST_SECONDS = 1.0
WARM_CONNECTIONS = 50


class RigError(Exception):
    """The rig itself failed: no figure can be had."""


class Program:
    """load or sink: a child that speaks in lines, over pipes."""

    def __init__(self, command: Sequence[str], cores: Sequence[int]) -> None:
        self._name = " ".join(command)
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )  # fmt: skip
        self.pid = self._process.pid
        self._rest = b""

    def tell(self) -> None:
        """Send it an empty line, which means: go on."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")

    def line(self, patience: float) -> str:
        """The next line that it writes.

        Raises: RigError, if none comes within `patience` seconds.
        """
        assert self._process.stdout is not None
        end = time.monotonic() + patience
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._rest:
                if not selector.select(max(0.0, end - time.monotonic())):
                    raise RigError(f"{self._name} did not answer within {patience:.0f} s")
                more = os.read(self._process.stdout.fileno(), 4096)
                if not more:
                    raise RigError(f"{self._name} ended with status {self._process.wait()}")
                self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()

    def end(self) -> None:
        """Close its input, which ends it, and wait."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


class Rig:
    """One sink, a scratch folder, and the division of the cores: the last one is the gateway's, the rig has the others.

    Args:
        programs: the folder with load, load-tls and sink.
        seconds: how long each round sends.
        tls_version: ``1.2`` or ``1.3``, of devices.
    """

    def __init__(self, programs: Path, seconds: float, tls_version: str) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # for the children
        cores = sorted(os.sched_getaffinity(0))
        self.seconds = seconds
        self.gateway_cores = cores[-1:]
        self.rig_cores = cores[:-1] or cores
        self._programs = programs
        self._tls_version = tls_version
        self._folder = Path(tempfile.mkdtemp(prefix="mgate-bench-"))
        self._certificates: Path | None = None
        self._started = 0
        self._sink = Program([str(programs / "sink")], self.rig_cores)
        self._target = int(self._sink.line(10))

    def close(self) -> None:
        """End the sink and remove the scratch folder."""
        self._sink.end()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self, peer: str, workload: Workload | None = None) -> Running:
        """Start a peer by name, with TLS if `workload` needs it.

        Raises: PeerError.
        """
        tls = self._tls(workload) if workload is not None and workload.tls else None
        self._started += 1
        folder = self._folder / f"{self._started}-{peer}"
        folder.mkdir()
        return PEERS[peer].start(folder, self._target, self.gateway_cores, tls)

    def _tls(self, workload: Workload) -> Tls:
        folder = self._certificates or self._folder / "certificates"
        if self._certificates is None:
            folder.mkdir(exist_ok=True)
            command = [sys.executable, str(HERE / "certificates.py"), str(folder)]
            done = subprocess.run(command, env=os.environ | mgate_variables(), capture_output=True, text=True)
            if done.returncode:
                raise PeerError(f"certificates.py made no certificates; it wrote:\n{done.stderr[-1500:]}")
            self._certificates = folder
        return Tls(folder / f"{workload.certificate}.pem", folder / "ca.pem", workload.mutual)

    def measure(self, workload: Workload, peer: Running) -> Round:
        """Run one round.

        Returns:
            ``cpu_us``: CPU microseconds of the peer per unit; ``per_second``; ``p50_us`` and ``p99_us`` where latency
            is measured; ``gateway_busy`` and ``rig_busy``: share of a core that each used, of the rig's cores the load
            and the sink together; ``errors``; ``messages``; ``late``: what was not sent because there was no room.
            For idle connections: ``kib_per_connection``, ``setup_us``, ``rest_ms`` (CPU milliseconds in a second
            of rest), ``connections``, ``errors``. Or only ``failed``: why there are no figures.
        """
        try:
            return self._idle(workload, peer) if workload.idle else self._busy(workload, peer)
        except RigError as error:
            return {"failed": str(error)}

    def _busy(self, workload: Workload, peer: Running) -> Round:
        before = self._quiet()
        pid = peer.process.pid if peer.process else None
        with self._loading(workload, workload.arguments, peer) as load:
            start, rig_start = usage(pid), [usage(part) for part in (load.pid, self._sink.pid)]
            load.tell()
            result = json.loads(load.line(self.seconds + 60))
            end, rig_end = usage(pid), [usage(part) for part in (load.pid, self._sink.pid)]
        after = self._counters()
        seconds = max(result["seconds"], 1e-9)
        rig_ns = sum(late.cpu_since(early) for early, late in zip(rig_start, rig_end, strict=True))
        round_ = {
            "messages": result["messages"],
            "per_second": result["messages"] / seconds,
            "cpu_us": end.cpu_since(start) / 1e3 / max(1, result["messages"]),
            "gateway_busy": end.cpu_since(start) / 1e9 / seconds,
            "rig_busy": rig_ns / 1e9 / seconds,
            "late": result["late"],
            "errors": result["errors"]
            + after["malformed"]
            - before["malformed"]
            + abs(after[workload.counted] - before[workload.counted] - result["messages"]),
        }
        if workload.latency:
            round_ |= {key: result[key] for key in ("p50_us", "p99_us")}
        return round_

    def _idle(self, workload: Workload, peer: Running) -> Round:
        """Memory is that with all connections standing, less that of the started and warmed process."""
        if peer.process is None:
            return {"failed": "there is no gateway to measure"}
        with self._loading(workload, f"{workload.arguments} -c {WARM_CONNECTIONS}", peer):
            pass
        connections = idle_connections(workload.connections)
        before, empty = self._quiet(), usage(peer.process.pid)
        with self._loading(workload, f"{workload.arguments} -c {connections}", peer) as load:
            full = usage(peer.process.pid)
            time.sleep(REST_SECONDS)
            rested = usage(peer.process.pid)
            load.tell()
            result = json.loads(load.line(10))
            arrived = self._counters()["connects"] - before["connects"]
        return {
            "connections": connections,
            "kib_per_connection": (rested.rss_kib - empty.rss_kib) / connections,
            "setup_us": full.cpu_since(empty) / 1e3 / connections,
            "rest_ms": rested.cpu_since(full) / 1e6 / REST_SECONDS,
            "errors": result["errors"] + abs(arrived - connections),
        }

    @contextmanager
    def _loading(self, workload: Workload, arguments: str, peer: Running) -> Iterator[Program]:
        """load, with its connections standing and nothing sent yet.

        Raises: RigError, if they do not all stand.
        """
        command = [str(self._programs / ("load-tls" if workload.tls else "load")), *arguments.split()]
        command += ["-p", str(peer.port), "-d", str(self._target), "-t", str(self.seconds)]
        if workload.tls:
            command += ["-T", self._tls_version]
        if workload.mutual:
            command += ["-C", f"{self._certificates}/device.pem"]
        load = Program(command, self.rig_cores)
        try:
            said = load.line(SET_UP_SECONDS)
            if said != "READY":
                raise RigError(json.loads(said)["failed"])
            yield load
        finally:
            load.end()

    def _quiet(self) -> dict[str, int]:
        """Wait until what came before is over, so that no peer pays for another; returns the counters of the sink.

        Raises: RigError, if connections are left.
        """
        patience = time.monotonic() + QUIET_SECONDS
        while left := (counters := self._counters())["open"]:
            if time.monotonic() > patience:
                raise RigError(f"{left} connections of an earlier round still stand at the sink")
            time.sleep(0.02)
        return counters

    def _counters(self) -> dict[str, int]:
        self._sink.tell()
        counters: dict[str, int] = json.loads(self._sink.line(10))
        return counters
