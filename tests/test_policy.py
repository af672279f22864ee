"""Several handlers work as one: order, edits, refusals, faults, and answers that come later."""

from __future__ import annotations

import sys
from asyncio import CancelledError
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest import TestCase

from twisted.internet.defer import Deferred, fail, succeed

from mgate.errors import Denied, Kind
from mgate.handler import Handler, Interceptor
from mgate.mqtt.packets import Pingreq, Publish
from mgate.outcome import Direction
from mgate.policy import Decision, Pending, Policy
from mgate.session import Filter, Message, Session
from tests.mqtt.relays import Asking, handler, interceptor

SESSION = Session(id="device")
MESSAGE = ("t", b"p")


def publishes(*answers: Callable[..., Any]) -> Policy:
    """Handlers ``H0``, ``H1`` ... whose `auth_publish` is each of these functions of (session, topic, payload)."""
    return Policy([handler(f"H{number}", auth_publish=answer) for number, answer in enumerate(answers)])


def gives(answer: Any) -> Callable[..., Any]:
    return lambda *arguments: answer


def raises(error: BaseException) -> Callable[..., Any]:
    def hook(*arguments: Any) -> Any:
        raise error

    return hook


def coroutine(answer: Any = None, wait: Deferred[Any] | None = None) -> Callable[..., Any]:
    """A hook that is a coroutine: it waits, then answers or raises."""

    async def hook(*arguments: Any) -> Any:
        if wait is not None:
            await wait
        if isinstance(answer, BaseException):
            raise answer
        return answer

    return hook


def add(text: str) -> Callable[..., Any]:
    """An edit that can be told from those before it."""
    return lambda session, topic, payload: Message(topic + text, payload + text.encode())


class PolicyTest(TestCase):
    def ask(self, policy: Policy, *arguments: Any, hook: str = "auth_publish") -> Decision:
        return getattr(policy, hook).ask(SESSION, *(arguments or MESSAGE))

    def check_denied(self, decision: Decision, kind: str, name: str, hook: str = "auth_publish") -> Denied:
        assert isinstance(decision, Denied), decision
        self.assertEqual((decision.kind, decision.handler, decision.hook), (kind, name, hook))
        return decision

    def check_fault(
        self, decision: Decision, error: type[BaseException], name: str, hook: str = "auth_publish"
    ) -> None:
        denied = self.check_denied(decision, Kind.HANDLER_FAULT, name, hook)
        self.assertIsInstance(denied.__cause__, error)
        self.assertEqual(denied.text, "", "a device learns nothing of it")

    def listen(self, decision: Decision) -> list[Any]:
        """What the question is answered with; filled once it is."""
        assert isinstance(decision, Pending), decision
        answers: list[Any] = []
        decision.listen(answers.append)
        return answers


class AdmitTests(PolicyTest):
    def test_none_and_true(self) -> None:
        for answer in (gives(None), gives(True), coroutine(), coroutine(True), gives(succeed(None))):
            self.assertIsNone(self.ask(publishes(answer)))
            self.assertIsNone(self.ask(publishes(gives(None), answer, coroutine(True))))

    def test_a_single_handler_is_asked_with_one_call(self) -> None:
        rules = handler(auth_publish=gives(None))
        hook: Any = Policy([rules]).auth_publish
        self.assertEqual(hook.call, rules.auth_publish)

    def test_an_edit(self) -> None:
        message = Message("x")
        for answer in (gives(message), coroutine(message), gives(succeed(message))):
            self.assertIs(self.ask(publishes(answer)), message)
            self.assertEqual(self.ask(publishes(gives(None), answer)), message)

    def test_each_handler_sees_the_edits_before_it(self) -> None:
        for hooks in (
            [add("1"), add("2"), add("3")],
            [add("1"), gives(None), add("2"), gives(True), add("3")],
        ):
            self.assertEqual(self.ask(publishes(*hooks)), Message("t123", b"p123"))

    def test_order(self) -> None:
        asked: list[str] = []

        def note(name: str) -> Callable[..., Any]:
            return lambda *arguments: asked.append(name)

        self.ask(Policy([handler(name, auth_publish=note(name)) for name in "cab"]))
        self.assertEqual(asked, ["c", "a", "b"])


