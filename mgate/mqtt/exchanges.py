"""The requests that the target has not answered yet, for the handlers to be told and for codes to be merged."""

from __future__ import annotations

from mgate.errors import Denied, Kind
from mgate.mqtt.subscribing import Request

__all__ = ["Exchanges"]

RENAMED_MOST = 256 * 1024
"""Characters of topic filters that are remembered because they were rewritten."""
REQUESTS_MOST = 512 * 1024
"""Bytes of topic filters that may wait for SUBACK and UNSUBACK; a target that never answers ends the connection."""


class Exchanges:
    """SUBSCRIBE and UNSUBSCRIBE of one connection, by packet identifier; and which filters were rewritten."""

    __slots__ = ("_renamed", "_renamed_size", "_requests", "_requests_size", "_rewritten_most")

    def __init__(self, rewritten_most: int) -> None:
        self._requests: dict[int, list[Request]] = {}
        self._requests_size = 0
        self._renamed: dict[str, list[str]] = {}
        self._renamed_size = 0
        self._rewritten_most = rewritten_most

    def asked(self, packet_id: int, request: Request) -> None:
        """A SUBSCRIBE or UNSUBSCRIBE is forwarded. Raises Denied if the target leaves too many unanswered."""
        if self._requests_size > REQUESTS_MOST:
            raise Denied(Kind.QUOTA, "too many requests that the target has not answered")
        # A device that uses an identifier twice gets two answers, in order.
        self._requests.setdefault(packet_id, []).append(request)
        self._requests_size += request.size

    def answered(self, packet_id: int) -> Request | None:
        """The request that a SUBACK or UNSUBACK answers."""
        waiting = self._requests.get(packet_id)
        if waiting is None:
            return None
        request = waiting.pop(0)
        self._requests_size -= request.size
        if not waiting:
            del self._requests[packet_id]
        return request

    def rename(self, asked: str, sent: list[str]) -> None:
        """Remember which filters stand for one of the device, for its UNSUBSCRIBE. Raises Denied if there are too
        many."""
        self.original(asked)
        if sent == [asked]:
            return
        size = len(asked) + sum(map(len, sent))
        if len(self._renamed) >= self._rewritten_most or self._renamed_size + size > RENAMED_MOST:
            raise Denied(Kind.QUOTA, "more rewritten topic filters than allowed")
        self._renamed[asked] = sent
        self._renamed_size += size

    def original(self, asked: str) -> list[str]:
        """The filters to unsubscribe from where the device names `asked`; forgets them."""
        sent = self._renamed.pop(asked, None)
        if sent is None:
            return [asked]
        self._renamed_size -= len(asked) + sum(map(len, sent))
        return sent
