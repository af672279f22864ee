"""What a request is, before anybody is asked about it. START READING HERE: `Rules.read` turns a head into a `Request`.

Rules:

1. POST and PUT publish, GET and HEAD read, DELETE clears (it publishes nothing, as an empty retained message does).
   There are no other methods.
2. Of a field that decides about a request there is one, or none.
3. The framing is one Content-Length, or ``chunked`` in HTTP/1.1, or nothing; all else is refused (RFC 9112 section 6).
4. The path is canonical, below the prefix, and the same for handlers and the target (see `mgate.http.paths`).
5. What is meant for this hop stays here: `Request.fields` holds what goes on (RFC 9110 section 7.6.1).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from mgate.http import paths
from mgate.http.answers import Refused
from mgate.http.bodies import Body, Chunked, Counted
from mgate.http.choices import Choices
from mgate.http.credentials import NOBODY, Credentials, credentials_of, split_query
from mgate.http.heads import Fields, RequestHead
from mgate.limits import Limits

__all__ = ["ACTIONS", "Action", "Request", "Response", "Rules", "origin_allowed", "tokens"]


class Action(Enum):
    """What a request does."""

    PUBLISH = "publish"
    READ = "read"
    CLEAR = "clear"


ACTIONS = {
    "POST": Action.PUBLISH,
    "PUT": Action.PUBLISH,
    "GET": Action.READ,
    "HEAD": Action.READ,
    "DELETE": Action.CLEAR,
}
ALLOWED = ((b"allow", b"GET, HEAD, POST, PUT, DELETE"),)

ONCE, LIST, DROPPED = "once", "list", "dropped"
ROLES = {
    b"host": ONCE, b"content-length": ONCE, b"transfer-encoding": ONCE, b"authorization": ONCE, b"expect": ONCE,
    b"origin": ONCE, b"connection": LIST, b"upgrade": LIST,
    b"keep-alive": DROPPED, b"te": DROPPED, b"trailer": DROPPED, b"proxy-connection": DROPPED,
    b"proxy-authenticate": DROPPED, b"proxy-authorization": DROPPED, b"http2-settings": DROPPED,
    b"forwarded": DROPPED, b"x-real-ip": DROPPED, b"x-http-method-override": DROPPED,
}  # fmt: skip
"""What becomes of a field of a request; one that is not here goes on. A name is also taken for the one that it is with
dashes for underscores, because some targets do."""
SPOOFED = b"x-forwarded-"

LENGTH = re.compile(rb"[0-9]{1,19}")
HOST = re.compile(rb"(?:[A-Za-z0-9._~-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
ABSOLUTE = re.compile(rb"https?://([^/?#]*)(.*)", re.IGNORECASE)
QUERY = re.compile(rb"[!$-~]*+")
"""Visible characters but ``"`` and ``#``; ``<``, ``>`` and the like are not in RFC 3986, but devices send them."""


@dataclass(slots=True, eq=False)
class Request:
    """A request, as handlers find it in `Session.packet` and interceptors get it.

    An interceptor may return another one, or change `fields`, `topic` and `payload`; `fields` never holds what belongs
    to a single hop, and nothing of the framing.

    Attributes:
        method: ``"GET"``, ``"HEAD"``, ``"POST"``, ``"PUT"`` or ``"DELETE"``.
        action: what that does.
        topic: as handlers are asked about it.
        query: without the question mark and without credentials.
        fields: names in lower case and values, as the target gets them.
        payload: None until the body was read, or where it is streamed past.
        path: as the target gets it, decoded; set anew from the topic if that was changed.
        body: how the payload is framed on the side of the device.
        length: bytes of the payload, or None where nobody knows.
        credentials: who the device says it is; not shown by ``repr``.
    """

    method: str
    action: Action
    topic: str
    query: bytes
    fields: Fields
    payload: bytes | None
    path: str
    body: Body
    length: int | None
    credentials: Credentials
    authorization: bytes | None
    host: bytes
    minor: int
    bypass: bool
    keep_alive: bool
    expects: bool
    upgrade: bool

    def again(self) -> Request:
        """The request that begins with the same head, untouched."""
        body: Body = Chunked() if self.length is None else Counted(self.length)
        return Request(
            self.method, self.action, self.topic, self.query, list(self.fields), None, self.path, body, self.length,
            self.credentials, self.authorization, self.host, self.minor, self.bypass, self.keep_alive, self.expects,
            self.upgrade,
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.topic!r}>"


