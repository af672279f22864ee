"""The service in real processes: exit codes, the last line of standard error, signals, systemd. And what needs none."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
import tempfile
import time
import unittest
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mgate import systemd
from mgate.addresses import parse_listen, parse_target
from mgate.binding import BindError, Binding
from mgate.config import load
from mgate.counters import Counters
from mgate.errors import ConfigError
from mgate.generation import load_policies
from mgate.journal import Journal
from mgate.listeners import PROTOCOLS, StreamListener
from mgate.service import GatewayService
from mgate.targets import target_endpoint
from mgate.testing.credential import DAY
from mgate.testing.pki import SERVER, Pki
from tests.processes import DAEMON, MGATE, PATIENCE, TWISTD, Running, busy_port, free_port, run

CONNECT = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a"
CONNECT_5 = b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x01a"
CONNACK_5 = b"\x20\x03\x00\x00\x00"
CONNACK = b"\x20\x02\x00\x00"


def options(listen: object, *more: str) -> list[str]:
    return ["--listen", f"127.0.0.1:{listen}" if isinstance(listen, int) else str(listen), "--target",
            "127.0.0.1:1", *more]  # fmt: skip


def last_line(text: str) -> str:
    return text.rstrip("\n").rpartition("\n")[2]


SLOW = """
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from mgate.handler import Handler, plugin


class Slow(Handler):
    def auth_connect(self, session):
        Logger("slow").info("asked")
        return Deferred()


