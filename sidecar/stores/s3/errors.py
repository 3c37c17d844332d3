"""What a failure of a request to S3 means. Every exception of the AWS library passes through `failure`.

Whether a write can have landed decides what its caller is told, and only what is known not to have landed counts as
such: a connection that was never made, a request that was never signed, or an answer that refuses by name. Everything
else is LOST.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

from botocore import exceptions as boto  # type: ignore[import-untyped]  # it has no types
from botocore.parsers import ResponseParserError  # type: ignore[import-untyped]  # the same
from urllib3.exceptions import HTTPError

from sidecar.core.errors import InvalidRequest, SidecarError, StoreUnavailable, storage_full
from sidecar.stores.s3.target import S3Target


class Meaning(Enum):
    """What a caller does about a failure."""

    TAKEN = "taken"
    """A condition did not hold; nothing was written."""
    ABSENT = "absent"
    """There is no such object."""
    AGAIN = "again"
    """Nothing was written, and the same request may succeed soon."""
    LOST = "lost"
    """The request may have been carried out; the same request may tell."""
    REFUSED = "refused"
    """Nothing was written, and repeating it at once changes nothing."""


class Failure(Exception):
    """A failed request: what to do, the error for whoever asked, and the status of the answer (0: none)."""

    def __init__(self, meaning: Meaning, error: SidecarError, status: int = 0) -> None:
        super().__init__(error.message)
        self.meaning = meaning
        self.error = error
        self.status = status


LIBRARY_ERRORS = (boto.BotoCoreError, boto.ClientError, ResponseParserError, HTTPError, OSError)
"""What a call of the AWS library raises, reading a body included; anything else is a bug."""


_Explain = Callable[[S3Target, str, Mapping[str, Any]], SidecarError]
"""From the target, S3's name of the operation and its answer to the error for whoever asked."""
_NO_S3 = "{endpoint} does not answer as S3 does: is it an S3 endpoint?"


def failure(exc: Exception, target: S3Target, operation: str) -> Failure:
    """The meaning of an exception that a request raised; `operation` is S3's name of it."""
    found = _answered(exc, target, operation) if isinstance(exc, boto.ClientError) else _unanswered(exc, target)
    found.error.__cause__ = exc
    return found


def no_answer_of_s3(target: S3Target) -> Failure:
    """For an answer that S3 would not give."""
    return Failure(Meaning.LOST, unavailable(target, _NO_S3.format(endpoint=_endpoint(target))))


def unavailable(target: S3Target, what: str) -> StoreUnavailable:
    """A tier's error for an operator: which bucket, what is wrong, what to do."""
    return StoreUnavailable(f"{target}: {what}")


# Answers.


def _answered(exc: Any, target: S3Target, operation: str) -> Failure:
    response = exc.response
    code = str(response.get("Error", {}).get("Code", ""))
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if operation == "HeadBucket" and status == 404:
        code = "NoSuchBucket"  # answers to HEAD have no body to say so
    meaning, explain = _CODES.get(code) or _STATUSES.get(status) or (Meaning.LOST, _unexpected)
    error = explain(target, operation, response)
    error.metadata.update(operation=operation, code=code, status=str(status))
    return Failure(meaning, error, status)


def _said(text: str) -> _Explain:
    return lambda target, _operation, _response: unavailable(target, text)


def _no_bucket(target: S3Target, _operation: str, _response: Mapping[str, Any]) -> SidecarError:
    return unavailable(target, f"there is no bucket {target.bucket}: make it, correct its name, or add create=true")


def _denied(target: S3Target, operation: str, _response: Mapping[str, Any]) -> SidecarError:
    needed = _PERMISSIONS.get(operation, operation)
    return unavailable(target, f"access denied to {operation}: allow these credentials s3:{needed}")


def _region(target: S3Target, _operation: str, response: Mapping[str, Any]) -> SidecarError:
    headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    region = response.get("Error", {}).get("Region") or headers.get("x-amz-bucket-region")
    advice = f"set region={region}" if region else "set region= to where the bucket is"
    return unavailable(target, f"the bucket is in another region than {target.region or 'the default one'}: {advice}")


def _full(target: S3Target, _operation: str, _response: Mapping[str, Any]) -> SidecarError:
    return storage_full(f"{target}: the object store has no room")


def _too_large(_target: S3Target, _operation: str, _response: Mapping[str, Any]) -> SidecarError:
    return InvalidRequest("larger than the object store takes", reason="VALUE_TOO_LARGE", field="value")


