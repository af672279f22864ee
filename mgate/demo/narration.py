"""The lines of `mgate demo`: each decision of a handler, and what the gateway refused by itself, as it happens.

Rules:

1. One decision is one line: time, client, hook, topic, verdict, reason. Text of devices is escaped and cut.
2. The handlers are asked exactly as they would be without this; what they answer passes on unaltered.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.logger import Logger

from mgate.handler import Denied, Handler, Message, Session
from mgate.journal import Journal, escape

__all__ = ["HEADINGS", "Narrator"]

HOOKS = ("auth_connect", "auth_publish", "auth_subscribe", "auth_deliver")
GREEN, YELLOW, RED, GREY = "32", "33", "31", "90"
ROW = "{time:<8}  {client:<16}  {hook:<14}  {topic:<24}  {verdict:<9}  {reason}"
HEADINGS = ROW.format(time="time", client="client", hook="hook", topic="topic", verdict="verdict", reason="reason")


class Narrator:
    """Writes one line for each decision.

    Args:
        write: takes a line without its end.
        color: may it hold terminal codes?
        clock: the time of day as text.
    """

    def __init__(
        self, write: Callable[[str], object], color: bool = False,
        clock: Callable[[], str] = lambda: time.strftime("%H:%M:%S"),
    ) -> None:  # fmt: skip
        self._write = write
        self._color = color
        self._clock = clock
        self.journal = Journal(log=Logger("mgate.demo", observer=self._logged))  # type: ignore[arg-type]
        """For the listener: what the gateway refuses by itself becomes a line too."""

    def watch(self, handlers: Sequence[tuple[str, Handler]]) -> list[tuple[str, Handler]]:
        """The same handlers, with every answer told. They must answer at once, not with a Deferred.

        That a decision was agreed to is told once, when the last handler that has the hook agrees.
        """
        last = {hook: name for name, handler in handlers for hook in _overridden(handler)}
        watched = []
        for name, handler in handlers:
            told = Handler()
            for hook in _overridden(handler):
                setattr(told, hook, self._telling(name, getattr(handler, hook), hook, last[hook] == name))
            watched.append((name, told))
        return [*watched, ("narrator", _Farewells(self))]

    def line(self, client: str, hook: str, topic: str, verdict: str, reason: str = "", color: str = GREY) -> None:
        """Write one line. Client, topic and reason may come from a device."""
        verdict = f"{verdict:<9}"
        if self._color:
            verdict = f"\x1b[{color}m{verdict}\x1b[0m"
        row = ROW.format(
            time=self._clock(), client=escape(client, 16) or "-", hook=hook, topic=escape(topic, 24) or "-",
            verdict=verdict, reason=escape(reason, 120),
        )  # fmt: skip
        self._write(row.rstrip())

    def _telling(
        self, name: str, ask: Callable[..., Any], hook: str, tell_agreed: bool
    ) -> Callable[..., Any]:
        """The hook `ask`, which tells what it answered."""

        def told(session: Session, *arguments: Any) -> Any:
            try:
                answer = ask(session, *arguments)
            except Denied as denied:
                topics = _topics(session, arguments)
                for topic in topics:
                    self._tell(session, hook, topic, denied, name)
                raise
            if tell_agreed or answer is not None:
                topics = _topics(session, arguments)
                answers = answer if isinstance(answer, list) else [answer] * len(topics)
                for topic, one in zip(topics, answers, strict=True):
                    self._tell(session, hook, topic, one, name)
            return answer

        return told

    def _tell(self, session: Session, hook: str, topic: str, answer: object, name: str) -> None:
        if isinstance(answer, Denied):
            self.line(session.id, hook, topic, "REFUSED", f"{name}: {answer.text or answer.kind}", RED)
        elif isinstance(answer, Message) and answer.topic is not None:
            self.line(session.id, hook, topic, "rewritten", f"{name}: to {answer.topic}", YELLOW)
        else:
            certified = hook == "auth_connect" and session.certificate is not None
            self.line(
                session.id, hook, topic, "ok", f"{name}: {session.certificate.subject}" if certified else "", GREEN
            )

    def _logged(self, event: Mapping[str, Any]) -> None:
        """What the gateway logs. Refusals of handlers were told when they were made."""
        fields = event["journal"]
        if fields["event"] == "reject" and not fields["handler"]:
            who = "(TLS)" if fields["reason"].startswith("tls_") else "(gateway)"
            self.line(fields["client"] or fields["peer"], who, "", "REFUSED", fields["text"] or fields["reason"], RED)
        elif fields["event"] == "suppressed":
            self.line("", "(gateway)", "", "REFUSED", f"{fields['suppressed']} more: {fields['reason']}", RED)
        elif fields["event"] == "fault":
            self.line("", fields["hook"], "", "FAULT", f"{fields['handler']}: {fields['error']}", RED)


class _Farewells(Handler):
    """Tells when a connection ends."""

    def __init__(self, narrator: Narrator) -> None:
        super().__init__()
        self._narrator = narrator

    def disconnect(self, session: Session, reason: str) -> None:
        self._narrator.line(session.id, "disconnect", "", "gone", reason.replace("_", " "))


def _topics(session: Session, arguments: tuple[Any, ...]) -> list[str]:
    """What a hook was asked about; for a login, who it is by now: a handler may have said."""
    asked = arguments[0] if arguments else _user(session)
    return asked if isinstance(asked, list) else [asked]


def _user(session: Session) -> str:
    """What stands in the place of the topic where a login is judged."""
    return "(no user name)" if session.username is None else f"(user {session.username})"


def _overridden(handler: Handler) -> list[str]:
    return [hook for hook in HOOKS if getattr(type(handler), hook) is not getattr(Handler, hook)]
