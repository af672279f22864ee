"""What ``twistd mgate`` loads once it is chosen: the options now, the gateway itself when it is assembled."""

from __future__ import annotations

from twisted.application.service import IService

from mgate.options import Options

__all__ = ["Options", "makeService"]


def makeService(options: Options) -> IService:
    """Called by twistd with parsed options. The heavy imports wait until here, so that a wrong option fails fast."""
    from mgate.service import makeService as assemble

    return assemble(options)
