"""`client.outbox`, of both clients: consumers, and what an operator does about dead letters."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from typing import Any

from statesidecar._channel import Connection
from statesidecar._consumers import AsyncConsumer, Consumer
from statesidecar._consuming import REMEMBERED
from statesidecar._effects import Plan
from statesidecar._states import States
from statesidecar.outbox import DeadLetter


class Outbox:
    """The outbox of a blocking client."""

    def __init__(
        self,
        calls: States,
        run: Callable[[Plan[Any]], Any],
        borrow: Callable[[], Connection],
        give_back: Callable[[Connection], None],
    ) -> None:
        self._calls = calls
        self._run = run
        self._borrow = borrow
        self._give_back = give_back

    def consume(
        self,
        namespace: str,
        topics: Iterable[str] = (),
        *,
        in_flight_max: int = 0,
        remember: int = REMEMBERED,
        reconnect_s: float | None = None,
    ) -> Consumer:
        """Messages of a namespace, of these topics (none: all), as long as they are asked for.

        `in_flight_max`: how many may wait for an acknowledgement; 0: the daemon's default. `remember`: so many ids, of
        which each is shown once; 0: a message is shown as often as it comes. `reconnect_s`: raises what is the matter
        when there was no stream for so long; None: never.
        """
        consuming = self._calls.consuming(
            namespace, topics, in_flight_max=in_flight_max, remember=remember, reconnect_s=reconnect_s
        )
        return Consumer(consuming, self._borrow, self._give_back)

    def dead_letters(
        self, namespace: str, *, page_size: int = 0, timeout_s: float | None = None
    ) -> Iterator[DeadLetter]:
        """Messages that were given up on, oldest first, a page at a time as they are asked for.

        `page_size` 0: the daemon's default. `timeout_s` is the time of each page.
        """
        token = ""
        while True:
            page = self._calls.dead_letters_page(namespace, token, page_size=page_size, timeout_s=timeout_s)
            letters, token = self._run(page)
            yield from letters
            if not token:
                return

    def redrive(
        self, namespace: str, ids: Iterable[str] = (), *, all_letters: bool = False, timeout_s: float | None = None
    ) -> int:
        """Puts dead letters back into the queue, under their ids: these, or `all_letters`; how many it was."""
        count: int = self._run(self._calls.redrive(namespace, ids, all_letters=all_letters, timeout_s=timeout_s))
        return count


class AsyncOutbox:
    """The outbox of an asyncio client."""

    def __init__(
        self,
        calls: States,
        run: Callable[[Plan[Any]], Coroutine[Any, Any, Any]],
        borrow: Callable[[], Connection],
        give_back: Callable[[Connection], Any],
    ) -> None:
        self._calls = calls
        self._run = run
        self._borrow = borrow
        self._give_back = give_back

    def consume(
        self,
        namespace: str,
        topics: Iterable[str] = (),
        *,
        in_flight_max: int = 0,
        remember: int = REMEMBERED,
        reconnect_s: float | None = None,
    ) -> AsyncConsumer:
        """Messages of a namespace, of these topics (none: all), as long as they are asked for.

        `in_flight_max`: how many may wait for an acknowledgement; 0: the daemon's default. `remember`: so many ids, of
        which each is shown once; 0: a message is shown as often as it comes. `reconnect_s`: raises what is the matter
        when there was no stream for so long; None: never.
        """
        consuming = self._calls.consuming(
            namespace, topics, in_flight_max=in_flight_max, remember=remember, reconnect_s=reconnect_s
        )
        return AsyncConsumer(consuming, self._borrow, self._give_back)

    async def dead_letters(
        self, namespace: str, *, page_size: int = 0, timeout_s: float | None = None
    ) -> AsyncIterator[DeadLetter]:
        """Messages that were given up on, oldest first, a page at a time as they are asked for.

        `page_size` 0: the daemon's default. `timeout_s` is the time of each page.
        """
        token = ""
        while True:
            page = self._calls.dead_letters_page(namespace, token, page_size=page_size, timeout_s=timeout_s)
            letters, token = await self._run(page)
            for letter in letters:
                yield letter
            if not token:
                return

    async def redrive(
        self, namespace: str, ids: Iterable[str] = (), *, all_letters: bool = False, timeout_s: float | None = None
    ) -> int:
        """Puts dead letters back into the queue, under their ids: these, or `all_letters`; how many it was."""
        count: int = await self._run(self._calls.redrive(namespace, ids, all_letters=all_letters, timeout_s=timeout_s))
        return count
