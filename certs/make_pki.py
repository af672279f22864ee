#!/usr/bin/env python3
"""Make a test PKI: certificate authorities, a server, devices good and bad, OCSP delegates, CRLs.

Usage: python certs/make_pki.py [FOLDER], and later python certs/make_pki.py --revoke client-good [FOLDER]; README.md
says what each file is for.
"""

import argparse
import sys
from pathlib import Path

from mgate.testing.pki import Pki, revoke

URL = "http://127.0.0.1:8889"
"""Where examples/ocsp_responder.py listens."""


def main() -> int:
    """Make it, and list what was written. Returns the exit code: 1 if that could not be done."""
    parser = argparse.ArgumentParser(description="Make a test PKI. What an earlier run made is replaced.")
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).parent, help="default: certs/")
    parser.add_argument("--url", default=URL, help=f"of the responder that certificates name; default: {URL}")
    parser.add_argument("--name", action="append", default=[], help="one more name or address of the server")
    parser.add_argument("--revoke", metavar="NAME", help="make nothing, but revoke the certificate in NAME.pem")
    options = parser.parse_args()
    try:
        if options.revoke:
            written = revoke(options.folder, options.revoke.removesuffix(".pem"))
        else:
            written = Pki.make(options.url, names=options.name).write(options.folder)
        for path in written:
            print(path)
    except (OSError, ValueError) as error:
        print(f"make_pki: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
