"""One call of the client for one command: its connection, and what its errors mean at a shell."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NoReturn

import click

from sidecar.cli import interrupts, output

if TYPE_CHECKING:
    from sidecar.cli.admin_client import AdminClient
    from sidecar.cli.options import Target
    from statesidecar import Durability, ServingMode, StateSidecarError

# A daemon that restarts is waited for; one that isn't there is told within half a second.
_ATTEMPTS_MAX = 3
# What gRPC says of a connection that TLS, or its lack, has ended.
_HANDSHAKES = ("handshake", "Verification", "Socket closed")
_KNOWN_BY = "Say who calls: with --token-file, or with --tls-certificate and --tls-key."


class Exit(IntEnum):
    """Exit codes, as `--help` tells them."""

    OK = 0
    ABSENT = 1
    USAGE = 2
    CONFLICT = 3
    INVALID = 4
    UNAVAILABLE = 5
    UNKNOWN = 6
    DENIED = 7
    INTERNAL = 70


@contextmanager
def client_for(target: Target, timeout_s: float, *, as_json: bool) -> Iterator[AdminClient]:
    """A client whose errors end the process, with the reason on stderr; as does a signal."""
    try:
        with interrupts.ending(), _failing(target, timeout_s, as_json=as_json) as client:
            yield client
    except KeyboardInterrupt:
        sys.exit(interrupts.CODE)


@contextmanager
def _failing(target: Target, timeout_s: float, *, as_json: bool) -> Iterator[AdminClient]:
    from sidecar.cli.admin_client import AdminClient  # noqa: PLC0415  # not for serve
    from statesidecar import RetryPolicy, StateSidecarError, Tls  # noqa: PLC0415  # not for serve

    retry = RetryPolicy(attempts_max=_ATTEMPTS_MAX)
    tls = Tls(**target.tls) if target.tls else None
    address = ""
    try:
        with AdminClient(
            target.address, timeout_s=timeout_s, retry=retry, token_file=target.token_file, tls=tls
        ) as client:
            address = client.target
            yield client
    except StateSidecarError as error:
        fail(error, address, as_json=as_json)
    except Exception:  # noqa: BLE001  # a bug of this program: told as one, not as the exit code of a miss
        click.echo(traceback.format_exc(), err=True)
        sys.exit(Exit.INTERNAL)


def fail(error: StateSidecarError, target: str, *, as_json: bool) -> NoReturn:
    """Tells the error, and ends the process with its code."""
    code, message, advice = explain(error, target)
    if as_json:
        told: dict[str, Any] = {"reason": error.reason, "message": message, "advice": advice, "exit_code": int(code)}
        extra = ("expected_version", "current_version", "request_id", "retry_after_s")
        told |= {name: value for name in extra if (value := getattr(error, name, None)) is not None}
        click.echo(json.dumps({"error": told | {"metadata": error.metadata}}, ensure_ascii=False), err=True)
    else:
        click.echo(f"state-sidecar: {error.reason + ': ' if error.reason else ''}{message}", err=True)
        if advice:
            click.echo(advice, err=True)
    sys.exit(code)


def explain(error: StateSidecarError, target: str) -> tuple[Exit, str, str]:
    """Exit code, message, and what to do."""
    import statesidecar as client  # noqa: PLC0415  # not for serve

    match error:
        case client.Unauthenticated() | client.PermissionDenied():
            return Exit.DENIED, error.message, _KNOWN_BY if isinstance(error, client.Unauthenticated) else ""
        case client.Unavailable(reason="") | client.DeadlineExceeded(reason=""):
            return Exit.UNAVAILABLE, *_unreached(error.message, target)
        case client.Unavailable() | client.LimitExceeded() | client.DeadlineExceeded():
            wait_s = getattr(error, "retry_after_s", None)
            return Exit.UNAVAILABLE, error.message, f"Nothing was written. Try again{_after(wait_s)}."
        case client.WriteOutcomeUnknown():
            advice = f"Repeat it with --request-id {error.request_id} to learn what became of it; it takes effect once."
            return Exit.UNKNOWN, error.message, advice if error.request_id else ""
        case client.VersionConflict():
            return Exit.CONFLICT, error.message, "Nothing was written. `get --verbose` tells the current version."
        case client.NotFound() | client.FailedPrecondition(reason="KEY_NOT_FOUND"):
            return Exit.ABSENT, error.message, ""
        case client.WatchExpired():
            return Exit.INVALID, error.message, "Watch again with --snapshot, and without --resume."
        case client.DataLoss():
            return Exit.INTERNAL, error.message, "Stored bytes do not verify: stop, and look at the tier's storage."
        case client.InternalError():
            return Exit.INTERNAL, error.message, "This is a bug of the daemon: its log has the details."
        case _:
            return Exit.INVALID, error.message, ""


def _unreached(message: str, target: str) -> tuple[str, str]:
    """What to say of a daemon that did not answer, and what to do: by gRPC's own text, which is all there is."""
    if any(text in message for text in _HANDSHAKES):
        advice = "If it serves with TLS, give --tls-ca; and --tls-certificate with --tls-key where it asks for one."
        return f"{target} ended the connection, or could not be believed: {message}", advice
    if "failed to connect" in message or "DNS" in message:
        return f"no daemon at {target}", "Start one with `state-sidecar serve`, or name it with --target."
    return f"no answer from {target}: {message}", "Try again, or with a longer --timeout."


def exit_code_of(mode: ServingMode, durability: Durability | None = None) -> Exit:
    """OK, or UNAVAILABLE for a reply that keeps no promise; says so on stderr."""
    if durability is not None and durability.name == "DISCARDED":
        click.echo("DISCARDED: the authority is away, and nothing was written. Try again later.", err=True)
        return Exit.UNAVAILABLE
    if mode.name == "PASSTHROUGH":
        click.echo("PASSTHROUGH: the authority is away and was not asked.", err=True)
        return Exit.UNAVAILABLE
    if durability is not None and durability.name == "BUFFERED":
        click.echo("BUFFERED: written to the daemon's journal; the authority has not seen it yet.", err=True)
    return Exit.OK


def absent(namespace: str, key: str, *, as_json: bool) -> Exit:
    """Says that there is no entry; in JSON the reply itself does."""
    if not as_json:
        click.echo(f"no entry {output.printable(key)} in {output.printable(namespace)}", err=True)
    return Exit.ABSENT


def _after(seconds: float | None) -> str:
    return f" in {seconds:g} s" if seconds else " later"
