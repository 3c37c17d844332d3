"""JSON states that are loaded with their version, changed as ordinary Python values, and saved by compare-and-set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from statesidecar import errors
from statesidecar._calls import Calls
from statesidecar._effects import Invoke, Pause, Plan, T
from statesidecar._merge import MergeConflict, merge, same
from statesidecar._requests import JSON_CONTENT_TYPE, decode_json, encode_json
from statesidecar._retry import RetryPolicy, backoff_s
from statesidecar._vector_calls import VectorCalls
from statesidecar.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    StateSidecarError,
    Unavailable,
    VersionConflict,
)
from statesidecar.outbox import OutboxMessage
from statesidecar.types import Consistency, Durability, GetResult, ServingMode, StateUpdate, Tier, Ttl, WriteResult

OnConflict = Literal["raise", "merge", "last_write_wins"] | Callable[[Any, Any, Any], Any]
OnOutage = Literal["raise", "continue"]
#: Messages of a save: given, or made of the state that is saved.
Messages = Sequence[OutboxMessage] | Callable[[Any], Sequence[OutboxMessage]]

# Between two attempts of a contended compare-and-set: short, because the winner is done already.
_CONTENTION: Final = RetryPolicy(backoff_initial_s=0.005, backoff_max_s=0.25)
_MERGES_MAX: Final = 20


@dataclass(slots=True)
class Session:
    """A state while it is worked on; `state` is a JSON value, to be changed or assigned."""

    state: Any
    #: The version that was loaded, or saved. 0: the state is new, or its save is BUFFERED.
    version: int
    #: PASSTHROUGH: the authority is away. `state` is the default then, and will not be saved.
    mode: ServingMode
    #: What became of the save. UNSPECIFIED: nothing was saved (yet). BUFFERED: the daemon keeps it for the authority.
    durability: Durability = Durability.UNSPECIFIED
    #: Whether this session's state was written. An unchanged state is not.
    saved: bool = False
    #: Messages to commit with the save. A session that has some is saved also if its state is unchanged.
    outbox: list[OutboxMessage] = field(default_factory=list)


class States(VectorCalls):
    """The calls, and those built on them."""

    def update(
        self,
        namespace: str,
        key: str,
        function: Callable[[Any], Any],
        *,
        default: Any = dict,
        attempts_max: int = 100,
        ttl: Ttl | None = None,
        schema: int = 0,
        outbox: Messages = (),
        timeout_s: float | None = None,
    ) -> Plan[StateUpdate]:
        """Runs `function` on a JSON state and saves what it made of it, again and again until no other writer was faster.

        The function changes the state in place, or returns another; it may run more than once, so it should do nothing
        else. An absent state is `default`: a JSON value, or a function that makes one. A state that is left as it was is
        not written, and neither are the messages in `outbox`, which a function may make of the state that is saved. `schema`
        is the one that the function knows: the state is loaded and saved in it; 0: in whichever it is.
        `timeout_s` is the time of each load and each save. Raises VersionConflict after `attempts_max` lost
        saves, FailedPrecondition (NOT_JSON) if the stored value is no JSON, and Unavailable, before the function runs,
        while the authority is away.
        """
        consistency = Consistency.CACHED
        attempt = losses = 0
        while True:
            attempt += 1
            found = yield from self.get(
                namespace, key, consistency=consistency, max_schema_version=schema, timeout_s=timeout_s
            )
            if found.mode is ServingMode.PASSTHROUGH:
                raise _away()
            base = _state_of(found, default)
            state = _state_of(found, default)
            returned = yield Invoke(function, (state,))
            state = state if returned is None else returned
            if same(state, base):
                if consistency is Consistency.STRONG:
                    return _updated(state, found, None, attempt)
                consistency = Consistency.STRONG  # That there is nothing to do is true only of the newest state
                continue
            messages = (yield Invoke(outbox, (state,))) if callable(outbox) else outbox
            try:
                written = yield from self.cas(
                    namespace,
                    key,
                    encode_json(state),
                    expected_version=found.version,
                    content_type=JSON_CONTENT_TYPE,
                    schema_version=schema or _schema_of(found),
                    ttl=ttl,
                    outbox=messages,
                    timeout_s=timeout_s,
                )
                return _updated(state, found, written, attempt)
            except (VersionConflict, FailedPrecondition) as error:
                losses += 1
                if not _lost(error) or losses >= attempts_max:
                    raise
            consistency = Consistency.STRONG
            yield Pause(backoff_s(losses, _CONTENTION, self.random))

    def session(
        self,
        namespace: str,
        session_id: str,
        *,
        default: Any = dict,
        on_conflict: OnConflict = "raise",
        on_outage: OnOutage = "raise",
        consistency: Consistency = Consistency.CACHED,
        ttl: Ttl | None = None,
        schema: int = 0,
        timeout_s: float | None = None,
    ) -> SessionPlans:
        """A state for a `with` block: loaded with its version on entry, saved by compare-and-set on a clean exit.

        An absent state is `default`: a JSON value, or a function that makes one. A state that did not change is not
        written, and one whose block raised is dropped.

        `on_conflict`, when another writer was faster: "raise" raises VersionConflict; "merge" merges both sides' changes,
        or raises VersionConflict with the JSON path that both changed; "last_write_wins" replaces what the other wrote: it
        saves by `set`, and so also into the journal of a daemon that buffers (`durability` BUFFERED); a function gets
        (base, mine, theirs), theirs None if the state was deleted, and returns what to save. `on_outage`, when the
        authority is away: "raise" raises Unavailable; "continue" runs the block on the default state with `mode`
        PASSTHROUGH and saves nothing, and gives up a save that finds the authority away, with `saved` false. `schema` is the
        one that the block knows: the state is loaded and saved in it, and what newer ones have stays; 0: in whichever it
        is. `timeout_s` is the time of each load and each save.
        """
        return SessionPlans(
            self,
            namespace,
            session_id,
            default=default,
            on_conflict=on_conflict,
            on_outage=on_outage,
            consistency=consistency,
            ttl=ttl,
            schema=schema,
            timeout_s=timeout_s,
        )


class SessionPlans:
    """What happens at both ends of a session's block."""

    def __init__(
        self,
        calls: Calls,
        namespace: str,
        session_id: str,
        *,
        default: Any,
        on_conflict: OnConflict,
        on_outage: OnOutage,
        consistency: Consistency,
        ttl: Ttl | None,
        schema: int,
        timeout_s: float | None,
    ) -> None:
        if not callable(on_conflict) and on_conflict not in {"raise", "merge", "last_write_wins"}:
            raise ValueError(f'on_conflict is "raise", "merge", "last_write_wins" or a function, not {on_conflict!r}')
        if on_outage not in {"raise", "continue"}:
            raise ValueError(f'on_outage is "raise" or "continue", not {on_outage!r}')
        self._calls = calls
        self._namespace = namespace
        self._session_id = session_id
        self._default = default
        self._on_conflict = on_conflict
        self._on_outage = on_outage
        self._consistency = consistency
        self._ttl = ttl
        self._schema = schema
        self._loaded_schema = 0
        self._timeout_s = timeout_s
        self._base: Any = None
        self._session: Session | None = None

    def load(self) -> Plan[Session]:
        """Begins the session."""
        found = yield from self._load()
        self._loaded_schema = _schema_of(found)
        self._base = _state_of(found, self._default)
        self._session = Session(state=_state_of(found, self._default), version=found.version, mode=found.mode)
        return self._session

    def save(self) -> Plan[None]:
        """Ends the session: saves its state if it was really loaded and has changed."""
        session = self._session
        assert session is not None, "a session is saved after it was loaded"
        losses = 0
        while session.mode is not ServingMode.PASSTHROUGH and (session.outbox or not same(session.state, self._base)):
            try:
                written = yield from self._unless_away(session, self._write(session))
            except (VersionConflict, FailedPrecondition) as error:
                losses += 1
                if not _lost(error) or self._on_conflict == "raise" or losses > _MERGES_MAX:
                    raise
                lost = error
            else:
                if written is not None:
                    session.version, session.mode = written.version, written.mode
                    session.durability = written.durability
                    session.saved = written.durability is not Durability.DISCARDED
                return
            yield Pause(backoff_s(losses, _CONTENTION, self._calls.random))
            yield from self._resolve(session, lost)

    def _load(self) -> Plan[GetResult]:
        try:
            found = yield from self._calls.get(
                self._namespace,
                self._session_id,
                consistency=self._consistency,
                max_schema_version=self._schema,
                timeout_s=self._timeout_s,
            )
        except (Unavailable, DeadlineExceeded):
            if self._on_outage == "raise":
                raise
            return _NOTHING
        if found.mode is not ServingMode.PASSTHROUGH:
            return found
        if self._on_outage == "raise":
            raise _away()
        return _NOTHING

    def _write(self, session: Session) -> Plan[WriteResult]:
        args = self._namespace, self._session_id, encode_json(session.state)
        options: dict[str, Any] = {"content_type": JSON_CONTENT_TYPE, "ttl": self._ttl, "timeout_s": self._timeout_s}
        options["schema_version"] = self._schema or self._loaded_schema
        options["outbox"] = session.outbox
        if self._on_conflict == "last_write_wins":
            return self._calls.set(*args, **options)
        return self._calls.cas(*args, expected_version=session.version, **options)

    def _resolve(self, session: Session, lost: StateSidecarError) -> Plan[None]:
        """Makes the other writer's state the base, and both sides' changes the session's."""
        reading = self._calls.get(
            self._namespace,
            self._session_id,
            consistency=Consistency.STRONG,
            max_schema_version=self._schema,
            timeout_s=self._timeout_s,
        )
        found = yield from self._unless_away(session, reading)
        if found is None:
            return
        self._loaded_schema = _schema_of(found)
        mine = decode_json(encode_json(session.state))  # What would be stored: no tuples, no numbers as names
        if callable(self._on_conflict):
            theirs = None if found.entry is None else _state_of(found, None)
            session.state = yield Invoke(self._on_conflict, (self._base, mine, theirs))
        elif found.entry is None:
            raise _irreconcilable(lost, "$")
        else:
            try:
                session.state = merge(self._base, mine, _state_of(found, None))
            except MergeConflict as conflict:
                raise _irreconcilable(lost, conflict.path) from lost
        session.version = found.version
        self._base = _state_of(found, self._default)

    def _unless_away(self, session: Session, plan: Plan[T]) -> Plan[T | None]:
        """What the plan answers; None where the authority is away and the session is to go on without."""
        try:
            return (yield from plan)
        except Unavailable:
            session.mode = ServingMode.PASSTHROUGH
            if self._on_outage == "raise":
                raise
            return None


