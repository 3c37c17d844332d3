"""What an error of PostgreSQL, or of the way to it, means to a caller. Every one passes through here.

Until COMMIT was sent nothing was written, whatever went wrong: a transaction that is not committed ends with its
connection. Once it was sent:

| answer | means | why |
| --- | --- | --- |
| an error of a statement before COMMIT | not committed | the server skips the rest of the pipeline, COMMIT included |
| an error of COMMIT, class 40 or 23 | not committed | the transaction is rolled back by it |
| any other error of COMMIT | unknown | nobody has shown that it isn't |
| none: connection lost, or no answer in time | unknown | it may have been executed |
"""

from __future__ import annotations

import re

from sidecar.core.errors import (
    Defect,
    InvalidRequest,
    LimitExceeded,
    OutcomeUnknown,
    SidecarError,
    StoreUnavailable,
    storage_full,
    store_corrupt,
)

_AGAIN = ("40001", "40P01", "23505")
_TOO_LARGE = ("54000", "22001")
_LOCKED = "55P03"
_CANCELED = "57014"
_READ_ONLY = "25006"
_FORBIDDEN = "42501"
_MISSING = ("3F000", "42P01", "42703", "42883")
_STATEMENT_NAMES = ("26000", "42P05")
_ALLOCATION = "invalid memory alloc request size"
_ROLLED_BACK_CLASSES = ("40", "23")
_OF_ONE_WORK_CLASSES = ("22", "23", "53", "54", "55", "XX", _CANCELED)

# What libpq says of a connection that it can't make, and what an operator is to do. It tells no code.
_CONNECT_ADVICE = (
    (r"password authentication failed|no password supplied|fe_sendauth", "check user and password"),
    (r"SASL authentication failed|SCRAM", "check user and password"),
    (r"role \".*\" does not exist|no such user", "check the user"),
    (r"database \".*\" does not exist|no such database", "create the database, or check its name"),
    (r"no pg_hba\.conf entry", "the server lets in no such user from here (pg_hba.conf)"),
    (r"certificate verify failed|root certificate file", "the server's certificate is not of the CA in sslrootcert"),
    (r"does not match host name", "the server's certificate is for another host name"),
    (r"server does not support SSL|SSL was required|no SSL support", "the server has no TLS; sslmode asks for it"),
    (r"too many clients|remaining connection slots|too many connections|no more connections allowed", "raise max_connections, or lower connections="),
    (r"could not translate host name|name or service not known|nodename nor servname|getaddrinfo", "check the host name"),
    (r"connection refused", "check host and port, and that the server runs"),
    (r"starting up|shutting down|in recovery mode", "the server is about to answer"),
    (r"relation .* does not exist", "the schema is not as this release made it"),
    (r"due to lock timeout", "another daemon prepares the schema, or somebody holds a lock on its tables"),
    (r"permission denied", "grant the user CREATE on the database, or make a schema for it: CREATE SCHEMA … AUTHORIZATION …"),
)  # fmt: skip
_CONNECT = [(re.compile(pattern, re.IGNORECASE), advice) for pattern, advice in _CONNECT_ADVICE]


class ServerError(Exception):
    """The server refused the statement at `index` of an exchange; it did nothing of those after it."""

    def __init__(self, sqlstate: str, message: str, *, index: int) -> None:
        super().__init__(f"{message} ({sqlstate})")
        self.sqlstate = sqlstate
        self.message = message
        self.index = index


class Raced(Exception):
    """Another transaction came between, or the server is another; nothing was written, and the same may succeed now."""


