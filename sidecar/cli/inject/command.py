"""`state-sidecar inject`: a manifest in, the same with the sidecar added out."""

from __future__ import annotations

import sys
from functools import partial
from typing import BinaryIO, NoReturn

import click

from sidecar.cli import output
from sidecar.cli.calls import Exit
from sidecar.cli.inject import documents, workloads
from sidecar.cli.inject.pods import Options, with_sidecar


@click.command()
@click.option("-f", "--filename", "file", type=click.File("rb"), required=True, help="A manifest in YAML; - for stdin.")
@click.option("--check", is_flag=True, help="Print nothing but what is missing or wrong; exit code 1 if something is.")
@click.option("--image", help="Default: the one that is there, else state-sidecar with this version.")
@click.option("--config-map", metavar="NAME", help="A ConfigMap with settings.yaml. Default: embedded tiers.")
@click.option("--secret", metavar="NAME", help="A Secret with settings by environment, as STATE_SIDECAR_TIERS__WARM.")
@click.option(
    "--container",
    "containers",
    multiple=True,
    metavar="NAME",
    help="A container that calls the sidecar. Repeatable. Default: every one.",
)
def inject(
    *,
    file: BinaryIO,
    check: bool,
    image: str | None,
    config_map: str | None,
    secret: str | None,
    containers: tuple[str, ...],
) -> None:
    """Add the sidecar to every workload in a manifest: a second time changes nothing.

    Pod, Deployment, StatefulSet, DaemonSet, ReplicaSet, ReplicationController, Job, CronJob, List, and KServe's
    InferenceService, ServingRuntime and ClusterServingRuntime. Other documents stay as they are, byte for byte; comments
    within a document that changes are lost. Exit code 4: a workload has to be changed first, or there is none.
    """
    options = Options(image=image, config_map=config_map, secret=secret, containers=containers)
    place = getattr(file, "name", "<stdin>")
    try:
        text = file.read().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise click.UsageError(f"{place} is not UTF-8") from None
    made: list[str] = []
    names: list[str] = []
    wrong: list[str] = []
    for number, document in enumerate(documents.split(text), 1):
        try:
            have = documents.load(document)
        except ValueError as error:
            raise click.UsageError(f"{place}, document {number}: not YAML: {output.printable(str(error))}") from None
        try:
            want, found = workloads.with_pods(have, partial(with_sidecar, options=options))
        except workloads.NotInjectable as error:
            _refuse(str(error))
        names += found
        wrong += [f"{', '.join(found)}: {line}" for line in documents.differences(have, want)]
        made.append(documents.rewritten(document, have, want))
    if not names:
        _refuse(f"{place} has no workload that takes a sidecar")
    if check:
        for line in wrong:
            click.echo(output.printable(line))
        sys.exit(Exit.ABSENT if wrong else Exit.OK)
    click.echo("".join(made), nl=False)


def _refuse(why: str) -> NoReturn:
    click.echo(f"state-sidecar: {output.printable(why)}", err=True)
    sys.exit(Exit.INVALID)
