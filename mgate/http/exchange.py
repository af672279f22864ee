"""One request, judged: `authorise` its head, `judge` its payload, `judge_answer` what the target says, tell of it.

Rules:

1. `auth_connect` is asked with the head alone, before a byte of the body is read; then `auth_subscribe` for a read.
2. `auth_publish` is asked with the payload, `publish` is told once the target has accepted it (a status below 400), as
   it is for an acknowledged message of MQTT.
3. What a handler makes of topic, payload or credentials is what the target gets.
4. Each method here is a generator that yields the `Question`s of handlers and is sent what they decided; it never
   waits by itself. What it raises refuses the request.
5. A body that nobody asks for is not waited for: see `wants_payload` and `wants_answer`.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from mgate.counters import Counters
from mgate.errors import Denied, GateError, Kind, TimedOut
from mgate.http.answers import Refused, refused
from mgate.http.credentials import Credentials, authorization_of
from mgate.http.paths import controls_target
from mgate.http.rules import Action, Request, Response, Rules
from mgate.outcome import Direction
from mgate.policy import Hook, Pending, Policy
from mgate.session import Message, Session

__all__ = ["Exchange", "Judgement", "report"]

Judgement = Generator[Any, Any, Any]

BLINDING = (b"accept-encoding", b"range", b"if-range")
"""Fields that would have the target answer with something that a handler can not judge."""


class Exchange:
    """One request of a device and its answer.

    Args:
        request: as `Rules.read` has it.
        session: fresh; filled in with the credentials.
        policy, rules, counters, journal: those of the listener.
        request_id: unique in this process.

    Attributes:
        authorization: the Authorization field for the target, or None.
        wants_payload: somebody judges the payload, or is told of it, so it must be whole.
        wants_answer: somebody judges the response, so it must be whole.
    """

    __slots__ = (
        "_counters", "_journal", "_policy", "_rules", "authorization", "judged", "request", "request_id", "session",
        "wants_answer", "wants_payload",
    )  # fmt: skip

    def __init__(
        self,
        request: Request,
        session: Session,
        policy: Policy,
        rules: Rules,
        counters: Counters,
        journal: Any,
        request_id: str,
    ) -> None:
        self.request = request
        self.session = session
        self.request_id = request_id
        self.authorization = request.authorization
        self.judged: Any = None
        self._policy = policy
        self._rules = rules
        self._counters = counters
        self._journal = journal
        session.username, session.password = request.credentials
        session.id = session.username or ""
        session._reader = self
        if request.bypass:
            self.wants_payload = self.wants_answer = False
            return
        intercepted = policy.before is not None or policy.after is not None
        if request.action is Action.READ:
            self.wants_payload = intercepted
            self.wants_answer = intercepted or policy.auth_deliver is not None
        else:
            self.wants_payload = intercepted or policy.auth_publish is not None or policy.publish is not None
            self.wants_answer = intercepted

    def authorise(self) -> Judgement:
        """Ask about what the head says.

        Raises:
            GateError: the request is refused.
        """
        request, policy = self.request, self._policy
        if request.bypass:
            return
        self.judged = request
        if policy.auth_connect is not None:
            hook = policy.auth_connect
            yield from self._decided(hook, hook.ask(self.session))
            self._identified(hook)
        if request.action is not Action.READ:
            return
        if policy.auth_subscribe is not None:
            hook = policy.auth_subscribe
            slots = yield from self._decided(hook, hook.ask(self.session, [request.topic]))
            if slots is not None:
                self._redirect(hook, slots[0])
        if policy.auth_deliver is not None:
            request.fields = [field for field in request.fields if field[0] not in BLINDING]

    def judge(self, payload: bytes) -> Judgement:
        """Ask about the whole request. `Request.payload`, `fields`, `topic` and `path` are what goes on.

        Raises:
            GateError: the request is refused.
        """
        request, policy = self.request, self._policy
        request.payload = payload
        if request.bypass:
            return
        if policy.before is not None:
            request = yield from self._intercepted(policy.before, request)
        self.judged = request
        message = None
        if request.action is not Action.READ:
            hook = policy.auth_publish
            if hook is not None:
                message = yield from self._decided(hook, hook.ask(self.session, request.topic, request.payload))
                if message is not None:
                    self._edit(hook, request, message)
            if (message is None or message.topic is None) and controls_target(request.topic):
                raise Denied(Kind.NOT_AUTHORISED, "the topic controls the target")
        if policy.after is not None:
            yield from self._intercepted(policy.after, request)

    def judge_stream(self) -> None:
        """The same where nobody wants the payload, which is not here yet.

        Raises:
            Denied: the request is refused.
        """
        request = self.request
        if not request.bypass and request.action is not Action.READ and controls_target(request.topic):
            raise Denied(Kind.NOT_AUTHORISED, "the topic controls the target")

    def judge_answer(self, response: Response) -> Judgement:
        """Ask about a response. Returns the one that the device gets.

        Raises:
            GateError: the device gets none of it.
        """
        policy, request = self._policy, self.request
        if policy.before is not None:
            response = yield from self._intercepted_answer(policy.before, response)
        hook = policy.auth_deliver
        if hook is not None and request.method == "GET" and 200 <= response.status < 300:
            self.judged = response
            message = yield from self._decided(hook, hook.ask(self.session, request.topic, response.payload))
            if message is not None and message.payload is not None:
                response.payload = message.payload
        if policy.after is not None:
            response = yield from self._intercepted_answer(policy.after, response)
        return response

    def accepted(self, status: int) -> None:
        """The target has answered with `status`; handlers are told of a message that it accepted."""
        request, notice = self.request, self._policy.publish
        if notice is not None and status < 400 and not request.bypass and request.action is not Action.READ:
            self.judged = request
            notice.tell_message(self.session, request.topic, request.payload or b"")

    def refuse(self, error: GateError) -> Refused:
        """Count and report why the request goes nowhere. Returns what the device is told."""
        report(error, self._counters, self._journal, self.session, self.request_id)
        return refused(error)

    def read_judged(self) -> Any:
        """The request or response that a hook is asked about; `Session.packet` calls this."""
        return self.judged

    def close(self) -> None:
        """It is over."""
        self.judged = None
        self.session._reader = None

    def _decided(self, hook: Hook, decision: Any) -> Judgement:
        """Wait for a decision if it is a Question. Returns None or the edit; raises Denied."""
        if isinstance(decision, Pending):
            self._counters.questions += 1
            decision = yield decision
            if isinstance(decision, TimedOut):
                decision = hook.late()
        if isinstance(decision, Denied):
            raise decision
        return decision

    def _identified(self, hook: Hook) -> None:
        """If `auth_connect` has changed who speaks, the target hears it of the new one."""
        session = self.session
        now = Credentials(session.username, session.password)
        if now == self.request.credentials:
            return
        try:
            self.authorization = authorization_of(now)
        except (ValueError, TypeError, AttributeError) as error:
            raise hook.refusal(error) from error

    def _redirect(self, hook: Hook, slot: Any) -> None:
        """Read what `auth_subscribe` answered with instead."""
        if isinstance(slot, Denied):
            slot.handler, slot.hook = slot.handler or hook.refusal(slot).handler, hook.name
            raise slot
        if len(slot) != 1:
            raise hook.refusal(ValueError("a request reads one topic"))
        self._rename(hook, self.request, slot[0].filter)

    def _edit(self, hook: Hook, request: Request, message: Message) -> None:
        """Take over what `auth_publish` answered with instead. QoS, retain and properties do not exist here."""
        if message.topic is not None:
            self._rename(hook, request, message.topic)
        if message.payload is not None:
            request.payload = message.payload

    def _rename(self, hook: Hook, request: Request, topic: str) -> None:
        if topic != request.topic:
            try:
                request.path = self._rules.path_of(topic)
            except (ValueError, TypeError, AttributeError) as error:
                raise hook.refusal(error) from error
            request.topic = topic

    def _intercepted(self, hook: Hook, request: Request) -> Judgement:
        """Let interceptors see the request. What they make of it is what goes on, under the method that came."""
        topic, method = request.topic, request.method
        self.judged = request
        edit = yield from self._decided(hook, hook.ask(self.session, request, Direction.UPLINK))
        changed = request if edit is None else edit
        if changed.topic != topic:
            new, changed.topic = changed.topic, topic
            self._rename(hook, changed, new)
        if changed.method != method or not isinstance(changed.payload, bytes):
            raise hook.refusal(ValueError("the method of a request stays as it is, and its payload is bytes"))
        _check_fields(hook, changed.fields)
        self.request = changed
        return changed

    def _intercepted_answer(self, hook: Hook, response: Response) -> Judgement:
        self.judged = response
        edit = yield from self._decided(hook, hook.ask(self.session, response, Direction.DOWNLINK))
        changed: Response = response if edit is None else edit
        if not isinstance(changed.payload, bytes) or not 200 <= changed.status < 1000:
            raise hook.refusal(ValueError("the payload of a response is bytes, and its status is 200 to 999"))
        _check_fields(hook, changed.fields)
        return changed


def _check_fields(hook: Hook, fields: Any) -> None:
    """Raises Denied if fields that an interceptor has made can not be written (RFC 9110 section 5)."""
    for name, value in fields:
        if not (isinstance(name, bytes) and isinstance(value, bytes)) or not name or set(name + value) & FORBIDDEN:
            raise hook.refusal(ValueError("the fields of a message are pairs of bytes without control characters"))
        if name.lower() in FRAMING or set(name) & SEPARATORS:
            raise hook.refusal(ValueError("the framing of a message is the gateway's own"))


FORBIDDEN = frozenset(b"\r\n\0")
SEPARATORS = frozenset(b": \t")
FRAMING = (b"content-length", b"transfer-encoding", b"connection", b"host")


def report(error: GateError, counters: Counters, journal: Any, session: Session, request_id: str) -> None:
    """Count and report one refusal; a fault of a handler is reported as well."""
    counters.reject(error.reason)
    hook, handler = getattr(error, "hook", ""), getattr(error, "handler", "")
    journal.reject(
        error.reason,
        handler=handler,
        hook=hook,
        text=error.text,
        detail=error.detail,
        protocol="http",
        peer=session.peer,
        client_id=session.id,
        connection_id=session.connection_id,
        request_id=request_id,
        listener=session.listener,
    )
    if isinstance(error, Denied) and error.kind is Kind.HANDLER_FAULT and error.__cause__ is not None:
        counters.handler_faults += 1
        journal.fault(handler, hook, error.__cause__)
