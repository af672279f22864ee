"""An OCSP responder and CRL distribution point for the certificates that certs/make_pki.py made.

Usage: python examples/ocsp_responder.py [FOLDER [PORT]]. To revoke a certificate, change its line in FOLDER/X-index.txt
from ``V<tab>expires<tab><tab>serial`` to ``R<tab>expires<tab>since<tab>serial``, with the time written alike; it counts
at once.
"""

import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.web.server import Request

from mgate.testing.authority import Authority
from mgate.testing.credential import Credential
from mgate.testing.responder import Responder

NAMES = ("root", "intermediate", "revoked-intermediate")


class FolderResponder(Responder):
    """Reads the index of each authority anew for each request."""

    def __init__(self, reactor: Any, folder: Path) -> None:
        files = {name: (folder / f"{name}.pem", folder / f"{name}.key") for name in NAMES}
        super().__init__(reactor, [Authority(name, Credential.load(*files[name])) for name in NAMES])
        self.folder = folder

    def render(self, request: Request) -> int:
        for authority in self.authorities:
            authority.read_index((self.folder / f"{authority.name}-index.txt").read_text())
        print("asked for", ascii(request.path.decode("latin-1")), flush=True)
        return super().render(request)


async def main(reactor: Any, folder: str = "certs", port: str = "8889") -> None:
    responder = FolderResponder(reactor, Path(folder))
    print("answering on", await responder.listen(int(port)), flush=True)
    await Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])
