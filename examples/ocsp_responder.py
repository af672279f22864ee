"""An OCSP responder and CRL distribution point for the certificates that certs/make_pki.py made.

Usage: python examples/ocsp_responder.py [FOLDER [PORT]]. What ``python certs/make_pki.py --revoke client-good`` revokes
meanwhile is revoked for whoever asks next.
"""

import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.web.server import Request

from mgate.testing.authority import Authority
from mgate.testing.responder import Responder

NAMES = ("root", "intermediate", "revoked-intermediate")


class FolderResponder(Responder):
    """Reads the index of each authority anew for each request."""

    def __init__(self, reactor: Any, folder: Path) -> None:
        super().__init__(reactor, [Authority.load(folder, name) for name in NAMES])
        self.folder = folder

    def render(self, request: Request) -> int:
        for authority in self.authorities:
            authority.read_index((self.folder / f"{authority.name}-index.txt").read_text())
        print("asked for", ascii(request.path.decode("latin-1")), flush=True)
        return super().render(request)


async def main(reactor: Any, folder: str = "certs", port: str = "8889") -> None:
    try:
        responder = FolderResponder(reactor, Path(folder))
    except OSError as error:
        raise SystemExit(f"{error}: make it with python certs/make_pki.py") from None
    print("answering on", await responder.listen(int(port)), flush=True)
    await Deferred()


if __name__ == "__main__":
    if {"-h", "--help"} & set(sys.argv):
        raise SystemExit((__doc__ or "").strip())
    react(main, sys.argv[1:])
