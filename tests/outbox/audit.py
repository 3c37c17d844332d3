"""What became of every message: committed and delivered are the same, each key in order, duplicates few and removable.

What is known to have been committed: what writers were told, and of what they were not told the whole write or nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from sidecar.core.outbox import message_id, order_of
from tests.outbox.journal import Fate, Intended, Written
from tests.outbox.recorder import Delivered

DUPLICATES_MAX = 0.01
"""Of the messages."""
EXAMPLES = 5


@dataclass(slots=True, kw_only=True)
class Verdict:
    """`wrong`: each kind of what is wrong, with examples and how often. Latencies in ms, from commit to first arrival."""

    committed: int = 0
    delivered: int = 0
    dead: int = 0
    unknown: int = 0
    refused: int = 0
    duplicates: int = 0
    inversions: int = 0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    owners: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    wrong: dict[str, list[str]] = field(default_factory=dict)

    def find(self, kind: str, example: str) -> None:
        """Something is wrong."""
        self.counts[kind] += 1
        examples = self.wrong.setdefault(kind, [])
        if len(examples) < EXAMPLES:
            examples.append(example)

    def __str__(self) -> str:
        share = self.duplicates / max(1, self.delivered)
        told = (
            f"{self.committed} messages committed, {self.delivered} delivered by {self.owners} owners, {self.dead} dead; "
            f"{self.duplicates} duplicates ({share:.2%}), {self.inversions} inversions; writes: {self.refused} refused, "
            f"{self.unknown} unknown; commit to delivery p50 {self.p50_ms:.0f} ms, p99 {self.p99_ms:.0f} ms"
        )
        wrong = [f"WRONG {kind}: {self.counts[kind]}, such as {examples}" for kind, examples in self.wrong.items()]
        return "\n".join([told, *wrong])


def audit(
    writes: Sequence[Written],
    delivered: Sequence[Delivered],
    *,
    letters: Sequence[tuple[str, str]] = (),
    requests: Collection[str] | None = None,
) -> Verdict:
    """`letters`: payload and id of each message that was given up on. `requests`: the names of writes that the store
    remembers, which tells of an unknown one whether it was committed; None: nobody asked.
    """
    dead = dict(letters)
    verdict = Verdict(dead=len(dead), owners=len({one.owner for one in delivered}))
    firsts = _firsts(verdict, delivered)
    _inverted(verdict, firsts)
    out = {one.token: one for one in firsts.values()}
    for token, count in Counter(token for token, _ in letters).items():
        if count > 1:
            verdict.find("dead twice", token)
    for token in dead.keys() & out.keys():
        verdict.find("delivered and dead", token)
    for written in writes:
        _compare(verdict, written, out, dead, requests)
    intended = {message.token for written in writes for message in written.messages}
    for token in (out.keys() | dead.keys()) - intended:
        verdict.find("nobody wrote it", token)
    latencies = sorted(one.arrival_ns / 1e6 - one.commit_time for one in firsts.values())
    if latencies:
        verdict.p50_ms, verdict.p99_ms = latencies[len(latencies) // 2], latencies[int(len(latencies) * 0.99)]
    return verdict


def _firsts(verdict: Verdict, delivered: Sequence[Delivered]) -> dict[str, Delivered]:
    """The first delivery of each id, in the order of arrival."""
    firsts: dict[str, Delivered] = {}
    tokens: dict[str, str] = {}
    for one in delivered:
        if one.id in firsts:
            verdict.duplicates += 1
            if firsts[one.id][3:] != one[3:]:
                verdict.find("one id, two messages", f"{firsts[one.id]} and {one}")
            continue
        firsts[one.id] = one
        if tokens.setdefault(one.token, one.id) != one.id:
            verdict.find("one message, two ids", f"{one} and {tokens[one.token]}")
    verdict.delivered = len(firsts)
    if verdict.duplicates > DUPLICATES_MAX * len(firsts):
        verdict.find("duplicates", f"{verdict.duplicates} of {len(firsts)}")
    return firsts


def _inverted(verdict: Verdict, firsts: Mapping[str, Delivered]) -> None:
    """Ids begin with the version and end with the place in the write: of a key they rise."""
    latest: dict[str, Delivered] = {}
    for one in firsts.values():
        before = latest.get(one.order)
        if before is not None and before.id > one.id:
            verdict.inversions += 1
            verdict.find("inversions", f"{one.key!r}: {one.id} of {one.owner} after {before.id} of {before.owner}")
        else:
            latest[one.order] = one


def _compare(
    verdict: Verdict,
    written: Written,
    out: Mapping[str, Delivered],
    dead: Mapping[str, str],
    requests: Collection[str] | None,
) -> None:
    """Of one write, what was to go out with what did."""
    gone = [message for message in written.messages if message.token in out or message.token in dead]
    if written.fate is Fate.UNKNOWN:
        verdict.unknown += 1
        verdict.committed += len(gone)
        _compare_unknown(verdict, written, gone, requests)
    elif written.fate is Fate.REFUSED:
        verdict.refused += 1
        for message in gone:
            verdict.find("not committed", f"{message}: its write was refused")
    else:
        for place, message in enumerate(written.messages):
            if not written.goes_out(message):
                if message in gone:
                    verdict.find("not committed", f"{message}: its operation changed nothing")
                continue
            verdict.committed += 1
            if message not in gone:
                verdict.find("lost", f"{message} of version {written.version}")
            else:
                _compare_one(verdict, written, place, message, out, dead)


def _compare_one(
    verdict: Verdict,
    written: Written,
    place: int,
    message: Intended,
    out: Mapping[str, Delivered],
    dead: Mapping[str, str],
) -> None:
    wanted = message_id(written.version, place)
    one = out.get(message.token)
    if one is None:
        if dead[message.token] != wanted:
            verdict.find("another id", f"{message}: {dead[message.token]}, not {wanted}")
        return
    if one.id != wanted or one.version != written.version:
        verdict.find("another id", f"{message}: {one.id}, not {wanted}")
    ordered_by = message.key or written.keys[written.did.index(True) if True in written.did else 0]
    if one.key != message.key or one.order != order_of(ordered_by):
        verdict.find("another key", f"{message}: {one.key!r}, order {one.order}")


def _compare_unknown(
    verdict: Verdict, written: Written, gone: Sequence[Intended], requests: Collection[str] | None
) -> None:
    """All or nothing; what a removal of an absent key would have sent is not missed."""
    sure = [message for message in written.messages if message.operation not in written.removals]
    if gone and not set(sure) <= set(gone):
        verdict.find("torn", f"{written.name}: {len(gone)} of {len(written.messages)} messages")
    if requests is not None and not written.guarded and sure and bool(gone) != (written.name in requests):
        verdict.find(
            "lost" if written.name in requests else "not committed", f"{written.name}, whose writer was killed"
        )
