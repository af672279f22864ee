"""One canonical path for a resource, computed once: handlers are asked about the topic that it is, and the target gets
this path and no other spelling of it.

Rules:

1. A path is a sequence of segments that are not empty. Percent-encoding is undone once; what would be decoded again,
   as ``%252e``, is refused.
2. Refused are dot segments, also encoded, or with a parameter (``..;``); ``/`` and ``\\`` inside of a segment, NUL and
   all other control characters, bytes that are not UTF-8, and ``+`` and ``#``, which are no part of a topic.
3. The topic is the path that the target sees, decoded, without its first slash. It names the same in all protocols.
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote_to_bytes

from mgate.http.answers import Refused

__all__ = ["controls_target", "encode_path", "read_path", "read_topic"]

PLAIN = re.compile(rb"(?:/[A-Za-z0-9_-][A-Za-z0-9._~-]*+)++")
"""Paths that are their own canonical form; most are."""
ENCODED = re.compile(rb"%[0-9A-Fa-f]{2}")
PATH = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*,;=:@/-]|%[0-9A-Fa-f]{2})++")
"""RFC 3986 section 3.3, without ``+``."""
AGAIN = re.compile(r"%[0-9A-Fa-f]{2}")
SAFE = "!$&'()*,=:@"
"""Beside letters, digits and ``-._~``. A semicolon goes on encoded: some targets take what is behind it for a
parameter, and would serve another resource than the one that was judged."""
CONTROLLING = frozenset(("$SYS", "$CONTROL", "$delayed"))


def read_path(path: bytes) -> str:
    """The canonical path, decoded, with its first slash; ``/`` stands for itself.

    Raises:
        Refused: 400.
    """
    if PLAIN.fullmatch(path):
        return path.decode("ascii")
    if path == b"/":
        return "/"
    if not path.startswith(b"/") or PATH.fullmatch(path) is None:
        raise _refused()
    segments = [_segment(segment) for segment in path[1:].split(b"/")]
    return "/" + "/".join(segments)


def _segment(segment: bytes) -> str:
    try:
        text = unquote_to_bytes(segment).decode("utf-8")
    except UnicodeDecodeError:
        raise _refused() from None
    check_segment(text)
    return text


def check_segment(text: str) -> None:
    """Raises Refused if a decoded segment is none."""
    if text.partition(";")[0].strip() in ("", ".", "..") or AGAIN.search(text):
        raise _refused()
    if any(character in "/\\+#" or character < " " or "\x7f" <= character < "\xa0" for character in text):
        raise _refused()


def read_topic(topic: str) -> str:
    """The path of a topic that a handler chose, decoded, with its first slash.

    Raises:
        Refused: no path stands for it.
    """
    for segment in topic.split("/"):
        check_segment(segment)
    try:
        topic.encode("utf-8")
    except UnicodeEncodeError:
        raise _refused() from None
    return "/" + topic


def encode_path(path: str) -> bytes:
    """A canonical path as it is written on the wire."""
    return quote(path, safe="/" + SAFE).encode("ascii")


def controls_target(topic: str) -> bool:
    """Is it one of the topics by which brokers are controlled? As in MQTT, no device writes there by default."""
    return topic.startswith("$") and topic.split("/", 1)[0] in CONTROLLING


def _refused() -> Refused:
    return Refused(400, "the path is not one that is served", "bad_path")