@dataclass(slots=True, eq=False)
class Response:
    """What the target answered, as interceptors get it.

    Attributes:
        status: 200 to 999.
        fields: names in lower case and values, without those of a single hop and of the framing.
        payload: the whole body.
    """

    status: int
    fields: Fields
    payload: bytes


def tokens(value: bytes) -> set[bytes]:
    """The members of a list of tokens such as Connection, in lower case (RFC 9110 section 5.6.1)."""
    return {token.strip(b"\t ") for token in value.lower().split(b",")}


def origin_allowed(origin: bytes | None, allowed: tuple[str, ...]) -> bool:
    """May a page of this origin speak to the listener? Devices that are no browsers name none."""
    return origin is None or not allowed or origin.decode("latin-1").lower() in allowed


class Rules:
    """The rules of one listener, made ready.

    Args:
        choices, limits: of the listener.

    Raises:
        ValueError: a prefix, path or pattern that can not be used.
    """

    def __init__(self, choices: Choices, limits: Limits) -> None:
        self.choices = choices
        self.limits = limits
        self._prefix = _root(choices.path_prefix)
        self._target = _root(choices.target_path)
        try:
            self._bypass = [re.compile(pattern) for pattern in choices.bypass]
        except re.error as error:
            raise ValueError(f"a bypass pattern is no regular expression: {error}") from error
        self._origins = tuple(origin.lower() for origin in choices.origins)
        self._hosts = {host.lower().encode("ascii") for host in choices.hosts}

    def read(self, head: RequestHead, local: str = "") -> Request:
        """What the request is that begins with `head`.

        Args:
            local: the address that the device connected to.

        Raises:
            Refused: what is wrong with it.
            Denied: its credentials can not be read.
        """
        action = ACTIONS.get(head.method)
        if action is None:
            raise Refused(405, "the method is not served", "method", fields=ALLOWED, close=True)
        once: dict[bytes, bytes] = {}
        kept: Fields = []
        for field in head.fields:
            name = field[0]
            role = ROLES.get(name)
            if role is None:
                if name.startswith(SPOOFED):
                    continue
                if b"_" in name:
                    dashed = name.replace(b"_", b"-")
                    if dashed in ROLES or dashed.startswith(SPOOFED):
                        continue
                kept.append(field)
            elif role is ONCE:
                if name in once:
                    raise Refused(400, "a field is there twice", "duplicate_field", close=True)
                once[name] = field[1]
            elif role is LIST:
                once[name] = once[name] + b"," + field[1] if name in once else field[1]
        body, length = self._framing(once, head.minor)
        host = self._host(once, head.minor)
        connection = tokens(once[b"connection"]) if b"connection" in once else ()
        if connection:
            kept = [field for field in kept if field[0] not in connection]
        path, query = self._target_of(head.target, host, local)
        if not origin_allowed(once.get(b"origin"), self._origins):
            raise Refused(403, "the origin is not allowed", "origin")
        if b"origin" in once:
            kept.append((b"origin", once[b"origin"]))
        expects = self._expects(once, head.minor)
        bypass = any(pattern.fullmatch(path) for pattern in self._bypass)
        authorization = once.get(b"authorization")
        if bypass:
            credentials, forwarded = NOBODY, path
        else:
            bare, parameter = split_query(query)
            credentials = credentials_of(authorization, parameter)
            if not self.choices.forward_token:
                query = bare
            forwarded = self._below_prefix(path)
        return Request(
            head.method, action, forwarded[1:], query, kept, None, forwarded, body, length, credentials, authorization,
            host, head.minor, bypass, self._keeps_alive(connection, head.minor), expects,
            self._upgrades(connection, once, head),
        )  # fmt: skip

    def path_of(self, topic: str) -> str:
        """The path for a topic that a handler chose. Raises ValueError if there is none."""
        try:
            return paths.read_topic(topic)
        except Refused as error:
            raise ValueError(f"no path can stand for the topic {topic!r}") from error

    def _framing(self, once: dict[bytes, bytes], minor: int) -> tuple[Body, int | None]:
        coding, length = once.get(b"transfer-encoding"), once.get(b"content-length")
        if coding is not None:
            if length is not None:
                raise Refused(400, "Content-Length and Transfer-Encoding exclude each other", "framing", close=True)
            if minor == 0 or coding.lower() != b"chunked":
                raise Refused(400, "the transfer coding is not chunked", "framing", close=True)
            return Chunked(), None
        if length is None:
            return Counted(0), 0
        if LENGTH.fullmatch(length) is None:
            raise Refused(400, "the length of the body is malformed", "framing", close=True)
        size = int(length)
        if size > self.limits.http_max_body:
            raise Refused(413, "the body is too large", "too_large", close=True)
        return Counted(size), size

    def _host(self, once: dict[bytes, bytes], minor: int) -> bytes:
        host = once.get(b"host")
        if host is None and minor == 0:
            return b""
        if host is None or HOST.fullmatch(host) is None:
            raise Refused(400, "the Host field is missing or malformed", "host", close=True)
        return host

    def _target_of(self, target: bytes, host: bytes, local: str) -> tuple[str, bytes]:
        """The canonical path and the query of a request target (RFC 9112 section 3.2)."""
        if target == b"*":
            raise Refused(404, "there is nothing here", "not_found")
        absolute = ABSOLUTE.fullmatch(target)
        if absolute is not None:
            authority = absolute[1].lower()
            name = authority.rpartition(b":")[0] or authority if not authority.endswith(b"]") else authority
            ours = name == b"localhost" or name in self._hosts or name.strip(b"[]").decode("latin-1") == local
            if authority != host.lower() or not ours:
                raise Refused(400, "the request is for another host", "host", close=True)
            target = absolute[2] or b"/"
        path, mark, query = target.partition(b"?")
        if mark and QUERY.fullmatch(query) is None:
            raise Refused(400, "the query is malformed", "bad_path")
        return paths.read_path(path), query

    def _below_prefix(self, path: str) -> str:
        """The path for the target of one that is served."""
        prefix = self._prefix
        if not path.startswith(prefix) or path[len(prefix) : len(prefix) + 1] not in ("", "/"):
            raise _nothing_here()
        if self.choices.strip_prefix:
            path = path[len(prefix) :] or "/"
            if not path.startswith(self._target + "/"):
                raise _nothing_here()
        if path == "/":
            raise _nothing_here()
        return path

    def _expects(self, once: dict[bytes, bytes], minor: int) -> bool:
        expect = once.get(b"expect")
        if expect is None or minor == 0:
            return False
        if expect.lower() != b"100-continue":
            raise Refused(417, "the expectation can not be met", "expectation", close=True)
        return True

    def _keeps_alive(self, connection: set[bytes] | tuple[()], minor: int) -> bool:
        """RFC 9112 section 9.3."""
        if b"close" in connection:
            return False
        return minor == 1 or b"keep-alive" in connection

    def _upgrades(self, connection: set[bytes] | tuple[()], once: dict[bytes, bytes], head: RequestHead) -> bool:
        """Is a WebSocket asked for? All other upgrades are not taken up, which is always allowed."""
        if b"upgrade" not in connection or head.minor == 0 or head.method != "GET":
            return False
        return b"websocket" in tokens(once.get(b"upgrade", b""))


def _root(path: str) -> str:
    """A configured prefix, decoded, without a slash at its end."""
    path = path.rstrip("/")
    if not path:
        return ""
    try:
        return paths.read_path(path.encode("utf-8"))
    except Refused as error:
        raise ValueError(f"{path!r} is no path") from error


def _nothing_here() -> Refused:
    return Refused(404, "there is nothing here", "not_found")
