"""Makes the certificates of the TLS workloads, anew for each run: `Rig` starts it, with mgate on the path.

    python benchmarks/certificates.py FOLDER

writes ``rsa.pem`` and ``p256.pem`` for the gateway, ``device.pem`` for devices and ``ca.pem``, who signed them. The key
of each lies in ``<name>.pem.key``, which is where HAProxy looks for it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from mgate.testing.credential import replace_file
from mgate.testing.pki import Pki


def main(folder: Path) -> None:
    """Write them into a folder that exists."""
    pki = Pki.make()
    for name, credential in {"rsa": pki.rsa_server(), "p256": pki.server, "device": pki.clients["good"]}.items():
        replace_file(folder / f"{name}.pem", credential.pem)
        replace_file(folder / f"{name}.pem.key", credential.key_pem)
    replace_file(folder / "ca.pem", pki.trust_bundle)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
