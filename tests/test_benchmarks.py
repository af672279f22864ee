"""The benchmark runs, notices what goes wrong, and reports what it measured. No test here looks at a figure: those
belong to a machine and a moment."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import unittest
from pathlib import Path
from typing import Any

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
COMPILER = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
WHY = "SKIPPED: the benchmark's generator is written in C and there is no C compiler here"
HEADER = "#include <openssl/ssl.h>\n"


def has_openssl() -> bool:
    """Whether load-tls can be compiled here."""
    command = [*shlex.split(COMPILER or "cc"), "-E", "-x", "c", "-"]
    return bool(COMPILER) and subprocess.run(command, input=HEADER.encode(), capture_output=True).returncode == 0


needs_openssl = unittest.skipUnless(has_openssl(), "SKIPPED: the compiler finds no openssl/ssl.h (libssl-dev)")


def run(*words: str, folder: Path = BENCHMARKS, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run benchmarks/run.py as a user would."""
    command = [sys.executable, str(folder / "run.py"), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=os.environ | variables)


@unittest.skipUnless(COMPILER and sys.platform == "linux", WHY)
class Runs(unittest.TestCase):
    """Short runs of the whole benchmark."""

    def measured(self, peers: list[str], workloads: list[str], *more: str) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "result.json")
            done = run("--peers", ",".join(peers), "--workloads", ",".join(workloads), "--rounds", "1",
                       "--seconds", "0.2", "--json", str(file), *more)  # fmt: skip
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            result: dict[str, Any] = json.loads(file.read_text())
        for workload in workloads:
            self.assertIn(f"## {workload}: ", done.stdout)
        self.assertEqual(list(result["rounds"]), workloads)
        for name, rounds in result["rounds"].items():
            self.assertEqual(list(rounds), peers)
            for peer, (only,) in rounds.items():
                with self.subTest(workload=name, peer=peer):
                    self.assertEqual(only["errors"], 0)
                    self.assertGreater(only["messages"], 0)
        return result

    def test_every_way_of_sending_without_a_gateway(self) -> None:
        names = ["qos0", "qos0-v5", "qos1", "64k", "sparse", "latency", "fan", "churn"]
        result = self.measured(["direct"], names)
        for name in ("qos1", "latency", "fan", "churn"):
            (only,) = result["rounds"][name]["direct"]
            self.assertGreater(only["p50_us"], 0)
            self.assertGreaterEqual(only["p99_us"], only["p50_us"])

    def test_through_mgate_all_that_load_sent_reaches_the_sink(self) -> None:
        result = self.measured(["direct", "mgate-agree", "mgate-unwatched"], ["qos0", "qos1"])
        for rounds in result["rounds"].values():
            for peer in ("mgate-agree", "mgate-unwatched"):
                self.assertGreater(rounds[peer][0]["cpu_us"], 0)
        self.assertIn("p50_added_us", result["summary"]["qos1"]["mgate-agree"])

    @needs_openssl
    def test_mgate_ends_tls_in_front_of_the_sink(self) -> None:
        result = self.measured(["mgate-agree"], ["tls-handshake-rsa", "tls-handshake-mutual", "tls-qos0", "tls-16k"])
        for name in ("tls-handshake-rsa", "tls-handshake-mutual"):
            (only,) = result["rounds"][name]["mgate-agree"]
            self.assertGreater(only["cpu_us"], 0)
            self.assertGreaterEqual(only["p99_us"], only["p50_us"])

    @needs_openssl
    def test_devices_may_speak_tls_1_2(self) -> None:
        self.measured(["mgate-agree"], ["tls-handshake-mutual", "tls-paced"], "--tls", "1.2")

    @needs_openssl
    def test_nobody_speaks_tls_to_the_sink(self) -> None:
        done = run("--peers", "direct", "--workloads", "tls-qos0", "--rounds", "1", "--seconds", "0.1")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn("no gateway", done.stdout)

    def test_without_openssl_only_tls_is_left_out_and_loudly(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            preprocesses_nothing = Path(folder, "cc")
            preprocesses_nothing.write_text(f'#!/bin/sh\n[ "$1" = -E ] && exit 1\nexec {COMPILER} "$@"\n')
            preprocesses_nothing.chmod(0o700)
            done = run("--peers", "direct", "--workloads", "qos0,tls-qos0,tls-idle", "--rounds", "1",
                       "--seconds", "0.1", CC=str(preprocesses_nothing))  # fmt: skip
        self.assertEqual(done.returncode, 1)
        for output in (done.stdout, done.stderr):
            self.assertEqual(output.count("!!! NOT MEASURED: tls-qos0, tls-idle: "), 1)
            self.assertIn("libssl-dev", output)
        self.assertIn("## qos0: ", done.stdout)
        self.assertNotIn("## tls-", done.stdout)

    def test_a_peer_that_is_not_installed_is_said_loudly_and_left_out(self) -> None:
        done = run("--peers", "direct,haproxy", "--workloads", "qos0", "--rounds", "1", "--seconds", "0.1",
                   HAPROXY="no-such-haproxy")  # fmt: skip
        self.assertEqual(done.returncode, 1)
        self.assertIn("!!! NOT MEASURED: HAProxy, TCP mode: ", done.stderr)
        self.assertIn("no gateway", done.stdout)
        self.assertNotIn("HAProxy, TCP mode", done.stdout)

    def test_a_peer_that_does_not_start_is_said_loudly(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = copy_of_benchmarks(name)
            (folder / "handlers" / "agree.py").write_text("raise RuntimeError('broken on purpose')\n")
            done = run("--peers", "direct,mgate-agree", "--workloads", "qos0", "--rounds", "1", "--seconds", "0.1",
                       folder=folder)  # fmt: skip
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stderr.count("!!! NOT MEASURED: mgate, handler agree: "), 1)
        self.assertNotIn("mgate, handler agree", done.stdout)
        self.assertIn("no gateway", done.stdout)


class Refusals(unittest.TestCase):
    """What stops the benchmark before it measures anything."""

    def test_without_a_compiler_it_says_what_to_install(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            done = run(folder=copy_of_benchmarks(name), CC="no-such-compiler-anywhere")
        self.assertEqual(done.returncode, 1)
        self.assertIn("apt install gcc", done.stderr)
        self.assertEqual(done.stdout, "")

    def test_an_unknown_workload_lists_those_that_exist(self) -> None:
        done = run("--workloads", "qos0,qos7")
        self.assertEqual(done.returncode, 2)
        self.assertIn("qos7 not known; there are: qos0, ", done.stderr)


@unittest.skipUnless(COMPILER and sys.platform == "linux", WHY)
class Generator(unittest.TestCase):
    """load against a target that misbehaves: what it cannot account for is an error and no message."""

    def sent_to(self, target: Any, *options: str) -> dict[str, Any]:
        """Run load for one connection that `target` serves in a thread, after CONNECT was answered."""
        run("--workloads", "qos0", "--peers", "direct", "--rounds", "1", "--seconds", "0.01")  # compiles it
        with socket.create_server(("127.0.0.1", 0)) as listener:

            def serve() -> None:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(4096)
                    connection.sendall(b"\x20\x02\x00\x00")
                    target(connection)

            thread = threading.Thread(target=serve)
            thread.start()
            command = [str(BENCHMARKS / "build" / "load"), "-m", "publish", "-c", "1", "-t", "0.2", *options,
                       "-p", str(listener.getsockname()[1])]  # fmt: skip
            done = subprocess.run(command, input="\n\n", capture_output=True, text=True, timeout=30)
            thread.join(10)
        ready, result = done.stdout.splitlines()
        self.assertEqual(ready, "READY")
        answer: dict[str, Any] = json.loads(result)
        return answer

    def test_qos_0_counts_only_what_a_pingresp_confirmed(self) -> None:
        """A lap is ten messages and a PINGREQ; of six laps that arrive whole, two are confirmed."""

        def target(connection: socket.socket) -> None:
            got, laps = b"", 0
            while got.count(b"\xc0\x00") < 6:
                got += connection.recv(65536)
                if got.count(b"\xc0\x00") >= 4 and not laps:  # no more than four may be under way
                    laps = got.count(b"\xc0\x00")
                    connection.sendall(b"\xd0\x00" * 2)
            under_way.append(laps)

        under_way: list[int] = []
        result = self.sent_to(target, "-q", "0", "-w", "40")
        self.assertEqual(result["errors"], 1)
        self.assertEqual(result["messages"], 20)
        self.assertEqual(under_way, [4])

    def test_a_puback_out_of_order_is_an_error(self) -> None:
        def target(connection: socket.socket) -> None:
            connection.recv(65536)
            connection.sendall(b"\x40\x02\x00\x01\x40\x02\x00\x03")
            while connection.recv(65536):
                pass

        result = self.sent_to(target, "-q", "1", "-w", "10")
        self.assertEqual(result["errors"], 1)
        self.assertEqual(result["messages"], 1)

    def test_a_refused_publish_is_an_error(self) -> None:
        def target(connection: socket.socket) -> None:
            connection.recv(65536)
            connection.sendall(b"\x40\x03\x00\x01\x87")
            while connection.recv(65536):
                pass

        result = self.sent_to(target, "-q", "1", "-v", "5", "-w", "10")
        self.assertEqual(result["errors"], 1)
        self.assertEqual(result["messages"], 0)


@unittest.skipUnless(COMPILER and sys.platform == "linux", WHY)
@needs_openssl
class TlsGenerator(unittest.TestCase):
    """load-tls against a target that it cannot shake hands with."""

    def test_a_refused_handshake_is_an_error_and_no_connection(self) -> None:
        run("--workloads", "qos0", "--peers", "direct", "--rounds", "1", "--seconds", "0.01")  # compiles it
        refused = 0
        with socket.create_server(("127.0.0.1", 0)) as listener:

            def serve() -> None:
                nonlocal refused
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        if connection.recv(4096)[:1] != b"\x16":  # a record of the handshake
                            return
                        connection.sendall(b"\x15\x03\x03\x00\x02\x02\x28")  # alert: fatal, handshake_failure
                        refused += 1

            thread = threading.Thread(target=serve)
            thread.start()
            port = listener.getsockname()[1]
            command = [str(BENCHMARKS / "build" / "load-tls"), "-m", "churn", "-t", "0.1", "-T", "1.3", "-p", str(port)]
            done = subprocess.run(command, input="\n\n", capture_output=True, text=True, timeout=30)
            with socket.create_connection(("127.0.0.1", port)) as last:
                last.sendall(b"end")
            thread.join(10)
        result = json.loads(done.stdout.splitlines()[-1])
        self.assertGreater(refused, 0)
        self.assertEqual(result["errors"], refused)
        self.assertEqual(result["messages"], 0)


class Figures(unittest.TestCase):
    """What is made of the rounds."""

    def setUp(self) -> None:
        sys.path.insert(0, str(BENCHMARKS))
        self.addCleanup(sys.path.remove, str(BENCHMARKS))
        import report
        import workloads

        self.report, self.workloads = report, workloads.WORKLOADS

    def round(self, cpu_us: float, **more: float) -> dict[str, float]:
        return {"messages": 1, "per_second": 9.0, "cpu_us": cpu_us, "gateway_busy": 1.0, "rig_busy": 0.5, "late": 0,
                "errors": 0, "p50_us": 10.0, "p99_us": 20.0} | more  # fmt: skip

    def test_ratios_and_differences_are_taken_within_a_round(self) -> None:
        rounds = {
            "direct": [self.round(0, p50_us=1.0), self.round(0, p50_us=100.0), self.round(0, p50_us=1.0)],
            "haproxy": [self.round(1.0), self.round(10.0), self.round(1.0)],
            "mgate-agree": [self.round(4.0, p50_us=3.0), self.round(40.0, p50_us=102.0, errors=2), self.round(5.0)],
        }
        summary = self.report.summarise(rounds)["mgate-agree"]
        self.assertEqual(summary["cpu_us"], 5.0)
        self.assertEqual(summary["cpu_of_floor"], 4.0)
        self.assertEqual(summary["p50_added_us"], 2.0)
        self.assertEqual(summary["errors"], 2)

    def test_a_target_stands_beside_the_figure(self) -> None:
        for cpu_us, verdict in ((2.2, "<= 2.20 met"), (2.21, "<= 2.20 MISSED")):
            text = self.report.table(self.workloads["qos1"], {"mgate-agree": [self.round(cpu_us)]})
            self.assertIn(verdict, text)

    def test_a_rate_that_the_gateway_did_not_limit_is_marked(self) -> None:
        for busy, rate in ((0.5, ">1,234"), (0.99, " 1,234")):
            rounds = {"haproxy": [self.round(1.0, gateway_busy=busy, per_second=1234.0)]}
            self.assertIn(rate, self.report.table(self.workloads["qos0"], rounds))

    def test_connections_are_counted_for_each_second_of_cpu(self) -> None:
        for name in ("churn", "tls-handshake-rsa"):
            text = self.report.table(self.workloads[name], {"mgate-agree": [self.round(800.0)]})
            self.assertIn("| per CPU s |", text)
            self.assertIn(" 1,250 ", text)
        text = self.report.table(self.workloads["tls-qos0"], {"mgate-agree": [self.round(800.0)]})
        self.assertNotIn("per CPU s", text)

    def test_rounds_that_failed_are_named_and_left_out(self) -> None:
        rounds: dict[str, list[dict[str, Any]]] = {
            "haproxy": [{"failed": "3 of 50 connections stand"}],
            "mgate-agree": [self.round(1.0), {"failed": "x"}],
        }
        text = self.report.table(self.workloads["qos0"], rounds)
        self.assertIn("failed: 3 of 50 connections stand", text)
        self.assertIn("1 of 2 rounds failed", text)


def copy_of_benchmarks(name: str) -> Path:
    """Everything but what was built, in a checkout of its own beside this one's mgate."""
    folder = Path(name, "benchmarks")
    shutil.copytree(BENCHMARKS, folder, ignore=shutil.ignore_patterns("build", "__pycache__"))
    for part in ("mgate", "twisted"):
        Path(name, part).symlink_to(BENCHMARKS.parent / part)
    return folder


if __name__ == "__main__":
    unittest.main()