def _unexpected(target: S3Target, operation: str, response: Mapping[str, Any]) -> SidecarError:
    error = response.get("Error", {})
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", "no status")
    said = str(error.get("Message", ""))[:200]
    return unavailable(target, f"{operation} was answered {status} {error.get('Code', '')}: {said}")


_PERMISSIONS = {
    "HeadObject": "GetObject",
    "ListObjectsV2": "ListBucket",
    "HeadBucket": "ListBucket",
}
"""Where IAM's name for what an operation needs is another."""

_KEYS = _said("the credentials are not accepted: check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile")
_EXPIRED = _said("the credentials have expired: renew them")
_BUSY = _said("the object store is overloaded")
_BROKEN = _said("the object store has an internal error")
_DAMAGED = _said("the object store received other bytes than were sent")

_CODES: dict[str, tuple[Meaning, _Explain]] = {
    "PreconditionFailed": (Meaning.TAKEN, _unexpected),
    "NoSuchKey": (Meaning.ABSENT, _unexpected),
    "NoSuchBucket": (Meaning.REFUSED, _no_bucket),
    # Two conditional writes met: neither is done, and S3 asks for another try.
    "ConditionalRequestConflict": (Meaning.AGAIN, _BUSY),
    "OperationAborted": (Meaning.AGAIN, _BUSY),
    "SlowDown": (Meaning.AGAIN, _BUSY),
    "RequestLimitExceeded": (Meaning.AGAIN, _BUSY),
    "ThrottlingException": (Meaning.AGAIN, _BUSY),
    "TooManyRequests": (Meaning.AGAIN, _BUSY),
    "RequestTimeout": (Meaning.AGAIN, _said("the object store did not receive the whole request in time")),
    "BadDigest": (Meaning.AGAIN, _DAMAGED),
    "XAmzContentChecksumMismatch": (Meaning.AGAIN, _DAMAGED),
    "XAmzContentSHA256Mismatch": (Meaning.AGAIN, _DAMAGED),
    "IncompleteBody": (Meaning.AGAIN, _DAMAGED),
    # 503 may be a proxy's word for a connection that it lost: unknown.
    "ServiceUnavailable": (Meaning.LOST, _BUSY),
    "InternalError": (Meaning.LOST, _BROKEN),
    "AccessDenied": (Meaning.REFUSED, _denied),
    "AllAccessDisabled": (Meaning.REFUSED, _denied),
    "AccountProblem": (Meaning.REFUSED, _denied),
    "InvalidAccessKeyId": (Meaning.REFUSED, _KEYS),
    "SignatureDoesNotMatch": (Meaning.REFUSED, _KEYS),
    "AuthFailure": (Meaning.REFUSED, _KEYS),
    "InvalidToken": (Meaning.REFUSED, _KEYS),
    "ExpiredToken": (Meaning.REFUSED, _EXPIRED),
    "ExpiredTokenException": (Meaning.REFUSED, _EXPIRED),
    "TokenRefreshRequired": (Meaning.REFUSED, _EXPIRED),
    "RequestExpired": (Meaning.REFUSED, _EXPIRED),
    "RequestTimeTooSkewed": (
        Meaning.REFUSED,
        _said("this machine's clock differs from the object store's by more than 15 minutes: set it"),
    ),
    "PermanentRedirect": (Meaning.REFUSED, _region),
    "TemporaryRedirect": (Meaning.REFUSED, _region),
    "AuthorizationHeaderMalformed": (Meaning.REFUSED, _region),
    "IllegalLocationConstraintException": (Meaning.REFUSED, _region),
    "InvalidBucketName": (Meaning.REFUSED, _said("the object store takes no bucket of this name")),
    "BucketAlreadyExists": (
        Meaning.REFUSED,
        _said("the bucket belongs to somebody else: bucket names are shared by all; take another"),
    ),
    "KeyTooLongError": (Meaning.REFUSED, _said("a key is longer than the object store takes: shorten the prefix")),
    "NotImplemented": (
        Meaning.REFUSED,
        _said("the endpoint does not implement conditional writes (If-None-Match): take a store or release that does"),
    ),
    "InvalidObjectState": (Meaning.REFUSED, _said("the object is in an archive: restore it, and exclude the prefix")),
    "EntityTooLarge": (Meaning.REFUSED, _too_large),
    "QuotaExceeded": (Meaning.REFUSED, _full),
    "InsufficientStorage": (Meaning.REFUSED, _full),
    "XMinioStorageFull": (Meaning.REFUSED, _full),
    "XMinioAdminBucketQuotaExceeded": (Meaning.REFUSED, _full),
}
_STATUSES: dict[int, tuple[Meaning, _Explain]] = {
    # For answers without a code in their body: those to HEAD, and a proxy's.
    301: (Meaning.REFUSED, _region),
    307: (Meaning.REFUSED, _region),
    401: (Meaning.REFUSED, _KEYS),
    403: (Meaning.REFUSED, _denied),
    404: (Meaning.REFUSED, _said("the endpoint answers 404, which is not as S3 does: is it an S3 endpoint?")),
    409: (Meaning.AGAIN, _BUSY),
    411: (Meaning.REFUSED, _unexpected),
    412: (Meaning.TAKEN, _unexpected),
    413: (Meaning.REFUSED, _too_large),
    429: (Meaning.AGAIN, _BUSY),
    500: (Meaning.LOST, _BROKEN),
    501: _CODES["NotImplemented"],
    502: (Meaning.LOST, _BROKEN),
    503: (Meaning.LOST, _BUSY),
    504: (Meaning.LOST, _BROKEN),
    507: (Meaning.REFUSED, _full),
}