class RefuseTests(PolicyTest):
    def test_raised_and_returned(self) -> None:
        for make in (raises, gives, coroutine, lambda error: gives(fail(error)), lambda error: gives(succeed(error))):
            with self.subTest(make):
                no = self.check_denied(self.ask(publishes(make(Denied("quota", "1", detail="2")))), "quota", "H0")
                self.assertEqual((no.text, no.detail), ("1", "2"))
                policy = publishes(gives(None), make(Denied("quota", "enough")), raises(AssertionError()))
                self.assertEqual(self.check_denied(self.ask(policy), "quota", "H1").text, "enough")

    def test_one_refusal_that_is_raised_again_and_again(self) -> None:
        """It keeps no frames, which would grow with each packet, and the names of nobody."""
        shared = Denied("quota", "enough")

        def chained(*arguments: Any) -> Any:
            try:
                raise OSError
            except OSError as error:
                raise shared from error

        for make in (raises, gives, coroutine, lambda error: gives(fail(error)), lambda error: chained):
            for first in ([], [gives(None)]):
                with self.subTest(make, first=first):
                    denied = self.check_denied(self.ask(publishes(*first, make(shared))), "quota", f"H{len(first)}")
                    self.assertIsNot(denied, shared)
                    for error in (denied, shared):
                        self.assertIsNone(error.__traceback__)
                        self.assertIsNone(error.__context__)
                    self.assertEqual((shared.handler, shared.hook, shared.__cause__), ("", "", None))

    def test_one_refusal_for_filters_of_several_handlers(self) -> None:
        shared = Denied("quota")
        policy = Policy(
            [handler("A", auth_subscribe=gives([shared, "b"])), handler("B", auth_subscribe=gives([shared]))]
        )
        first, second = self.ask(policy, ["a", "b"], hook="auth_subscribe")
        self.assertEqual((first.handler, second.handler, shared.handler), ("A", "B", ""))

    def test_a_handler_that_consumes_its_filters(self) -> None:
        asked: list[list[str]] = []

        def consume(session: Any, filters: list[str]) -> None:
            asked.append(list(filters))
            filters.reverse()
            filters.pop()

        async def consumes_later(session: Any, filters: list[str]) -> None:
            await wait
            consume(session, filters)

        wait: Deferred[Any] = Deferred()
        first = handler(auth_subscribe=consume, subscribe=consume, unsubscribe=consume)
        policy = Policy([first, handler(auth_subscribe=consumes_later), first])
        filters = ["a", "b"]
        answers = self.listen(self.ask(policy, filters, hook="auth_subscribe"))
        wait.callback(None)
        self.assertEqual((answers, asked, filters), ([None], [["a", "b"]] * 3, ["a", "b"]))
        policy.unsubscribe.tell(SESSION, filters)  # type: ignore[union-attr]
        self.assertEqual((asked[3:], filters), ([["a", "b"]] * 2, ["a", "b"]))

    def test_one_handler_that_empties_its_filters(self) -> None:
        def empty(session: Any, filters: list[str]) -> list[str]:
            kept = ["x" for _ in filters]
            filters.clear()
            return kept

        decision = self.ask(Policy([handler(auth_subscribe=empty)]), ["a", "b"], hook="auth_subscribe")
        self.assertEqual(decision, [[Filter("x")], [Filter("x")]])

    def test_nobody_is_asked_about_no_filters(self) -> None:
        for answer in (gives([Denied()]), coroutine([Denied()])):
            asked: list[Any] = []
            policy = Policy([handler("A", auth_subscribe=answer), handler("B", auth_subscribe=asked.append)])
            (slot,) = self.ask(policy, ["a"], hook="auth_subscribe")
            self.check_denied(policy.auth_subscribe.refusal(slot), "not authorised", "A", "auth_subscribe")  # type: ignore[union-attr]
            self.assertEqual(asked, [])

    def test_false(self) -> None:
        for make in (gives, coroutine):
            self.check_denied(self.ask(publishes(make(False))), "not authorised", "H0")
            self.check_denied(self.ask(publishes(gives(None), make(False))), "not authorised", "H1")

    def test_the_first_refusal_wins_and_nobody_behind_it_is_asked(self) -> None:
        asked: list[Any] = []
        policy = publishes(add("1"), raises(Denied("banned")), lambda *arguments: asked.append(arguments))
        self.check_denied(self.ask(policy), "banned", "H1")
        self.assertEqual(asked, [])

    def test_names_of_the_configuration(self) -> None:
        rules = handler(auth_publish=gives(False))
        policy = Policy([("acl", rules), handler("Log", publish=gives(None))])
        self.assertEqual(policy.names, ["acl", "Log"])
        self.check_denied(self.ask(policy), "not authorised", "acl")

    def test_a_refused_filter_names_its_handler(self) -> None:
        no, later = Denied(), Denied()
        policy = Policy(
            [
                handler("One", auth_subscribe=gives(["a", "b", "c"])),
                handler("Two", auth_subscribe=gives(["a", no, "c"])),
                handler("Three", auth_subscribe=coroutine([later, "c"])),
            ]
        )
        later, no, kept = self.ask(policy, ["1", "2", "3"], hook="auth_subscribe")
        self.assertEqual(kept, [Filter("c")])
        self.check_denied(policy.auth_subscribe.refusal(no), "not authorised", "Two", "auth_subscribe")  # type: ignore[union-attr]
        self.check_denied(policy.auth_subscribe.refusal(later), "not authorised", "Three", "auth_subscribe")  # type: ignore[union-attr]


