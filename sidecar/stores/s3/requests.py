"""Requests to one bucket, in whatever thread calls: sent once, or repeated as far as a budget allows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from threading import Event
from typing import Any, TypeVar

from sidecar.stores.s3.errors import LIBRARY_ERRORS, Failure, Meaning, failure, no_answer_of_s3
from sidecar.stores.s3.pool import Budget
from sidecar.stores.s3.target import S3Target

ATTEMPTS_MAX = 5
PAUSE_S, PAUSE_S_MAX = 0.05, 1.0
"""Full jitter: a pause is anything up to the first, doubled each time."""

_METHODS = {
    "CreateBucket": "create_bucket",
    "DeleteObject": "delete_object",
    "GetObject": "get_object",
    "HeadBucket": "head_bucket",
    "HeadObject": "head_object",
    "ListObjectsV2": "list_objects_v2",
    "PutObject": "put_object",
}
"""S3's operations, as the AWS library names them."""
_ALWAYS_SHOWN = {"GetObject": "ETag", "HeadObject": "ETag", "ListObjectsV2": "IsTruncated", "PutObject": "ETag"}
"""What S3 answers in any case: a gateway's page with status 200 is not a done put, and not an empty list."""

T = TypeVar("T")


class Requests:
    """A client with a bucket. `closing` ends pauses, and with them what would be repeated."""

    def __init__(self, client: Any, target: S3Target, closing: Event | None = None) -> None:
        self.target = target
        self._client = client
        self._closing = closing or Event()
        self.server = ""
        """What the endpoint says it is, in its last answer."""
        self._jitter = Random()  # noqa: S311  # spreads repetitions, hides nothing

    @property
    def region(self) -> str:
        """The region that requests are signed for."""
        return str(self._client.meta.region_name)

    def ask(self, operation: str, **parameters: Any) -> Any:
        """One request. Raises Failure."""
        with self.classified(operation):
            answer = getattr(self._client, _METHODS[operation])(Bucket=self.target.bucket, **parameters)
        if _ALWAYS_SHOWN.get(operation, "ResponseMetadata") not in answer:
            if "Body" in answer:
                answer["Body"].close()
            raise no_answer_of_s3(self.target)
        self.server = answer["ResponseMetadata"]["HTTPHeaders"].get("server", self.server)
        return answer

    def read(self, call: Callable[[], T], budget: Budget) -> T:
        """What the call answers, which may be made again after a Failure. Raises Failure."""
        failed: Failure | None = None
        for _ in self.attempts(budget):
            try:
                return call()
            except Failure as exc:
                failed = exc
                if exc.meaning not in (Meaning.AGAIN, Meaning.LOST):
                    break
        assert failed is not None, "there is a first attempt"
        raise failed

    def attempts(self, budget: Budget) -> Iterator[None]:
        """The first at once, others after pauses, none when the budget is over."""
        yield
        for attempt in range(ATTEMPTS_MAX - 1):
            pause = self._jitter.uniform(0, min(PAUSE_S_MAX, PAUSE_S * 2**attempt))
            if pause >= budget.left() or self._closing.wait(pause):
                return
            yield

    @contextmanager
    def classified(self, operation: str) -> Iterator[None]:
        """Turns what the AWS library raises into a Failure."""
        try:
            yield
        except LIBRARY_ERRORS as exc:
            raise failure(exc, self.target, operation) from exc
