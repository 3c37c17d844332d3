"""Touch and DeletePrefix of a client: calls about how keys end, which are no intents with operations."""

from __future__ import annotations

from sidecar.core.errors import DeadlineExceeded, OutcomeUnknown, StoreUnavailable
from sidecar.core.modes import ServingMode
from sidecar.core.operations import WriteId
from tests.sim.clients import Reader
from tests.sim.plan import POLICIES
from tests.sim.promises import Promise
from tests.sim.scheduler import sleep
from tests.sim.sidecars import Lost, Refused

ATTEMPTS_MAX = 4


class Ender(Reader):
    """A client that moves ends and deletes by prefix."""

    async def touch(self) -> None:
        namespace, key = self._pick(self._keys.mortal)
        ttl = self._random.choice((None, 300, 1_500, 6_000))
        begin, sidecar = self._truth.now(), self._sidecar()
        try:
            touched = await sidecar.call(
                lambda engine: engine.writes.touch(namespace, key, ttl_ms=ttl), patience_ms=self._patience(), read=False
            )
        except (Lost, Refused, OutcomeUnknown):
            return
        except StoreUnavailable as exc:
            self._unavailable(exc, sidecar, begin)
            return
        about = f"{namespace}/{key}"
        if touched.mode is ServingMode.PASSTHROUGH:
            passes = POLICIES.of(namespace).on_outage != "reject"
            honest = passes and not touched.found and sidecar.was_away(begin.tick)
            self._require(Promise.HONEST_MODE, honest, f"{touched} since {begin}", about)
        elif not touched.found:
            self._truth.saw_nothing(namespace, key, begin, promise=Promise.NEVER_EARLY_HARDLY_LATE)
        else:
            states = self._truth._during(namespace, key, begin)
            moved = any(s.value is not None and s.expire_time == touched.expire_time for s in states)
            self._require(Promise.VALUE_AND_EXPIRY_TOGETHER, moved, f"{touched}, among {states}", about)

    async def delete_prefix(self) -> None:
        namespace = self._random.choice(self._keys.mortal)[0]
        prefix = self._random.choice(("r", "r0", "d"))
        begin, request = self._truth.now(), None
        if self._random.random() < self._plan.request_ids:
            request = WriteId(request_id=f"{self.name}.{self.count}", fingerprint=prefix.encode())
        for number in range(ATTEMPTS_MAX):
            attempt, sidecar = self._truth.now(), self._sidecar()
            try:
                deleted = await sidecar.call(
                    lambda engine: engine.writes.delete_prefix(namespace, prefix, all_keys=False, request=request),
                    patience_ms=self._patience(),
                    read=False,
                )
            except Refused:
                pass
            except (Lost, OutcomeUnknown):
                if request is None:
                    return
            except (StoreUnavailable, DeadlineExceeded) as exc:
                self._unavailable(exc, sidecar, attempt)
                did = 0 if request is None else self._truth.prefix_count(request)
                self._require(
                    Promise.HONEST_MODE,
                    number > 0 or not did,
                    f"{type(exc).__name__}, but {did} keys were deleted",
                    prefix,
                )
            else:
                self._truth.prefix_done(request, namespace, prefix, deleted.deleted_count, begin)
                return
            await sleep(self._random.randint(0, 1_000))
