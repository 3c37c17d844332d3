"""Messages one by one, over sends that a test holds and fails."""

from __future__ import annotations

import asyncio

import pytest

from sidecar.core.sinks import UNTRIED, Delivery, Refused, SinkUnavailable
from sidecar.sinks.ordered import chains, one_by_one
from tests.sinks.messages import deliveries, message


class Sends:
    """Each send waits until it is told what becomes of it."""

    def __init__(self) -> None:
        self.under_way: dict[int, asyncio.Future[Refused | None]] = {}
        self.ended: list[int] = []

    async def __call__(self, delivery: Delivery) -> Refused | None:
        version = delivery.message.version
        self.under_way[version] = asyncio.get_running_loop().create_future()
        try:
            return await self.under_way[version]
        finally:
            del self.under_way[version]
            self.ended.append(version)


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_an_order_has_one_under_way_and_others_are_beside_it() -> None:
    call = deliveries([message("a"), message("b"), message("a"), message("b"), message("c")])
    [a1, b1, a2, b2, c1] = [delivery.message.version for delivery in call]
    sends = Sends()
    running = asyncio.create_task(one_by_one(call, sends))

    await settle()
    assert sends.under_way.keys() == {a1, b1, c1}
    sends.under_way[b1].set_result(None)
    await settle()
    assert sends.under_way.keys() == {a1, b2, c1}
    sends.under_way[a1].set_result(Refused("no"))
    for version in (b2, c1):
        sends.under_way[version].set_result(None)

    assert await running == [Refused("no"), None, UNTRIED, None, None]
    assert a2 not in sends.ended


async def test_after_a_failure_nothing_more_is_sent_and_what_is_under_way_is_waited_for() -> None:
    call = deliveries([message("a"), message("b"), message("a"), message("b")])
    [a1, b1, *_] = [delivery.message.version for delivery in call]
    sends = Sends()
    running = asyncio.create_task(one_by_one(call, sends))
    await settle()

    sends.under_way[a1].set_exception(SinkUnavailable("away"))
    await settle()
    assert not running.done()
    sends.under_way[b1].set_result(None)

    assert await running == [UNTRIED, None, UNTRIED, UNTRIED]
    assert sends.ended == [a1, b1]


async def test_a_failure_with_nothing_to_tell_is_raised() -> None:
    async def send(_: Delivery) -> Refused | None:
        raise SinkUnavailable("away", retry_after_s=7)

    with pytest.raises(SinkUnavailable) as told:
        await one_by_one(deliveries([message("a"), message("b")]), send)
    assert told.value.retry_after_s == 7


async def test_a_call_that_is_cancelled_ends_all_its_sends() -> None:
    sends = Sends()
    running = asyncio.create_task(one_by_one(deliveries([message("a"), message("b")]), sends))
    await settle()

    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    assert not sends.under_way
    assert len(sends.ended) == 2


async def test_nothing_is_nothing() -> None:
    assert await one_by_one([], Sends()) == []
    assert chains([]) == {}
