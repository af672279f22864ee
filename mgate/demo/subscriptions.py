"""Who of the demo broker gets a message: topic filters, `$share` groups, and how they match (MQTT 5.0 section 4.7).

Sans-IO. `mgate.demo.broker.Broker` owns one `Subscriptions` and asks it for every message.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Generic, Protocol, TypeVar

from mgate.mqtt.packets import Subscription
from mgate.mqtt.text import split_shared

__all__ = ["Grant", "Subscriptions", "matches"]


class Subscriber(Protocol):
    """Whoever subscribes: any object with an identity, which knows whether its device is here."""

    @property
    def connected(self) -> bool: ...


S = TypeVar("S", bound=Subscriber)


@dataclass(slots=True)
class Grant:
    """With which options somebody gets a message. Overlapping filters of one subscriber are merged into one grant
    with the highest QoS and all Subscription Identifiers [MQTT-3.3.4-2]."""

    qos: int
    retain_as_published: bool = False
    identifiers: list[int] = field(default_factory=list)

    def merge(self, other: Grant) -> Grant:
        return Grant(
            max(self.qos, other.qos),
            self.retain_as_published or other.retain_as_published,
            self.identifiers + other.identifiers,
        )


@dataclass(slots=True)
class _Group(Generic[S]):
    """The members of one `$share` group and filter, in the order in which the next messages go to them."""

    members: dict[S, Grant] = field(default_factory=dict)

    def next(self) -> tuple[S, Grant]:
        """The member whose turn it is: one that is connected, if there is any."""
        member = next((member for member in self.members if member.connected), next(iter(self.members)))
        grant = self.members.pop(member)
        self.members[member] = grant
        return member, grant


def matches(filter_levels: list[str], topic_levels: list[str]) -> bool:
    """Does a topic filter match a topic name? Both are split at ``/``."""
    if topic_levels[0].startswith("$") and filter_levels[0] in ("+", "#"):
        return False  # [MQTT-4.7.2-1]
    if filter_levels[-1] == "#":
        filter_levels = filter_levels[:-1]
        topic_levels = topic_levels[: len(filter_levels)]  # "a/#" matches "a" too, so nothing need be left
    if len(filter_levels) != len(topic_levels):
        return False
    return all(ours in ("+", theirs) for ours, theirs in zip(filter_levels, topic_levels, strict=True))


class Subscriptions(Generic[S]):
    """The filters of all subscribers. Filters without wildcards, which are most, are found by one look-up."""

    def __init__(self) -> None:
        self._exact: dict[str, dict[S, tuple[Subscription, Grant]]] = {}
        self._wild: dict[str, dict[S, tuple[Subscription, Grant]]] = {}
        self._shared: dict[tuple[str, str], _Group[S]] = {}
        self._filters: dict[S, set[str]] = {}

    def count(self, subscriber: S) -> int:
        """How many filters a subscriber has."""
        return len(self._filters.get(subscriber, ()))

    def add(self, subscriber: S, subscription: Subscription, identifier: int = 0) -> bool:
        """Subscribe; an equal filter of the same subscriber is replaced.

        Returns:
            True if the filter is new to this subscriber.
        """
        group, inner = split_shared(subscription.filter)
        grant = Grant(subscription.qos, subscription.retain_as_published, [identifier] if identifier else [])
        if group:
            self._shared.setdefault((group, inner), _Group()).members[subscriber] = grant
        else:
            self._table(inner).setdefault(inner, {})[subscriber] = (replace(subscription), grant)
        filters = self._filters.setdefault(subscriber, set())
        new = subscription.filter not in filters
        filters.add(subscription.filter)
        return new

    def remove(self, subscriber: S, topic_filter: str) -> bool:
        """Unsubscribe. Returns False if there was no such subscription."""
        filters = self._filters.get(subscriber, set())
        if topic_filter not in filters:
            return False
        filters.remove(topic_filter)
        if not filters:
            del self._filters[subscriber]
        group, inner = split_shared(topic_filter)
        if group:
            members = self._shared[group, inner].members
            del members[subscriber]
            if not members:
                del self._shared[group, inner]
        else:
            table = self._table(inner)
            del table[inner][subscriber]
            if not table[inner]:
                del table[inner]
        return True

    def remove_all(self, subscriber: S) -> None:
        """Forget a subscriber."""
        for topic_filter in list(self._filters.get(subscriber, ())):
            self.remove(subscriber, topic_filter)

    def receivers(self, topic: str, publisher: S | None) -> dict[S, Grant]:
        """Everybody who gets a message, with the merged grant; a `$share` group takes its turn by being asked."""
        levels = topic.split("/")
        found: dict[S, Grant] = {}
        for subscriber, (subscription, grant) in self._matching(topic, levels):
            if subscription.no_local and subscriber is publisher:
                continue
            found[subscriber] = found[subscriber].merge(grant) if subscriber in found else grant
        for (_, inner), group in self._shared.items():
            if matches(inner.split("/"), levels):
                subscriber, grant = group.next()
                found[subscriber] = found[subscriber].merge(grant) if subscriber in found else grant
        return found

    def _matching(self, topic: str, levels: list[str]) -> Iterator[tuple[S, tuple[Subscription, Grant]]]:
        yield from self._exact.get(topic, {}).items()
        for topic_filter, subscribers in self._wild.items():
            if matches(topic_filter.split("/"), levels):
                yield from subscribers.items()

    def _table(self, inner: str) -> dict[str, dict[S, tuple[Subscription, Grant]]]:
        return self._wild if "+" in inner or "#" in inner else self._exact