class FaultTests(PolicyTest):
    def test_raised(self) -> None:
        for make in (raises, coroutine, lambda error: gives(fail(error))):
            with self.subTest(make):
                self.check_fault(self.ask(publishes(make(KeyError("k")))), KeyError, "H0")
                self.check_fault(self.ask(publishes(add("1"), make(KeyError("k")))), KeyError, "H1")

    def test_wrong_types(self) -> None:
        async def forgotten() -> None:
            raise AssertionError("nobody may run it")

        for answer in ("yes", 1, 0, b"", [], {}, object(), Denied, coroutine, Message(5)):  # type: ignore[arg-type]
            for make in (gives, coroutine, lambda answer: gives(succeed(answer))):
                with self.subTest(repr(answer)):
                    self.check_fault(self.ask(publishes(make(answer))), TypeError, "H0")
                    self.check_fault(self.ask(publishes(gives(None), make(answer))), TypeError, "H1")

    def test_an_awaitable_of_an_awaitable_is_not_waited_for(self) -> None:
        """A forgotten ``await`` is a fault, whether its answer would have come at once or not."""
        for inner in (lambda: coroutine()(), lambda: coroutine(wait=Deferred())(), lambda: succeed(None)):
            for first in ([], [gives(None)]):
                name = f"H{len(first)}"
                with self.subTest(name):
                    nested = inner()
                    if not isinstance(nested, Deferred):
                        self.addCleanup(nested.close)
                    wait: Deferred[Any] = Deferred()
                    answers = self.listen(self.ask(publishes(*first, coroutine(nested, wait))))
                    wait.callback(None)
                    self.assertEqual(len(answers), 1)
                    self.check_fault(answers[0], TypeError, name)

    def test_what_is_no_exception_of_python(self) -> None:
        """asyncio cancels with a BaseException; it refuses at once, not when the time is over."""
        for error in (CancelledError, GeneratorExit, KeyboardInterrupt):
            for first in ([], [gives(None)]):
                name = f"H{len(first)}"
                with self.subTest(error, first=first):
                    for make in (coroutine, gives, lambda error: gives(fail(error))):
                        self.check_fault(self.ask(publishes(*first, make(error()))), error, name)
                    wait: Deferred[Any] = Deferred()
                    answers = self.listen(self.ask(publishes(*first, gives(wait), gives(None))))
                    wait.errback(error())
                    self.check_fault(answers[0], error, name)

    def test_a_fault_that_has_no_text(self) -> None:
        mute = type("Mute", (Exception,), {"__str__": lambda self: 1 / 0})
        self.check_fault(self.ask(publishes(raises(mute()))), mute, "H0")

    def test_each_hook_names_itself(self) -> None:
        for hook, arguments in (
            ("auth_connect", ()), ("auth_publish", MESSAGE), ("auth_subscribe", (["a"],)), ("auth_deliver", MESSAGE),
        ):  # fmt: skip
            with self.subTest(hook):
                policy = Policy([handler("H0", **{hook: raises(ValueError())})])
                self.check_fault(getattr(policy, hook).ask(SESSION, *arguments), ValueError, "H0", hook)


