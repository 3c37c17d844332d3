"""Large immutable objects in S3, or in any store that speaks its protocol and honours conditional writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sidecar.stores.s3.target import S3Target, parse_target

if TYPE_CHECKING:
    from sidecar.stores.s3.blobs import S3Blobs

__all__ = ["S3Blobs", "S3Target", "parse_target"]


def __getattr__(name: str) -> Any:
    # The AWS library is needed to use a bucket, not to read its URL.
    if name == "S3Blobs":
        from sidecar.stores.s3.blobs import S3Blobs  # noqa: PLC0415

        return S3Blobs
    raise AttributeError(name)
