"""Calls of the AWS library, each once, in a few threads; and what their failures say."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from botocore import exceptions as boto  # type: ignore[import-untyped]  # it has no types
from botocore.config import Config  # type: ignore[import-untyped]  # the same
from botocore.parsers import ResponseParserError  # type: ignore[import-untyped]  # the same
from botocore.session import Session  # type: ignore[import-untyped]  # the same
from urllib3.exceptions import HTTPError

import sidecar
from sidecar.core.sinks import SinkUnavailable
from sidecar.sinks.aws.target import AwsTarget

THREADS = 4
TIMEOUT_S = 10.0
REGION_ELSEWHERE = "us-east-1"
"""What is signed for where no region is configured, as emulators expect it."""
_SERVER_ERROR = 500
_LIBRARY_ERRORS = (boto.BotoCoreError, boto.ClientError, ResponseParserError, HTTPError, OSError)
"""What a call of the library raises; anything else is a bug."""

# Parts of the codes that say something of the queue or topic, of our right to it, or of the service's load.
_MISSING = ["NonExistentQueue", "QueueDoesNotExist", "NotFound"]
_DENIED = ["AccessDenied", "AuthorizationError", "InvalidClientTokenId", "SignatureDoesNotMatch", "ExpiredToken"]
_DENIED += ["UnrecognizedClient", "MissingAuthenticationToken", "IncompleteSignature", "OptInRequired"]
_NOT_NOW = ["Throttl", "RequestLimitExceeded", "ServiceUnavailable", "OverLimit", "InternalError", "InternalFailure"]
_NOT_NOW += ["QueueDeletedRecently", "EndpointDisabled"]
_KEYS = ["Kms", "KMS"]


class CallRefused(Exception):
    """The service refused a whole call, for what is in it."""


class Client:
    """A client of SQS or SNS. Calls take at most `TIMEOUT_S` to connect and as long for each wait for an answer."""

    def __init__(self, target: AwsTarget) -> None:
        self._target = target
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix=f"sink-{target.service}")
        self._lock = threading.Lock()
        self._library: Any = None

    async def call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """One call. Raises SinkUnavailable and CallRefused. A caller that goes away leaves it to end by itself."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._call, operation, parameters)

    async def close(self) -> None:
        """Wait for what was begun, and let go."""
        await asyncio.shield(asyncio.to_thread(self._threads.shutdown, cancel_futures=True))
        if self._library is not None:
            self._library.close()
            self._library = None

    # In a thread.

    def _call(self, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = getattr(self._connected(), operation)(**parameters)
        except _LIBRARY_ERRORS as exc:
            if isinstance(exc, boto.NoCredentialsError | boto.PartialCredentialsError | boto.CredentialRetrievalError):
                self._library = None  # it keeps the credentials that it was made with, or their absence
            raise failure(exc, self._target) from exc
        return answer

    def _connected(self) -> Any:
        with self._lock:
            if self._library is None:
                session = Session()
                region = self._target.region or session.get_config_variable("region") or REGION_ELSEWHERE
                self._library = session.create_client(
                    self._target.service,
                    region_name=region,
                    endpoint_url=self._target.endpoint_url,
                    config=Config(
                        connect_timeout=TIMEOUT_S,
                        read_timeout=TIMEOUT_S,
                        # What is to be repeated is said by the relay: it knows what else waits.
                        retries={"total_max_attempts": 1, "mode": "standard"},
                        max_pool_connections=THREADS,
                        tcp_keepalive=True,
                        user_agent_extra=f"state-sidecar/{sidecar.__version__}",
                    ),
                )
            return self._library


def failure(exc: Exception, target: AwsTarget) -> SinkUnavailable | CallRefused:
    """What an exception of the library says of a call."""
    if isinstance(exc, boto.ClientError):
        code = str(exc.response.get("Error", {}).get("Code", ""))
        status = int(exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if (why := unavailable(code)) is not None or status >= _SERVER_ERROR:
            return SinkUnavailable(f"{target}: {why or f'it answers {status}'} ({code})")
        return CallRefused(f"{target} refuses it ({code})")
    if isinstance(exc, boto.NoCredentialsError | boto.PartialCredentialsError | boto.CredentialRetrievalError):
        return SinkUnavailable(f"{target}: no credentials were found: set AWS_ACCESS_KEY_ID and so on, or a role")
    if isinstance(exc, boto.ParamValidationError):
        return CallRefused(f"{target}: the library refuses it")
    return SinkUnavailable(f"{target}: no answer ({type(exc).__name__})")


def unavailable(code: str) -> str | None:
    """Why nothing is taken now, as far as a code says that; None: it says something of what was sent."""
    for parts, why in (
        (_KEYS, "its encryption key can't be used"),
        (_MISSING, "there is no such queue or topic: make it, or correct its name, region or account"),
        (_DENIED, "access denied: allow these credentials to send to it"),
        (_NOT_NOW, "it takes nothing now"),
    ):
        if any(part in code for part in parts):
            return why
    return None