# No answer.


def _unanswered(exc: Exception, target: S3Target) -> Failure:
    for kinds, meaning, what in _KINDS:
        if isinstance(exc, kinds):
            return Failure(meaning, unavailable(target, what.format(endpoint=_endpoint(target))))
    if isinstance(exc, boto.SSLError):
        return _tls(exc, target)
    if isinstance(exc, boto.ParamValidationError):
        return Failure(Meaning.REFUSED, unavailable(target, "the AWS library refuses the bucket's or the key's name"))
    return Failure(Meaning.LOST, unavailable(target, f"the request failed ({type(exc).__name__})"))


def _tls(exc: Exception, target: S3Target) -> Failure:
    endpoint, text = _endpoint(target), str(exc)
    if "Hostname mismatch" in text or "doesn't match" in text or "IP address mismatch" in text:
        advice = "its certificate is for another name: correct the host in endpoint_url"
    elif "CERTIFICATE_VERIFY_FAILED" in text:
        advice = "its certificate is not signed by a known authority: set AWS_CA_BUNDLE to the authority's file"
    elif "WRONG_VERSION_NUMBER" in text or "HTTP_REQUEST" in text:
        advice = "it does not speak TLS: is endpoint_url http://?"
    else:
        # Perhaps after the request was sent.
        return Failure(Meaning.LOST, unavailable(target, f"TLS with {endpoint} failed"))
    return Failure(Meaning.REFUSED, unavailable(target, f"TLS with {endpoint} failed: {advice}"))


def _endpoint(target: S3Target) -> str:
    return target.endpoint_url or "AWS"


_KINDS: tuple[tuple[tuple[type[Exception], ...], Meaning, str], ...] = (
    (
        (boto.EndpointConnectionError, boto.ConnectTimeoutError, boto.ProxyConnectionError),
        Meaning.REFUSED,
        "{endpoint} can't be reached: check the host and port in endpoint_url, and that the server runs",
    ),
    ((boto.ReadTimeoutError,), Meaning.LOST, "{endpoint} does not answer in time"),
    (
        (boto.ConnectionClosedError, boto.HTTPClientError, boto.ResponseStreamingError, boto.IncompleteReadError),
        Meaning.LOST,
        "the connection to {endpoint} was lost",
    ),
    ((ResponseParserError,), Meaning.LOST, _NO_S3),
    (
        (boto.NoCredentialsError,),
        Meaning.REFUSED,
        "there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or a role",
    ),
    (
        (boto.PartialCredentialsError,),
        Meaning.REFUSED,
        "the credentials are incomplete: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    ),
    ((boto.ProfileNotFound,), Meaning.REFUSED, "the profile that AWS_PROFILE names is not in AWS's configuration"),
    (
        (
            boto.CredentialRetrievalError,
            boto.TokenRetrievalError,
            boto.UnauthorizedSSOTokenError,
            boto.SSOError,
            boto.MetadataRetrievalError,
            boto.InvalidConfigError,
        ),
        Meaning.REFUSED,
        "the credentials can't be had: renew them, or check the profile or role",
    ),
    ((boto.NoRegionError,), Meaning.REFUSED, "there is no region: set region="),
)
"""First match wins: the AWS library's kinds have kinds."""
