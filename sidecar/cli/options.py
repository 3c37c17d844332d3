"""Options and argument types that commands share."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click
from typing_extensions import override

from sidecar.runtime.parsing import parse_duration_ms

if TYPE_CHECKING:
    from statesidecar import OutboxMessage

F = TypeVar("F", bound=Callable[..., Any])

VALUE_BYTES_MAX = 1024 * 1024 * 1024
"""A message has at most 1 GiB: what is larger is not read into memory only to be refused."""


INT64_MAX = 2**63 - 1
INT64 = click.IntRange(-(2**63), INT64_MAX)
_DURATION_S_MAX = 10_000 * 365 * 86_400


class Duration(click.ParamType):  # type: ignore[type-arg]  # not generic in all versions
    """Seconds, from `30m`, `90s`, `1h30m`, `PT30M` or a number of seconds."""

    name = "duration"

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            seconds = parse_duration_ms(value) / 1000
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if seconds > _DURATION_S_MAX:
            self.fail("more than 10000 years", param, ctx)
        return seconds


class Name(click.ParamType):  # type: ignore[type-arg]  # not generic in all versions
    """A key or namespace: UTF-8, which an argument of a shell need not be."""

    name = "text"

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            str(value).encode()
        except UnicodeEncodeError:
            self.fail("not UTF-8", param, ctx)
        return str(value)


class Label(click.ParamType):  # type: ignore[type-arg]  # not generic in all versions
    """A pair, from `key=value`."""

    name = "key=value"

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        key, separator, text = Name().convert(value, param, ctx).partition("=")
        if not key or not separator:
            self.fail(f"{value!r} is not {self.name}", param, ctx)
        return key, text


class Message(Label):
    """A message for the outbox, from `topic=payload`."""

    name = "topic=payload"


class Json(click.ParamType):  # type: ignore[type-arg]  # not generic in all versions
    """A JSON value."""

    name = "json"

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return json.loads(Name().convert(value, param, ctx))
        except (ValueError, RecursionError) as error:
            self.fail(f"not JSON: {error}", param, ctx)


def _all(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    def decorate(command: F) -> F:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where the daemon is, and the files of who calls. Unset: as the client takes it."""

    address: str | None
    token_file: Path | None
    tls: Mapping[str, Any]
    """`ca`, `certificate` and `key`, those that are given."""


def _targeted(command: F) -> F:
    @wraps(command)
    def with_target(
        *,
        target: str | None,
        token_file: Path | None,
        tls_ca: Path | None,
        tls_certificate: Path | None,
        tls_key: Path | None,
        **options: Any,
    ) -> Any:
        if (tls_certificate is None) != (tls_key is None):
            raise click.UsageError("--tls-certificate and --tls-key: give both, or none")
        given = {"ca": tls_ca, "certificate": tls_certificate, "key": tls_key}
        tls = {name: path for name, path in given.items() if path is not None}
        return command(target=Target(address=target, token_file=token_file, tls=tls), **options)

    return cast("F", with_target)


def _file(name: str, text: str) -> Callable[[F], F]:
    variable = f"STATE_SIDECAR_{name[2:].replace('-', '_').upper()}"
    help = f"{text} Default: ${variable}."
    return click.option(name, type=click.Path(path_type=Path), envvar=variable, metavar="FILE", help=help)


reaching: Callable[[F], F] = _all(
    click.option(
        "--target",
        metavar="ADDRESS",
        help="host:port or unix:///path. Default: $STATE_SIDECAR_TARGET, else 127.0.0.1:7420.",
    ),
    _file("--token-file", "Has the bearer token to call with."),
    _file("--tls-ca", "The authority of the daemon's certificate."),
    _file("--tls-certificate", "The certificate to show, with its key."),
    _file("--tls-key", "Its key."),
    _targeted,
)
"""Where the daemon is, and who calls: a command's `target`."""


def connecting(timeout: str = "5s") -> Callable[[F], F]:
    """Where the daemon is, who calls, how long its answer may take, and how it is printed."""
    return _all(
        reaching,
        click.option(
            "--timeout",
            "timeout_s",
            type=Duration(),
            default=timeout,
            show_default=timeout,
            help="For the call with its retries.",
        ),
        click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout; an error is one on stderr."),
    )


connection: Callable[[F], F] = connecting()
namespace: Callable[[F], F] = click.argument("namespace", type=Name())
key: Callable[[F], F] = click.argument("key", type=Name())
ttl: Callable[[F], F] = click.option(
    "--ttl", "ttl_s", type=Duration(), help="Until the entry expires. Default: the namespace's."
)
request_id: Callable[[F], F] = click.option(
    "--request-id", type=Name(), help="Makes a repeated write take effect once. Default: a new one."
)
messages: Callable[[F], F] = click.option(
    "--message",
    "messages",
    type=Message(),
    multiple=True,
    help="Goes out if, and only if, the write takes effect. Repeatable.",
)
value: Callable[[F], F] = _all(
    click.argument("value", required=False),
    click.option("--file", type=click.Path(path_type=Path), help="Read the value from a file; - is stdin."),
    click.option("--content-type", type=Name(), default="", help="Such as application/json."),
    click.option("--schema-version", type=click.IntRange(0, 2**32 - 1), default=0, help="Of the value's schema."),
    click.option("--label", "labels", type=Label(), multiple=True, help="Repeatable."),
    ttl,
    request_id,
    messages,
)


def read_value(argument: str | None, file: Path | None) -> bytes:
    """The value's bytes: the argument, `-` for stdin, or a file. UsageError unless it is exactly one of them."""
    if (argument is None) == (file is None):
        raise click.UsageError("give a value: as an argument, - for stdin, or --file (one of them)")
    if argument is not None and argument != "-":
        # As the shell gave it, also where that is no UTF-8.
        return argument.encode(errors="surrogateescape")
    try:
        if file is None or str(file) == "-":
            content = sys.stdin.buffer.read(VALUE_BYTES_MAX + 1)
        else:
            with file.open("rb") as opened:
                content = opened.read(VALUE_BYTES_MAX + 1)
    except OSError as error:
        raise click.UsageError(f"cannot read {file or 'stdin'}: {error.strerror}") from None
    if len(content) > VALUE_BYTES_MAX:
        raise click.UsageError(f"the value has more than {VALUE_BYTES_MAX} bytes, which no message can carry")
    return content


def outbox(messages: tuple[tuple[str, str], ...]) -> list[OutboxMessage]:
    """What a write carries."""
    from statesidecar import OutboxMessage  # noqa: PLC0415  # not for serve

    return [OutboxMessage(topic, payload) for topic, payload in messages]
