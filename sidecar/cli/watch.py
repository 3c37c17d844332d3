"""`watch`: the changes of a key, a prefix or a namespace, a line each, until Ctrl-C."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

import click

from sidecar.cli import interrupts, options, output
from sidecar.cli.calls import Exit, client_for

if TYPE_CHECKING:
    from statesidecar import Watch, WatchEvent

_START_S = 5.0


@click.command()
@options.namespace
@click.option("--key", type=options.Name(), default="", help="This one key.")
@click.option("--prefix", type=options.Name(), default="", help="Keys that begin with it.")
@click.option("--all", "all_keys", is_flag=True, help="Every key of the namespace.")
@click.option("--values", "include_value", is_flag=True, help="Values, too.")
@click.option("--snapshot", is_flag=True, help="Begin with what is there.")
@click.option("--resume", "resume_token", default="", metavar="TOKEN", help="Go on where another watch ended.")
@options.reaching
@click.option("--json", "as_json", is_flag=True, help="A JSON object a line; an error is one on stderr.")
def watch(
    *,
    namespace: str,
    key: str,
    prefix: str,
    all_keys: bool,
    include_value: bool,
    snapshot: bool,
    resume_token: str,
    target: options.Target,
    as_json: bool,
) -> None:
    """Print changes as they are committed, by whichever daemon: kind, key and version, tab-separated.

    Goes on by itself when the daemon restarts. Ctrl-C ends it, and tells where --resume can go on.
    """
    if bool(key) + bool(prefix) + all_keys != 1:
        raise click.UsageError("say what to watch: --key, --prefix or --all (one of them)")
    with client_for(target, _START_S, as_json=as_json) as client:
        watching = client.watch(
            namespace,
            key=key,
            prefix=prefix,
            all_keys=all_keys,
            include_value=include_value,
            snapshot=snapshot,
            resume_token=resume_token,
        )
        try:
            with interrupts.ending(watching.close), watching:
                for event in watching:
                    click.echo(_json(event) if as_json else _line(event))
                    sys.stdout.flush()
        except BrokenPipeError:
            # Who reads has enough. Python would try again to write at its exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(Exit.OK)
        finally:
            if watching.resume_token != resume_token:
                _tell_token(watching, as_json=as_json)


def _tell_token(watching: Watch, *, as_json: bool) -> None:
    told = json.dumps({"resume_token": watching.resume_token}) if as_json else f"--resume {watching.resume_token}"
    click.echo(told, err=True)


def _line(event: WatchEvent) -> str:
    parts = [event.type.name.lower()]
    if event.entry is not None:
        parts += [output.printable(event.key), str(event.version)]
        if event.superseded:
            parts.append("(superseded)")
        elif event.entry.value:
            parts.append(output.printable(event.entry.value.decode(errors="backslashreplace")))
    return "\t".join(parts)


def _json(event: WatchEvent) -> str:
    return json.dumps(output.to_json(event), ensure_ascii=False)
