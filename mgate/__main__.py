"""``python -m mgate``, and what the `mgate` command calls."""

from __future__ import annotations

import sys

from mgate import cli

__all__ = ["main"]


def main() -> None:
    """Run the command line of this process and end with its exit code."""
    sys.exit(cli.main())


if __name__ == "__main__":
    main()
