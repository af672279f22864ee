"""One request, judged: what handlers are asked, what their answers change, and what is reported. No I/O."""

from __future__ import annotations

import unittest
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred

from mgate.counters import Counters
from mgate.errors import Denied, GateError, Kind, TimedOut
from mgate.handler import Filter, Handler, Interceptor, Message
from mgate.http.choices import Choices
from mgate.http.exchange import Exchange, Judgement
from mgate.http.heads import parse_request
from mgate.http.rules import Request, Response, Rules
from mgate.limits import Limits
from mgate.policy import Policy
from mgate.session import Peer, Session

BASIC = "Authorization: Basic dTpw"


class Notebook:
    """What was reported."""

    def __init__(self) -> None:
        self.rejects: list[tuple[str, str, dict[str, Any]]] = []
        self.faults: list[tuple[str, str, Any]] = []

    def reject(self, reason: str, *, handler: str = "", **fields: Any) -> None:
        self.rejects.append((reason, handler, fields))

    def fault(self, handler: str, hook: str, failure: Any) -> None:
        self.faults.append((handler, hook, failure))


class Judge(Handler):
    """Does what its attributes say, and remembers what it was asked."""

    def __init__(self, **answers: Any) -> None:
        super().__init__()
        self.answers = answers
        self.asked: list[tuple[Any, ...]] = []

    def _answer(self, hook: str, session: Session, *arguments: Any) -> Any:
        self.asked.append((hook, *arguments))
        answer = self.answers.get(hook)
        if isinstance(answer, Exception):
            raise answer
        return answer(session) if callable(answer) else answer

    def auth_connect(self, session: Any) -> Any:
        return self._answer("auth_connect", session)

    def auth_publish(self, session: Any, topic: str, payload: bytes) -> Any:
        return self._answer("auth_publish", session, topic, payload)

    def auth_subscribe(self, session: Any, filters: list[str]) -> Any:
        return self._answer("auth_subscribe", session, filters)

    def auth_deliver(self, session: Any, topic: str, payload: bytes) -> Any:
        return self._answer("auth_deliver", session, topic, payload)

    def publish(self, session: Any, topic: str, payload: bytes) -> None:
        self._answer("publish", session, topic, payload)


class Change(Interceptor):
    """Calls a function with each packet, before or after."""

    def __init__(self, before: Any = None, after: Any = None) -> None:
        super().__init__()
        self._before, self._after = before, after

    def before(self, session: Any, packet: Any, direction: Any) -> Any:
        return self._before(packet) if self._before else None

    def after(self, session: Any, packet: Any, direction: Any) -> Any:
        return self._after(packet) if self._after else None


def put(name: str, value: Any) -> Any:
    """A function that sets an attribute of what it is given."""
    return lambda packet: setattr(packet, name, value)


class Case(unittest.TestCase):
    def exchange(self, *handlers: Any, method: str = "POST", path: str = "/a/b", fields: str = BASIC) -> Exchange:
        self.counters, self.journal = Counters(), Notebook()
        head = parse_request(f"{method} {path} HTTP/1.1\r\nHost: h\r\n{fields}\r\n\r\n".encode(), 99)
        rules = Rules(Choices(), Limits())
        session = Session("c-1", "test", "http", Peer("192.0.2.1", 4))
        return Exchange(
            rules.read(head), session, Policy(handlers), rules, self.counters, self.journal, "c-1.1"
        )

    def run_through(self, journey: Judgement) -> Any:
        """The result of a judgement that need not wait."""
        try:
            question = next(journey)
        except StopIteration as stop:
            return stop.value
        raise AssertionError(f"waits for {question}")

    def judged(self, exchange: Exchange, payload: bytes = b"hello") -> Request:
        self.run_through(exchange.authorise())
        self.run_through(exchange.judge(payload))
        return exchange.request

    def denied(self, exchange: Exchange, payload: bytes = b"hello") -> Denied:
        with self.assertRaises(Denied) as raised:
            self.judged(exchange, payload)
        return raised.exception


