"""Dead letters over the wire: listed page by page, put back; and authorities that have none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from sidecar.core import paging
from sidecar.core.errors import OutcomeUnknown, StoreUnavailable
from sidecar.rpc import convert_outbox
from statesidecar.v1 import outbox_service_pb2 as pb
from statesidecar.v1.outbox_service_pb2_grpc import OutboxServiceStub
from tests.rpc.error_table import with_unknown
from tests.rpc.queues import NS, Queues, Served, buried, pending, served
from tests.support.clock import START_MS
from tests.support.statuses import refusal

INVALID = grpc.StatusCode.INVALID_ARGUMENT


@asynccontextmanager
async def offered(queues: Queues, directory: Path, **options: Any) -> AsyncIterator[tuple[Any, Served]]:
    """The stub of a served OutboxService."""
    async with served(queues, directory, **options) as (target, service), grpc.aio.insecure_channel(target) as channel:
        yield OutboxServiceStub(channel), service


def graves(*numbers: int, **fields: Any) -> Queues:
    """Messages that were given up on a second after each other, the first number's first."""
    queues = Queues()
    for at, number in enumerate(numbers):
        queues.buried.append(buried(pending(number, **fields), f"reason {number}", time=START_MS + 1000 * at))
    return queues


async def pages(stub: Any, **fields: Any) -> list[list[int]]:
    """Versions of every page."""
    found, token = [], ""
    while True:
        reply = await stub.ListDeadLetters(pb.ListDeadLettersRequest(namespace=NS, page_token=token, **fields))
        found.append([letter.message.version for letter in reply.dead_letters])
        token = reply.next_page_token
        if not token:
            return found


async def test_a_dead_letter_is_told_with_all_that_it_was(tmp_path: Path) -> None:
    async with offered(graves(12), tmp_path) as (stub, _):
        [letter] = (await stub.ListDeadLetters(pb.ListDeadLettersRequest(namespace=NS))).dead_letters

    message = letter.message
    assert (message.id, message.key, message.version, message.attempt) == (pending(12).id, "key 12", 12, 10)
    assert (message.message.topic, message.message.payload) == ("placed", b"payload 12")
    assert message.commit_time.ToMilliseconds() == START_MS + 12
    assert (letter.reason, letter.dead_time.ToMilliseconds()) == ("reason 12", START_MS)


async def test_pages_are_oldest_first_and_together_all(tmp_path: Path) -> None:
    queues = graves(5, 3, 4, 1, 2)
    queues.buried.append(buried(pending(9, namespace="other")))
    async with offered(queues, tmp_path) as (stub, _):
        assert await pages(stub) == [[5, 3, 4, 1, 2]]
        assert await pages(stub, page_size=2) == [[5, 3], [4, 1], [2]]
        assert await pages(stub, page_size=5) == [[5, 3, 4, 1, 2]]
        assert (await pages(stub, page_size=1))[-1] == [2]


async def test_the_default_page_has_a_hundred(tmp_path: Path) -> None:
    async with offered(graves(*range(1, 251)), tmp_path) as (stub, _):
        assert [len(page) for page in await pages(stub)] == [100, 100, 50]
        assert [len(page) for page in await pages(stub, page_size=1000)] == [250]


async def test_a_page_holds_what_fits_a_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert_outbox, "PAGE_BYTES_MAX", 1000)
    async with offered(graves(1, 2, 3, payload=bytes(600)), tmp_path) as (stub, _):
        assert await pages(stub) == [[1], [2], [3]]


async def test_letters_that_come_and_go_between_pages_hide_no_others(tmp_path: Path) -> None:
    queues = graves(1, 2, 3, 4)
    async with offered(queues, tmp_path) as (stub, _):
        first = await stub.ListDeadLetters(pb.ListDeadLettersRequest(namespace=NS, page_size=2))
        del queues.buried[:2]
        request = pb.ListDeadLettersRequest(namespace=NS, page_size=2, page_token=first.next_page_token)
        rest = await stub.ListDeadLetters(request)

    assert [letter.message.version for letter in rest.dead_letters] == [3, 4]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"page_size": -1}, "PAGE_SIZE_INVALID"),
        ({"page_size": 1001}, "PAGE_SIZE_INVALID"),
        ({"page_token": "x"}, "PAGE_TOKEN_INVALID"),
        ({"page_token": paging.page_token(NS, "", "key")}, "PAGE_TOKEN_INVALID"),
        ({"page_token": paging.page_token("dead letters\nother", "", "key")}, "PAGE_TOKEN_INVALID"),
        ({"namespace": ""}, "NAMESPACE_INVALID"),
    ],
)
async def test_a_list_that_can_not_be_is_refused(tmp_path: Path, fields: dict[str, Any], reason: str) -> None:
    async with offered(graves(1), tmp_path) as (stub, _):
        request = pb.ListDeadLettersRequest(**{"namespace": NS} | fields)
        assert (await refusal(stub.ListDeadLetters(request))).told == (INVALID, reason)


