"""``hops:gateway-1`` adds the User Property ``hop: gateway-1`` to every MQTT 5 message that a device publishes."""

from dataclasses import replace

from mgate.handler import Direction, Interceptor, Session, plugin
from mgate.mqtt.packets import Packet, Publish
from mgate.mqtt.properties import Properties, PropertyId


class Hops(Interceptor):
    def after(self, session: Session, packet: Packet, direction: Direction) -> Packet | None:
        if not isinstance(packet, Publish) or direction is Direction.DOWNLINK or session.version < 5:
            return None
        properties = Properties(packet.properties or [])
        properties.append((PropertyId.USER_PROPERTY, ("hop", self.arguments)))
        return replace(packet, properties=properties)


hops = plugin("hops", Hops)
