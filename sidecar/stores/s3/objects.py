"""What is asked of S3 for each call, in a thread, and what the answers show.

A put names itself: its object carries a random id, so that an answer that was lost, or that a proxy replaced by repeating
the request, can be learned by looking whose object is there.
"""

from __future__ import annotations

import hashlib
import io
import secrets
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sidecar.core.errors import DataLoss, OutcomeUnknown
from sidecar.core.failpoints import reach
from sidecar.stores.s3.errors import Failure, Meaning, unavailable
from sidecar.stores.s3.keys import key_of, name_of
from sidecar.stores.s3.pool import Budget
from sidecar.stores.s3.requests import Requests

PAGE = 1_000
"""S3's own bound."""
NAME, DIGEST, PUT_ID = "sidecar-name", "sidecar-sha256", "sidecar-put"
"""Metadata of every object: of which name it is, the SHA-256 of its content, and which call put it there."""

_PIECE = 1 << 18
_STREAMED_BYTES = 1 << 20
"""From here on a content is sent piece by piece, each with the socket's timeout, and after the server agreed to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A page of names, and how the next is got (None: it was the last)."""

    names: tuple[str, ...]
    token: str | None
    last_key: str


class Objects:
    """Blocking calls on a bucket's folder; safe in many threads. All raise Failure."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        prefix = requests.target.prefix
        self._folder = f"{prefix}/" if prefix else ""

    @property
    def server(self) -> str:
        """What the endpoint says it is; empty: nothing."""
        return self._requests.server

    def key(self, name: str) -> str:
        """Where a name's object is."""
        return self._folder + key_of(name)

    def probe_key(self) -> str:
        """A new key, which no name has."""
        return f"{self._folder}~probe-{secrets.token_hex(8)}"

    def create(self, key: str, name: str, content: bytes, budget: Budget) -> bool:
        """Store an object; False if there is one. Raises OutcomeUnknown if that can't be learned."""
        put_id = secrets.token_hex(16)
        described = _described(name, content, put_id)
        failed, unknown = None, False
        for _ in self._requests.attempts(budget):
            try:
                reach("s3.put.before")
                self._requests.ask("PutObject", Key=key, Body=_body(content), IfNoneMatch="*", **described)
                reach("s3.put.after")
                return True
            except Failure as exc:
                failed = exc
                unknown = unknown or exc.meaning is Meaning.LOST
            if failed.meaning is Meaning.TAKEN:
                # Perhaps by us: an answer was lost, or a proxy sent the request twice.
                try:
                    found = self._head(key, budget)
                except Failure as exc:
                    raise _unknown(exc) from exc
                if found is not None:
                    return bool(found["Metadata"].get(PUT_ID) == put_id)
            elif failed.meaning is Meaning.REFUSED:
                break
        assert failed is not None, "there is a first attempt"
        raise _unknown(failed) if unknown else failed

    def fetch(self, key: str, name: str, budget: Budget) -> bytes | None:
        """An object's content. Raises DataLoss if it is not what was put under the name."""
        try:
            return self._requests.read(lambda: self._fetch(key, name, budget), budget)
        except Failure as exc:
            if exc.meaning is Meaning.ABSENT:
                return None
            raise

    def remove(self, key: str, budget: Budget) -> bool:
        """Delete an object; whether there was one. Raises OutcomeUnknown if it can't be learned whether it is gone."""
        failed, unknown = None, False
        for _ in self._requests.attempts(budget):
            try:
                found = self._head(key, budget)
            except Failure as exc:
                raise _unknown(exc) if unknown else exc from exc
            if found is None:
                # There was one, if an earlier attempt saw it and may have deleted it.
                return unknown
            try:
                # Of several who delete it at once, one is told that there was one.
                self._requests.ask("DeleteObject", Key=key, IfMatch=found["ETag"])
                return True
            except Failure as exc:
                failed = exc
                unknown = unknown or exc.meaning is Meaning.LOST
            if failed.meaning is Meaning.REFUSED:
                break
        assert failed is not None, "there is a first attempt"
        raise _unknown(failed) if unknown else failed

    def page(self, prefix: str, token: str | None, budget: Budget) -> Listing:
        """Names that begin with `prefix`. Other objects in the folder, whose keys no name has, are passed over."""
        wanted: dict[str, Any] = {"Prefix": self.key(prefix), "MaxKeys": PAGE}
        if token is not None:
            wanted["ContinuationToken"] = token
        answer = self._requests.read(lambda: self._requests.ask("ListObjectsV2", **wanted), budget)
        keys = [str(found["Key"]) for found in answer.get("Contents", ())]
        names = [name_of(key.removeprefix(self._folder)) for key in keys]
        return Listing(
            names=tuple(name for name in names if name is not None),
            token=answer["NextContinuationToken"] if answer.get("IsTruncated") else None,
            last_key=keys[-1] if keys else "",
        )

    def make_bucket(self) -> None:
        """Make the bucket, unless it is ours already."""
        region = self._requests.region
        # AWS's first region has no name here.
        place = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        try:
            self._requests.ask("CreateBucket", **place)
        except Failure as exc:
            if exc.error.metadata.get("code") != "BucketAlreadyOwnedByYou":
                raise

    def _head(self, key: str, budget: Budget) -> Mapping[str, Any] | None:
        """What is said of an object; None if there is none."""
        try:
            answer: Mapping[str, Any] = self._requests.read(lambda: self._requests.ask("HeadObject", Key=key), budget)
        except Failure as exc:
            if exc.status != 404:
                raise
            # The object's or the bucket's? A backend that is away must not be read as an object that isn't there.
            self._requests.read(lambda: self._requests.ask("HeadBucket"), budget)
            return None
        return answer

    def _fetch(self, key: str, name: str, budget: Budget) -> bytes:
        answer = self._requests.ask("GetObject", Key=key)
        body, metadata = answer["Body"], answer["Metadata"]
        try:
            if metadata.get(NAME) != name or DIGEST not in metadata:
                raise _corrupt(name)
            budget.extend(answer["ContentLength"])
            content = self._content(body, budget)
        finally:
            # After its end the connection is back in the pool; before, it is of no use to anybody.
            body.close()
        if hashlib.sha256(content).hexdigest() != metadata[DIGEST]:
            raise _corrupt(name)
        return content

    def _content(self, body: Any, budget: Budget) -> bytes:
        buffer = io.BytesIO()
        with self._requests.classified("GetObject"):
            while piece := body.read(_PIECE):
                buffer.write(piece)
                if budget.left() <= 0:
                    raise Failure(Meaning.LOST, unavailable(self._requests.target, "the content comes too slowly"))
        return buffer.getvalue()


def _described(name: str, content: bytes, put_id: str) -> Mapping[str, Any]:
    digest = hashlib.sha256(content)
    return {
        "ChecksumSHA256": b64encode(digest.digest()).decode(),
        "ContentType": "application/octet-stream",
        "Metadata": {NAME: name, DIGEST: digest.hexdigest(), PUT_ID: put_id},
    }


def _body(content: bytes) -> bytes | io.BytesIO:
    # Bytes go out under one timeout; of a file each piece has its own, and "Expect: 100-continue" goes before it.
    return content if len(content) < _STREAMED_BYTES else io.BytesIO(content)


def _corrupt(name: str) -> DataLoss:
    return DataLoss(f"the blob {name!r} does not verify", reason="BLOB_CORRUPT", metadata={"name": name})


def _unknown(failed: Failure) -> OutcomeUnknown:
    return OutcomeUnknown(f"it can't be learned whether it was done: {failed.error.message}")
