"""``certificate:<rules>``: the client identifier and the user name are those of the certificate, or must match it.

The rules are separated by commas::

    username=cn             the user name becomes the common name
    id==dns                 the client identifier must be one of the DNS names
    username=cn,id==uri     both

``=`` sets: a name that cannot be chosen by the device, and that the handlers behind this one and the target see. The
field must hold exactly one value then. ``==`` compares with every value of the field, character by character.

It refuses whoever has no certificate, and whose certificate does not have the field. It stands in front of all handlers
that go by names, on a listener whose devices must have certificates (``client_ca_file``). What a name may hold is up to
the authority that issued it: also the ``/``, ``+`` and ``#`` of topic filters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mgate.errors import Denied, Kind
from mgate.handler import Handler, MakerContext
from mgate.session import Session

if TYPE_CHECKING:
    from mgate.tls.identity import Identity

__all__ = ["CertificateHandler"]

FIELDS: dict[str, Callable[[Identity], tuple[str, ...]]] = {
    "cn": lambda identity: (identity.common_name,),
    "dns": lambda identity: identity.dns,
    "ip": lambda identity: identity.ip,
    "uri": lambda identity: identity.uri,
    "email": lambda identity: identity.email,
    "subject": lambda identity: (identity.subject,),
    "serial": lambda identity: (identity.serial,),
    "fingerprint": lambda identity: (identity.fingerprint,),
}
"""What a rule may name, and where `mgate.tls.identity.Identity` has it; a text that is not there is empty."""

NAMES = {"id": ("client identifier", Kind.BAD_CLIENT_ID), "username": ("user name", Kind.BAD_CREDENTIALS)}
"""What a rule may be about: the attribute of `Session`, its name, and how a mismatch is refused."""

EXAMPLE = "write username=cn to set, id==dns to compare"


@dataclass(frozen=True, slots=True)
class _Rule:
    """One rule.

    Attributes:
        name: a key of `NAMES`.
        field: a key of `FIELDS`.
        sets: the name is set; otherwise it must match.
    """

    name: str
    field: str
    sets: bool

    def judge(self, session: Session, identity: Identity) -> str:
        """What the name is to be from now on. Raises Denied."""
        words, kind = NAMES[self.name]
        values = [value for value in FIELDS[self.field](identity) if value]
        whose = f"the certificate {identity.subject or identity.serial}"
        if not values:
            raise Denied(Kind.NOT_AUTHORISED, f"the certificate has no {self.field}", detail=whose)
        whose += f" has {', '.join(values)}"
        if not self.sets:
            name: str | None = getattr(session, self.name)
            if name is None or name not in values:
                raise Denied(kind, f"the {words} is not that of the certificate", detail=whose)
            return name
        if len(values) > 1:
            raise Denied(Kind.NOT_AUTHORISED, f"the certificate has more than one {self.field}", detail=whose)
        return values[0]


class CertificateHandler(Handler):
    """Applies its rules to each device that connects.

    Args:
        arguments: the rules.

    Raises:
        ValueError: a rule cannot be read, names what there is not, or comes twice; or there is none.
    """

    def __init__(self, arguments: str = "", context: MakerContext | None = None) -> None:
        super().__init__(arguments, context)
        self._rules = tuple(_rules(arguments))

    def auth_connect(self, session: Session) -> None:
        """Called by the policy; see `IHandler`. Names are set only when all rules agree."""
        identity: Identity | None = session.certificate
        if identity is None:
            raise Denied(Kind.NOT_AUTHORISED, "a client certificate is needed")
        judged = [(rule.name, rule.judge(session, identity)) for rule in self._rules]
        for name, value in judged:
            setattr(session, name, value)


def _rules(arguments: str) -> Iterator[_Rule]:
    """Read ``name=field`` and ``name==field``."""
    if not arguments.strip():
        raise ValueError(f"it needs rules behind the colon: {EXAMPLE}")
    rules: dict[str, _Rule] = {}
    for text in arguments.split(","):
        name, sign, field = (part.strip() for part in text.partition("="))
        sets = not field.startswith("=")
        field = field.removeprefix("=").strip()
        if not sign or not name or not field:
            raise ValueError(f"{text.strip()!r} is no rule: {EXAMPLE}")
        if name not in NAMES:
            raise ValueError(f"{name!r} cannot be set or compared; there are: {', '.join(NAMES)}")
        if field not in FIELDS:
            raise ValueError(f"a certificate has no {field!r}; there are: {', '.join(FIELDS)}")
        if name in rules:
            raise ValueError(f"there are two rules for {name}")
        rules[name] = _Rule(name, field, sets)
    yield from rules.values()
