"""Whether an endpoint can keep our promises: asked once, by writing, since some take conditions and ignore them."""

from __future__ import annotations

import contextlib

from sidecar.core.errors import DataLoss, SidecarError
from sidecar.stores.s3.errors import Failure, unavailable
from sidecar.stores.s3.objects import Objects
from sidecar.stores.s3.pool import Budget
from sidecar.stores.s3.target import S3Target

_NAME, _FIRST, _SECOND = "probe", b"first", b"second"


def probe(objects: Objects, target: S3Target, budget: Budget) -> None:
    """Make the bucket if that is wanted, and see that an object is written once and comes back. Raises Failure.

    This also finds out whether the credentials allow what is needed: to list, put, get and delete.
    """
    _find_bucket(objects, target, budget)
    key = objects.probe_key()
    try:
        _check(objects, key, target, budget)
    except (SidecarError, Failure):
        with contextlib.suppress(SidecarError, Failure):
            objects.remove(key, budget)
        raise
    objects.remove(key, budget)


def _find_bucket(objects: Objects, target: S3Target, budget: Budget) -> None:
    try:
        objects.page("", None, budget)
    except Failure as exc:
        if not (target.create and exc.error.metadata.get("code") == "NoSuchBucket"):
            raise
        objects.make_bucket()


def _check(objects: Objects, key: str, target: S3Target, budget: Budget) -> None:
    objects.create(key, _NAME, _FIRST, budget)
    if objects.create(key, _NAME, _SECOND, budget):
        raise unavailable(
            target,
            "the endpoint ignores If-None-Match, so two writers would overwrite each other: take a store or release "
            "that honours conditional writes",
        )
    try:
        content = objects.fetch(key, _NAME, budget)
    except DataLoss:
        content = None
    if content != _FIRST:
        raise unavailable(target, "the endpoint does not keep an object's content and metadata as they were put")
