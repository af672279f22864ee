"""Telling systemd that the service is ready or about to stop, as sd_notify(3) does. Called by `mgate.service`."""

from __future__ import annotations

import socket
from collections.abc import Mapping

__all__ = ["notify"]


def notify(state: str, environ: Mapping[str, str]) -> bool:
    """Send `state`, such as ``"READY=1"``, to the socket that ``NOTIFY_SOCKET`` names.

    Returns:
        Whether it was sent. Without that variable nobody waits for it, and nothing is done.

    Raises:
        OSError: the socket is named, but cannot be written to.
    """
    address = environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):  # the abstract name space of Linux
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.connect(address)
        sender.sendall(state.encode())
    return True