class Requests(Case):
    def test_nobody_watches(self) -> None:
        for method in ("POST", "GET"):
            exchange = self.exchange(method=method)
            self.assertEqual((exchange.wants_payload, exchange.wants_answer), (False, False))
            self.assertEqual(self.judged(exchange).payload, b"hello")
            exchange.judge_stream()
            exchange.accepted(200)

    def test_publish(self) -> None:
        judge = Judge()
        exchange = self.exchange(judge)
        self.assertTrue(exchange.wants_payload)
        self.assertFalse(exchange.wants_answer)
        self.judged(exchange)
        exchange.accepted(200)
        self.assertEqual(
            judge.asked, [("auth_connect",), ("auth_publish", "a/b", b"hello"), ("publish", "a/b", b"hello")]
        )
        self.assertEqual((exchange.session.id, exchange.session.username, exchange.session.password), ("u", "u",
        b"p"))
        self.assertEqual(exchange.authorization, b"Basic dTpw")

    def test_clear_is_a_publish_of_nothing(self) -> None:
        judge = Judge()
        exchange = self.exchange(judge, method="DELETE")
        self.judged(exchange, b"")
        exchange.accepted(204)
        self.assertEqual(judge.asked[1:], [("auth_publish", "a/b", b""), ("publish", "a/b", b"")])

    def test_nobody_is_told_of_what_the_target_refused(self) -> None:
        judge = Judge()
        exchange = self.exchange(judge)
        self.judged(exchange)
        exchange.accepted(400)
        self.assertEqual(len(judge.asked), 2)

    def test_read(self) -> None:
        judge = Judge()
        exchange = self.exchange(judge, method="GET", fields="Range: bytes=1-\r\nX: y")
        self.assertEqual((exchange.wants_payload, exchange.wants_answer), (False, True))
        self.assertEqual(self.judged(exchange, b"").fields, [(b"x", b"y")])
        exchange.accepted(200)
        self.assertEqual(judge.asked, [("auth_connect",), ("auth_subscribe", ["a/b"])])

    def test_bypass(self) -> None:
        judge = Judge(auth_connect=Denied("bad credentials"), auth_publish=Denied("quota"))
        exchange = self.exchange(judge, path="/health")
        self.assertEqual((exchange.wants_payload, exchange.wants_answer), (False, False))
        self.judged(exchange)
        exchange.judge_stream()
        exchange.accepted(200)
        self.assertEqual(judge.asked, [])

    def test_denied(self) -> None:
        for hook, method in (("auth_connect", "POST"), ("auth_publish", "POST"), ("auth_subscribe", "GET")):
            denied = self.denied(self.exchange(Judge(**{hook: Denied("banned", "no")}), method=method))
            self.assertEqual((denied.kind, denied.hook, denied.handler), (Kind.BANNED, hook, "Judge"))

    def test_one_filter_denied(self) -> None:
        denied = self.denied(self.exchange(Judge(auth_subscribe=[Denied("banned")]), method="GET"))
        self.assertEqual((denied.kind, denied.hook, denied.handler), (Kind.BANNED, "auth_subscribe", "Judge"))

    def test_faults(self) -> None:
        for hook, method, answer in (
            ("auth_connect", "POST", RuntimeError("x")), ("auth_publish", "POST", "no"), ("auth_publish", "POST",
            False),
            ("auth_publish", "POST", Message(topic="a/../b")), ("auth_publish", "POST", Message(topic="")),
            ("auth_subscribe", "GET", ["a//b"]), ("auth_subscribe", "GET", [["a", "b"]]), ("auth_subscribe", "GET",
            [7]),
        ):  # fmt: skip
            self.denied(self.exchange(Judge(**{hook: answer}), method=method))

    def test_topics_that_control_the_target(self) -> None:
        for handlers in ((), (Judge(),), (Judge(auth_publish=Message(payload=b"")),)):
            exchange = self.exchange(*handlers, path="/$SYS/a")
            self.assertEqual(self.denied(exchange).kind, Kind.NOT_AUTHORISED)
            with self.assertRaises(Denied):
                exchange.judge_stream()
        self.judged(self.exchange(Judge(auth_publish=Message(topic="$SYS/a")), path="/$SYS/a"))
        self.judged(self.exchange(path="/$SYS/a", method="GET"))
        self.exchange(path="/$SYS/a", method="GET").judge_stream()

    def test_edits(self) -> None:
        request = self.judged(self.exchange(Judge(auth_publish=Message("x/y z", b"new"))))
        self.assertEqual((request.topic, request.path, request.payload), ("x/y z", "/x/y z", b"new"))
        request = self.judged(self.exchange(Judge(auth_subscribe=[Filter("x", qos=0)]), method="GET"))
        self.assertEqual(request.path, "/x")

    def test_another_identity(self) -> None:
        def become(username: Any, password: Any) -> Any:
            def change(session: Session) -> None:
                session.username, session.password = username, password

            return change

        for username, password, field in (
            ("other", b"x", b"Basic b3RoZXI6eA=="), (None, b"token", b"Bearer token"), (None, None, None),
        ):  # fmt: skip
            exchange = self.exchange(Judge(auth_connect=become(username, password)))
            self.judged(exchange)
            self.assertEqual(exchange.authorization, field)
        for username, password in (("a:b", b""), (7, b""), (None, "text"), ("u", "text")):
            denied = self.denied(self.exchange(Judge(auth_connect=become(username, password))))
            self.assertEqual(denied.kind, Kind.HANDLER_FAULT)


