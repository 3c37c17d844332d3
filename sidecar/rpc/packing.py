"""A BatchGet's values in one piece: what costs is a message for each entry, and a vector needs none of what is in it."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

from sidecar.core.entry import Entry
from sidecar.core.errors import InvalidRequest
from sidecar.core.modes import ServingMode, Tier
from sidecar.rpc import convert
from sidecar.tiers.reading import Lookup
from statesidecar.v1 import state_service_pb2 as pb

_VALUE, _VERSION, _TYPE = attrgetter("value"), attrgetter("version"), attrgetter("content_type")
_MISS = Entry("", "", b"", 0, 0, 0)
"""Stands for what is not there: it packs as nothing, of no version."""


def weakest(lookups: Sequence[Lookup]) -> tuple[ServingMode, bool]:
    """The weakest guarantee of all, and whether newer versions of some may exist."""
    # Hardly any is not as usual, and asking each for its mode is what takes the time.
    odd = [found for found in lookups if found.stale_possible or found.tier is Tier.NONE]
    if not odd:
        return ServingMode.NORMAL, False
    return max(found.mode for found in odd), any(found.stale_possible for found in odd)


def check_size(size: int, bytes_max: int) -> None:
    """RESPONSE_TOO_LARGE for values that have more bytes together than fit one message."""
    if size > bytes_max:
        raise InvalidRequest(
            f"the values have {size} bytes together, at most {bytes_max} fit one response; ask for fewer keys",
            reason="RESPONSE_TOO_LARGE",
            field="keys",
        )


def packed(lookups: Sequence[Lookup], bytes_max: int) -> pb.BatchGetResponse:
    """The response with `packed` values. Raises InvalidRequest (RESPONSE_TOO_LARGE)."""
    copies = [found.copy for found in lookups]
    entries = [copy if type(copy) is Entry else _MISS for copy in copies]
    values = list(map(_VALUE, entries))
    sizes = list(map(len, values))
    check_size(sum(sizes), bytes_max)
    mode, stale_possible = weakest(lookups)
    response = pb.BatchGetResponse(mode=convert.wire(mode))
    # Set where they are to be: a message that is given to another's constructor is copied, with all values.
    pack = response.packed
    pack.values = b"".join(values)
    pack.sizes.extend(sizes)
    pack.versions.extend(map(_VERSION, entries))
    pack.stale_possible = stale_possible
    types = dict.fromkeys(map(_TYPE, [entry for entry in entries if entry is not _MISS]))
    numbers = {name: number for number, name in enumerate(types)}
    pack.content_types.extend(numbers)
    if len(numbers) > 1:
        pack.content_type_indexes.extend([numbers.get(entry.content_type, 0) for entry in entries])
    return response
