#!/usr/bin/env python3
"""Make a test PKI: certificate authorities, a server, devices good and bad, OCSP delegates, CRLs.

Usage: python certs/make_pki.py [FOLDER]; README says what each file is for.
"""

import argparse
import sys
from pathlib import Path

from mgate.testing.pki import Pki

URL = "http://127.0.0.1:8889"
"""Where examples/ocsp_responder.py listens."""


def main() -> int:
    """Make it, and list what was written. Returns the exit code: 1 if the folder cannot be written to."""
    parser = argparse.ArgumentParser(description="Make a test PKI. What an earlier run made is replaced.")
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).parent, help="default: certs/")
    parser.add_argument("--url", default=URL, help=f"of the responder that certificates name; default: {URL}")
    parser.add_argument("--name", action="append", default=[], help="one more name or address of the server")
    options = parser.parse_args()
    try:
        for path in Pki.make(options.url, names=options.name).write(options.folder):
            print(path)
    except (OSError, ValueError) as error:
        print(f"make_pki: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