class ConnectionLost(Exception):
    """The connection ended, or did not answer in time (`timed_out`); what was asked may have been done."""

    def __init__(self, message: str, *, sqlstate: str = "", timed_out: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.sqlstate = sqlstate
        self.timed_out = timed_out


def store_error(exc: Exception) -> SidecarError:
    """The error for the caller of a read, or of a write of which nothing was written."""
    match exc:
        case SidecarError():
            return exc
        case ServerError():
            error = _classified(exc)
            error.metadata["sqlstate"] = exc.sqlstate
        case ConnectionLost():
            error = StoreUnavailable(f"the database does not answer: {exc.message}")
        case Raced():
            error = StoreUnavailable(f"others came between again and again: {exc}")
        case MemoryError():
            error = LimitExceeded("out of memory")
        case _:
            error = Defect(f"unexpected {type(exc).__name__} in the store")
    error.__cause__ = exc
    return error


def commit_error(exc: ServerError | ConnectionLost) -> SidecarError:
    """The error for the caller of a write, when COMMIT was sent and failed, or nothing was heard of it."""
    if isinstance(exc, ServerError) and exc.sqlstate.startswith(_ROLLED_BACK_CLASSES):
        return store_error(exc)
    unknown = OutcomeUnknown(
        f"the commit was sent and its outcome not heard ({exc}): repeat it with the same request id",
        metadata={"sqlstate": exc.sqlstate} if exc.sqlstate else {},
    )
    unknown.__cause__ = exc
    return unknown


def is_race(exc: ServerError) -> bool:
    """Whether another transaction was in the way, and the same may succeed now."""
    return exc.sqlstate in _AGAIN


def is_locked(exc: Exception | None) -> bool:
    """Whether another session held a lock for too long."""
    return isinstance(exc, ServerError) and exc.sqlstate == _LOCKED


def is_canceled(exc: ServerError) -> bool:
    """Whether a statement took longer than it was given."""
    return exc.sqlstate == _CANCELED


def is_of_one_work(exc: ServerError) -> bool:
    """Whether the others of a batch may fare better without the one that caused it."""
    return exc.sqlstate.startswith(_OF_ONE_WORK_CLASSES)


def is_of_prepared(exc: ServerError) -> bool:
    """Whether a pooler gave the connection to a server that does not have its prepared statements."""
    return exc.sqlstate in _STATEMENT_NAMES


def is_of_schema(exc: ServerError) -> bool:
    """Whether a table or function is missing: a new connection looks at the schema again."""
    return exc.sqlstate in _MISSING


def connect_error(exc: Exception, host: tuple[str, int], *, timeout_s: float) -> SidecarError:
    """Why a connection could not be made, and what to do about it."""
    where = f"{host[0]}:{host[1]}"
    if isinstance(exc, SidecarError):
        return exc
    if isinstance(exc, TimeoutError):
        said, advice = f"no answer within {timeout_s:g} s", "check host and port, and firewalls between"
    else:
        text = exc.message if isinstance(exc, ServerError | ConnectionLost) else str(exc)
        said = " ".join(text.removeprefix("connection failed: ").split())
        advice = next((advice for pattern, advice in _CONNECT if pattern.search(text)), "")
    error = StoreUnavailable(f"PostgreSQL at {where} can't be used: {said}" + (f"; {advice}" if advice else ""))
    error.__cause__ = exc
    return error


def again(exc: Exception) -> SidecarError:
    """The error of an exception that many callers hear: each its own instance, since a raised one is changed by it."""
    error = store_error(exc)
    twin = type(error).__new__(type(error), *error.args)
    twin.__dict__.update(error.__dict__)
    twin.metadata = dict(error.metadata)
    twin.__cause__ = error.__cause__
    return twin


def _classified(exc: ServerError) -> SidecarError:
    state, said = exc.sqlstate, str(exc)
    if state == "53100":
        return storage_full(f"the database's disk has no room: {said}")
    if state in _TOO_LARGE or exc.message.startswith(_ALLOCATION):
        return InvalidRequest(f"larger than the database takes: {said}", reason="VALUE_TOO_LARGE", field="value")
    if state in ("XX001", "XX002"):
        return store_corrupt(f"the database is corrupt: {said}; restore it from a copy, it is left as it is")
    if state == _READ_ONLY:
        return StoreUnavailable(f"the database takes no writes, it is a standby or set read-only: {said}")
    if state == _LOCKED:
        return StoreUnavailable(f"another session holds a lock on what is asked for: {said}")
    if state == _FORBIDDEN:
        return StoreUnavailable(f"the database's user lacks a right, grant it: {said}")
    if state in _MISSING:
        return StoreUnavailable(f"the schema is not as this release made it: {said}")
    if state.startswith(("08", "53", "57", "58", "55", "25", "28", "3D", "40")):
        return StoreUnavailable(f"the database does not do it now: {said}")
    return Defect(f"unexpected error of the database: {said}")