async def test_a_list_has_an_end_in_time(tmp_path: Path) -> None:
    queues = graves(1)
    queues.held = asyncio.Event()
    async with offered(queues, tmp_path, timeout_s=0.02) as (stub, service):
        refused = await refusal(stub.ListDeadLetters(pb.ListDeadLettersRequest(namespace=NS)))

    assert refused.told == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
    assert service.admission.in_flight == 0


async def test_those_that_are_named_are_put_back_and_counted(tmp_path: Path) -> None:
    queues = graves(1, 2, 3)
    ids = [pending(1).id, pending(3).id, pending(3).id, pending(77).id, "what"]
    async with offered(queues, tmp_path) as (stub, _):
        reply = await stub.Redrive(pb.RedriveRequest(namespace=NS, ids=ids))
        again = await stub.Redrive(pb.RedriveRequest(namespace=NS, ids=ids))
        left = await pages(stub)

    assert (reply.redriven_count, again.redriven_count, left) == (2, 0, [[2]])
    assert sorted(queues.waiting) == [pending(1).id, pending(3).id]


async def test_all_are_put_back_if_it_is_said(tmp_path: Path) -> None:
    async with offered(graves(1, 2, 3), tmp_path) as (stub, _):
        assert (await stub.Redrive(pb.RedriveRequest(namespace=NS, all=True))).redriven_count == 3
        assert (await stub.Redrive(pb.RedriveRequest(namespace=NS, all=True))).redriven_count == 0


@pytest.mark.parametrize("fields", [{}, {"ids": ["x"], "all": True}], ids=["neither", "both"])
async def test_those_that_are_not_named_stay(tmp_path: Path, fields: dict[str, Any]) -> None:
    queues = graves(1)
    async with offered(queues, tmp_path) as (stub, _):
        refused = await refusal(stub.Redrive(pb.RedriveRequest(namespace=NS, **fields)))

    assert refused.told == (INVALID, "DEAD_LETTERS_UNNAMED")
    assert len(queues.buried) == 1


async def test_a_redrive_goes_on_when_its_caller_is_gone(tmp_path: Path) -> None:
    queues = graves(1)
    queues.held = asyncio.Event()
    async with offered(queues, tmp_path) as (stub, service):
        call = stub.Redrive(pb.RedriveRequest(namespace=NS, all=True))
        await queues.reached.wait()
        call.cancel()
        while service.admission.in_flight:  # noqa: ASYNC110  # a count that has no signal
            await asyncio.sleep(0)
        assert len(service.commits) == 1
        queues.held.set()
        await service.commits.finish()

    assert not queues.buried


async def test_a_redrive_whose_time_runs_out_is_unknown(tmp_path: Path) -> None:
    queues = graves(1)
    queues.held = asyncio.Event()
    async with offered(queues, tmp_path) as (stub, service):
        refused = await refusal(stub.Redrive(pb.RedriveRequest(namespace=NS, all=True), timeout=0.2))
        queues.held.set()
        await service.commits.finish()

    assert refused.told == (grpc.StatusCode.DEADLINE_EXCEEDED, "WRITE_OUTCOME_UNKNOWN")
    assert "list them" in refused.message


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (StoreUnavailable("away"), (grpc.StatusCode.UNAVAILABLE, "AUTHORITY_UNAVAILABLE")),
        (OutcomeUnknown("one of two"), (grpc.StatusCode.UNKNOWN, "WRITE_OUTCOME_UNKNOWN")),
    ],
)
async def test_a_redrive_that_fails_says_how(tmp_path: Path, error: Any, told: tuple[grpc.StatusCode, str]) -> None:
    queues = graves(1)
    queues.error = error
    async with offered(queues, tmp_path) as (stub, service):
        assert (await refusal(stub.Redrive(pb.RedriveRequest(namespace=NS, all=True)))).told == told

    assert service.admission.in_flight == 0


async def test_calls_are_admitted_and_known_in_every_field(tmp_path: Path) -> None:
    calls = {
        "ListDeadLetters": pb.ListDeadLettersRequest(namespace=NS),
        "Redrive": pb.RedriveRequest(namespace=NS, all=True),
    }
    async with offered(graves(1), tmp_path) as (stub, service):
        for name, request in calls.items():
            newer = await refusal(getattr(stub, name)(with_unknown(request)))
            assert newer.told == (INVALID, "FIELD_UNKNOWN")
        await service.admission.drain()
        for name, request in calls.items():
            late = await refusal(getattr(stub, name)(request))
            assert late.told == (grpc.StatusCode.UNAVAILABLE, "DRAINING")


async def test_an_authority_that_keeps_no_messages_has_no_consumers_and_no_letters(tmp_path: Path) -> None:
    async with offered(graves(1), tmp_path) as (stub, service):
        service.authority.capabilities = replace(service.authority.capabilities, quiet=False)
        consume = stub.Consume()
        await consume.write(pb.ConsumeRequest(namespace=NS))
        for call in (
            consume.read(),
            stub.ListDeadLetters(pb.ListDeadLettersRequest(namespace=NS)),
            stub.Redrive(pb.RedriveRequest(namespace=NS, all=True)),
        ):
            assert (await refusal(call)).told == (grpc.StatusCode.UNIMPLEMENTED, "CAPABILITY_MISSING")
