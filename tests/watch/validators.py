"""What every history of a watcher has to show. Each answers what is wrong, in words; nothing: it holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from tests.watch.history import Chain, Change, Committed

SHOWN_MAX = 5


def ordered(chain: Chain, _: Committed) -> Iterator[str]:
    """The versions of a key rise."""
    newest: dict[str, int] = {}
    for change in chain.told:
        if change.version < newest.get(change.key, 0):
            yield f"{change} came after version {newest[change.key]}"
        newest[change.key] = max(newest.get(change.key, 0), change.version)


def unique(chain: Chain, _: Committed) -> Iterator[str]:
    """Nothing is told twice, over all streams."""
    for change, count in Counter(chain.told).items():
        if count > 1:
            yield f"{change} was told {count} times"


def reliable(chain: Chain, committed: Committed) -> Iterator[str]:
    """Every change since the beginning is told, unless a snapshot has shown what came of it."""
    told, shown = set(chain.told), {change.key: change.version for change in chain.shown}
    by_key: dict[str, list[Change]] = {}
    for change in committed.values:
        if chain.holds(change) and change not in chain.before and change.version > shown.get(change.key, 0):
            by_key.setdefault(change.key, []).append(change)
    for key, changes in by_key.items():
        changes.sort(key=lambda change: change.version)
        first = next((at for at, change in enumerate(changes) if change in told), len(changes))
        # Some may have been committed before the snapshot began and acknowledged after: if the key was gone when it was read.
        unseen = first and key not in shown and set(changes[:first]) <= chain.meanwhile
        until = sum(change in chain.meanwhile for change in changes) + 1  # one more: acknowledgements are late
        gone = any(change.kind != "put" or change in committed.ending for change in changes[max(first - 1, 0) : until])
        for change in changes[first if unseen and gone else 0 :]:
            if change not in told:
                yield f"{change} was not told"


def complete(chain: Chain, committed: Committed) -> Iterator[str]:
    """A snapshot shows every key that was there all the time, as new as it was when the snapshot began."""
    if not chain.snapshot:
        return
    shown = {change.key: change.version for change in chain.shown}
    before: dict[str, Change] = {}
    for change in committed.values:
        if change in chain.before and change.version > before.get(change.key, change._replace(version=0)).version:
            before[change.key] = change
    ended = {
        change.key
        for change in committed.values
        if change not in chain.before and (change.kind != "put" or change in committed.ending)
    }
    for key, change in before.items():
        if not chain.holds(change) or change.kind != "put" or change in committed.ending:
            continue
        if shown.get(key, 0) < change.version and not (key in ended and key not in shown):
            yield f"{change} is not in the snapshot, which shows {shown.get(key)}"


def invented(chain: Chain, committed: Committed) -> Iterator[str]:
    """Nothing is told that was not committed."""
    doubtful = {(kind, key) for kind, key, _ in committed.doubtful}
    for change in chain.told:
        if change not in committed.values and (change.kind, change.key) not in doubtful and change.kind != "expire":
            yield f"{change} was told and never committed"


def scoped(chain: Chain, _: Committed) -> Iterator[str]:
    """Only what is watched is told."""
    for change in chain.told:
        if not chain.holds(change):
            yield f"{change} is not watched"


def atomic(chain: Chain, committed: Committed) -> Iterator[str]:
    """Of a transaction's keys that are watched all are told, or none."""
    told = set(chain.told) - set(chain.shown)
    later = {}
    for change in chain.shown:
        later[change.key] = change.version
    for transaction in committed.transactions:
        if transaction <= chain.before:
            continue  # which of it can be told already when a watcher begins is not determined
        mine = {change for change in transaction if chain.holds(change) and change.version > later.get(change.key, 0)}
        if mine & told and mine - told:
            yield f"of one transaction, {sorted(mine & told)} were told and {sorted(mine - told)} were not"


def exact(chain: Chain, committed: Committed) -> Iterator[str]:
    """A value is the one that the version was written with; without values there are none."""
    for one in chain.heard:
        if one.change is None or one.change.kind != "put":
            continue
        wrote = committed.values.get(one.change)
        if not chain.values or one.superseded:
            if one.value:
                yield f"{one.change} came with a value"
        elif wrote is not None and one.value != wrote:
            yield f"{one.change} came with {one.value!r}, not {wrote!r}"


def followed(chain: Chain, _: Committed) -> Iterator[str]:
    """What is superseded is followed by a later change of the key."""
    newest = {change.key: change.version for change in chain.told}
    for one in chain.heard:
        if one.superseded and one.change is not None and newest[one.change.key] <= one.change.version:
            yield f"{one.change} was superseded by nothing"


VALIDATORS: dict[str, Callable[[Chain, Committed], Iterator[str]]] = {
    check.__name__: check for check in (ordered, unique, reliable, complete, invented, scoped, atomic, exact, followed)
}


def problems(chain: Chain, committed: Committed) -> dict[str, list[str]]:
    """What is wrong with a watcher's history, by validator; some of each."""
    found: dict[str, list[str]] = {}
    for name, check in VALIDATORS.items():
        for problem in check(chain, committed):
            found.setdefault(name, []).append(f"{chain.name}: {problem}")
            if len(found[name]) == SHOWN_MAX:
                break
    return found


def resumed(chain: Chain, at: int, told: list[Change]) -> list[str]:
    """What is wrong with a stream that went on from a response's token, up to the same end."""
    rest = [one.change for one in chain.heard[at + 1 :] if one.change is not None]
    if told == rest:
        return []
    what = "a bookmark" if chain.heard[at].change is None else "an event"
    difference = next((n for n, pair in enumerate(zip(told, rest, strict=False)) if pair[0] != pair[1]), None)
    n = min(len(told), len(rest)) if difference is None else difference
    return [f"{chain.name}: from {what}'s token came {told[n : n + 1]} where {rest[n : n + 1]} had come"]
