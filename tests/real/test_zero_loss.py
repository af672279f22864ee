"""Nothing acknowledged is lost, and nothing of QoS 2 comes twice, while the way to the broker breaks at random.

``LOSS_MESSAGES`` says how many messages of each QoS (100,000 if it does not), ``LOSS_SEED`` when connections break.
"""

from __future__ import annotations

import asyncio
import os
import random
import unittest

from tests.real.breaker import Breaker
from tests.real.gateway import Gateway, Serve
from tests.real.mosquitto import Mosquitto
from tests.real.paho_device import Device
from tests.real.sessions import Publisher, Subscriber

MESSAGES = int(os.environ.get("LOSS_MESSAGES", "100000"))
SEED = int(os.environ.get("LOSS_SEED", "1"))
WINDOW = 200
PATIENCE = 120
"""Seconds for each test; it takes a few."""
AHEAD = 500
"""Messages that a publisher may be ahead of its subscriber. mosquitto 2.0.11 forgets its own limit when a session
resumes: then it sends all that wait, before it reads an acknowledgement. If that never got through, nothing would."""
LIFE = 6_000, 500_000
"""Bytes after which a connection breaks: seldom enough that `AHEAD` messages get through now and then, and not before
as many PUBREL are out. If a connection breaks while mosquitto 2.0.11 repeats PUBREL, it publishes again on the next one
what it has not repeated, with or without a gateway, although the device has released it."""
LISTENERS = {
    "plain": Serve(),
    "judged": Serve(["hesitater:200", "refuser", "rewriter", "watcher"]),
}
"""Packets as slices; and packets that are decoded, held, rewritten, refused and told of."""


class ZeroLossTest(unittest.TestCase):
    def test_qos_1(self) -> None:
        asyncio.run(self.lose_nothing(1, MESSAGES))

    def test_qos_2(self) -> None:
        asyncio.run(self.lose_nothing(2, MESSAGES))

    def test_devices_that_are_lost_as_well(self) -> None:
        for qos in (1, 2):
            asyncio.run(self.lose_nothing(qos, MESSAGES // 5, everywhere=True))

    async def lose_nothing(self, qos: int, messages: int, everywhere: bool = False) -> None:
        broker = Mosquitto(self, "max_queued_messages 0", f"max_inflight_messages {WINDOW}")
        dice = random.Random(SEED)
        breaker = Breaker(broker.port, dice, *LIFE)
        await breaker.start()
        gateway = Gateway(self, breaker.port, **LISTENERS)
        witness = Device(self, broker.port, "witness")
        witness.subscribe("closed/#")
        pairs = []
        breakers = [breaker]
        for listener, port in gateway.ports.items():
            if everywhere:
                breakers.append(Breaker(port, dice, *LIFE))
                await breakers[-1].start()
                port = breakers[-1].port
            pairs += [self.pair(port, f"{listener}-{version}", version, qos, messages // 4) for version in (4, 5)]
        try:
            async with asyncio.timeout(PATIENCE):
                await self.run_all(pairs)
        except TimeoutError:
            self.fail(f"seed {SEED}: not all came: {[self.state(*pair) for pair in pairs]}")
        for each in breakers:
            await each.stop()
        self.assertGreater(sum(each.resets for each in breakers), messages // 2500, "the network was too good")
        for publisher, subscriber in pairs:
            with self.subTest(publisher.client_id):
                self.check(publisher, subscriber)
        witness.publish("closed/marker", qos=2)
        self.assertEqual(witness.until_marker(), [], "refused messages have reached the broker")

    async def run_all(self, pairs: list[tuple[Publisher, Subscriber]]) -> None:
        """Publish once all have subscribed, until everybody has everything."""
        async with asyncio.TaskGroup() as tasks:
            for _, subscriber in pairs:
                tasks.create_task(subscriber.run())
            for _, subscriber in pairs:
                await subscriber.ready.wait()
            for publisher, _ in pairs:
                tasks.create_task(publisher.run())

    def pair(self, port: int, name: str, version: int, qos: int, count: int) -> tuple[Publisher, Subscriber]:
        """A publisher and the subscriber of what it publishes."""
        closed = "closed/quota" if name.startswith("judged") else ""
        publisher = Publisher(port, f"from {name}", version, qos, f"near/{name}", count, WINDOW, closed)
        expected = sum(not publisher.is_closed(number) for number in range(count))
        return publisher, Subscriber(
            port, f"to {name}", version, qos, f"near/{name}", expected, publisher, AHEAD
        )

    def state(self, publisher: Publisher, subscriber: Subscriber) -> str:
        """How far they came, for the one who reads why it failed."""
        return f"{publisher.client_id}: {len(publisher.acknowledged)} acknowledged, {len(subscriber.seen)} seen"

    def check(self, publisher: Publisher, subscriber: Subscriber) -> None:
        """Hold what was seen against what was promised."""
        numbers = set(range(publisher.count))
        closed = {number for number in numbers if publisher.is_closed(number)}
        self.assertEqual(publisher.acknowledged | publisher.refused, numbers)
        self.assertEqual(publisher.refused, closed if publisher.version == 5 else set())
        lost = numbers - closed - subscriber.seen.keys()
        self.assertEqual(lost, set(), f"seed {SEED}: lost")
        self.assertEqual(subscriber.seen.keys() & closed, set())
        if publisher.qos == 2:
            twice = [number for number, times in subscriber.seen.items() if times > 1]
            self.assertEqual(twice, [], f"seed {SEED}: seen twice")
