"""What a failure of Redis means to a caller of the store. Every one passes through here.

A script's first write is the only one that a server refuses (see `store_common.lua`), so after the codes below nothing
was written. Of any other error reply to a write nobody has shown that.
"""

from __future__ import annotations

from sidecar.core.errors import InvalidRequest, OutcomeUnknown, SidecarError, StoreUnavailable, storage_full
from sidecar.stores.redis.errors import NOT_HERE, NOT_NOW, RedisOutcomeUnknown, RedisRefused, RedisUnavailable

NOTHING_WRITTEN = NOT_NOW | NOT_HERE | {"WRONGPASS", "NOSCRIPT", "MOVED", "ASK", "CROSSSLOT"}
NOT_PERMITTED, WITHIN_SCRIPT = "NOPERM", "script:"
FULL = "OOM"
TOO_LARGE = "PROTOCOL"
"""What a server says of an argument above its proto-max-bulk-len, before it hangs up."""


def read_error(exc: RedisUnavailable | RedisRefused) -> SidecarError:
    """The error for the caller of what writes nothing, or nothing that matters."""
    if isinstance(exc, RedisRefused) and exc.code == FULL:
        return storage_full(str(exc))
    return StoreUnavailable(str(exc))


def write_error(exc: RedisUnavailable | RedisRefused) -> SidecarError:
    """The error for the caller of a write."""
    if isinstance(exc, RedisOutcomeUnknown):
        return OutcomeUnknown(f"{exc}: the write may have landed, repeat it with the same request id")
    if isinstance(exc, RedisUnavailable):
        return StoreUnavailable(str(exc))
    if exc.code == FULL:
        return storage_full(f"{exc}; nothing was written")
    if exc.code == TOO_LARGE:
        return InvalidRequest("larger than Redis takes (proto-max-bulk-len)", reason="VALUE_TOO_LARGE", field="value")
    if exc.code in NOTHING_WRITTEN or (exc.code == NOT_PERMITTED and WITHIN_SCRIPT not in exc.reply):
        return StoreUnavailable(str(exc))
    return OutcomeUnknown(
        f"the write failed in a way that leaves its outcome open: {exc}", metadata={"redis": exc.code}
    )
