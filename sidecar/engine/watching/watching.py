"""Begins watches: which feed a namespace has, what may be asked for, and from where a watcher goes on."""

from __future__ import annotations

from dataclasses import dataclass

from sidecar.core.errors import InvalidRequest, Unsupported
from sidecar.core.limits import Limits, check_key, check_prefix
from sidecar.engine.namespaces import Namespace, Namespaces
from sidecar.engine.schemas.views import Views
from sidecar.engine.watching.feed import Feed
from sidecar.engine.watching.scope import Scope, Tokens
from sidecar.engine.watching.snapshot import Memory, Snapshot
from sidecar.engine.watching.watch import Show, Watch


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a caller wants to watch, as the request says it."""

    namespace: str
    key: str = ""
    key_prefix: str = ""
    all_keys: bool = False
    resume_token: str = ""
    include_value: bool = False
    snapshot: bool = False
    max_schema_version: int = 0


class Watching:
    """The feeds of a daemon, one for each authority, and those who follow them."""

    def __init__(self, namespaces: Namespaces, limits: Limits, views: Views | None = None) -> None:
        """`views` None: values are told as they are stored."""
        self._views = views
        self._namespaces = namespaces
        self._limits = limits
        self._memory = Memory()
        self._feeds = {id(placement): Feed(placement) for placement in namespaces.placements()}

    @property
    def feeds(self) -> tuple[Feed, ...]:
        """Those that can be watched; somebody has to `advance` them."""
        return tuple(feed for feed in self._feeds.values() if feed.placement.authority.capabilities.changes)

    async def open(self, asked: Asked) -> Watch:
        """Begin to watch; whoever opened it closes it.

        Raises InvalidRequest, Passthrough, Unsupported, OutOfRange, and what the authority raises.
        """
        space = self._namespaces.of(asked.namespace)
        placement = space.authority()
        scope = self._scope(asked)
        if asked.resume_token and asked.snapshot:
            raise InvalidRequest(
                "a snapshot begins anew: it does not go together with resume_token",
                reason="RESUME_TOKEN_INVALID",
                field="resume_token",
            )
        if not placement.authority.capabilities.changes:
            raise Unsupported(
                "this namespace's authority doesn't tell changes in one order: choose another that does",
                metadata={"operation": "watch"},
            )
        feed, tokens = self._feeds[id(placement)], Tokens(scope, placement.tier)
        cursor, shown = tokens.decode(asked.resume_token) if asked.resume_token else (0, ())
        snapshot = Snapshot(feed, scope, self._memory, values=asked.include_value) if asked.snapshot else None
        feed.enter()
        try:
            if snapshot is not None:
                await snapshot.begin()
            elif not asked.resume_token:
                cursor = (await feed.newest()).cursor
        except BaseException:  # a caller that went away, too
            feed.leave()
            raise
        show = self._show(space, asked.max_schema_version)
        return Watch(
            feed, scope, tokens, cursor=cursor, shown=shown, snapshot=snapshot, values=asked.include_value, show=show
        )

    def _show(self, space: Namespace, maximum: int) -> Show | None:
        """What brings values to the watcher's schema; None: nothing has to."""
        if self._views is None or (space.schemas is None and not maximum):
            return None
        views = self._views
        return lambda entry: views.shown(space, entry, maximum)

    def _scope(self, asked: Asked) -> Scope:
        if asked.key:
            check_key(asked.key, self._limits)
            if asked.key_prefix or asked.all_keys:
                raise InvalidRequest(
                    "key says which one key is meant: leave key_prefix and all unset", reason="KEY_INVALID", field="key"
                )
            return Scope(namespace=asked.namespace, key=asked.key, prefix="")
        check_prefix(asked.key_prefix, self._limits)
        if not asked.key_prefix and not asked.all_keys:
            raise InvalidRequest(
                "name a key or a key_prefix, or set all to watch the whole namespace",
                reason="PREFIX_EMPTY",
                field="key_prefix",
            )
        return Scope(namespace=asked.namespace, key=None, prefix=asked.key_prefix)
