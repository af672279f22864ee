"""A handler that judges connections only: no PUBLISH is decoded, all are still checked against the protocol."""

from __future__ import annotations

from mgate.handler import Handler, Session, plugin


class Unwatched(Handler):
    """Is asked when a device connects, and about nothing else."""

    def auth_connect(self, session: Session) -> None:
        return None


unwatched = plugin("unwatched", Unwatched)
