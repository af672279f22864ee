"""MQTT text: strict UTF-8, and what a topic name and a topic filter may look like (MQTT 5.0 1.5.4 and 4.7).

Rules:

1. Text that breaks a rule is refused, never repaired: no U+0000, no surrogates, no overlong form. Everything else,
   byte order marks, noncharacters and control characters too, passes as it came.
2. Every check takes time linear in the length of the text. Nothing here recurses or backtracks.
3. How many levels a topic may have, and who may use it, is decided elsewhere (`mgate.limits`, the policy).
"""

from __future__ import annotations

from mgate.errors import Malformed

__all__ = ["check_topic_filter", "check_topic_name", "decode_text", "split_shared"]

SHARE = "$share/"
_PREFIXES = (SHARE, "$queue/", "$exclusive/")


def decode_text(data: bytes, start: int, stop: int) -> str:
    """Read `data[start:stop]` as a UTF-8 Encoded String without its length; for every decoder of a packet.

    Raises:
        Malformed: it is not strict UTF-8 [MQTT-1.5.4-1], or holds U+0000 [MQTT-1.5.4-2].
    """
    try:
        text = data[start:stop].decode()
    except UnicodeDecodeError:
        raise Malformed("text is not UTF-8") from None
    if "\0" in text:
        raise Malformed("text holds U+0000")
    return text


def check_topic_name(topic: str) -> None:
    """Refuse what a PUBLISH or a will may not name; for the codec and for topics that a handler wrote.

    Raises:
        Malformed: empty [MQTT-4.7.3-1] with code 0x82, a wildcard in it [MQTT-3.3.2-2] with code 0x90.
    """
    if not topic:
        raise Malformed("topic name is empty", 0x82)
    if "#" in topic or "+" in topic:
        raise Malformed("wildcard in a topic name", 0x90)


def check_topic_filter(filter: str) -> None:
    """Refuse what a SUBSCRIBE or an UNSUBSCRIBE may not name; for the codec and for filters that a handler wrote.

    Raises:
        Malformed: empty [MQTT-4.7.3-1], a wildcard that is not alone in its level, `#` before the end
            [MQTT-4.7.1-1], a share without group or filter, or with a wildcard in the group [MQTT-4.8.2-1].
    """
    prefix, inner = split_shared(filter)
    if not prefix and filter.startswith(SHARE):
        raise Malformed("shared subscription without a proper group and filter")
    if prefix and inner.startswith(_PREFIXES):
        # Brokers differ in what a prefix inside a prefix means, so no rule could be sure what it judges.
        raise Malformed("shared subscription inside another")
    if not inner:
        raise Malformed("topic filter is empty")
    if "#" in inner and (inner.index("#") != len(inner) - 1 or (len(inner) > 1 and inner[-2] != "/")):
        raise Malformed("# is not alone in the last level of a topic filter")
    for level in inner.split("/") if "+" in inner else ():
        if "+" in level and len(level) != 1:
            raise Malformed("+ is not alone in its level of a topic filter")


def split_shared(filter: str) -> tuple[str, str]:
    """Split a topic filter into how it is shared and what it matches; the relay judges the second part.

    `$share/{group}/{filter}` is of MQTT 5.0 4.8.2, and brokers take it in 3.1.1 too. `$queue/` and `$exclusive/` are
    the shared and the exclusive subscription of EMQX.

    Returns:
        The prefix with its last slash, and the inner filter: `("$share/g/", "a/b")`. An ordinary filter, and a share
        that `check_topic_filter` refuses, comes back whole behind an empty prefix.
    """
    if not filter.startswith(_PREFIXES):
        return "", filter
    start = filter.index("/") + 1
    if filter.startswith(SHARE):
        group, _, inner = filter[start:].partition("/")
        if not group or not inner or "+" in group or "#" in group:
            return "", filter
        start += len(group) + 1
    return filter[:start], filter[start:]
