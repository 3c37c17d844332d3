"""`state-sidecar export`, as a shell sees it."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NoReturn

import click
from typing_extensions import override

from sidecar.cli import options, output
from sidecar.cli.calls import Exit, client_for, explain
from sidecar.cli.export.errors import ExportError
from sidecar.runtime.parsing import parse_bytes

if TYPE_CHECKING:
    from sidecar.cli.admin_client import AdminClient
    from sidecar.cli.export.job import Done
    from sidecar.cli.export.parts import Bounds
    from sidecar.cli.export.progress import Subject
    from sidecar.cli.export.target import Target

_GOES_ON = "Run the same command again: it goes on where it was."


class _Size(click.ParamType):  # type: ignore[type-arg]  # not generic in all versions
    name = "size"

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            size = parse_bytes(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if size <= 0:
            self.fail(f"{value!r} is not above zero", param, ctx)
        return size


@click.command()
@options.namespace
@click.option("--to", "to", required=True, metavar="URL", help="file:///path or s3://BUCKET/PREFIX?endpoint_url=…")
@click.option("--format", type=click.Choice(["parquet", "jsonl"]), default="parquet", show_default=True)
@click.option("--what", type=click.Choice(["entries", "checkpoints"]), default="entries", show_default=True)
@click.option("--prefix", type=options.Name(), default="", help="Only entries whose keys begin with it.")
@click.option("--part-rows", type=click.IntRange(1), default=1_000_000, show_default=True, help="Of one file, at most.")
@click.option(
    "--part-bytes", type=_Size(), default="128MiB", show_default=True, help="Of one file before it is encoded, at most."
)
@click.option(
    "--buffer-bytes", type=_Size(), default="256MiB", show_default=True, help="Memory of what waits to be written."
)
@click.option("--restart", is_flag=True, help="Begin again, where an unfinished export would be continued.")
@options.connection
def export(
    *,
    namespace: str,
    to: str,
    format: str,
    what: str,
    prefix: str,
    part_rows: int,
    part_bytes: int,
    buffer_bytes: int,
    restart: bool,
    target: options.Target,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Write the entries of a namespace, or of its checkpoints, as files for a data lake.

    The files are URL/namespace=…/date=YYYY-MM-DD/part-N, by the day (UTC) of an entry's last update or of its checkpoint.
    An export that was interrupted is continued by the same command. One that is finished is replaced by the next.
    """
    if prefix and what == "checkpoints":
        raise click.UsageError("--prefix is for entries: checkpoints are exported whole")
    place = _target(to)

    from sidecar.cli.export.parts import Bounds  # noqa: PLC0415  # not for other commands
    from sidecar.cli.export.progress import Subject  # noqa: PLC0415

    subject = Subject(namespace=namespace, what=what, format=format, prefix=prefix)
    bounds = Bounds(part_rows=part_rows, part_bytes=part_bytes, buffer_bytes=buffer_bytes)
    with client_for(target, timeout_s, as_json=as_json) as client:
        try:
            done = _run(client, subject, place, bounds, restart=restart)
        except ExportError as error:
            _fail(error, as_json=as_json)
        except KeyboardInterrupt:
            click.echo(_GOES_ON, err=True)
            raise
    _tell(done, place, as_json=as_json)


def _target(to: str) -> Target:
    if find_spec("pyarrow") is None:
        raise click.UsageError("export needs a library more: pip install state-sidecar[export]")
    from sidecar.cli.export.target import parse  # noqa: PLC0415  # not for other commands

    try:
        return parse(to)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="'--to'") from None


def _run(client: AdminClient, subject: Subject, target: Target, bounds: Bounds, *, restart: bool) -> Done:
    from sidecar.cli.export import bar, formats, pages  # noqa: PLC0415  # with what `_target` looked for
    from sidecar.cli.export.job import Export  # noqa: PLC0415
    from sidecar.cli.export.place import Place  # noqa: PLC0415
    from statesidecar import StateSidecarError  # noqa: PLC0415

    def read(token: str) -> Any:
        if subject.what == "checkpoints":
            return pages.checkpoint_pages(client, subject.namespace, token)
        return pages.entry_pages(client, subject.namespace, subject.prefix, token)

    write = formats.writer(subject.format, subject.what)
    try:
        with bar.shown(subject.what) as shown:
            job = Export(subject, place=Place(target), pages=read, write=write, bounds=bounds, shown=shown)
            return job.run(restart=restart)
    except StateSidecarError as error:
        code, message, advice = explain(error, client.target)
        advice = _GOES_ON if code is Exit.UNAVAILABLE else advice
        raise ExportError(message, code=code, reason=error.reason, advice=advice) from error


def _fail(error: ExportError, *, as_json: bool) -> NoReturn:
    """Tells it in the forms of `calls.fail`."""
    if as_json:
        told: dict[str, Any] = {"reason": error.reason, "message": error.message, "advice": error.advice}
        told |= {"exit_code": int(error.code), "metadata": {}}
        click.echo(json.dumps({"error": told}, ensure_ascii=False), err=True)
    else:
        click.echo(f"state-sidecar: {error.reason + ': ' if error.reason else ''}{error.message}", err=True)
        if error.advice:
            click.echo(error.advice, err=True)
    sys.exit(error.code)


def _tell(done: Done, target: Target, *, as_json: bool) -> None:
    from sidecar.cli.export.bar import counts  # noqa: PLC0415  # not for other commands

    progress, subject = done.progress, done.progress.subject
    parts = progress.next_part - progress.first_part
    if as_json:
        told: dict[str, Any] = {"to": str(target), "folder": done.folder, "namespace": subject.namespace}
        told |= {"what": subject.what, "format": subject.format, "prefix": subject.prefix}
        told |= {"rows": progress.rows, "bytes": progress.size, "parts": parts, "resumed": done.resumed}
        output.print_json(told | {"start_time": progress.start_time, "finish_time": progress.finish_time})
        return
    counted = counts(subject.what, progress.rows, progress.size, parts)
    click.echo(f"exported · {counted} · {output.printable(f'{target}/{done.folder}')}")
    if done.resumed:
        click.echo(f"It was begun at {progress.start_time}, and continued.", err=True)
