"""Every zope Interface of mgate: what the gateway calls, when, and what may come back.

Three answers are common to all hooks whose name starts with `auth_`: None or True admits what came, raising `Denied`
refuses it, and a Deferred or a coroutine of either makes the connection wait, and nobody else. Everything that the
interface does not name (False, a number, an exception) refuses.
"""

from __future__ import annotations

from twisted.plugin import IPlugin
from zope.interface import Attribute, Interface

__all__ = ["IHandler", "IHandlerMaker", "IInterceptor"]

# zope.interface declares methods without self, and without values.
# ruff: noqa: N805


class IHandler(Interface):
    """Judges what devices do, and is told what happened. Derive from `mgate.handler.Handler`: a hook that is not
    overridden costs nothing, and what nobody watches is not even decoded."""

    def auth_connect(session):
        """The relay asks when a device wants to connect, before the target is dialled.

        May change `session.id`, `session.username`, `session.password` and `session.will`.

        Returns: None or True to admit.
        Raises: Denied, to refuse.
        """

    def auth_publish(session, topic, payload):
        """The relay asks before it forwards a message of a device; also for the will, right after `auth_connect`.

        Args: session: `Session`. topic: str, aliases resolved. payload: bytes.
        Returns: None or True to pass it as it came; a `mgate.session.Message` to pass instead.
        Raises: Denied, to refuse.

        Topics below `$SYS`, `$CONTROL` and `$delayed` pass only if a Message was returned that names the topic.
        """

    def auth_subscribe(session, filters):
        """The relay asks before it forwards a SUBSCRIBE.

        Args: session: `Session`. filters: list of str; of ``$share/group/a/b`` it is ``a/b``.
        Returns: None or True to pass all as they came; or a list as long as `filters`. Each item is a str or a
            `mgate.session.Filter` to pass, a list of them to subscribe to several, or a `Denied` to refuse that one.
        Raises: Denied, to refuse all of them.
        """

    def auth_deliver(session, topic, payload):
        """The relay asks before it delivers a message of the target to a device.

        Args: session: `Session`. topic: str, aliases resolved. payload: bytes.
        Returns: None or True to pass it as it came; a `mgate.session.Message` to deliver instead.
        Raises: Denied, to drop it; the target is told that it was received.
        """

    def connect(session):
        """The target has accepted the connection (CONNACK with reason 0)."""

    def publish(session, topic, payload):
        """A message was handed to the target: QoS 0 when it was forwarded, QoS 1 and 2 when the target acknowledged
        it (PUBACK or PUBREC below 0x80). `topic` and `payload` are those that the target received."""

    def subscribe(session, granted):
        """The target granted filters (SUBACK). `granted` is a dict of topic filter to granted QoS."""

    def unsubscribe(session, filters):
        """The target confirmed an UNSUBSCRIBE of `filters`, a list of str."""

    def disconnect(session, reason):
        """The connection ended; called exactly once if `connect` was called. `reason` is a short word:
        ``"disconnect"`` (the device said so), ``"device_lost"``, ``"target_closed"``, ``"target_lost"``,
        ``"keep_alive"`` ..."""


class IInterceptor(Interface):
    """Sees every packet in both directions, before and after authorisation, and may replace it.

    Derive from `mgate.handler.Interceptor`. With an interceptor every packet is decoded: handlers that only judge
    messages are much cheaper.
    """

    def before(session, packet, direction):
        """Called before the handlers judge `packet`.

        Args: session: `Session`. packet: one of `mgate.mqtt.packets`. direction: `mgate.outcome.Direction`.
        Returns: None to leave it, another packet of the same type to replace it, or a Deferred or coroutine of either.
        Raises: Denied, to refuse it as a handler would; anything else ends the link.
        """

    def after(session, packet, direction):
        """Called when all handlers have agreed, with what they made of the packet; as `before` otherwise."""


class IHandlerMaker(IPlugin):
    """What a handler plugin offers: a name for the configuration, and a way to make the handler.

    `mgate.handler.plugin` makes one out of a class.
    """

    name = Attribute("str: what the configuration calls it, as in ``handlers = [\"name:arguments\"]``.")

    def make(arguments, context):
        """Called once for each listener that names it, before anything is bound.

        Args: arguments: str, what stood behind the colon, or "". context: `mgate.handler.MakerContext`.
        Returns: a provider of IHandler, of IInterceptor, or of both.
        Raises: ConfigError or ValueError, to stop the start with that text.
        """
