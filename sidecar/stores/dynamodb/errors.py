"""What a failed call means. Every exception of the AWS library passes through `classify`.

| what came | was it done? |
| --- | --- |
| no connection, no credentials, refused by the service (a code of the tables below) | no |
| a cancelled transaction, a failed condition | no; the caller decides again |
| reply lost or cut, timeout while waiting for it, 5xx, anything not in the tables | unknown |

A transaction whose end is unknown is settled by `transactions.Transactions`, which fences it.
"""

from __future__ import annotations

from typing import Any, TypeVar

from sidecar.core.errors import (
    Defect,
    InvalidRequest,
    LimitExceeded,
    OutcomeUnknown,
    SidecarError,
    StoreUnavailable,
    storage_full,
)
from sidecar.stores.dynamodb.target import DynamoTarget

CONDITION_FAILED = "ConditionalCheckFailedException"
CANCELLED = "TransactionCanceledException"
TABLE_MISSING = "ResourceNotFoundException"
TABLE_EXISTS = "ResourceInUseException"
CONTENDED = frozenset({"TransactionConflictException", "TransactionConflict"})
THROTTLED = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "ProvisionedThroughputExceeded",
        "ThrottlingException",
        "ThrottlingError",
        "Throttling",
        "RequestLimitExceeded",
        "LimitExceededException",
    }
)
_CREDENTIALS = frozenset(
    {
        "UnrecognizedClientException",
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "IncompleteSignatureException",
        "IncompleteSignature",
        "MissingAuthenticationTokenException",
        "MissingAuthenticationToken",
        "InvalidClientTokenId",
        "ExpiredTokenException",
        "ExpiredToken",
        "RequestExpired",
        "RequestTimeTooSkewed",
        "OptInRequired",
    }
)
_DENIED = frozenset({"AccessDeniedException", "AccessDenied", "NotAuthorized"})
_INVALID = frozenset({"ValidationException", "ValidationError", "SerializationException"})
_DEFECTS = frozenset({"IdempotentParameterMismatchException", "UnknownOperationException"})
_FULL = frozenset({"ItemCollectionSizeLimitExceededException", "ItemCollectionSizeLimitExceeded"})
# Classes of the library's own exceptions.
_NO_CREDENTIALS = frozenset(
    {
        "NoCredentialsError",
        "PartialCredentialsError",
        "CredentialRetrievalError",
        "TokenRetrievalError",
        "UnauthorizedSSOTokenError",
        "SSOTokenLoadError",
        "MetadataRetrievalError",
    }
)
_CONFIGURATION = frozenset({"ProfileNotFound", "ConfigParseError", "ConfigNotFound", "InvalidConfigError"})
_NO_CONNECTION = frozenset({"EndpointConnectionError", "ConnectTimeoutError", "ProxyConnectionError"})
_TIMEOUTS = frozenset({"ConnectTimeoutError", "ReadTimeoutError"})
_TLS = frozenset({"SSLError"})
_TEXT_MAX = 300


class CallFailed(Exception):
    """A call that failed. `error` is what a caller hears if nothing was done; `unknown`: it may have been done.

    `away`: nobody else needs to try at once. `lost`: only the connection was lost. `setup`: credentials or configuration
    are wrong. `reasons`: of a cancelled transaction, one code an action.
    """

    def __init__(
        self,
        error: SidecarError,
        code: str,
        *,
        unknown: bool = False,
        away: bool = False,
        lost: bool = False,
        setup: bool = False,
    ) -> None:
        super().__init__(f"{code}: {error.message}")
        self.error = error
        self.code = code
        self.unknown = unknown
        self.away = away
        self.lost = lost
        self.setup = setup
        self.reasons: tuple[str, ...] = ()
        self.item: dict[str, Any] | None = None
        """What stood in the way of a condition, where the call asked for it."""

    @property
    def throttled(self) -> bool:
        """Refused for its rate: nothing was done, and it may be asked again in a moment."""
        return self.code in THROTTLED or self.code in CONTENDED

    def write_error(self) -> SidecarError:
        """What a caller of a write hears, of which no more is known."""
        if not self.unknown:
            return self.error
        unknown = OutcomeUnknown(
            f"DynamoDB did not say how the write ended ({self.code}): repeat it with the same request id",
            metadata={"dynamodb": self.code},
        )
        unknown.__cause__ = self
        return unknown


def classify(exc: Exception, target: DynamoTarget) -> CallFailed:
    """The meaning of any exception of a call."""
    response = getattr(exc, "response", None)
    if isinstance(response, dict) and "Error" in response:
        failed = _by_code(response, target)
    else:
        failed = _by_class(exc, target)
    failed.error.metadata["dynamodb"] = failed.code
    failed.error.__cause__ = exc
    return failed