class WaitingTests(PolicyTest):
    def test_a_deferred_and_a_coroutine(self) -> None:
        message = Message("x")
        for answer, read in ((None, None), (True, None), (message, message)):
            for hook in (gives, partial(coroutine, answer)):
                wait: Deferred[Any] = Deferred()
                answers = self.listen(self.ask(publishes(hook(wait))))
                self.assertEqual(answers, [])
                wait.callback(answer)
                self.assertEqual(answers, [read])

    def test_refusals_and_faults_that_come_later(self) -> None:
        for first in ([], [gives(None)], [coroutine()]):
            asking = Asking()
            policy = publishes(*first, asking)
            name = f"H{len(first)}"
            answers = [self.listen(self.ask(policy)) for _ in range(4)]
            asking.refuse(Denied("quota"))
            asking.refuse(OSError("the database is gone"))
            asking.admit(False)
            asking.admit("yes")
            self.check_denied(answers[0][0], "quota", name)
            self.check_fault(answers[1][0], OSError, name)
            self.check_denied(answers[2][0], "not authorised", name)
            self.check_fault(answers[3][0], TypeError, name)

    def test_handlers_of_all_kinds_in_a_row(self) -> None:
        one, two = Asking(), Asking()
        policy = publishes(add("1"), one, add("2"), coroutine(Message("x")), two, add("3"))
        answers = self.listen(self.ask(policy))
        self.assertEqual((one.asked, two.asked), ([("t1", b"p1")], []))
        one.admit()
        self.assertEqual(two.asked, [("x", b"p12")])
        two.admit(Message(payload=b"y"))
        self.assertEqual(answers, [Message("x3", b"y3")])

    def test_nobody_behind_a_late_refusal_is_asked(self) -> None:
        asking, never = Asking(), Asking()
        answers = self.listen(self.ask(publishes(asking, never)))
        asking.refuse(Denied("banned"))
        self.check_denied(answers[0], "banned", "H0")
        self.assertEqual(never.asked, [])

    def test_a_fault_behind_a_late_answer_names_its_handler(self) -> None:
        asking = Asking()
        answers = self.listen(self.ask(publishes(asking, gives(None), raises(ValueError()))))
        asking.admit()
        self.check_fault(answers[0], ValueError, "H2")

    def test_a_deferred_that_waits_for_another(self) -> None:
        inner: Deferred[Any] = Deferred()
        outer = succeed(None).addCallback(lambda _: inner)
        answers = self.listen(self.ask(publishes(gives(outer))))
        inner.callback(False)
        self.check_denied(answers[0], "not authorised", "H0")

    def test_a_paused_deferred_is_not_answered_yet(self) -> None:
        paused = succeed(False)
        paused.pause()
        answers = self.listen(self.ask(publishes(gives(paused))))
        self.assertEqual(answers, [])
        paused.unpause()
        self.check_denied(answers[0], "not authorised", "H0")

    def test_cancel(self) -> None:
        cancelled: list[Any] = []
        wait: Deferred[Any] = Deferred(cancelled.append)
        for hooks in ([gives(wait)], [gives(None), coroutine(None, Deferred(cancelled.append)), gives(None)]):
            question = self.ask(publishes(*hooks))
            answers = self.listen(question)
            question.cancel()
            self.assertEqual(answers, [])
        self.assertEqual(len(cancelled), 2)

    def test_one_deferred_is_cancelled_with_its_last_question(self) -> None:
        cancelled: list[Any] = []
        shared: Deferred[Any] = Deferred(cancelled.append)
        policy = publishes(gives(shared))
        questions = [self.ask(policy) for _ in range(3)]
        answers = [self.listen(question) for question in questions]
        questions[0].cancel()
        questions[1].cancel()
        self.assertEqual((cancelled, answers), ([], [[], [], []]))
        questions[2].cancel()
        self.assertEqual((cancelled, answers), ([shared], [[], [], []]))

    def test_those_who_stay_are_answered(self) -> None:
        shared: Deferred[Any] = Deferred()
        policy = publishes(gives(shared))
        gone, stays = self.ask(policy), self.ask(policy)
        lost, answers = self.listen(gone), self.listen(stays)
        gone.cancel()
        shared.callback(True)
        self.assertEqual((lost, answers), ([], [None]))

    def test_a_late_answer_is_dropped(self) -> None:
        late: Deferred[Any] = Deferred()
        question = self.ask(publishes(gives(late)))
        answers = self.listen(question)
        question.cancel()
        late.callback(None)  # Twisted lets one late answer of a cancelled Deferred pass
        self.assertEqual(answers, [])

    def test_an_answer_that_no_cancelling_stops(self) -> None:
        paused = succeed(None)
        paused.pause()
        question = self.ask(publishes(gives(paused)))
        answers = self.listen(question)
        question.cancel()
        paused.unpause()
        self.assertEqual(answers, [])

    def test_one_deferred_for_several_questions(self) -> None:
        """A handler that keeps a Deferred and gives it to each question: the first may not take the answer away."""
        for answer, error in ((False, None), (Denied("quota"), None), (None, Denied("quota"))):
            for hooks in ([], [gives(None)]):
                shared: Deferred[Any] = Deferred()
                policy = publishes(*hooks, gives(shared))
                before = [self.listen(self.ask(policy)) for _ in range(3)]
                if error is None:
                    shared.callback(answer)
                else:
                    shared.errback(error)
                for decision in [*(each[0] for each in before), *(self.ask(policy) for _ in range(3))]:
                    self.assertIsInstance(decision, Denied)

    def test_the_answer_is_asked_for_again_while_it_is_told(self) -> None:
        """The next packet is judged as soon as the one before it was answered."""
        shared: Deferred[Any] = Deferred()
        policy = publishes(gives(shared))
        answers: list[Any] = []
        self.ask(policy).listen(lambda answer: self.ask(policy).listen(answers.append))
        shared.callback(False)
        self.check_denied(answers[0], "not authorised", "H0")

    def test_too_late(self) -> None:
        hook: Any = publishes(gives(None), gives(None)).auth_publish
        self.check_fault(hook.late(), TimeoutError, "H0")

    def test_thousands_that_never_wait_do_not_grow_the_stack(self) -> None:
        depth: list[int] = []

        async def hook(session: Any, topic: str, payload: bytes) -> Any:
            frame, frames = sys._getframe(), 0
            while frame.f_back is not None:
                frame, frames = frame.f_back, frames + 1
            depth.append(frames)

        policy = publishes(hook, hook)
        for _ in range(5000):
            self.assertIsNone(self.ask(policy))
        self.assertEqual(len(depth), 10_000)
        self.assertLess(max(depth) - min(depth), 10)

    def test_hundreds_of_handlers_in_a_row_that_never_wait(self) -> None:
        policy = publishes(*[coroutine()] * 3000, add("x"))
        self.assertEqual(self.ask(policy), Message("tx", b"px"))


