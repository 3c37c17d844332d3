"""What is exported, a page at a time, each with the token by which a later run goes on after it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sidecar.cli.export.rows import Row, checkpoint_row, entry_row
from statesidecar import errors
from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1.types_pb2 import SERVING_MODE_PASSTHROUGH

if TYPE_CHECKING:
    from sidecar.cli.admin_client import AdminClient

# Each is read by a call of its own, and may be large: progress is kept between pages.
_CHECKPOINTS_A_PAGE: Final = 10


@dataclass(frozen=True, slots=True)
class Page:
    """Rows, read as they are asked for, and the token of the next page; empty: this is the last."""

    rows: Iterator[Row]
    next_token: str


def entry_pages(client: AdminClient, namespace: str, prefix: str, token: str) -> Iterator[Page]:
    """The entries whose keys begin with `prefix`, in key order, after the page that gave the token."""
    more = True
    while more:
        # No page size of ours: an operator may allow less. The daemon bounds a page in bytes, too.
        request = pb.ListRequest(namespace=namespace, key_prefix=prefix, page_token=token)
        reply = _ask(client, "List", request)
        token = reply.next_page_token
        more = bool(token)
        yield Page(map(entry_row, reply.entries), token)


def checkpoint_pages(client: AdminClient, namespace: str, token: str) -> Iterator[Page]:
    """The entries of every checkpoint of a namespace, the newest checkpoint first."""
    more = True
    while more:
        request = pb.ListCheckpointsRequest(namespace=namespace, page_size=_CHECKPOINTS_A_PAGE, page_token=token)
        reply = _ask(client, "ListCheckpoints", request)
        token = reply.next_page_token
        more = bool(token)
        yield Page(_members(client, namespace, reply.checkpoints), token)


def _members(client: AdminClient, namespace: str, checkpoints: Any) -> Iterator[Row]:
    for checkpoint in checkpoints:
        request = pb.GetCheckpointRequest(namespace=namespace, checkpoint_id=checkpoint.checkpoint_id)
        try:
            reply = _ask(client, "GetCheckpoint", request)
        except errors.NotFound:
            continue  # Deleted since it was listed
        for entry in reply.entries:
            yield checkpoint_row(reply.checkpoint, entry)


def _ask(client: AdminClient, rpc: str, request: Any) -> Any:
    """A reply as the daemon sends it: pages with their tokens are no call of the client. Raises as its calls do."""
    reply = client._run(client._plans.ask(rpc, request))  # noqa: SLF001  # as AdminClient's own calls
    if reply.mode == SERVING_MODE_PASSTHROUGH:
        raise errors.Unavailable(errors.PASSTHROUGH, "the authority is away and was not asked")
    return reply
