"""How much the table holds: all of it is read where that is little, else a sample of its pages.

On a connection of its own, which is opened for it: nobody waits behind it. The server ends what takes too long, and the
next sample is smaller.
"""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.core.errors import StoreUnavailable
from sidecar.core.ledger import LEDGER
from sidecar.core.marks import BLOB_STORED
from sidecar.core.observed import Census, Held
from sidecar.stores.postgres.arrays import integer
from sidecar.stores.postgres.connector import Connector
from sidecar.stores.postgres.errors import ConnectionLost, ServerError, is_canceled, store_error
from sidecar.stores.postgres.wire import Row, Session

PAGES_MAX = 4_096
"""32 MiB in pages of 8 KiB; values above 2 KiB are not in them. Each of many daemons reads that much."""
PAGES_MIN = 256
STATEMENT_S = 5.0
LOCK_S = 0.1
MILLION = 1_000_000

_LEDGER = LEDGER.encode()


class Counter:
    """Counts, when asked to. `pages_max` is how much of the table it reads at most."""

    def __init__(self, connector: Connector, *, pages_max: int = PAGES_MAX) -> None:
        self.pages_max = pages_max
        self._connector = connector

    async def census(self) -> Census:
        """What is live. Raises SidecarError."""
        session = await self._connector.connect_aside()
        try:
            return await self._count(session)
        except ServerError as exc:
            if is_canceled(exc):
                self.pages_max = max(self.pages_max // 4, PAGES_MIN)
                raise StoreUnavailable(f"a count took longer than {STATEMENT_S:g} s; the next reads less") from exc
            raise store_error(exc) from exc
        except ConnectionLost as exc:
            raise store_error(exc) from exc
        finally:
            session.close()

    async def _count(self, session: Session) -> Census:
        queries = self._connector.queries
        bounds = (_milliseconds(LOCK_S), _milliseconds(STATEMENT_S))
        bound = (queries["bound count"], bounds)
        (((*_, pages),),) = await session.exchange([bound])
        millionths = MILLION if pages <= self.pages_max else max(MILLION * self.pages_max // pages, 1)
        count = (queries["count entries"], (BLOB_STORED, integer(millionths)))
        _, rows = await session.exchange([bound, count], timeout_s=STATEMENT_S + self._connector.timeout_s)
        return _census(rows, millionths)


def _census(rows: Sequence[Row], millionths: int) -> Census:
    scale = MILLION / millionths
    held: dict[str, Held] = {}
    away: dict[str, Held] = {}
    for namespace, entries, size, away_entries, away_size in rows:
        if namespace != _LEDGER:
            name = namespace.decode(errors="replace")
            held[name] = Held(round(entries * scale), round(size * scale))
            if away_entries:
                away[name] = Held(round(away_entries * scale), round(away_size * scale))
    return Census(held=held, away=away, estimated=millionths < MILLION)


def _milliseconds(seconds: float) -> bytes:
    return b"%d" % round(seconds * 1000)
