"""The writing half of a client: an intent is tried through one sidecar after another until its fate is known."""

from __future__ import annotations

from zlib import crc32

from sidecar.core.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidRequest,
    OutcomeUnknown,
    StoreUnavailable,
    VersionConflict,
)
from sidecar.core.modes import Durability, ServingMode
from sidecar.core.operations import Append, Change, Check, Increment, MergePatch, Operation, Put, Remove, WriteId
from sidecar.engine.replies import Written
from tests.sim.clients import Key
from tests.sim.endings import Ender
from tests.sim.model import Moment
from tests.sim.plan import POLICIES
from tests.sim.promises import Promise
from tests.sim.scheduler import sleep
from tests.sim.sidecars import Lost, Refused, Sidecar
from tests.sim.truth import Attempt, Intent

ATTEMPTS_MAX = 5


class Client(Ender):
    """A caller."""

    keep_request_id = True

    async def run(self, operations: int) -> None:
        """Do random things, one after the other."""
        names = [name for name, _ in self._plan.weights]
        weights = [weight for _, weight in self._plan.weights]
        for name in self._random.choices(names, weights, k=operations):
            self.count += 1
            await getattr(self, name)()
            await self.pause(self._plan.think_ms)

    # ---- what to write

    def _unique(self) -> str:
        return f"{self.name}.{self.count}"

    def _ttl(self) -> int | None:
        return self._random.choice((None, None, None, 400, 2_000, 5_000))

    def _token(self, at: Key) -> int:
        """A version to guard with: mostly the newest that this client knows, sometimes an old one, or absence."""
        seen = self.tokens.get(at)
        if not seen or self._random.random() < 0.15:
            return 0
        return self._random.choice(seen) if self._random.random() < 0.3 else seen[-1]

    def _put(self, at: Key, *, guarded: bool) -> Put:
        expected = self._token(at) if guarded else None
        return Put(key=at[1], value=self._unique().encode(), ttl_ms=self._ttl(), expected_version=expected)

    def _change(self, at: Key) -> Change:
        change: Increment | Append | MergePatch
        match at[1][0]:
            case "n" | "s":
                change = Increment(delta=self._random.randint(1, 9))
            case "l":
                # The log of all appends keeps everything; other lists keep their last few.
                change = Append(items=(self._unique(),), max_items=0 if at == self._keys.log else 4)
            case _:
                patch = {f"field{self._random.randint(0, 2)}": self._random.choice((None, self._unique()))}
                change = MergePatch(patch=patch)
        return Change(key=at[1], change=change, create=True, return_value=self._random.random() < 0.3)

    async def set(self) -> None:
        at = self._pick(self._keys.registers)
        await self._write(at[0], (self._put(at, guarded=False),), needs_authority=False)

    async def cas(self) -> None:
        at = self._pick(self._keys.registers)
        await self._write(at[0], (self._put(at, guarded=True),), needs_authority=True)

    async def delete(self) -> None:
        at = self._pick(self._keys.mortal)
        expected = self._token(at) if self._random.random() < 0.3 else None
        await self._write(at[0], (Remove(key=at[1], expected_version=expected),), needs_authority=True)

    async def increment(self) -> None:
        at = self._random.choice([*self._keys.counters, self._keys.sum])
        await self._write(at[0], (self._change(at),), needs_authority=False)

    async def append(self) -> None:
        at = self._random.choice([*self._keys.lists, self._keys.log])
        await self._write(at[0], (self._change(at),), needs_authority=False)

    async def patch(self) -> None:
        at = self._random.choice(self._keys.documents)
        await self._write(at[0], (self._change(at),), needs_authority=False)

    async def transact(self) -> None:
        namespace = self._pick(self._keys.registers)[0]
        within = [at for at in self._keys.all if at[0] == namespace]
        chosen = self._random.sample(within, k=self._random.randint(1, min(4, len(within))))
        await self._write(namespace, tuple(self._part(at) for at in chosen), needs_authority=True)

    def _part(self, at: Key) -> Operation:
        if at in (self._keys.sum, self._keys.log):
            return self._change(at)
        draw = self._random.random()
        if draw < 0.2:
            return Check(key=at[1], expected_version=self._token(at))
        if draw < 0.3:
            return Remove(key=at[1])
        return self._put(at, guarded=draw < 0.6) if at[1][0] == "r" else self._change(at)

    # ---- attempts

    def _request(self, *parts: object) -> WriteId | None:
        if self._random.random() >= self._plan.request_ids:
            return None
        return WriteId(request_id=self._unique(), fingerprint=b"%d" % crc32(repr(parts).encode()))

    async def _write(self, namespace: str, operations: tuple[Operation, ...], *, needs_authority: bool) -> None:
        request = self._request(operations)
        intent = Intent(self._unique(), namespace, operations, request, self._truth.now())
        self._truth.intents.append(intent)
        for number in range(ATTEMPTS_MAX):
            if await self._try(intent, number, needs_authority=needs_authority) or request is None:
                break
            await sleep(self._random.randint(0, 1_500))
        if self._random.random() < 0.3:
            # Whoever wrote reads what they wrote, through any sidecar.
            at = (namespace, operations[0].key)
            await self.read(self._sidecar(), [at], [self.floors.get(at, 0)], strong=False)
        if intent.answer == "applied" and request is not None and self._random.random() < 0.1:
            await self._reuse(intent, request)

    async def _try(self, intent: Intent, number: int, *, needs_authority: bool) -> bool:
        """One attempt; whether no other is needed."""
        attempt, sidecar = self._truth.attempt(intent), self._sidecar()
        begin, patience = self._truth.now(), self._patience()
        request = intent.request if number == 0 or self.keep_request_id else None
        try:
            written = await sidecar.call(
                lambda engine: (
                    engine.writes.transact(
                        intent.namespace, attempt.operations, request=request, deadline=self._deadline(patience)
                    )
                    if len(intent.operations) > 1
                    else engine.writes.write(
                        intent.namespace,
                        attempt.operations,
                        request=request,
                        needs_authority=needs_authority,
                        deadline=self._deadline(patience),
                    )
                ),
                patience_ms=patience,
                read=False,
            )
        except (Lost, OutcomeUnknown):
            return False
        except Refused:
            self._disclaim(attempt, "refused a connection")
            return False
        except (StoreUnavailable, DeadlineExceeded) as exc:
            self._disclaim(attempt, type(exc).__name__)
            if isinstance(exc, StoreUnavailable):
                self._unavailable(exc, sidecar, begin)
            return False
        except VersionConflict as exc:
            self._conflict(intent, exc)
            return True
        except FailedPrecondition:
            intent.answer = "refused"
            return True
        return self._answered(attempt, written, sidecar, begin)

    def _disclaim(self, attempt: Attempt, how: str) -> None:
        attempt.disclaimed = how
        had = any(by is attempt for by, _, _ in attempt.intent.effects)
        self._require(Promise.HONEST_MODE, not had, f"{attempt.intent.name} was {how}, but had taken effect")

    def _answered(self, attempt: Attempt, written: Written, sidecar: Sidecar, begin: Moment) -> bool:
        intent = attempt.intent
        self._scheduler.note(self.name, sidecar.name, intent.name, intent.operations, "->", written)
        about = f"{intent.namespace}/{intent.operations[0].key}"
        if written.durability is Durability.DISCARDED:
            self._require(
                Promise.HONEST_MODE,
                written.mode is ServingMode.PASSTHROUGH
                and not written.version
                and POLICIES.of(intent.namespace).on_outage != "reject"
                and sidecar.was_away(begin.tick),
                f"{intent.name} was discarded by {written}, without a failure since {begin}",
                about,
            )
            self._disclaim(attempt, "discarded")
            return False
        self._require(
            Promise.HONEST_MODE,
            written.mode is ServingMode.NORMAL
            and written.durability is (Durability.COMMITTED if written.version else Durability.NONE),
            f"{intent.name} was answered {written}",
            about,
        )
        intent.answer = "applied"
        effects = [(version, tick) for _, version, tick in intent.effects]
        self._require(
            Promise.NO_LOST_UPDATE,
            effects == [] if not written.version else written.version in [version for version, _ in effects],
            f"{intent.name} was told version {written.version}, its effects are {effects}",
            about,
        )
        self._require(Promise.AT_MOST_ONCE, len(effects) <= 1, f"{intent.name} took effect {effects}", about)
        self._results(intent, written, about)
        return True

    def _results(self, intent: Intent, written: Written, about: str) -> None:
        """Each operation's result shows what that operation did."""
        for operation, result in zip(intent.operations, written.results, strict=True):
            at = (intent.namespace, operation.key)
            if not result.version:
                continue
            self._learn(at, result.version)
            [made, *_] = [s for s in self._truth.history(*at) if s.version == result.version]
            told = (result.version, result.expire_time)
            shown = result.value == made.value if getattr(operation, "return_value", False) else result.value is None
            self._require(
                Promise.VALUE_AND_EXPIRY_TOGETHER,
                told == (written.version, made.expire_time) and shown,
                f"{intent.name} was told {result}, and made {made}",
                about,
            )

    def _conflict(self, intent: Intent, error: VersionConflict) -> None:
        """A conflict is true of some moment of the intent: the key was then what the conflict says."""
        intent.answer = "conflict"
        about = f"{intent.namespace}/{error.key}"
        self._require(Promise.AT_MOST_ONCE, not intent.effects, f"{intent.name}: conflict, but it was applied", about)
        states = self._truth._during(intent.namespace, error.key, intent.begin)
        now = self._truth.now()
        absent = any(state.value is None or state.over(state.until(now).ms) for state in states)
        current = error.current_version
        held = absent if not current else any(s.version == current and s.value is not None for s in states)
        self._require(
            Promise.NO_LOST_UPDATE,
            held and current != error.expected_version,
            f"{intent.name} lost against {current}, which {states} were not",
            about,
        )
        self._learn((intent.namespace, error.key), current)

    async def _reuse(self, intent: Intent, request: WriteId) -> None:
        """The id of a write that was applied, for another one: never a second effect."""
        other = Intent(f"{intent.name}'", intent.namespace, intent.operations, None, self._truth.now())
        other.answer = "refused"
        self._truth.intents.append(other)
        attempt, sidecar = self._truth.attempt(other), self._sidecar()
        changed = WriteId(request_id=request.request_id, fingerprint=b"another")
        try:
            written = await sidecar.call(
                lambda engine: engine.writes.write(
                    intent.namespace, attempt.operations, request=changed, needs_authority=True
                ),
                patience_ms=3_000,
                read=False,
            )
        except InvalidRequest as exc:
            self._require(Promise.AT_MOST_ONCE, exc.reason == "REQUEST_ID_REUSED", f"{exc.reason}: {exc}")
        except (Lost, Refused, OutcomeUnknown, StoreUnavailable):
            return
        else:
            self._require(Promise.AT_MOST_ONCE, False, f"{intent.name}'s id did another write: {written}")
