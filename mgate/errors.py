"""Every error that ends a packet, a request or a link, as something a protocol can render.

Rules:

1. Cores raise these, and one place in each protocol renders them (MQTT: `mgate.mqtt.refusal`).
2. A handler raises `Denied` and nothing else; any other exception of a handler is a fault, which also refuses.
3. `text` may be told to the device, `detail` goes to the log only. Neither may hold a secret or a payload.
"""

from __future__ import annotations

from difflib import get_close_matches
from enum import StrEnum

__all__ = ["ConfigError", "Denied", "GateError", "Kind", "Malformed", "TargetLost", "TimedOut"]


class Kind(StrEnum):
    """Why something was refused, in words that no protocol owns. Each protocol has its own code for each kind."""

    BAD_CREDENTIALS = "bad credentials"
    NOT_AUTHORISED = "not authorised"
    BAD_CLIENT_ID = "bad client id"
    BANNED = "banned"
    BAD_TOPIC = "bad topic"
    QUOTA = "quota"
    RATE = "rate"
    BAD_PAYLOAD = "bad payload"
    TOO_LARGE = "too large"
    TARGET_DOWN = "target down"
    TARGET_SLOW = "target slow"
    INTERNAL_FAULT = "internal fault"
    HANDLER_FAULT = "handler fault"

    @classmethod
    def _missing_(cls, value: object) -> Kind:
        """Called by Python for what is no value as it stands: ``"NOT_AUTHORIZED"`` means "not authorised".

        Raises:
            ValueError: no kind is meant; names the nearest.
        """
        words = str(value).casefold().replace("_", " ").replace("-", " ").replace("authorized", "authorised")
        for kind in cls:
            if kind.value == words:
                return kind
        near = get_close_matches(words, list(cls), 1)
        hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(cls)}"
        raise ValueError(f"{value!r} is no kind of refusal; {hint}")


class GateError(Exception):
    """The base of everything that the gateway itself raises.

    `reason` is a short word from a closed list: it labels counters and rate-limits log lines, so it never holds
    anything that a device sent.
    """

    reason = "error"

    def __init__(self, text: str = "", *, detail: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.detail = detail


class Denied(GateError):
    """A handler said no.

    Handlers raise it from any `auth_` hook, or put it into the list that `auth_subscribe` returns to refuse a single
    filter::

        raise Denied("not authorised", "topics of other tenants are closed")

    Args:
        kind: a `Kind`, or its value as a string (``"not authorised"``, ``"bad credentials"``, ``"quota"`` ...), in any
            case, with spaces, dashes or underscores.
        text: told to the device where its protocol can carry it (MQTT 5 Reason String, HTTP and CoAP bodies), and
            written to the log.
        detail: written to the log only. Of both, what is no str (an exception, say) is told as its `str`.

    Raises:
        ValueError: the kind is not one of `Kind`.
    """

    def __init__(self, kind: Kind | str = Kind.NOT_AUTHORISED, text: str = "", *, detail: str = "") -> None:
        super().__init__(
            text if isinstance(text, str) else str(text), detail=detail if isinstance(detail, str) else str(detail)
        )
        self.kind = Kind(kind)
        self.handler = ""
        """The name of the handler that refused; filled in by the policy."""
        self.hook = ""
        """The hook that it refused in; filled in by the policy."""

    def fresh(self) -> Denied:
        """The same refusal without the frames that it was raised through; for the policy.

        A handler may keep one `Denied` and raise it again and again. Then each raise would add frames to it, and the
        names of one handler would show in the refusals of another.
        """
        copy = Denied(self.kind, self.text, detail=self.detail)
        copy.handler, copy.__cause__ = self.handler, self.__cause__
        self.__traceback__ = self.__context__ = self.__cause__ = None
        self.handler = ""
        return copy

    @property
    def reason(self) -> str:  # type: ignore[override]
        """The kind with underscores, as counters and logs carry it."""
        return self.kind.replace(" ", "_")


class Malformed(GateError):
    """The peer broke its protocol.

    Args:
        text: which rule was broken; constant text, it may be logged and told to the peer.
        code: the MQTT 5 reason code for it, 0x81 (malformed packet) or 0x82 (protocol error) or a nearer one.
        version: of a broken CONNECT, the protocol level as far as it was read, else 0.
    """

    reason = "malformed"

    def __init__(self, text: str, code: int = 0x81, version: int = 0) -> None:
        super().__init__(text)
        self.code = code
        self.version = version


class TargetLost(GateError):
    """The target could not be reached, went away, or broke its protocol."""

    def __init__(self, text: str, reason: str = "target_lost") -> None:
        super().__init__(text)
        self.reason = reason


class TimedOut(GateError):
    """A device was silent for longer than its protocol or a limit allows."""

    def __init__(self, text: str, reason: str = "timeout") -> None:
        super().__init__(text)
        self.reason = reason


class ConfigError(GateError):
    """The configuration cannot be used. `problems` holds one line for each mistake, each with file and key."""

    reason = "config"

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
