"""The head of a message: request line or status line, and fields (RFC 9112 sections 2 to 5), parsed by llhttp.

Why llhttp (by way of httptools) and not h11: llhttp 9 refuses by itself bare LF and bare CR, obs-fold, blanks before a
colon, Content-Length beside Transfer-Encoding or twice or with anything but digits, and control characters, where h11
0.16 lets most of these pass for the sake of old peers. It costs 1.5 us for the head of a small request, h11 costs 20.

What llhttp lets pass that is not HTTP/1.1, or not ours: no version at all (HTTP/0.9), several blanks in the request
line, transfer codings in front of ``chunked``, Transfer-Encoding in HTTP/1.0, no Host or two. The grammar here and
`mgate.http.rules` refuse that. llhttp can not be stopped at the end of a message, so it is given heads only, one at a
time, and `mgate.http.bodies` finds the end of what follows.
"""

from __future__ import annotations

import re

import httptools

from mgate.errors import TargetLost
from mgate.http.answers import Refused

__all__ = ["END", "Fields", "RequestHead", "ResponseHead", "check_begun", "parse_request", "parse_response"]

END = b"\r\n\r\n"

Fields = list[tuple[bytes, bytes]]
"""Names in lower case and values, in order."""

TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
FIELD_LINES = rb"(?:" + TOKEN + rb":[\t\x20-\x7e\x80-\xff]*+\r\n)*+\r\n"
REQUEST_LINE = re.compile(rb"(" + TOKEN + rb") ([\x21-\x7e]++) HTTP/(\d)\.(\d)\r\n")
REQUEST = re.compile(REQUEST_LINE.pattern + FIELD_LINES)
RESPONSE = re.compile(rb"HTTP/1\.[01] [1-9]\d\d(?: [\t\x20-\x7e\x80-\xff]*+)?\r\n" + FIELD_LINES)
NEVER = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n|\Z)|(?<!\r)\n")
"""What is in no head: control characters, a bare CR, a bare LF."""


class RequestHead:
    """What came before the body of a request.

    Attributes:
        method: as it came; methods are case-sensitive.
        target: the request target (RFC 9112 section 3.2).
        minor: 0 or 1, of HTTP/1.0 or 1.1.
        fields: all of them.
    """

    __slots__ = ("fields", "method", "minor", "target")

    def __init__(self, method: str, target: bytes, minor: int) -> None:
        self.method = method
        self.target = target
        self.minor = minor
        self.fields: Fields = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by httptools."""
        self.fields.append((name.lower(), value.rstrip(b"\t ")))


class ResponseHead:
    """What came before the body of a response.

    Attributes:
        status: 100 to 999.
        phrase: the reason phrase.
        minor: 0 or 1, of HTTP/1.0 or 1.1.
        fields: all of them.
    """

    __slots__ = ("fields", "minor", "phrase", "status")

    def __init__(self) -> None:
        self.status = 0
        self.phrase = b""
        self.minor = 1
        self.fields: Fields = []

    def on_status(self, phrase: bytes) -> None:
        """Called by httptools."""
        self.phrase += phrase

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by httptools."""
        self.fields.append((name.lower(), value.rstrip(b"\t ")))


def parse_request(data: bytes, max_fields: int) -> RequestHead:
    """The head in `data`, which ends with the first empty line.

    Raises:
        Refused: 400, 431 for too many fields, 505 for another version.
    """
    match = REQUEST.fullmatch(data)
    if match is None:
        raise Refused(400, "the head of the request is malformed", "malformed", close=True)
    method, target, major, minor = match.groups()
    if method == b"PRI":
        raise Refused(400, "HTTP/2 is not spoken here", "malformed", close=True)
    if major != b"1" or minor not in b"01":
        raise Refused(505, "this version of HTTP is not spoken here", "version", close=True)
    head = RequestHead(method.decode("ascii"), target, int(minor))
    try:
        httptools.HttpRequestParser(head).feed_data(data)
    except httptools.HttpParserInvalidMethodError:
        # Its list of methods is its own; which ones are served is for the rules, and none that it does not know.
        return head
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError:
        raise Refused(400, "the head of the request is malformed", "malformed", close=True) from None
    if len(head.fields) > max_fields:
        raise Refused(431, "too many fields", "head_too_large", close=True)
    return head


def check_begun(data: bytes, start: int) -> None:
    """Refuse a head as soon as it can not become one, so that nobody waits for the rest.

    Args:
        data: what came of it.
        start: what is before was checked already.

    Raises:
        Refused: 400 or 505.
    """
    if NEVER.search(data, max(0, start - 1)):
        raise Refused(400, "the head of the request is malformed", "malformed", close=True)
    end = data.find(b"\r\n", max(0, start - 1))
    if end >= 0 and data.find(b"\r\n", 0, end + 1) < 0 and REQUEST_LINE.match(data) is None:
        raise Refused(400, "the request line is malformed", "malformed", close=True)


def parse_response(data: bytes, max_fields: int) -> ResponseHead:
    """The head in `data`, which ends with the first empty line.

    Raises:
        TargetLost: it is none.
    """
    if RESPONSE.fullmatch(data) is None:
        raise TargetLost("the target broke the protocol", "target_malformed")
    head = ResponseHead()
    parser = httptools.HttpResponseParser(head)
    try:
        parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError:
        raise TargetLost("the target broke the protocol", "target_malformed") from None
    if len(head.fields) > max_fields:
        raise TargetLost("the target sent too many fields", "target_malformed")
    head.status = parser.get_status_code()
    head.minor = int(data[7:8])
    return head
