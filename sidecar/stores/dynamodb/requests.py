"""Request ids as items: what each stands for, and what it did."""

from __future__ import annotations

from typing import Any

from sidecar.core.errors import store_corrupt
from sidecar.core.operations import WriteId
from sidecar.stores import records
from sidecar.stores.dynamodb.items import Item, Names, shard_of


def encode(names: Names, namespace: str, request: WriteId, recorded: records.Recorded, now: int) -> Item:
    """The item of what a request id did."""
    row = records.encode(namespace, request, recorded, now)
    return names.request(namespace, request.request_id) | {
        "q": {"S": names.requests(shard_of(row.request_id))},
        "t": {"N": str(row.create_time)},
        "f": {"B": row.fingerprint},
        "o": {"S": row.outcome.decode()},
        "r": {"B": row.returned},
        "d": {"N": str(row.checksum)},
    }


def decode(namespace: str, request: WriteId, item: Item) -> records.Recorded:
    """What the item tells. Raises REQUEST_ID_REUSED, or DataLoss."""
    try:
        row = records.RequestRow(
            namespace=namespace.encode(),
            request_id=request.request_id.encode(),
            fingerprint=item["f"]["B"],
            create_time=int(item["t"]["N"]),
            checksum=int(item["d"]["N"]),
            outcome=item["o"]["S"].encode(),
            returned=item["r"]["B"],
        )
    except (KeyError, ValueError) as exc:
        raise store_corrupt("what a request id did does not verify") from exc
    return records.decode(request, row)


def unchanged(item: Item | None) -> dict[str, Any]:
    """The condition that nothing else was recorded since the item was loaded."""
    if item is None:
        return {"ConditionExpression": "attribute_not_exists(p)"}
    return {"ConditionExpression": "o = :loaded", "ExpressionAttributeValues": {":loaded": item["o"]}}
