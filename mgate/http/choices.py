"""What an operator chooses for an HTTP listener; one frozen value for each."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DEFAULT", "Choices"]


@dataclass(frozen=True, slots=True)
class Choices:
    """The choices of one HTTP listener.

    Attributes:
        path_prefix: what is served: this path and all below it, by whole segments. ``""`` serves everything.
        strip_prefix: the target, and so the topic, has the path without the prefix.
        target_path: below which the path for the target must be then; ``""`` for any.
        target_host: Host field for the target, ``b"broker:8008"``.
        bypass: regular expressions for decoded canonical paths that go to the target unasked; each must match the
            whole path.
        origins: what an Origin field may say, if there is one; with none here, anything.
        hosts: names, beside the address that was connected to and ``localhost``, that a request target in absolute
            form may have.
        forward_token: leave ``?authorization=`` in the query for the target.
        secure: the listener has TLS; told to the target as X-Forwarded-Proto.
    """

    path_prefix: str = ""
    strip_prefix: bool = False
    target_path: str = ""
    target_host: bytes = b"localhost"
    bypass: tuple[str, ...] = ("/health", "/metrics")
    origins: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    forward_token: bool = False
    secure: bool = False


DEFAULT = Choices()
