"""What devices do with a broker, as what they observe; `test_same_as_direct` compares it with and without a gateway.

Each scenario is a function of a place (where the broker seems to be) and a protocol level. It returns what was seen;
what differs from run to run (assigned identifiers, seconds that have passed) is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from ssl import SSLContext
from typing import Any

from tests.real.paho_device import Device, Will, options, properties

__all__ = ["SCENARIOS", "Place", "Scenario"]

Scenario = Callable[["Place", int], Any]
ALL, NEWER, NEWEST = (3, 4, 5), (4, 5), (5,)
SCENARIOS: list[tuple[Scenario, tuple[int, ...]]] = []


class Place:
    """Where devices connect to: the port of a broker, or of a gateway in front of it; over TLS if `tls` is given."""

    def __init__(self, port: int, tls: SSLContext | None = None) -> None:
        self.port = port
        self.tls = tls
        self._devices = ExitStack()
        self.addCleanup = self._devices.callback

    def play(self, act: Scenario, version: int) -> Any:
        """What is seen; when it is over, so are the devices."""
        with self._devices:
            return act(self, version)

    def device(self, name: str, version: int, **more: Any) -> Device:
        """A new device."""
        return Device(self, self.port, name, version=version, tls=self.tls, **more)


def scenario(*versions: int) -> Callable[[Scenario], Scenario]:
    """Put a function into `SCENARIOS`."""

    def add(function: Scenario) -> Scenario:
        SCENARIOS.append((function, versions))
        return function

    return add


def lasting(version: int, seconds: int = 60) -> Any:
    """Properties of a CONNECT whose session outlives the connection, where that takes any."""
    return properties("connect", SessionExpiryInterval=seconds) if version == 5 else None


@scenario(*ALL)
def each_qos_to_each_qos(place: Place, version: int) -> Any:
    device = place.device("a", version)
    seen: list[Any] = [device.connack]
    for granted in (0, 1, 2):
        seen.append(device.subscribe((f"qos/{granted}", granted)))
        for qos in (0, 1, 2):
            seen.append(device.publish(f"qos/{granted}", f"{qos}", qos))
            seen.append(device.receive())
    return seen


@scenario(*ALL)
def payloads_and_topics(place: Place, version: int) -> Any:
    device = place.device("a", version)
    device.subscribe("p/#")
    seen: list[Any] = []
    for topic in ("p/a", "p//", "p/ ", "p/ä/€/😀", "p/" + "x" * 500, "p/$SYS", "p/a/b/c/d/e/f/g", "p"):
        device.publish(topic, topic.encode(), 1)
        seen.append(device.receive())
    for size in (0, 1, 126, 127, 128, 16_383, 16_384, 70_000, 300_000):
        for qos in (0, 1, 2):
            device.publish("p/size", bytes(range(256)) * (size // 256) + bytes(size % 256), qos)
            seen.append(device.receive())
    return seen


@scenario(*ALL)
def wildcards(place: Place, version: int) -> Any:
    device = place.device("a", version)
    seen: list[Any] = []
    for name in ("w/+", "w/#", "w/+/c", "+/b", "w/+/#", "+", "/+", "w/b", "$SYS/nothing/+"):
        seen.append((name, device.subscribe(name)))
        for topic in ("w/b", "w", "w/b/c", "/b", "w/", "v/b", "w/b/c/d"):
            device.publish(topic, topic, 1)
        device.subscribe("marker")
        device.publish("marker", qos=1)
        seen.append(sorted(device.payloads()))
        seen.append(device.unsubscribe(name))
    return seen


@scenario(*ALL)
def retained(place: Place, version: int) -> Any:
    device = place.device("a", version)
    seen: list[Any] = []
    for topic, payload, qos in (("r/0", b"old", 0), ("r/0", b"new", 1), ("r/1", b"1", 1), ("r/2", b"2", 2)):
        device.publish(topic, payload, qos, retain=True)
    for name in ("r/+", "r/#", "r/0", "r/nothing"):
        seen.append(device.subscribe((name, 1)))
        device.subscribe("marker")
        device.publish("marker", qos=1)
        seen.append(sorted(message[:4] for message in device.until_marker()))
        device.unsubscribe(name)
    device.publish("r/0", b"", 1, retain=True)
    device.publish("r/2", b"", 2, retain=True)
    device.subscribe("r/+")
    device.publish("r/1", b"live", 1, retain=True)
    device.publish("marker", qos=1)
    seen.append([message[:4] for message in device.until_marker()])
    return seen


@scenario(*ALL)
def overlapping_filters(place: Place, version: int) -> Any:
    device = place.device("a", version)
    seen: list[Any] = [device.subscribe(("o/#", 1), ("o/+", 2), ("o/a", 0), ("o/a", 1))]
    device.publish("o/a", b"x", 2)
    device.subscribe("marker")
    device.publish("marker", qos=2)
    return [*seen, sorted(device.payloads()), device.unsubscribe("o/#", "o/+", "o/none", "o/a")]


@scenario(*ALL)
def many_filters(place: Place, version: int) -> Any:
    device = place.device("a", version)
    names = [f"many/{number}" for number in range(200)]
    return [device.subscribe(*((name, number % 3) for number, name in enumerate(names))), device.unsubscribe(*names)]


@scenario(*ALL)
def wills(place: Place, version: int) -> Any:
    witness = place.device("witness", version)
    witness.subscribe("last/#")
    seen: list[Any] = []
    for qos in (0, 1, 2):
        for payload in (b"gone", b"", bytes(1000)):
            place.device("mortal", version, will=Will("last/will", payload, qos)).drop()
            seen.append(witness.receive())
    place.device("mortal", version, will=Will("last/kept", b"kept", 1, True)).drop()
    seen.append(witness.receive())
    place.device("mortal", version, will=Will("last/never", b"said goodbye", 1)).disconnect()
    place.device("mortal", version, will=Will("last/usurped", b"taken over", 1))
    place.device("mortal", version).disconnect()
    seen.append(witness.receive())
    witness.publish("last/marker", qos=2)
    late = place.device("late", version)
    late.subscribe("last/kept")
    seen.append(late.receive())
    late.publish("last/kept", b"", 1, retain=True)
    return [seen, witness.until_marker()]


@scenario(*ALL)
def persistent_sessions(place: Place, version: int) -> Any:
    other = place.device("other", version)
    seen: list[Any] = []
    place.device("p", version).disconnect()
    for end in ("disconnect", "drop"):
        device = place.device("p", version, clean=False, connect=lasting(version))
        seen.append(device.connack)
        seen.append(device.subscribe(("s/0", 0), ("s/1", 1), ("s/2", 2)))
        getattr(device, end)()
        for number in range(30):
            other.publish(f"s/{number % 3}", f"{number}", qos=2)
        again = place.device("p", version, clean=False, connect=lasting(version))
        seen.append(again.connack)
        other.publish("s/1", b"live", qos=1)
        # A broker may also keep messages of QoS 0, but need not.
        came = [again.receive() for _ in range(21)]
        seen.append(sorted(message[:4] for message in came))
        again.disconnect()
        clean = place.device("p", version)
        seen.append(clean.connack)
        clean.disconnect()
        seen.append(place.device("p", version, clean=False, connect=lasting(version)).connack)
        place.device("p", version).disconnect()
    return seen


@scenario(*ALL)
def taking_over(place: Place, version: int) -> Any:
    first = place.device("same", version)
    first.subscribe("t/a")
    second = place.device("same", version)
    first.lost()  # A gateway says that the target has closed; mosquitto 2.0.11 says nothing.
    return [second.connack, second.subscribe("t/b")]


@scenario(*ALL)
def unsubscribing(place: Place, version: int) -> Any:
    device = place.device("a", version)
    device.subscribe("u/a", "u/b")
    seen: list[Any] = [device.unsubscribe("u/a"), device.unsubscribe("u/a", "u/never")]
    device.publish("u/a", b"no", 1)
    device.publish("u/b", b"yes", 1)
    device.publish("u/b", b"end", 2)
    return [*seen, [message[:4] for message in device.take(2)]]


@scenario(*ALL)
def credentials(place: Place, version: int) -> Any:
    return [
        place.device("a", version, username=name, password=word).connack
        for name, word in (("u", "p"), ("", ""), ("ä", "€"), ("u", "x" * 1000), ("u", None))
    ]


@scenario(*ALL)
def client_identifiers(place: Place, version: int) -> Any:
    seen: list[Any] = []
    for name in ("a" * 23, "a" * 24, "x" * 500, "with space", "ä€😀", "a/b", "+#", "1"):
        connack = place.device(name, version).connack
        seen.append((name, connack))
    return seen


@scenario(*NEWER)
def no_client_identifier(place: Place, version: int) -> Any:
    code, present, made = place.device("", version).connack
    assigned = made.pop("AssignedClientIdentifier", "")
    return [code, present, made, assigned[:5]]


@scenario(*ALL)
def shared_subscriptions(place: Place, version: int) -> Any:
    both = [place.device(name, version) for name in "ab"]
    seen: list[Any] = []
    for name, device in zip("ab", both, strict=True):
        seen.append(device.subscribe("$share/g/sh/#", f"end/{name}/#"))
    other = place.device("other", version)
    for number in range(20):
        other.publish("sh/x", f"{number}", 1)
    for name in "ab":
        other.publish(f"end/{name}/marker", qos=1)
    came = [device.payloads() for device in both]
    seen += [sorted(map(len, came)), sorted(came[0] + came[1])]
    return [*seen, both[0].unsubscribe("$share/g/sh/#")]


@scenario(*NEWEST)
def properties_of_messages(place: Place, version: int) -> Any:
    device = place.device("a", version)
    device.subscribe("props")
    seen: list[Any] = []
    for made in (
        {"ContentType": "text/plain"},
        {"ContentType": ""},
        {"PayloadFormatIndicator": 0},
        {"PayloadFormatIndicator": 1},
        {"ResponseTopic": "a/b", "CorrelationData": b"\x00\xff"},
        {"CorrelationData": b""},
        {"UserProperty": [("b", "1"), ("a", "2"), ("b", "1"), ("", ""), ("ä", "€")]},
        {"UserProperty": [(f"n{number}", "v" * number) for number in range(50)]},
    ):
        for qos in (0, 1, 2):
            seen.append(device.publish("props", b"x", qos, made=properties("publish", **made)))
            seen.append(device.receive())
    return seen


@scenario(*NEWEST)
def topic_aliases(place: Place, version: int) -> Any:
    device = place.device("a", version, connect=properties("connect", TopicAliasMaximum=10))
    device.subscribe("alias/#")
    seen: list[Any] = [device.connack]
    steps = (("alias/a", 1), ("", 1), ("alias/b", 10), ("", 10), ("alias/c", 1), ("", 1), ("", 10), ("alias/b", None))
    for topic, alias in steps:
        made = None if alias is None else properties("publish", TopicAlias=alias)
        seen.append(device.publish(topic, b"x", 1, made=made))
        seen.append(device.receive())
    device.client.publish("", b"x", 0, properties=properties("publish", TopicAlias=11))
    return [*seen, device.lost()]


@scenario(*NEWEST)
def subscription_identifiers(place: Place, version: int) -> Any:
    device = place.device("a", version)
    for number, name in ((1, "id/a"), (268_435_455, "id/#"), (7, "id/a")):
        device.subscribe((name, 1), made=properties("subscribe", SubscriptionIdentifier=number))
    device.publish("id/a", b"x", 1)
    device.publish("id/b", b"x", 1)
    device.subscribe("marker")
    device.publish("marker", qos=2)
    return sorted((message.topic, message.properties["SubscriptionIdentifier"]) for message in device.until_marker())


@scenario(*NEWEST)
def subscription_options(place: Place, version: int) -> Any:
    device, other = place.device("a", version), place.device("b", version)
    other.publish("opt/kept", b"kept", 1, retain=True)
    seen: list[Any] = []
    for no_local in (False, True):
        for as_published in (False, True):
            for handling in (0, 1, 2, 1):
                wanted = options(1, noLocal=no_local, retainAsPublished=as_published, retainHandling=handling)
                seen.append(device.subscribe(("opt/kept", wanted)))
                device.publish("opt/kept", b"own", 1, retain=True)
                other.publish("opt/kept", b"kept", 1, retain=True)
                device.subscribe("marker")
                other.publish("marker", qos=2)
                seen.append([message[:4] for message in device.until_marker()])
        seen.append(device.unsubscribe("opt/kept"))
    other.publish("opt/kept", b"", 1, retain=True)
    return seen


@scenario(*NEWEST)
def expired_messages(place: Place, version: int) -> Any:
    device = place.device("p", version, clean=False, connect=lasting(version))
    device.subscribe("exp/#")
    device.disconnect()
    other = place.device("other", version)
    other.publish("exp/long", b"long", 1, made=properties("publish", MessageExpiryInterval=1000))
    other.publish("exp/short", b"short", 1, made=properties("publish", MessageExpiryInterval=1))
    # The session ends after the message, and only then the device is back.
    short = place.device("q", version, clean=False, connect=lasting(version, 3))
    short.drop()
    watcher = place.device("w", version)
    watcher.subscribe("clock")
    place.device("c", version, will=Will("clock", b"", 0, False, properties("will", WillDelayInterval=2)),
                 connect=lasting(version)).drop()  # fmt: skip
    watcher.receive()
    device.connect(clean=False)
    other.publish("exp/marker", qos=1)
    came = device.until_marker()
    return [(message[:4], 990 < message.properties.get("MessageExpiryInterval", 0) < 1000) for message in came]


@scenario(*NEWEST)
def session_expiry(place: Place, version: int) -> Any:
    seen: list[Any] = []
    for at_connect, at_disconnect in ((None, None), (60, None), (60, 0), (60, 30), (0, None)):
        made = None if at_connect is None else lasting(version, at_connect)
        device = place.device("exp", version, clean=True, connect=made)
        device.subscribe("anything")
        ending = None if at_disconnect is None else properties("disconnect", SessionExpiryInterval=at_disconnect)
        device.disconnect(0, ending)
        seen.append(device.connect(clean=False))
        device.disconnect(0)
    return seen


@scenario(*NEWEST)
def wills_of_version_5(place: Place, version: int) -> Any:
    witness = place.device("witness", version)
    witness.subscribe("will5/#")
    made = properties(
        "will", ContentType="text/plain", PayloadFormatIndicator=1, UserProperty=[("b", "1"), ("a", "2"), ("b", "1")],
        ResponseTopic="r", CorrelationData=b"\x00", MessageExpiryInterval=1000,
    )  # fmt: skip
    place.device("mortal", version, will=Will("will5/all", b"gone", 1, False, made)).drop()
    came = witness.receive()
    came.properties.pop("MessageExpiryInterval")
    seen: list[Any] = [came]
    place.device("mortal", version, will=Will("will5/asked", b"asked", 1)).disconnect(4)
    seen.append(witness.receive())
    delayed = Will("will5/delayed", b"delayed", 1, False, properties("will", WillDelayInterval=1))
    place.device("mortal", version, will=delayed, connect=lasting(version)).drop()
    seen.append(witness.receive())
    long = Will("will5/prevented", b"prevented", 1, False, properties("will", WillDelayInterval=30))
    place.device("mortal", version, will=long, connect=lasting(version)).drop()
    back = place.device("mortal", version, clean=False, connect=lasting(version))
    seen.append(back.connack)
    back.disconnect()
    witness.publish("will5/marker", qos=1)
    return [*seen, witness.until_marker()]


@scenario(*NEWEST)
def a_device_that_takes_small_packets(place: Place, version: int) -> Any:
    small = place.device("small", version, connect=properties("connect", MaximumPacketSize=100))
    small.subscribe(("lim/#", 0))
    other = place.device("other", version)
    for size in (10, 60, 200, 20):
        other.publish("lim/a", bytes(size), 1)
    other.publish("lim/marker", qos=2)
    return [small.connack, [message[:4] for message in small.until_marker()]]


@scenario(*NEWEST)
def a_device_that_takes_one_message_at_a_time(place: Place, version: int) -> Any:
    slow = place.device("slow", version, connect=properties("connect", ReceiveMaximum=1))
    slow.subscribe("one/#")
    other = place.device("other", version)
    for number in range(30):
        other.publish("one/a", f"{number}", 2)
    other.publish("one/marker", qos=2)
    return [slow.connack, [message[:4] for message in slow.until_marker()]]


@scenario(*NEWEST)
def connect_properties(place: Place, version: int) -> Any:
    seen: list[Any] = []
    for made in (
        {"RequestResponseInformation": 1},
        {"RequestProblemInformation": 0},
        {"UserProperty": [("a", "1"), ("a", "1")]},
        {"ReceiveMaximum": 65_535, "MaximumPacketSize": 1000, "TopicAliasMaximum": 65_535},
        {"SessionExpiryInterval": 4_294_967_295},
    ):
        device = place.device("a", version, connect=properties("connect", **made))
        seen.append(device.connack)
        seen.append(device.publish("nobody/listens", b"x", 1))
        seen.append(device.publish("nobody/listens", b"x", 2))
        device.disconnect()
    place.device("a", version).disconnect()
    return seen


@scenario(*NEWEST)
def unknown_authentication(place: Place, version: int) -> Any:
    made = properties("connect", AuthenticationMethod="unknown", AuthenticationData=b"x")
    device = place.device("a", version, connect=made)
    return [device.connack, device.lost()]


@scenario(*NEWEST)
def requests_and_responses(place: Place, version: int) -> Any:
    asker, responder = place.device("asker", version), place.device("responder", version)
    asker.subscribe("answers/asker")
    responder.subscribe("ask")
    made = properties("publish", ResponseTopic="answers/asker", CorrelationData=b"1")
    asker.publish("ask", b"6*7", 1, made=made)
    request = responder.receive()
    made = properties("publish", CorrelationData=request.properties["CorrelationData"])
    responder.publish(request.properties["ResponseTopic"], b"42", 1, made=made)
    return [request, asker.receive()]