class ConnectTests(PolicyTest):
    def test_edits_are_those_of_the_session(self) -> None:
        def rename(session: Session) -> None:
            session.id += "1"

        session = Session(id="a")
        policy: Any = Policy([handler(auth_connect=rename), handler(auth_connect=coroutine(True)),
                              handler(auth_connect=rename)])  # fmt: skip
        self.assertIsNone(policy.auth_connect.ask(session))
        self.assertEqual(session.id, "a11")

    def test_any_other_answer_is_a_fault(self) -> None:
        for answer in (1, "yes", Message("a"), []):
            policy: Any = Policy([handler("H0", auth_connect=gives(answer))])
            self.check_fault(policy.auth_connect.ask(SESSION), TypeError, "H0", "auth_connect")


class InterceptorTests(PolicyTest):
    def test_each_sees_what_the_one_before_it_made(self) -> None:
        def more(session: Any, packet: Any, direction: Direction) -> Any:
            return Publish(packet.topic + direction.value[0])

        policy: Any = Policy([interceptor(before=more), handler(), interceptor(before=more, after=gives(None))])
        self.assertEqual(policy.before.ask(SESSION, Publish("a"), Direction.UPLINK), Publish("auu"))
        self.assertIsNone(policy.after.ask(SESSION, Publish("a"), Direction.DOWNLINK))

    def test_another_type_is_a_fault(self) -> None:
        policy: Any = Policy([interceptor("Edits", after=gives(Pingreq()))])
        decision = policy.after.ask(SESSION, Publish("a"), Direction.UPLINK)
        self.check_fault(decision, TypeError, "Edits", "after")


