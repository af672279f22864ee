"""The base classes admit everything, and `plugin` makes a maker out of a class."""

from __future__ import annotations

from typing import Any
from unittest import TestCase

from zope.interface.verify import verifyObject

from mgate.handler import Direction, Handler, Interceptor, MakerContext, Session, plugin
from mgate.interfaces import IHandler, IHandlerMaker, IInterceptor


class HandlerTests(TestCase):
    def test_provides_its_interface(self) -> None:
        verifyObject(IHandler, Handler())

    def test_admits_everything(self) -> None:
        handler, session = Handler(), Session()
        calls: dict[str, tuple[Any, ...]] = {
            "auth_connect": (),
            "auth_publish": ("t", b""),
            "auth_subscribe": (["t"],),
            "auth_deliver": ("t", b""),
            "connect": (),
            "publish": ("t", b""),
            "subscribe": ({"t": 0},),
            "unsubscribe": (["t"],),
            "disconnect": ("device_lost",),
        }
        self.assertEqual(set(calls), set(IHandler.names()))
        for hook, arguments in calls.items():
            with self.subTest(hook):
                self.assertIsNone(getattr(handler, hook)(session, *arguments))

    def test_interceptor_changes_nothing(self) -> None:
        interceptor = Interceptor()
        verifyObject(IInterceptor, interceptor)
        for hook in (interceptor.before, interceptor.after):
            self.assertIsNone(hook(Session(), object(), Direction.UPLINK))

    def test_arguments_and_context(self) -> None:
        context = MakerContext(listener="mqtt", directory="/etc/mgate")
        for base in (Handler, Interceptor):
            with self.subTest(base.__name__):
                self.assertEqual((base("x", context).arguments, base("x", context).context), ("x", context))
                self.assertEqual((base().arguments, base().context), ("", MakerContext()))


class PluginTests(TestCase):
    def test_makes_a_maker(self) -> None:
        maker = plugin("rules", Handler)
        verifyObject(IHandlerMaker, maker)
        self.assertEqual(maker.name, "rules")
        context = MakerContext(listener="mqtt")
        handler = maker.make("keys.json", context)
        self.assertEqual((type(handler), handler.arguments, handler.context), (Handler, "keys.json", context))

    def test_names_that_a_configuration_could_not_say(self) -> None:
        for name in ("", "a:b"):
            with self.subTest(name), self.assertRaises(ValueError):
                plugin(name, Handler)
