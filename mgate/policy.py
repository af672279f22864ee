"""The handlers and interceptors of a listener, folded into one hook each: what the relays ask and tell.

Rules:

1. An ordered list works as one handler: all must agree, each sees what the one before it made of the message.
2. A hook that nobody overrides is None here, and the relays do not even decode what it would have judged.
3. Whatever a handler does, `Hook.ask` answers None (admit), an edit, a `Denied` or a `Question`. A fault is a `Denied`.
4. This is the only module below the link that knows what a Deferred is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from types import CoroutineType
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from mgate.errors import Denied, Kind
from mgate.handler import Handler, Interceptor
from mgate.interfaces import IInterceptor
from mgate.verdict import Connects, Grammar, Messages, Packets, Subscribes

__all__ = ["Decision", "Hook", "Notice", "Pending", "Policy"]

Call = tuple[str, Callable[..., Any]]
"""The name of a handler, and its bound method."""

Decision = Any
"""None, an edit, `Denied` or `mgate.outcome.Question`."""

Report = Callable[[str, str, BaseException], None]
"""Told of a fault: handler, hook, exception."""


class Pending:
    """A Question about a Deferred that has not fired. Late and second answers are dropped."""

    def __init__(self, deferred: Deferred[Any], judge: Callable[[Any], Any]) -> None:
        self._deferred = deferred
        self._judge = judge
        self._answered: Callable[[object], None] | None = None

    def listen(self, answered: Callable[[object], None]) -> None:
        self._answered = answered
        self._deferred.addBoth(self._fired)

    def cancel(self) -> None:
        self._answered = None
        self._deferred.cancel()

    def _fired(self, result: Any) -> None:
        answered, self._answered = self._answered, None
        if answered is not None:
            answered(self._judge(result))


class Hook:
    """One `auth_` hook, or one side of the interceptors, of all handlers in order.

    Attributes:
        call: the raw hook. Of a single handler it is its own bound method, so that asking costs one call; it may
            raise, and what it returns goes through `decide`.
    """

    def __init__(self, name: str, calls: Sequence[Call], grammar: Grammar) -> None:
        self.name = name
        self._calls = calls
        self._grammar = grammar
        self.call = calls[0][1] if len(calls) == 1 else self._call_all

    def ask(self, session: Any, *arguments: Any) -> Decision:
        """Ask all handlers. Returns as `decide`."""
        try:
            answer = self.call(session, *arguments)
        except Exception as error:
            return self.refusal(error)
        return self.decide(answer, *arguments)

    def decide(self, answer: Any, *arguments: Any) -> Decision:
        """What a raw answer means: None to admit, an edit (see `mgate.verdict`), a `Denied`, or a `Question` whose
        answer is one of the former three."""
        answer = _settle(answer)
        if isinstance(answer, Deferred):
            return Pending(answer, lambda result: self._decided(result, arguments))
        return self._decided(answer, arguments)

    def _decided(self, answer: Any, arguments: tuple[Any, ...]) -> Any:
        """As `decide`, but nothing is waited for: an awaitable that came out of an awaitable is a fault."""
        try:
            return self._read(answer, arguments)
        except Exception as error:
            return self.refusal(error)

    def refusal(self, error: BaseException) -> Denied:
        """A new `Denied` for what a handler raised; of a fault the exception is its `__cause__`."""
        name = self._calls[0][0]
        if len(self._calls) > 1:
            name = getattr(error, "handler", "") or name
        denied = error.fresh() if isinstance(error, Denied) else _fault(error)
        denied.handler, denied.hook = name, self.name
        return denied

    def late(self) -> Denied:
        """The refusal of a handler that did not answer in time; the link gives it to the relay as the answer."""
        return self.refusal(TimeoutError(f"no answer of {self.name} in time"))

    def _read(self, answer: Any, arguments: tuple[Any, ...]) -> Any:
        if answer is None or answer is True:
            return None
        if answer is False:
            raise Denied(Kind.NOT_AUTHORISED)
        if isinstance(answer, Failure):
            answer = answer.value
        if isinstance(answer, BaseException):
            # CancelledError of asyncio, GeneratorExit: raised as they are, they would pass the plugin boundary.
            raise answer if isinstance(answer, Exception) else _fault(answer)
        edit = self._grammar.read(answer, arguments)
        if isinstance(edit, list):
            return [slot.fresh() if isinstance(slot, Denied) else slot for slot in edit]
        return edit

    def _call_all(self, session: Any, *arguments: Any) -> Any:
        return self._from(0, session, arguments, None)

    def _from(self, first: int, session: Any, arguments: tuple[Any, ...], edit: Any) -> Any:
        """Ask the handlers from `first` on; a coroutine takes over where one of them waits."""
        for index in range(first, len(self._calls)):
            if isinstance(edit, list) and all(isinstance(slot, Denied) for slot in edit):
                break  # every filter is refused: nothing is left to ask about
            name, call = self._calls[index]
            try:
                answer = _settle(call(session, *arguments))
                if isinstance(answer, Deferred):
                    return self._wait(answer, index, session, arguments, edit)
                change = self._read(answer, arguments)
            except Exception as error:
                _blame(error, name)
                raise
            _blame_slots(change, name)
            if change is not None:
                edit = self._grammar.add(edit, change)
                arguments = self._grammar.apply(edit, arguments)
        return edit

    async def _wait(
        self, answer: Deferred[Any], index: int, session: Any, arguments: tuple[Any, ...], edit: Any
    ) -> Any:
        try:
            change = self._read(await answer, arguments)
        except BaseException as error:
            _blame(error, self._calls[index][0])
            raise
        _blame_slots(change, self._calls[index][0])
        if change is not None:
            edit = self._grammar.add(edit, change)
            arguments = self._grammar.apply(edit, arguments)
        rest = self._from(index + 1, session, arguments, edit)
        return await rest if isinstance(rest, CoroutineType) else rest


class Notice:
    """One notification hook of all handlers. Whatever a handler answers changes nothing; faults are reported.

    Attributes:
        call: the raw hook. Of a single handler it is its own bound method, so that telling costs one call; what it
            raises goes to `failed`, and what it returns, if not None, to `outlive`.
    """

    def __init__(self, name: str, calls: Sequence[Call], report: Report) -> None:
        self.name = name
        self._calls = calls
        self._report = report
        self.call = calls[0][1] if len(calls) == 1 else self._call_all

    def tell(self, *arguments: Any) -> None:
        """Tell every handler, whatever the others do."""
        try:
            answer = self.call(*arguments)
        except Exception as error:
            self.failed(error)
        else:
            if answer is not None:
                self.outlive(answer)

    def tell_message(self, session: Any, topic: str, payload: bytes) -> None:
        """The same for a message: with parameters of its own a call costs a third of what `tell` does."""
        try:
            answer = self.call(session, topic, payload)
        except Exception as error:
            self.failed(error)
        else:
            if answer is not None:
                self.outlive(answer)

    def failed(self, error: BaseException, handler: str = "") -> None:
        """A handler raised this."""
        self._report(handler or self._calls[0][0], self.name, error)

    def outlive(self, answer: Any, handler: str = "") -> None:
        """Let a notification that waits run to its end by itself."""
        answer = _settle(answer)
        if isinstance(answer, Deferred):
            answer.addErrback(self._failed_late, handler)
        elif isinstance(answer, Failure):
            self._failed_late(answer, handler)

    def _call_all(self, *arguments: Any) -> None:
        for handler, call in self._calls:
            try:
                answer = call(*arguments)
            except Exception as error:
                self.failed(error, handler)
            else:
                if answer is not None:
                    self.outlive(answer, handler)

    def _failed_late(self, failure: Failure, handler: str) -> None:
        self.failed(failure.value or RuntimeError(str(failure)), handler)


class Policy:
    """All handlers and interceptors of a listener.

    Args:
        handlers: providers of IHandler, of IInterceptor, or of both, in the order in which they are asked; or pairs
            of a name (for logs) and a provider. Without a name it is the name of the class.
        report: told of every fault of a notification hook, as (handler, hook, exception).

    Attributes:
        auth_connect, auth_publish, auth_subscribe, auth_deliver: a `Hook`, or None where nobody overrides it.
        before, after: the interceptors as a `Hook`, or None.
        connect, publish, subscribe, unsubscribe, disconnect: a `Notice`, or None.
        names: the names of all handlers, in order.
    """

    def __init__(self, handlers: Sequence[Any] = (), report: Report | None = None) -> None:
        named = [item if isinstance(item, tuple) else (type(item).__name__, item) for item in handlers]
        self.names = [name for name, _ in named]
        self.report: Report = report or (lambda handler, hook, error: None)
        self.auth_connect = _hook(named, Handler, "auth_connect", Connects())
        self.auth_publish = _hook(named, Handler, "auth_publish", Messages())
        self.auth_subscribe = _hook(named, Handler, "auth_subscribe", Subscribes())
        self.auth_deliver = _hook(named, Handler, "auth_deliver", Messages())
        interceptors = [(name, item) for name, item in named if IInterceptor.providedBy(item)]
        self.before = _hook(interceptors, Interceptor, "before", Packets())
        self.after = _hook(interceptors, Interceptor, "after", Packets())
        self.connect = self._notice(named, "connect")
        self.publish = self._notice(named, "publish")
        self.subscribe = self._notice(named, "subscribe")
        self.unsubscribe = self._notice(named, "unsubscribe")
        self.disconnect = self._notice(named, "disconnect")

    def _notice(self, named: list[tuple[str, Any]], name: str) -> Notice | None:
        calls = _overridden(named, Handler, name)
        return Notice(name, calls, self._reported) if calls else None

    def _reported(self, handler: str, hook: str, error: BaseException) -> None:
        self.report(handler, hook, error)


def _hook(named: list[tuple[str, Any]], base: type, name: str, grammar: Grammar) -> Hook | None:
    calls = _overridden(named, base, name)
    return Hook(name, calls, grammar) if calls else None


def _overridden(named: list[tuple[str, Any]], base: type, name: str) -> list[Call]:
    """The bound methods that do more than the base class; an absent method admits everything too."""
    calls = []
    for handler, item in named:
        method = getattr(item, name, None)
        if method is not None and getattr(method, "__func__", method) is not getattr(base, name):
            calls.append((handler, _giving_copies(method) if name in _GIVEN_CONTAINERS else method))
    return calls


_GIVEN_CONTAINERS = ("auth_subscribe", "subscribe", "unsubscribe")
"""Hooks that are given a list or a dict. Each handler gets its own: one that empties it may not blind the others."""


def _giving_copies(method: Callable[..., Any]) -> Callable[..., Any]:
    return lambda session, given: method(session, copy(given))


def _fault(error: BaseException) -> Denied:
    fault = Denied(Kind.HANDLER_FAULT)
    fault.__cause__ = error
    fault.handler = getattr(error, "handler", "")
    return fault


def _settle(answer: Any) -> Any:
    """An awaitable's value (or Failure) if it is there already, else a Deferred of our own; anything else as it is.

    Unwrapping here keeps thousands of coroutines that never wait from piling up on the stack.
    """
    if isinstance(answer, CoroutineType):
        answer = Deferred.fromCoroutine(answer)
    elif isinstance(answer, Deferred):
        answer = _own(answer)
    else:
        return answer
    if answer.called:
        fired: list[Any] = []
        answer.addBoth(fired.append)
        return fired[0]
    return answer


def _own(shared: Deferred[Any]) -> Deferred[Any]:
    """A Deferred with the same answer. The handler's own keeps it: a handler may give the same one to several
    questions, and a refusal that the first of them took away would admit the others. It is cancelled when the last of
    those questions is."""
    shared.mgate_waiting = getattr(shared, "mgate_waiting", 0) + 1  # type: ignore[attr-defined]

    def leave(_: object) -> None:
        shared.mgate_waiting -= 1  # type: ignore[attr-defined]
        if not shared.mgate_waiting:  # type: ignore[attr-defined]
            shared.cancel()

    own: Deferred[Any] = Deferred(leave)

    def tell(result: Any) -> Any:
        if not own.called:
            own.callback(result)
        return result.value if isinstance(result, Failure) else result

    shared.addBoth(tell)
    return own


def _blame(error: BaseException, handler: str) -> None:
    """Note on the exception which handler raised it; another may have raised the same one before."""
    error.handler = handler  # type: ignore[attr-defined]


def _blame_slots(change: Any, handler: str) -> None:
    """As `_blame`, for the filters that an answer of `auth_subscribe` refuses."""
    for slot in change if isinstance(change, list) else ():
        if isinstance(slot, Denied):
            _blame(slot, handler)