_NOTHING: Final = GetResult(entry=None, mode=ServingMode.PASSTHROUGH, served_by=Tier.UNSPECIFIED, stale_possible=True)


def _state_of(found: GetResult, default: Any) -> Any:
    """A value that nobody else holds: the entry's, or the default's."""
    if found.entry is not None:
        return decode_json(found.entry.value)
    return decode_json(encode_json(default() if callable(default) else default))


def _schema_of(found: GetResult) -> int:
    """The schema that it was loaded in, and is to be saved in."""
    return 0 if found.entry is None else found.entry.schema_version


def _updated(state: Any, found: GetResult, written: WriteResult | None, attempts: int) -> StateUpdate:
    return StateUpdate(
        state=state,
        version=found.version if written is None else written.version,
        durability=Durability.UNSPECIFIED if written is None else written.durability,
        mode=found.mode if written is None else written.mode,
        attempts=attempts,
    )


def _lost(error: StateSidecarError) -> bool:
    """Whether the save can be tried again on a newer state; of another epoch is newer, too."""
    return isinstance(error, VersionConflict) or error.reason == errors.EPOCH_CHANGED


def _away() -> Unavailable:
    return Unavailable(errors.PASSTHROUGH, "the authority is away: the state was not read")


def _irreconcilable(lost: StateSidecarError, path: str) -> VersionConflict:
    details = {name: getattr(lost, name, None) for name in ("expected_version", "current_version")}
    message = f"{lost.message}; both sides changed {path}"
    return VersionConflict(
        lost.reason,
        message,
        metadata=lost.metadata,
        code=lost.code,
        key=getattr(lost, "key", ""),
        path=path,
        **details,
    )
