"""The requests that the target has not answered yet, for the handlers to be told and for codes to be merged."""

from __future__ import annotations

from mgate.errors import Denied, Kind
from mgate.mqtt.subscribing import Request

__all__ = ["Exchanges"]

REQUESTS_MOST = 512 * 1024
"""Bytes of topic filters that may wait for SUBACK and UNSUBACK; a target that never answers ends the connection."""


class Exchanges:
    """SUBSCRIBE and UNSUBSCRIBE of one connection, by packet identifier; and which filters were rewritten."""

    __slots__ = ("_renamed", "_requests", "_requests_size", "_rewritten_most")

    def __init__(self, rewritten_most: int) -> None:
        self._requests: dict[int, Request] = {}
        self._requests_size = 0
        self._renamed: dict[str, list[str]] = {}
        self._rewritten_most = rewritten_most

    def asked(self, packet_id: int, request: Request) -> None:
        """A SUBSCRIBE or UNSUBSCRIBE was forwarded. Raises Denied if the target leaves too many unanswered."""
        self.answered(packet_id)
        self._requests[packet_id] = request
        self._requests_size += request.size
        if self._requests_size > REQUESTS_MOST + request.size:
            raise Denied(Kind.QUOTA, "too many requests that the target has not answered")

    def answered(self, packet_id: int) -> Request | None:
        """The request that a SUBACK or UNSUBACK answers."""
        request = self._requests.pop(packet_id, None)
        if request is not None:
            self._requests_size -= request.size
        return request

    def rename(self, asked: str, sent: list[str]) -> None:
        """Remember which filters stand for one of the device, for its UNSUBSCRIBE. Raises Denied if there are too
        many."""
        if sent == [asked]:
            self._renamed.pop(asked, None)
        elif len(self._renamed) >= self._rewritten_most and asked not in self._renamed:
            raise Denied(Kind.QUOTA, "more rewritten topic filters than allowed")
        else:
            self._renamed[asked] = sent

    def original(self, asked: str) -> list[str]:
        """The filters to unsubscribe from where the device names `asked`; forgets them."""
        return self._renamed.pop(asked, None) or [asked]
