"""Who a request says it is from: Basic, Bearer or any other Authorization field, or the parameter of the query.

Rules:

1. The field comes first. Field and query may both be there if they say the same; else the request is ambiguous.
2. Basic (RFC 7617) has a username and a password. Of Bearer (RFC 6750) the token is the password, and the value of any
   other scheme is as a whole: there is no username then.
3. What the query says as ``authorization`` is a secret: it is taken out of the query before anything else sees it.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from mgate.errors import Denied, Kind
from mgate.http.answers import Refused

__all__ = ["NOBODY", "Credentials", "authorization_of", "credentials_of", "split_query"]

PARAMETER = b"authorization"
TOKEN = re.compile(rb"[\x21-\x7e]++(?: [\x21-\x7e]++)*+")
"""What an Authorization field may hold that is written anew."""


class Credentials(NamedTuple):
    """A username, or None, and a password, or None."""

    username: str | None
    password: bytes | None


NOBODY = Credentials(None, None)


def split_query(query: bytes) -> tuple[bytes, bytes | None]:
    """The query without its credentials, and those.

    Raises:
        Refused: 400, they are there twice.
    """
    if not query or (b"%" not in query and b"a" not in query.lower()):
        return query, None
    kept, found = [], None
    for pair in query.split(b"&"):
        name, _, value = pair.partition(b"=")
        if unquote_to_bytes(name.replace(b"+", b" ")).strip().lower() != PARAMETER:
            kept.append(pair)
        elif found is not None:
            raise Refused(400, "credentials are given twice", "ambiguous_credentials")
        else:
            found = unquote_to_bytes(value.replace(b"+", b"%20"))
    return b"&".join(kept), found


def credentials_of(field: bytes | None, parameter: bytes | None) -> Credentials:
    """What the Authorization field and the query parameter say.

    Raises:
        Refused: 400, they differ.
        Denied: they can not be read.
    """
    if field is None and parameter is None:
        return NOBODY
    if field is None or parameter is None:
        return _read(parameter or b"" if field is None else field)
    credentials = _read(field)
    if _read(parameter) != credentials:
        raise Refused(400, "the field and the query name different credentials", "ambiguous_credentials")
    return credentials


def _read(value: bytes) -> Credentials:
    scheme, _, rest = value.partition(b" ")
    kind = scheme.lower()
    if kind == b"basic":
        try:
            pair = b64decode(rest.strip(b" "), validate=True)
            username, colon, password = pair.partition(b":")
            text = username.decode("utf-8")
        except (binascii.Error, UnicodeDecodeError):
            raise Denied(Kind.BAD_CREDENTIALS, "the credentials can not be read") from None
        if not colon or not text.isprintable():
            raise Denied(Kind.BAD_CREDENTIALS, "the credentials can not be read")
        return Credentials(text, password)
    if not value:
        raise Denied(Kind.BAD_CREDENTIALS, "the credentials are empty")
    if kind == b"bearer":
        token = rest.strip(b" ")
        if not token or b" " in token:
            raise Denied(Kind.BAD_CREDENTIALS, "the credentials can not be read")
        return Credentials(None, token)
    return Credentials(None, value)


def authorization_of(credentials: Credentials) -> bytes | None:
    """The Authorization field that says the same: Basic with a username, else Bearer; a password of two words is a
    scheme of its own and what it names. None if there is nothing to say.

    Raises:
        ValueError: no field can say so.
    """
    username, password = credentials
    if username is not None:
        if ":" in username or not username.isprintable():
            raise ValueError("a username with a colon or control characters")
        return b"Basic " + b64encode(username.encode("utf-8") + b":" + (password or b""))
    if password is None:
        return None
    if TOKEN.fullmatch(password) is None:
        raise ValueError("a password that is no token needs a username")
    return password if b" " in password else b"Bearer " + password
