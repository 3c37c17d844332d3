"""`python -m tests.chaos.planted NAME serve ...`: the daemon with a defect, as somebody might have written it; `none`: without.

Each replaces a piece of production code in this process, then the command line runs as usual. What each is, and which
verdict shows it, is in `tests.chaos.planted_table`.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sidecar.core.entry import Tombstone
from sidecar.core.errors import OutcomeUnknown, StoreUnavailable, VersionConflict
from tests.chaos import stepped

NONE = "none"
DEFECTS: dict[str, Callable[[], None]] = {}
"""What to do to the code, by name."""


def defect(plant: Callable[[], None]) -> Callable[[], None]:
    """Register one, under its name with dashes."""
    DEFECTS[plant.__name__.replace("_", "-")] = plant
    return plant


def _wrap(owner: Any, name: str, wrapper: Callable[[Any], Any]) -> None:
    setattr(owner, name, wrapper(getattr(owner, name)))


def _unknown_as(error: Callable[[Any], Exception]) -> None:
    """What nobody knows of a write is told as something definite."""
    from sidecar.stores.postgres.store import PostgresStore

    def wrapper(commit: Any) -> Any:
        async def planted(self: Any, write: Any) -> Any:
            try:
                return await commit(self, write)
            except OutcomeUnknown:
                raise error(write.operations[0]) from None

        return planted

    _wrap(PostgresStore, "commit", wrapper)


@defect
def unknown_told_as_conflict() -> None:
    def conflict(operation: Any) -> Exception:
        expected = getattr(operation, "expected_version", None) or 0
        return VersionConflict(key=operation.key, expected_version=expected, current_version=0)

    _unknown_as(conflict)


@defect
def unknown_told_as_unavailable() -> None:
    _unknown_as(lambda _: StoreUnavailable("the connection was lost"))


@defect
def replays_without_request_id() -> None:
    from sidecar.engine.settling import Settler

    def wrapper(settle: Any) -> Any:
        async def planted(self: Any, space: Any, write: Any, **options: Any) -> Any:
            fresh = replace(write.request, request_id=os.urandom(8).hex())
            return await settle(self, space, replace(write, request=fresh), **options)

        return planted

    _wrap(Settler, "settle", wrapper)


@defect
def request_ids_ignored() -> None:
    from sidecar.stores.postgres.store import PostgresStore

    def wrapper(commit: Any) -> Any:
        return lambda self, write: commit(self, replace(write, request=None))

    _wrap(PostgresStore, "commit", wrapper)


@defect
def cas_on_absent_succeeds() -> None:
    from sidecar.core import operations

    def wrapper(guard: Any) -> Any:
        def planted(key: str, expected: int | None, entry: Any, version: int) -> None:
            if entry is not None:
                guard(key, expected, entry, version)

        return planted

    _wrap(operations, "_guard", wrapper)


@defect
def rows_not_locked() -> None:
    _statement("lock entries", "FOR NO KEY UPDATE", "OFFSET 0")


@defect
def commits_not_durable() -> None:
    """And a crash of PostgreSQL forgets the last of them."""
    _statement(
        "bound transaction",
        "WHEN 'off' THEN 'on'\n    ELSE current_setting('synchronous_commit') END",
        "WHEN '' THEN '' ELSE 'off' END",
    )


def _statement(name: str, old: str, new: str) -> None:
    from sidecar.stores.postgres import queries

    statements = dict(queries._statements())
    assert old in statements[name], "the statement has changed"
    statements[name] = statements[name].replace(old, new)
    queries._statements = lambda: statements  # type: ignore[assignment]


def _cache(name: str) -> None:
    """One of the wrong caches of the race, in the place of ours."""
    from sidecar.stores import redis
    from tests.stores.redis import wrong_protocols

    redis.RedisCache = getattr(wrong_protocols, name)  # type: ignore[misc]


@defect
def writers_create_copies() -> None:
    _cache("CreatingCache")


@defect
def fills_without_lease() -> None:
    _cache("UnguardedCache")


@defect
def fills_guarded_by_version_only() -> None:
    _cache("VersionGuardedCache")


@defect
def changes_not_repaired() -> None:
    from sidecar.tiers.repair import Repairer

    async def planted(self: Any, page: Any) -> None:
        del self, page

    Repairer._tell = planted  # type: ignore[method-assign]


@defect
def deletions_not_told() -> None:
    from sidecar.core.store import ChangeKind
    from sidecar.stores.postgres.transaction import Transaction
    from sidecar.stores.redis.cache import RedisCache

    def wrapper(apply: Any) -> Any:
        async def planted(self: Any, namespace: str, copies: Sequence[Any], *, generation: int) -> None:
            rest = [copy for copy in copies if not isinstance(copy, Tombstone)]
            await apply(self, namespace, rest, generation=generation)

        return planted

    def silent(announce: Any) -> Any:
        def planted(self: Any, namespace: bytes, key: bytes, version: int, kind: Any) -> None:
            if kind is not ChangeKind.DELETE:
                announce(self, namespace, key, version, kind)

        return planted

    _wrap(RedisCache, "apply", wrapper)
    _wrap(Transaction, "announce", silent)


@defect
def min_version_ignored() -> None:
    from sidecar.engine.reads import Reads

    def wrapper(get: Any) -> Any:
        async def planted(self: Any, namespace: str, keys: Sequence[str], **given: Any) -> Any:
            return await get(self, namespace, keys, **given | {"floors": (0,) * len(keys)})

        return planted

    _wrap(Reads, "get", wrapper)


@defect
def strong_reads_from_cache() -> None:
    from sidecar.engine.reads import Reads

    def wrapper(get: Any) -> Any:
        async def planted(self: Any, namespace: str, keys: Sequence[str], **given: Any) -> Any:
            return await get(self, namespace, keys, **given | {"strong": False})

        return planted

    _wrap(Reads, "get", wrapper)


@defect
def outage_told_as_miss() -> None:
    from sidecar.stores.postgres.store import PostgresStore

    def wrapper(get: Any) -> Any:
        async def planted(self: Any, namespace: str, keys: Sequence[str], **given: Any) -> Any:
            try:
                return await get(self, namespace, keys, **given)
            except StoreUnavailable:
                return [None] * len(keys)

        return planted

    _wrap(PostgresStore, "get", wrapper)


@defect
def passthrough_claims_committed() -> None:
    from sidecar.core.modes import Durability, ServingMode
    from sidecar.engine.writes import Writes

    def wrapper(write: Any) -> Any:
        async def planted(self: Any, *arguments: Any, **given: Any) -> Any:
            written = await write(self, *arguments, **given)
            if written.durability is Durability.DISCARDED:
                return replace(written, durability=Durability.COMMITTED, mode=ServingMode.NORMAL)
            return written

        return planted

    _wrap(Writes, "write", wrapper)


@defect
def group_shares_one_outcome() -> None:
    from sidecar.core.store import Outcome
    from sidecar.stores.postgres import lanes

    def wrapper(commit_writes: Any) -> Any:
        async def planted(transaction: Any, writes: Any) -> Any:
            told = await commit_writes(transaction, writes)
            first = next((answer for answer in told if isinstance(answer, Outcome)), None)
            return told if first is None else [first] * len(told)

        return planted

    _wrap(lanes, "commit_writes", wrapper)


@defect
def never_reconnects() -> None:
    from sidecar.stores.postgres.connector import Connector

    def wrapper(note_failure: Any) -> Any:
        def planted(self: Any, exc: Any) -> None:
            note_failure(self, exc)
            self._retry_time = float("inf")

        return planted

    _wrap(Connector, "note_failure", wrapper)


@defect
def connections_left_open() -> None:
    from sidecar.stores.postgres.wire import Session

    def wrapper(close: Any) -> Any:
        def planted(self: Any) -> None:
            if not self.closed:
                os.dup(self._socket)
                os.dup(self._socket)
            close(self)

        return planted

    _wrap(Session, "close", wrapper)


@defect
def password_in_the_log() -> None:
    from sidecar.stores.postgres.connector import Connector

    def wrapper(note_failure: Any) -> Any:
        def planted(self: Any, exc: Any) -> None:
            logging.getLogger("planted").warning("no connection with %s", self._target.parameters(self._hosts[0]))
            note_failure(self, exc)

        return planted

    _wrap(Connector, "note_failure", wrapper)


def main() -> None:
    """Plant, then run the command line."""
    if (name := sys.argv.pop(1)) != NONE:
        DEFECTS[name]()
    if path := os.environ.get(stepped.VARIABLE):
        stepped.follow(Path(path))
    from sidecar.cli import main as run

    run(prog_name="state-sidecar")


if __name__ == "__main__":
    main()
