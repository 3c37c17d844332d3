"""Places of a test's own on the servers that all share, as URLs of the warm tier."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from servers.base import shared
from servers.ministack import CREDENTIALS, Ministack
from servers.postgres import Postgres
from tests.contract.adapters_dynamodb import environment


@contextmanager
def database() -> Iterator[str]:
    """A database of PostgreSQL."""
    name = f"t{uuid.uuid4().hex[:12]}"
    shared(Postgres).create_database(name)
    try:
        yield shared(Postgres).url(name, connections=2)
    finally:
        shared(Postgres).drop_database(name)


@contextmanager
def table() -> Iterator[str]:
    """A table of DynamoDB, which the first daemon makes."""
    with environment(CREDENTIALS):
        yield f"dynamodb://t{uuid.uuid4().hex}?region=eu-west-1&endpoint_url={shared(Ministack).endpoint_url}&create=true"
