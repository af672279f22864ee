"""A hook that is misspelt, or takes something else than it is given, is found before it lets everything pass."""

from __future__ import annotations

import unittest
from typing import Any

from mgate.handler import Handler, Interceptor
from mgate.handlers.deny import DenyHandler
from mgate.handlers.log import LogHandler
from mgate.hooks import mistakes_in_hooks


def nothing(self: Any, *arguments: Any) -> None:
    """A method that takes whatever it is given."""


def handler_with(*names: str, base: type = Handler) -> Any:
    return type("Rules", (base,), dict.fromkeys(names, nothing))()


class Names(unittest.TestCase):
    def test_whatever_looks_as_if_it_were_asked(self) -> None:
        for name, hint in (
            ("auth_pubish", " (did you mean auth_publish?)"), ("auth_delivery", " (did you mean auth_deliver?)"),
            ("auth_xyzzy", ""),
        ):  # fmt: skip
            with self.subTest(name):
                self.assertEqual(list(mistakes_in_hooks(handler_with(name))), [f"{name} is no hook{hint}"])

    def test_what_is_told_and_misspelt(self) -> None:
        for name, meant in (("pubish", "publish"), ("unsubcribe", "unsubscribe"), ("disconect", "disconnect")):
            with self.subTest(name):
                (mistake,) = mistakes_in_hooks(handler_with(name))
                self.assertEqual(mistake, f"{name} is no hook (did you mean {meant}?); call it _{name} if you did not")

    def test_methods_of_ones_own(self) -> None:
        own = ("on_publish", "published", "reconnect", "connected", "subscriber", "subscribing", "deliver", "matches",
               "befor", "_pubish", "_auth")  # fmt: skip
        self.assertEqual(list(mistakes_in_hooks(handler_with(*own))), [])

    def test_an_interceptor(self) -> None:
        self.assertEqual(list(mistakes_in_hooks(handler_with("before", "after", base=Interceptor))), [])
        (mistake,) = mistakes_in_hooks(handler_with("befor", base=Interceptor))
        self.assertIn("did you mean before?", mistake)

    def test_a_property_is_not_run(self) -> None:
        class Rules(Handler):
            @property
            def pubish(self) -> None:
                raise AssertionError("looked at")

        self.assertEqual(list(mistakes_in_hooks(Rules())), [])

    def test_the_built_in_ones(self) -> None:
        for handler in (Handler(), Interceptor(), LogHandler(), DenyHandler("a")):
            self.assertEqual(list(mistakes_in_hooks(handler)), [])


class Parameters(unittest.TestCase):
    def test_too_few_and_too_many(self) -> None:
        class Rules(Handler):
            async def auth_connect(self) -> None:  # type: ignore[override]
                """Takes too little."""

            def publish(self, session: Any, topic: str, payload: bytes, qos: int) -> None:  # type: ignore[override]
                """Takes too much."""

        self.assertEqual(
            list(mistakes_in_hooks(Rules())),
            ["auth_connect is called with (session), but takes ()",
             "publish is called with (session, topic, payload), but takes (session, topic, payload, qos)"],
        )  # fmt: skip

    def test_other_names_defaults_and_kinds(self) -> None:
        class Rules(Handler):
            def auth_connect(self, who: Any, more: int = 0) -> None:
                """Takes what it is given."""

            @staticmethod
            def publish(*everything: Any) -> None:  # type: ignore[override]
                """Takes what it is given."""

            @classmethod
            def disconnect(cls, session: Any, reason: str) -> None:  # type: ignore[override]
                """Takes what it is given."""

        self.assertEqual(list(mistakes_in_hooks(Rules())), [])

    def test_a_signature_that_cannot_be_read(self) -> None:
        class Rules(Handler):
            pass

        nothing_to_read = lambda self, session: None  # noqa: E731
        nothing_to_read.__signature__ = "no signature"  # type: ignore[attr-defined]
        Rules.auth_connect = nothing_to_read  # type: ignore[method-assign]
        self.assertEqual(list(mistakes_in_hooks(Rules())), [])
