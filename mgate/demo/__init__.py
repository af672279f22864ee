"""`mgate demo`: the embedded broker, the bundled client, and example handlers, so that nothing else need be installed.

The broker is for demonstrations and for tests, not for production.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo until Ctrl-C; called by the `mgate` command with what follows ``demo``. Returns the exit code."""
    try:
        from mgate.demo.stage import run  # who needs only the broker does not load a gateway

        return run(argv)
    except KeyboardInterrupt:  # Ctrl-C before the reactor listens to it
        return 0
