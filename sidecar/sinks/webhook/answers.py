"""What an endpoint's answer says of a message."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from sidecar.core.ports import Clock
from sidecar.core.sinks import Refused, SinkUnavailable

RETRY_AFTER_S, RETRY_AFTER_S_MAX = 1.0, 300.0
_OF_THE_ENDPOINT = frozenset({401, 407, 408, 429, 503})
"""What says nothing of the message: nobody is let in, or nobody now."""
_NEVER = frozenset({413, 415, 422, 431})
"""Too large, of a type that is not taken, not to be processed, too much in headers: the same message stays so."""


def receipt(status: int, headers: Mapping[str, str], host: str, clock: Clock) -> Refused | None:
    """The receipt for an answer. Raises SinkUnavailable."""
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return None
    said = f"{host} answered {status}{_phrase(status)}"
    if status in _OF_THE_ENDPOINT:
        raise SinkUnavailable(said, retry_after_s=_retry_after_s(headers.get("Retry-After", ""), clock))
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        said = f"{said}: redirects are not followed, write where it leads to"
    return Refused(said, permanent=status in _NEVER)


def _phrase(status: int) -> str:
    try:
        return f" {HTTPStatus(status).phrase}"
    except ValueError:
        return ""


def _retry_after_s(text: str, clock: Clock) -> float:
    """Seconds that an answer asks us to wait, as a number or a date; the default for what is neither."""
    if text.isascii() and text.isdigit():
        seconds = float(text[:9])
    else:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - clock.now() / 1000
        except ValueError:
            seconds = RETRY_AFTER_S
    return min(max(seconds, 0.0), RETRY_AFTER_S_MAX)
