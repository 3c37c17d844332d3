"""Settings of daemons that share real servers: a database of their own on one PostgreSQL, an app of their own on one Redis."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from servers.base import shared
from servers.postgres import Postgres
from servers.redis import Valkey

SCHEMA = "state_sidecar"
"""Where audits look, whatever the app is called."""


@contextmanager
def shared_tiers(*, redis: Valkey | None = None, postgres: Postgres | None = None) -> Iterator[dict[str, str]]:
    """For `daemon_process`; on servers of the test's own where it harms them."""
    redis, postgres = redis or shared(Valkey), postgres or shared(Postgres)
    name = f"t{uuid.uuid4().hex[:12]}"
    postgres.create_database(name)
    try:
        yield {"app": name, "tiers.hot": redis.url, "tiers.warm": postgres.url(name, schema=SCHEMA)}
    finally:
        postgres.drop_database(name)