class Waiting(Case):
    def test_questions(self) -> None:
        waiting: Deferred[None] = Deferred()
        exchange = self.exchange(Judge(auth_connect=lambda session: waiting))
        journey = exchange.authorise()
        question = next(journey)
        answers: list[Any] = []
        question.listen(answers.append)
        waiting.callback(None)
        with self.assertRaises(StopIteration):
            journey.send(answers[0])
        self.assertEqual(self.counters.questions, 1)

    def test_too_late(self) -> None:
        exchange = self.exchange(Judge(auth_connect=lambda session: Deferred()))
        journey = exchange.authorise()
        next(journey)
        with self.assertRaises(Denied) as raised:
            journey.send(TimedOut("late"))
        self.assertEqual(raised.exception.kind, Kind.HANDLER_FAULT)


class Interceptors(Case):
    def test_changes(self) -> None:
        judge = Judge()
        seen: list[Any] = []
        before = lambda packet: replace(packet, topic="x", payload=b"1")  # noqa: E731
        request = self.judged(self.exchange(Change(before, seen.append), judge))
        self.assertEqual(judge.asked[1], ("auth_publish", "x", b"1"))
        self.assertEqual((request.path, request.payload), ("/x", b"1"))
        self.assertIs(seen[0], request)
        exchange = self.exchange(Change(seen.append), method="GET")
        self.assertEqual((exchange.wants_payload, exchange.wants_answer), (True, True))
        self.judged(exchange)
        request = self.judged(self.exchange(Change(None, put("topic", "late"))))
        self.assertEqual(request.path, "/late")

    def test_what_can_not_be_written(self) -> None:
        for change in (
            put("topic", "a//b"), put("method", "GET"), put("payload", None), put("fields", [(b"a", b"b\r\nc")]),
            put("fields", [(b"", b"b")]), put("fields", [("a", b"b")]), put("fields", [(b"a", "b")]),
            put("fields", [(b"Content-Length", b"5")]), put("fields", [(b"a b", b"5")]), lambda packet: 7,
        ):  # fmt: skip
            self.assertEqual(self.denied(self.exchange(Change(after=change))).kind, Kind.HANDLER_FAULT)

    def test_answers(self) -> None:
        response = Response(200, [(b"a", b"b")], b"ok")
        other = Response(201, [], b"other")
        exchange = self.exchange(Change(lambda packet: other if isinstance(packet, Response) else None))
        self.assertIs(self.run_through(exchange.judge_answer(response)), other)
        exchange = self.exchange(Change(after=put("payload", b"new")))
        self.assertEqual(self.run_through(exchange.judge_answer(response)).payload, b"new")
        for change in (put("payload", "text"), put("status", 100), put("fields", [(b"connection", b"close")])):
            exchange = self.exchange(Change(change))
            with self.assertRaises(Denied):
                self.run_through(exchange.judge_answer(Response(200, [], b"")))


class Answers(Case):
    def test_deliveries(self) -> None:
        judge = Judge(auth_deliver=Message(payload=b"new"))
        exchange = self.exchange(judge, method="GET")
        self.assertEqual(self.run_through(exchange.judge_answer(Response(200, [], b"ok"))).payload, b"new")
        self.assertEqual(judge.asked, [("auth_deliver", "a/b", b"ok")])
        self.assertEqual(self.run_through(exchange.judge_answer(Response(404, [], b"no"))).payload, b"no")
        exchange = self.exchange(Judge(), method="GET")
        self.assertEqual(self.run_through(exchange.judge_answer(Response(200, [], b"ok"))).payload, b"ok")
        exchange = self.exchange(Judge(auth_deliver=Message(topic="x")), method="GET")
        self.assertEqual(self.run_through(exchange.judge_answer(Response(200, [], b"ok"))).payload, b"ok")
        exchange = self.exchange(Judge(auth_deliver=Denied("banned")), method="HEAD")
        self.run_through(exchange.judge_answer(Response(200, [], b"")))
        exchange = self.exchange(Judge(auth_deliver=Denied("banned")), method="GET")
        with self.assertRaises(Denied):
            self.run_through(exchange.judge_answer(Response(200, [], b"ok")))

    def test_refusals_are_counted_and_reported(self) -> None:
        exchange = self.exchange()
        self.assertEqual(exchange.refuse(Denied("quota", "later")).status, 429)
        self.assertEqual(self.counters.rejects, {"quota": 1})
        (reason, handler, fields), = self.journal.rejects
        self.assertEqual((reason, handler, fields["protocol"], fields["request_id"]), ("quota", "", "http", "c-1.1"))
        exchange = self.exchange(Judge(auth_connect=RuntimeError("x")))
        denied = self.denied(exchange)
        self.assertEqual(exchange.refuse(denied).status, 500)
        self.assertEqual((self.counters.handler_faults, len(self.journal.faults)), (1, 1))
        self.assertEqual(exchange.refuse(GateError("x")).status, 500)

    def test_the_session_shows_the_request(self) -> None:
        seen: list[Any] = []
        exchange = self.exchange(Judge(auth_publish=lambda session: seen.append(session.packet)))
        request = self.judged(exchange)
        self.assertEqual(seen, [request])
        exchange.close()
        self.assertIsNone(exchange.session.packet)


if __name__ == "__main__":
    unittest.main()
