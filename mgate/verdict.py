"""What each `auth_` hook may answer beside None and True, and how the edits of several handlers add up.

A `Grammar` is pure: `mgate.policy` applies one to what handlers return. Slots are how the answer of `auth_subscribe`
looks once it was read: for each filter that the device asked for, either a `Denied` or the list of `Filter`s to
subscribe to instead.
"""

from __future__ import annotations

from typing import Any, Protocol

from mgate.errors import Denied
from mgate.session import Filter, Message

__all__ = ["Connects", "Grammar", "Messages", "Packets", "Slots", "Subscribes"]

Slots = list[Denied | list[Filter]]

Arguments = tuple[Any, ...]


class Grammar(Protocol):
    """The answers of one hook."""

    def read(self, answer: Any, arguments: Arguments) -> Any:
        """The edit that `answer` means. Raises TypeError or ValueError if the interface does not allow it."""

    def add(self, first: Any, then: Any) -> Any:
        """Two edits in a row as one. `first` is None where there was none."""

    def apply(self, edit: Any, arguments: Arguments) -> Arguments:
        """What the next handler is asked about, once `edit` was made."""


class Connects:
    """`auth_connect` edits the session in place and answers with nothing."""

    def read(self, answer: Any, arguments: Arguments) -> Any:
        raise TypeError(f"auth_connect answered with {type(answer).__name__}")

    def add(self, first: Any, then: Any) -> Any:
        return then

    def apply(self, edit: Any, arguments: Arguments) -> Arguments:
        return arguments


class Messages:
    """`auth_publish` and `auth_deliver` answer with a `Message`."""

    def read(self, answer: Any, arguments: Arguments) -> Message:
        if not isinstance(answer, Message):
            raise TypeError(f"expected a Message, got {type(answer).__name__}")
        if not isinstance(answer.topic, str | None) or not isinstance(answer.payload, bytes | None):
            raise TypeError("the topic of a Message is str and its payload is bytes")
        return answer

    def add(self, first: Message | None, then: Message) -> Message:
        if first is None:
            return then
        return Message(
            _either(then.topic, first.topic),
            _either(then.payload, first.payload),
            _either(then.qos, first.qos),
            _either(then.retain, first.retain),
            _either(then.properties, first.properties),
        )

    def apply(self, edit: Message, arguments: Arguments) -> Arguments:
        topic, payload = arguments
        return _either(edit.topic, topic), _either(edit.payload, payload)


class Subscribes:
    """`auth_subscribe` answers with a list as long as the one it was given."""

    def read(self, answer: Any, arguments: Arguments) -> Slots:
        (filters,) = arguments
        if not isinstance(answer, list | tuple) or len(answer) != len(filters):
            raise TypeError("auth_subscribe answers with a list as long as the filters it was given")
        return [_slot(item, asked) for item, asked in zip(answer, filters, strict=True)]

    def add(self, first: Slots | None, then: Slots) -> Slots:
        if first is None:
            return then
        answers = iter(then)
        return [slot if isinstance(slot, Denied) else _merge(slot, answers) for slot in first]

    def apply(self, edit: Slots, arguments: Arguments) -> Arguments:
        return ([item.filter for slot in edit if not isinstance(slot, Denied) for item in slot],)


class Packets:
    """An interceptor answers with a packet of the same type."""

    def read(self, answer: Any, arguments: Arguments) -> Any:
        packet, _direction = arguments
        if type(answer) is not type(packet):
            raise TypeError(f"expected a {type(packet).__name__}, got {type(answer).__name__}")
        return answer

    def add(self, first: Any, then: Any) -> Any:
        return then

    def apply(self, edit: Any, arguments: Arguments) -> Arguments:
        return edit, arguments[1]


def _slot(item: Any, asked: str) -> Denied | list[Filter]:
    if isinstance(item, Denied):
        return item
    if isinstance(item, list | tuple):
        if not item:
            raise ValueError("auth_subscribe answered with an empty list for a filter: use Denied to refuse it")
        return [_filter(one, asked) for one in item]
    return [_filter(item, asked)]


def _filter(item: Any, asked: str) -> Filter:
    if isinstance(item, str):
        return Filter(item)
    if isinstance(item, Filter) and isinstance(item.filter, str | None):
        return Filter(
            _either(item.filter, asked), item.qos, item.no_local, item.retain_as_published, item.retain_handling
        )
    raise TypeError(f"expected a filter as str or Filter, or a Denied, got {type(item).__name__}")


def _merge(slot: list[Filter], answers: Any) -> Denied | list[Filter]:
    """One slot of the first edit, each of its filters replaced by what the next handler said of it."""
    merged: list[Filter] = []
    denied: Denied | None = None
    for old in slot:
        new = next(answers)
        if isinstance(new, Denied):
            denied = new
            continue
        for one in new:
            merged.append(
                Filter(
                    one.filter,
                    _either(one.qos, old.qos),
                    _either(one.no_local, old.no_local),
                    _either(one.retain_as_published, old.retain_as_published),
                    _either(one.retain_handling, old.retain_handling),
                )
            )
    return denied or merged


def _either(new: Any, old: Any) -> Any:
    return old if new is None else new
