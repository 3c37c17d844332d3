"""`outbox`: messages that were committed with writes, for a person: consumed, and what was given up on put back."""

from __future__ import annotations

import os
import sys
import threading
from itertools import islice
from typing import TYPE_CHECKING

import click

from sidecar.cli import interrupts, options, output
from sidecar.cli.calls import Exit, client_for

if TYPE_CHECKING:
    from statesidecar import DeadLetter, ReceivedMessage

_COLUMNS = (
    ("id", "left"),
    ("topic", "left"),
    ("key", "left"),
    ("size", "right"),
    ("attempts", "right"),
    ("given up", "left"),
    ("reason", "left"),
)
_IN_FLIGHT_MAX = 100


@click.group()
def outbox() -> None:
    """Consume messages that were committed with writes, and see to those that could not be delivered."""


@outbox.command()
@options.namespace
@click.option("--topic", "topics", type=options.Name(), multiple=True, help="Only of this topic. Repeatable.")
@click.option("--max", "count", type=click.IntRange(1), help="End after so many. Default: never.")
@options.connection
def consume(
    *,
    namespace: str,
    topics: tuple[str, ...],
    count: int | None,
    target: options.Target,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Print messages as they come, a line each, until Ctrl-C; each is acknowledged when it is printed.

    The fields are id, topic, key, version, attempt and payload, separated by tabs; --json has all, an object a line. A
    daemon that is away is waited for as long as --timeout says.
    """
    window = min(count or _IN_FLIGHT_MAX, _IN_FLIGHT_MAX)
    with client_for(target, timeout_s, as_json=as_json) as client:
        consumer = client.outbox.consume(namespace, topics, in_flight_max=window, reconnect_s=timeout_s)
        showing, stopped = threading.Lock(), threading.Event()

        def stop() -> None:
            with showing:  # What is printed is acknowledged
                stopped.set()
            consumer.close()

        with interrupts.ending(stop), consumer:
            for message in islice(consumer, count):
                with showing:
                    if stopped.is_set() or not _show(message, as_json=as_json):
                        return
                    message.ack()


def _show(message: ReceivedMessage, *, as_json: bool) -> bool:
    """False: whoever read has gone, and nothing is left to be written at the end."""
    try:
        if as_json:
            told = output.to_json(message)
            del told["settle"]
            output.print_json(told)
            return True
        payload = message.payload.decode(errors="backslashreplace")
        fields = (message.id, message.topic, message.key, str(message.version), str(message.attempt), payload)
        click.echo("\t".join(output.printable(field) for field in fields))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return False
    return True


@outbox.command()
@options.namespace
@click.option("--limit", type=click.IntRange(0), default=100, show_default=True, help="Dead letters at most; 0: all.")
@options.connection
def dead(*, namespace: str, limit: int, target: options.Target, timeout_s: float, as_json: bool) -> None:
    """List messages that were given up on, oldest first: a table on a terminal, tab-separated fields into a pipe."""
    with client_for(target, timeout_s, as_json=as_json) as client:
        found = client.outbox.dead_letters(namespace, page_size=limit + 1 if 0 < limit < 1000 else 0)
        letters = list(islice(found, limit + 1 if limit else None))
    more = bool(limit) and len(letters) > limit
    del letters[limit or len(letters) :]
    if as_json:
        output.print_json({"dead_letters": letters, "more": more})
        return
    output.print_rows(_COLUMNS, (_row(letter) for letter in letters))
    if more:
        click.echo(f"only the first {limit}: --limit 0 lists all", err=True)
    elif not letters:
        click.echo(f"no dead letters in {output.printable(namespace)}", err=True)


def _row(letter: DeadLetter) -> tuple[str, ...]:
    return (
        letter.id,
        output.printable(letter.topic),
        output.printable(letter.key),
        output.size(len(letter.payload)),
        str(letter.attempts),
        letter.dead_time.isoformat(timespec="seconds") if letter.dead_time else "-",
        output.printable(letter.reason),
    )


@outbox.command()
@options.namespace
@click.argument("ids", metavar="[ID]...", type=options.Name(), nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All of the namespace.")
@options.connection
def redrive(
    *, namespace: str, ids: tuple[str, ...], everything: bool, target: options.Target, timeout_s: float, as_json: bool
) -> None:
    """Put dead letters back into the queue; exit 1 if some of the IDs are not there."""
    if bool(ids) == everything:
        raise click.UsageError("name dead letters by their IDs, or take --all of them: one of the two")
    with client_for(target, timeout_s, as_json=as_json) as client:
        count = client.outbox.redrive(namespace, ids, all_letters=everything)
    missing = len(set(ids)) - count if ids else 0
    if as_json:
        output.print_json({"redriven_count": count, "missing_count": missing})
    else:
        click.echo(f"redriven · {count} dead letter{'' if count == 1 else 's'}")
        if missing:
            click.echo(f"{missing} of the IDs {'is' if missing == 1 else 'are'} not there", err=True)
    sys.exit(Exit.ABSENT if missing else Exit.OK)
