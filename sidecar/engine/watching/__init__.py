"""Watch: the changes of a key, of a prefix or of a namespace, as they are committed, whichever daemon committed them."""

from sidecar.engine.watching.feed import Feed
from sidecar.engine.watching.watch import Told, Watch
from sidecar.engine.watching.watching import Asked, Watching

__all__ = ["Asked", "Feed", "Told", "Watch", "Watching"]