class WatchedTests(TestCase):
    """What nobody overrides is None, so that relays need not even decode it."""

    hooks = (
        "auth_connect", "auth_publish", "auth_subscribe", "auth_deliver",
        "connect", "publish", "subscribe", "unsubscribe", "disconnect", "before", "after",
    )  # fmt: skip

    def test_nothing(self) -> None:
        for policy in (Policy(), Policy([Handler(), Interceptor()]), Policy([object()])):
            for hook in self.hooks:
                self.assertIsNone(getattr(policy, hook), hook)

    def test_only_what_is_overridden(self) -> None:
        for watched in self.hooks:
            make = interceptor if watched in ("before", "after") else handler
            policy = Policy([Handler(), Interceptor(), make(**{watched: gives(None)})])
            for hook in self.hooks:
                self.assertEqual(getattr(policy, hook) is not None, hook == watched, hook)

    def test_a_handler_without_some_methods(self) -> None:
        class Bare:
            def auth_publish(self, session: Any, topic: str, payload: bytes) -> Any:
                raise Denied("quota")

        policy = Policy([handler(auth_publish=gives(None)), Bare()])
        decision: Any = policy.auth_publish.ask(SESSION, *MESSAGE)  # type: ignore[union-attr]
        self.assertEqual((decision.kind, decision.handler), ("quota", "Bare"))
        self.assertIsNone(policy.auth_connect)

    def test_a_hook_that_is_no_method(self) -> None:
        """Assigned to the object: a plain function is a hook like any other."""
        rules = Handler()
        rules.auth_publish = lambda session, topic, payload: False  # type: ignore[method-assign]
        decision: Any = Policy([rules]).auth_publish.ask(SESSION, *MESSAGE)  # type: ignore[union-attr]
        self.assertEqual(decision.kind, "not authorised")


class NoticeTests(TestCase):
    def setUp(self) -> None:
        self.told: list[Any] = []
        self.faults: list[tuple[str, str, BaseException]] = []

    def policy(self, *hooks: Callable[..., Any]) -> Any:
        named = [(f"H{number}", handler(publish=hook)) for number, hook in enumerate(hooks)]
        return Policy(named, lambda *fault: self.faults.append(fault))

    def tell(self, session: Any, topic: str, payload: bytes) -> None:
        self.told.append((topic, payload))

    def check_fault(self, name: str, error: BaseException) -> None:
        self.assertEqual(self.faults, [(name, "publish", error)])

    def test_everybody_is_told_in_order(self) -> None:
        order: list[str] = []
        self.policy(lambda *_: order.append("a"), lambda *_: order.append("b")).publish.tell(SESSION, *MESSAGE)
        self.assertEqual(order, ["a", "b"])

    def test_a_fault_of_one_is_reported_and_the_others_are_told(self) -> None:
        error = ValueError("broken")
        for hook in (raises(error), coroutine(error), gives(fail(error))):
            self.told.clear()
            self.faults.clear()
            self.policy(self.tell, hook, self.tell).publish.tell(SESSION, *MESSAGE)
            self.assertEqual(self.told, [MESSAGE, MESSAGE])
            self.check_fault("H1", error)

    def test_a_handler_alone(self) -> None:
        """It is called directly, by either way of telling."""
        error = ValueError("broken")
        for way in ("tell", "tell_message"):
            getattr(self.policy(self.tell).publish, way)(SESSION, *MESSAGE)
            self.assertEqual((self.told.pop(), self.faults), (MESSAGE, []))
            for hook in (raises(error), coroutine(error), gives(fail(error))):
                getattr(self.policy(hook).publish, way)(SESSION, *MESSAGE)
                self.check_fault("H0", error)
                self.faults.clear()

    def test_one_that_waits_holds_up_nobody(self) -> None:
        error = ValueError("broken")
        for late, make in ((Deferred[Any](), gives), (Deferred[Any](), lambda wait: coroutine(None, wait))):
            self.told.clear()
            self.faults.clear()
            self.policy(make(late), self.tell).publish.tell(SESSION, *MESSAGE)
            self.assertEqual((self.told, self.faults), ([MESSAGE], []))
            late.errback(error)
            self.check_fault("H0", error)

    def test_answers_change_nothing(self) -> None:
        for answer in ("no", False, Denied(), Message("x"), succeed("no")):
            self.policy(gives(answer), self.tell).publish.tell(SESSION, *MESSAGE)
        self.assertEqual((len(self.told), self.faults), (5, []))

    def test_a_fault_that_nobody_asked_to_hear_of(self) -> None:
        policy: Any = Policy([handler(publish=raises(ValueError())), handler(publish=self.tell)])
        policy.publish.tell(SESSION, *MESSAGE)
        self.assertEqual(self.told, [MESSAGE])