slow = plugin("slow", Slow)
"""


class ProcessTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def file(self, text: str, name: str = "mgate.toml") -> str:
        path = self.folder / name
        path.write_text(text)
        return str(path)


class ExitCodes(ProcessTest):
    def test_a_bad_file_is_1(self) -> None:
        file = self.file('[[listener]]\nname = "mqtt"\nlisten = ":0"\ntarget = "x"\n[listener.limits]\nmax_paket = 1\n')
        for command in (TWISTD, [*DAEMON, f"--pidfile={self.folder}/pid", "mgate"], [*MGATE, "run"]):
            with self.subTest(command[-2:]):
                done = run([*command, "-c", file], directory=str(self.folder))
                self.assertEqual(done.returncode, 1)
                said = done.stdout + done.stderr
                self.assertIn(f"{file}: listener \"mqtt\".listen: port '0' is not a number from 1 to 65535\n", said)
                self.assertIn(f'{file}: listener "mqtt".limits.max_paket: unknown key', said)
                self.assertNotIn("Traceback", said)

    def test_a_handler_that_cannot_be_had_is_1(self) -> None:
        for command in (TWISTD, [*MGATE, "run"]):
            with self.subTest(command[-1]):
                done = run([*command, *options(free_port(), "--handler", "lgo")])
                self.assertEqual(done.returncode, 1)
                self.assertIn("no handler is called 'lgo' (did you mean 'log'?)", last_line(done.stderr))

    def test_a_busy_port_is_2(self) -> None:
        port = busy_port(self)
        for listen in (port, f":{port}", f"tcp:{port}:interface=127.0.0.1"):
            for command in (TWISTD, [*MGATE, "run"]):
                with self.subTest(listen, command=command[-1]):
                    done = run([*command, *options(listen)])
                    self.assertEqual(done.returncode, 2)
                    self.assertRegex(last_line(done.stderr), 'listener "mqtt": cannot listen on .*already in use')
                    self.assertNotIn("Traceback", done.stdout + done.stderr)
                    self.assertNotIn("ready", done.stdout)

    def test_a_busy_port_fails_the_command_that_would_become_a_daemon(self) -> None:
        files = [f"--pidfile={self.folder}/pid", f"--logfile={self.folder}/log"]
        done = run([*DAEMON, *files, "mgate", *options(busy_port(self))])
        self.assertEqual(done.returncode, 2)
        self.assertRegex(last_line(done.stderr), "cannot listen on .*already in use")
        self.assertFalse((self.folder / "pid").exists())

    def test_none_is_left_open_when_one_is_busy(self) -> None:
        free = free_port()
        arguments = ["--listen", f"a=127.0.0.1:{free}", "--target", "a=x", "--listen", f"b=127.0.0.1:{busy_port(self)}",
                     "--target", "b=x"]  # fmt: skip
        done = run([*TWISTD, *arguments])
        self.assertEqual(done.returncode, 2)
        self.assertIn('listener "b"', last_line(done.stderr))
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", free))

    def test_endpoint_strings(self) -> None:
        done = run([*TWISTD, *options("unix:a:b:c:d")])
        self.assertEqual(done.returncode, 1)
        self.assertRegex(last_line(done.stderr), "listener \"mqtt\".listen: 'unix:a:b:c:d' is no endpoint string")
        done = run([*TWISTD, *options("systemd:domain=INET:name=mqtt")])
        self.assertEqual(done.returncode, 2)
        self.assertIn("systemd handed over no such socket", last_line(done.stderr))


class Files(ProcessTest):
    """What TLS needs is read before anything is bound: the port is busy here, and that is not what is said."""

    pki: Pki

    @classmethod
    def setUpClass(cls) -> None:
        cls.pki = Pki.make()

    def setUp(self) -> None:
        super().setUp()
        self.pki.write(self.folder)
        self.port = busy_port(self)

    def told(self, cert: str, key: str, *more: str) -> str:
        """The one line that ``run`` and ``check`` have for a certificate and a key, which both end with 1."""
        files = [f"--cert={self.folder / cert}"] + ([f"--key={self.folder / key}"] if key else [])
        told = set()
        for command in ([*MGATE, "run"], [*MGATE, "check"], TWISTD):
            done = run([*command, *options(self.port), *files, *more])
            self.assertEqual(done.returncode, 1, done)
            self.assertNotIn("Traceback", done.stdout + done.stderr)
            said = (done.stdout + done.stderr).splitlines()  # twistd prints mistakes of options below its usage
            lines = [line for line in said if str(self.folder) in line or "_file" in line]
            self.assertEqual(len(lines), 1, done)
            told.add(lines[0].removeprefix("mgate: "))
        (line,) = told
        return line.replace(str(self.folder), "")

    def test_half_a_pair(self) -> None:
        self.assertEqual(self.told("server.pem", ""), '--cert: listener "mqtt".tls.key_file: missing: add --key')

    def test_key_of_another(self) -> None:
        line = self.told("server.pem", "other-server.key")
        self.assertEqual(
            line, 'listener "mqtt": /other-server.key: the certificate of this key is not in /server.pem'
        )

    def test_a_key_that_others_may_read(self) -> None:
        (self.folder / "server.key").chmod(0o604)
        line = self.told("server.pem", "server.key")
        self.assertRegex(line, '^listener "mqtt": /server.key: others may read this key, its mode is 0604; use chmod')

    def test_expired(self) -> None:
        issuer = self.pki.intermediate
        issuer.issue("old", usage=SERVER, not_before=-2 * DAY, not_after=-DAY).write(self.folder, "old")
        line = self.told("old.pem", "old.key")
        self.assertRegex(line, '^listener "mqtt": /old.pem: the certificate has expired on [-0-9]{10}$')

    def test_unreadable(self) -> None:
        self.assertEqual(self.told("no.pem", "server.key"), 'listener "mqtt": /no.pem: No such file or directory')
        self.assertEqual(
            self.told("server.pem", "server.key", f"--client-ca={self.folder / 'no.pem'}"),
            'listener "mqtt": /no.pem: No such file or directory',
        )


class Life(ProcessTest):
    def test_ready_then_signals(self) -> None:
        port = free_port()
        running = Running(self, [*TWISTD, *options(f":{port}")])
        line = running.expect("mqtt: listening on")
        self.assertIn(f":{port} (all interfaces) -> target mqtt://127.0.0.1:1, handlers: none", line)
        running.expect("ready: 1 listening")
        socket.create_connection(("127.0.0.1", port)).close()
        if socket.has_ipv6:
            with contextlib.suppress(OSError):  # a machine without ::1
                socket.create_connection(("::1", port)).close()
        running.process.send_signal(signal.SIGHUP)
        running.expect("reloaded: 1 listening")
        socket.create_connection(("127.0.0.1", port)).close()
        self.assertEqual(running.stop(), -signal.SIGTERM)

    def test_a_device_reaches_the_target(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as broker:
            port = free_port()
            target = f"127.0.0.1:{broker.getsockname()[1]}"
            running = Running(
                self, [*MGATE, "run", "--listen", f"127.0.0.1:{port}", "--target", "127.0.0.1:1", "--target", target,
                       "--log-format", "json"]
            )  # fmt: skip
            self.assertIn("handlers: none", json.loads(running.expect("listening on"))["msg"])
            running.expect("ready")
            broker.settimeout(20)
            with socket.create_connection(("127.0.0.1", port), 20) as device:
                device.sendall(CONNECT)
                side, _ = broker.accept()
                with side:
                    side.settimeout(20)
                    self.assertEqual(side.recv(100), CONNECT)
                    side.sendall(CONNACK)
                    self.assertEqual(device.recv(100), CONNACK)
            record = json.loads(running.expect('"event": "target_failed"'))
            self.assertEqual((record["target"], record["listener"]), ("mqtt://127.0.0.1:1", "mqtt"))
            self.assertIn("refused", record["error"])
            record = json.loads(running.expect('"event": "disconnect"'))
            self.assertEqual((record["client"], record["listener"]), ("a", "mqtt"))
        self.assertEqual(running.stop(signal.SIGINT), -signal.SIGINT)

    def test_a_daemon(self) -> None:
        port = free_port()
        pid_file = self.folder / "pid"
        log = self.folder / "log"
        ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(ready.close)
        ready.bind(str(self.folder / "notify"))
        ready.settimeout(PATIENCE)
        command = [*DAEMON, f"--pidfile={pid_file}", f"--logfile={log}", "mgate", *options(port)]
        done = run(command, environ={"NOTIFY_SOCKET": str(self.folder / "notify")})
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        # The command returns when the daemon has started; the file is there by then.
        process = int(pid_file.read_text())
        watch = os.pidfd_open(process)
        self.addCleanup(os.close, watch)
        socket.create_connection(("127.0.0.1", port)).close()
        # A signal that comes before the reactor handles signals kills at once, and leaves the file behind.
        self.assertEqual(ready.recv(100), b"READY=1")
        self.assertIn("ready: 1 listening", log.read_text())
        os.kill(process, signal.SIGTERM)
        _wait_for(watch)
        self.assertFalse(pid_file.exists())

    def test_devices_are_told_before_the_end(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as broker:
            port = free_port()
            target = f"127.0.0.1:{broker.getsockname()[1]}"
            running = Running(self, [*TWISTD, "--listen", f"127.0.0.1:{port}", "--target", target])
            running.expect("ready")
            broker.settimeout(20)
            with socket.create_connection(("127.0.0.1", port), 20) as device:
                device.sendall(CONNECT_5)
                side, _ = broker.accept()
                with side:
                    side.settimeout(20)
                    side.recv(100)
                    side.sendall(CONNACK_5)
                    self.assertEqual(device.recv(100), CONNACK_5)
                    running.process.send_signal(signal.SIGTERM)
                    self.assertEqual(device.recv(100)[:1], b"\xe0")  # DISCONNECT
                    self.assertEqual(side.recv(100), b"")  # none to the broker, which publishes the will
            self.assertEqual(running.process.wait(PATIENCE), -signal.SIGTERM)

    def test_a_second_signal_does_not_wait(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as broker:
            port = free_port()
            target = f"127.0.0.1:{broker.getsockname()[1]}"
            command = [*TWISTD, "--listen", f"127.0.0.1:{port}", "--target", target, "--plugin-dir", str(self.folder),
                       "--handler", "slow", "--set", "limits.handler_timeout=600"]  # fmt: skip
            self.file(SLOW, "slow.py")
            running = Running(self, command)
            running.expect("ready")
            with socket.create_connection(("127.0.0.1", port), 20) as device:
                device.sendall(CONNECT)
                running.expect("asked")
                running.process.send_signal(signal.SIGTERM)
                running.expect("stopping")
                running.process.send_signal(signal.SIGHUP)
                running.expect("not reloaded: the gateway is stopping")
                self.assertEqual(running.stop(), -signal.SIGTERM)

    def test_notes_and_unknown_variables_are_said_at_the_start(self) -> None:
        running = Running(self, [*TWISTD, *options(free_port())], environ={"MGATE_LOG_LEVLE": "debug"})
        running.expect("MGATE_LOG_LEVLE: nothing knows this variable (did you mean MGATE_LOG_LEVEL?)")
        running.expect("ready")
        running.stop()


class Systemd(ProcessTest):
    def test_ready_and_stopping(self) -> None:
        for name in (str(self.folder / "notify"), f"\0mgate-test-{os.getpid()}"):
            with self.subTest(abstract=name.startswith("\0")), socket.socket(
                socket.AF_UNIX, socket.SOCK_DGRAM
            ) as manager:
                manager.bind(name)
                manager.settimeout(20)
                running = Running(
                    self, [*MGATE, "run", *options(free_port())], environ={"NOTIFY_SOCKET": name.replace("\0", "@")}
                )
                self.assertEqual(manager.recv(100), b"READY=1")
                before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
                running.process.send_signal(signal.SIGHUP)
                reloading = manager.recv(100)
                self.assertRegex(reloading, rb"^RELOADING=1\nMONOTONIC_USEC=\d+$")
                self.assertGreaterEqual(int(reloading.rpartition(b"=")[2]), before, "systemd takes no earlier one")
                self.assertEqual(manager.recv(100), b"READY=1")
                running.stop()
                self.assertEqual(manager.recv(100), b"STOPPING=1")

    def test_a_socket_that_systemd_hands_over(self) -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listening.close)
        code = (
            "import os, sys; os.dup2(int(sys.argv[1]), 3); os.set_inheritable(3, True); "
            "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1', LISTEN_FDNAMES='mqtt'); "
            "os.execv(sys.argv[2], sys.argv[2:])"
        )
        running = Running(
            self,
            [sys.executable, "-c", code, str(listening.fileno()), *TWISTD, *options("systemd:domain=INET:name=mqtt")],
            pass_fds=[listening.fileno()],
        )
        running.expect("ready")
        socket.create_connection(listening.getsockname()).close()
        running.stop()

    def test_nobody_waits(self) -> None:
        self.assertFalse(systemd.notify("READY=1", {}))
        with self.assertRaises(OSError):
            systemd.notify("READY=1", {"NOTIFY_SOCKET": str(self.folder / "nothing")})


class Endpoints(unittest.TestCase):
    def test_what_dials_a_target(self) -> None:
        for text, kind in (
            ("127.0.0.1:1", "TCP4ClientEndpoint"), ("[::1]:1", "TCP6ClientEndpoint"),
            ("broker", "HostnameEndpoint"), ("localhost", "InTurn"), ("unix:/run/x", "UNIXClientEndpoint"),
        ):  # fmt: skip
            with self.subTest(text):
                self.assertEqual(type(target_endpoint(reactor, parse_target(text), 5.0)).__name__, kind)


class FakeFactory:
    def __init__(self, drained: Deferred[None]) -> None:
        self.counters = Counters()
        self.open: set[object] = set()
        self.drained = drained
        self.asked = False

    def drain(self) -> Deferred[None]:
        self.asked = True
        return self.drained


class FakeEntrance:
    """Nothing stands in front of the factory."""

    notes = ()
    idle = True

    def around(self, factory: FakeFactory) -> FakeFactory:
        return factory

    def stop(self) -> None:
        """Nobody waits in it."""

    release = stop


class FakePort:
    def __init__(self) -> None:
        self.stopped = False

    def stopListening(self) -> Deferred[None]:
        self.stopped = True
        return succeed(None)


class FakeEndpoint:
    def __init__(self, answer: Deferred[Any]) -> None:
        self.answer = answer

    def listen(self, factory: object) -> Deferred[Any]:
        return self.answer


class FakeReactor(Clock):
    def addSystemEventTrigger(self, *arguments: object) -> None:
        """A process of its own tries what happens at shutdown."""

    def callWhenRunning(self, call: Callable[[], None]) -> None:
        call()


class Assembly(SynchronousTestCase):
    """The order of things, without sockets."""

    def setUp(self) -> None:
        self.drained: Deferred[None] = Deferred()
        self.factory = FakeFactory(self.drained)
        self.port = FakePort()
        self.opened: Deferred[Any] = Deferred()

    def service(self) -> GatewayService:
        environ = {"MGATE_MQTT_WITHOUT_TLS_ADDRESS": "tcp:1884", "MGATE_MQTT_WITHOUT_TLS_TARGET": "x"}

        def prepare(name: str, listener: Any, *_: Any) -> Any:
            serving = StreamListener(
                name, self.factory, FakeEntrance(), Binding(name, listener.listen, Clock())
            )
            return mock.Mock(listener=lambda: serving)

        self.patch(sys.modules["mgate.binding"], "serverFromString", lambda *_: FakeEndpoint(self.opened))
        configuration = load(None, environ)
        with mock.patch.dict(PROTOCOLS, {"mqtt": prepare}):
            service = GatewayService(configuration, FakeReactor(), Journal(), lambda: configuration, {})
        service.bind()
        return service

    def test_links_drain_after_the_ports_are_closed(self) -> None:
        service = self.service()
        service.privilegedStartService()
        service.startService()
        self.opened.callback(self.port)
        stopped = service.stopService()
        self.assertTrue(self.port.stopped)
        self.assertTrue(self.factory.asked)
        self.assertNoResult(stopped)
        self.drained.callback(None)
        self.successResultOf(stopped)

    def test_a_listener_that_cannot_be_opened_ends_the_process(self) -> None:
        self.opened = fail(CannotListenError("", 1884, OSError(98, "Address already in use")))
        service = self.service()
        with mock.patch.object(sys, "__stderr__") as stderr, self.assertRaises(SystemExit) as caught:
            service.privilegedStartService()
        self.assertEqual(caught.exception.code, 2)
        self.assertIn("Address already in use", stderr.write.call_args[0][0])

    def test_handlers_that_cannot_be_had_are_all_named(self) -> None:
        environ = {"MGATE_MQTT_WITHOUT_TLS_ADDRESS": ":1", "MGATE_MQTT_WITHOUT_TLS_TARGET": "x"}
        configuration = load(None, environ | {"MGATE_HANDLERS": "one log two"})
        with self.assertRaises(ConfigError) as caught:
            load_policies(configuration, Clock(), Journal())
        self.assertRegex("\n".join(caught.exception.problems), "'one'(.|\n)*'two'")

    def test_handlers_keep_their_order_and_their_names(self) -> None:
        environ = {"MGATE_MQTT_WITHOUT_TLS_ADDRESS": ":1", "MGATE_MQTT_WITHOUT_TLS_TARGET": "x"}
        configuration = load(None, environ | {"MGATE_HANDLERS": "log deny:#"})
        self.assertEqual(load_policies(configuration, Clock(), Journal())["mqtt"].names, ["log", "deny"])

    def test_binding_twice(self) -> None:
        port = free_port()
        first, second = (Binding(name, parse_listen(f":{port}"), Clock()) for name in ("first", "second"))
        first.bind()
        first._sockets[0].listen()
        with self.assertRaises(BindError) as caught:
            second.bind()
        self.assertIn('listener "second": cannot listen', caught.exception.text)
        first.close()
        second.bind()
        second.close()


def _wait_for(pidfd: int) -> None:
    if not select.select([pidfd], [], [], 60)[0]:
        raise AssertionError("the daemon does not end")
