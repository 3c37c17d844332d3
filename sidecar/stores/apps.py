"""An app's place in a backend that several share: names that no other app's data has, nor data of no app.

Each is a function of the app alone, and no two apps have the same: daemons of one app meet, others can't.
"""

from __future__ import annotations

import hashlib
import re
from urllib.parse import quote

from sidecar.core.errors import StoreUnavailable

_PLAIN_IDENTIFIER = re.compile(r"(?!.*__)[a-z0-9_]{1,40}")
_PLAIN_FOLDER = re.compile(r"[a-z0-9][a-z0-9._-]{0,47}")
_SLUG = 12
_DIGEST = 32
"""Hex digits of a SHA-256: two of 2^64 names that somebody chose may share them."""


def prefix_of(app: str) -> str:
    """What begins the app's names in Redis and Memcached: no other app's prefix begins with it, whatever slashes it has."""
    return f"state-sidecar/{quote(app, safe='')}/"


def schema_of(app: str, default: str) -> str:
    """The app's schema in PostgreSQL, at most 63 characters for a `default` of up to 16; of no app: the default."""
    if not app:
        return default
    if _PLAIN_IDENTIFIER.fullmatch(app):
        return f"{default}_{app}"
    return f"{default}_{_slug(app, '_')}__{_digest(app)}"


def folder_of(app: str) -> str:
    """The app's folder, of at most 49 characters; of no app: none. It begins with an @, which no other part of a place has."""
    if not app:
        return ""
    return f"@{app}" if _PLAIN_FOLDER.fullmatch(app) else f"@{_slug(app, '-')}@{_digest(app)}"


def within(place: str, app: str) -> str:
    """A place with the app's folder in it, slashes between."""
    return "/".join(part for part in (place, folder_of(app)) if part)


def check_owner(place: str, owner: str, app: str, advice: str) -> None:
    """Raises StoreUnavailable where what is kept at a place is another app's."""
    if owner != app:
        asked = f"this daemon's app is {app!r}" if app else "this daemon has no app"
        raise StoreUnavailable(f"{place} holds the data of app {owner!r}, and {asked}: {advice}")


def _slug(app: str, separator: str) -> str:
    words = re.findall(r"[a-z0-9]+", app.lower())
    return separator.join(words)[:_SLUG].strip(separator)


def _digest(app: str) -> str:
    return hashlib.sha256(app.encode()).hexdigest()[:_DIGEST]