def _by_code(response: dict[str, Any], target: DynamoTarget) -> CallFailed:
    code = str(response["Error"].get("Code", ""))
    text = " ".join(str(response["Error"].get("Message", "")).split())[:_TEXT_MAX]
    if code == CANCELLED:
        failed = CallFailed(StoreUnavailable("the transaction was cancelled; nothing was written"), code)
        failed.reasons = tuple(str(reason.get("Code", "None")) for reason in response.get("CancellationReasons", ()))
        return failed
    if code == CONDITION_FAILED:
        failed = CallFailed(StoreUnavailable("a condition failed; nothing was written"), code)
        failed.item = response.get("Item")
        return failed
    if code == TABLE_MISSING:
        return CallFailed(StoreUnavailable(_missing(target)), code, away=True)
    if code in THROTTLED or code in CONTENDED:
        return CallFailed(contended(code), code)
    if code in _CREDENTIALS:
        text = f"AWS refused the credentials ({code}): check the keys, their region, and this machine's clock"
        return CallFailed(StoreUnavailable(text), code, away=True, setup=True)
    if code in _DENIED:
        return CallFailed(StoreUnavailable(f"AWS denied access to the table {target.table!r}: {text}"), code, away=True)
    if code in _INVALID:
        return CallFailed(invalid(text), code)
    if code in _FULL:
        return CallFailed(storage_full("the item collection is full"), code)
    if code in _DEFECTS:
        return CallFailed(Defect(f"DynamoDB refused a call as malformed ({code})"), code)
    return CallFailed(StoreUnavailable(f"DynamoDB failed ({code or 'no code'})"), code, unknown=True)


def _by_class(exc: Exception, target: DynamoTarget) -> CallFailed:
    names = {kind.__name__ for kind in type(exc).__mro__}
    name = type(exc).__name__
    at = where(target)
    if names & _NO_CREDENTIALS:
        text = (
            f"no AWS credentials were found ({name}): set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "name a profile in the URL, or give the pod a role"
        )
        return CallFailed(StoreUnavailable(text), name, away=True, setup=True)
    if "NoRegionError" in names:
        text = "no AWS region: add region=… to the URL, or set AWS_DEFAULT_REGION"
        return CallFailed(StoreUnavailable(text), name, away=True, setup=True)
    if names & _CONFIGURATION:
        text = f"AWS configuration can't be used ({name}): check the profile and the files in ~/.aws"
        return CallFailed(StoreUnavailable(text), name, away=True, setup=True)
    if names & _TLS:
        text = (
            f"the TLS certificate of {at} does not verify: check the host name, and AWS_CA_BUNDLE for a CA of your own"
        )
        return CallFailed(StoreUnavailable(text), name, unknown=True, away=True)
    if names & _TIMEOUTS:
        unknown = not names & _NO_CONNECTION
        return CallFailed(StoreUnavailable(f"{at} does not answer in time"), name, unknown=unknown, away=True)
    if names & _NO_CONNECTION:
        text = f"can't connect to {at}: check endpoint_url, region and the network"
        return CallFailed(StoreUnavailable(text), name, away=True)
    if "ConnectionClosedError" in names:
        return CallFailed(StoreUnavailable(f"{at} closed the connection"), name, unknown=True, lost=True)
    if "BotoCoreError" in names:
        return CallFailed(StoreUnavailable(f"the call to {at} failed ({name})"), name, unknown=True)
    return CallFailed(Defect(f"unexpected {name} in the AWS library"), name, unknown=True)


def where(target: DynamoTarget) -> str:
    """The endpoint in words."""
    return target.endpoint_url or f"DynamoDB in {target.region or 'the configured region'}"


def contended(code: str) -> LimitExceeded:
    """DynamoDB takes no more of this at the moment."""
    return LimitExceeded(f"DynamoDB takes no more at the moment ({code}); nothing was written", retry_after_s=0.5)


def invalid(text: str) -> SidecarError:
    """A call that DynamoDB refuses as it is: too large, or our bug."""
    lowered = text.lower()
    if "size" in lowered and ("exceed" in lowered or "larger" in lowered):
        return too_large("the write is larger than DynamoDB takes: 400 KB an item, 4 MB a transaction")
    return Defect("DynamoDB refused a call as invalid")


def too_large(message: str, *, field: str = "value") -> InvalidRequest:
    """A write that no retry makes fit; nothing was written."""
    return InvalidRequest(message, reason="VALUE_TOO_LARGE", field=field)


def too_many(message: str) -> InvalidRequest:
    """A write of more items than a transaction takes; nothing was written."""
    return InvalidRequest(message, reason="TOO_MANY_OPERATIONS", field="operations")


E = TypeVar("E", bound=Exception)


def twin(error: E) -> E:
    """The same for another caller: a raised exception is changed by it."""
    made = type(error).__new__(type(error), *error.args)
    made.__dict__.update(error.__dict__)
    made.__cause__ = error.__cause__
    if isinstance(made, SidecarError):
        made.metadata = dict(made.metadata)
    return made


def _missing(target: DynamoTarget) -> str:
    region = f" in {target.region}" if target.region else ""
    return (
        f"the table {target.table!r} does not exist{region}: create it as docs/adapters/dynamodb.md says, "
        "correct table and region, or add create=true to the URL"
    )
