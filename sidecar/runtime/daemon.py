"""The daemon's life: start, ready, drain, stop. Whoever wants a daemon in their own process uses this class."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from sidecar.core.audit import NoAudit
from sidecar.core.bus import Bus
from sidecar.core.cleaning import Job
from sidecar.core.errors import SidecarError
from sidecar.core.failpoints import reach
from sidecar.core.ports import Ports
from sidecar.core.sealing import Sealer
from sidecar.engine.buffering import Buffer
from sidecar.engine.checkpoints.jobs import Contents, Retention, Settle
from sidecar.rpc.admin_service import AdminService, DeadWriteAccess
from sidecar.rpc.calls import Admission, Commits
from sidecar.rpc.collecting import Collections
from sidecar.rpc.connect.reads import GetBatches
from sidecar.rpc.connect.streams import Streams
from sidecar.rpc.migrating import MigrationAccess
from sidecar.rpc.outbox_service import OutboxAccess, OutboxService
from sidecar.rpc.state_service import StateService
from sidecar.rpc.watch_service import Watches
from sidecar.runtime import adapters, build, cleaning, guarding, memory, sealing, sinks
from sidecar.runtime.census import Sizes, sources
from sidecar.runtime.channel import NearChannel
from sidecar.runtime.cleaning import Cleaning
from sidecar.runtime.handlers import GenericHandlers
from sidecar.runtime.http import ProbeServer
from sidecar.runtime.listening import Listening
from sidecar.runtime.locks import StartError
from sidecar.runtime.membership import Membership
from sidecar.runtime.outboxes import Outboxes
from sidecar.runtime.ports import SystemPorts
from sidecar.runtime.report import Report
from sidecar.runtime.settings import Settings
from sidecar.runtime.tasks import FollowupQueue, Rounds
from sidecar.runtime.telemetry import Telemetry
from sidecar.runtime.watching import FeedReader
from sidecar.telemetry.prometheus import exposition
from sidecar.tiers.health import Health
from sidecar.tiers.placement import Placement
from sidecar.tiers.repair import Repairer
from statesidecar.v1 import admin_service_pb2, outbox_service_pb2, state_service_pb2
from statesidecar.v1.admin_service_pb2_grpc import add_AdminServiceServicer_to_server
from statesidecar.v1.outbox_service_pb2_grpc import add_OutboxServiceServicer_to_server
from statesidecar.v1.state_service_pb2_grpc import add_StateServiceServicer_to_server

if TYPE_CHECKING:
    from sidecar.runtime.audit import AuditLog

log = logging.getLogger(__name__)

REPAIR_INTERVAL_S = 1.0
LOOK_INTERVAL_S = 0.1
"""How often breakers are asked whether it is time for a probe, and the mode is looked at."""
REPLAY_INTERVAL_S = 0.2
REPLAYS = 16
"""Keys whose buffered writes are settled at the same time."""
LAST_REPLIES_S = 1.0
"""For replies that are made and not yet on the wire; an idle server stops at once."""
MESSAGE_OVERHEAD_BYTES = 64 * 1024

SERVICES = (
    state_service_pb2.DESCRIPTOR.services_by_name["StateService"].full_name,
    outbox_service_pb2.DESCRIPTOR.services_by_name["OutboxService"].full_name,
    admin_service_pb2.DESCRIPTOR.services_by_name["AdminService"].full_name,
)


class Daemon:
    """One sidecar. `start` once, then `stop`, which also undoes a start that failed half-way."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.addresses: list[str] = []
        """Where clients dial, with the ports that were bound: `host:port` and `unix:///path`."""
        self._listening = Listening(settings)
        self._backends: adapters.Backends | None = None
        self._probes: ProbeServer | None = None
        self._server: grpc.aio.Server | None = None
        self._buffer: Buffer | None = None
        self._outboxes: Outboxes | None = None
        self._audit: AuditLog | None = None
        self._background: list[Rounds | NearChannel | Cleaning | Membership | FeedReader | Telemetry | Sizes] = []
        self._stopped = False

    @property
    def http_address(self) -> str:
        """Where the probes answer, with the port that was bound; empty: nowhere."""
        if self._probes is None:
            return ""
        return f"{self.settings.http_listen.rpartition(':')[0]}:{self._probes.port}"

    async def start(self) -> None:
        """Serve: locks, backends (one that is away stops nobody), engine, ports, background work, then ready.

        Raises StartError when another daemon holds the data directory or a socket, or a port is taken.
        """
        self._listening.lock()
        ports = SystemPorts()
        self._audit = guarding.audit_log(self.settings, ports.clock)
        if self._audit is not None:
            await self._audit.start()
        sealer = sealing.keyring(self.settings, ports.clock, self._audit or NoAudit())
        backends = self._backends = adapters.backends(self.settings, ports, sealer)
        await backends.open()
        reach("start.opened")
        self._buffer = await self._open_buffer(ports, sealer)
        self._engine = build.engine(self.settings, backends, ports, self._buffer)
        self._membership = Membership(self._engine.fleet)
        await self._membership.join()
        namespaces, replay = self._engine.namespaces, self._engine.buffer
        self._health = Health(
            namespaces.warm or namespaces.hot,
            clock=ports.clock,
            backlog=lambda: 0 if replay is None else replay.depth,
        )
        self._cleaner = cleaning.cleaner(
            self.settings, ports, [(one, self._jobs(one)) for one in namespaces.placements()]
        )
        self._admission = Admission(self.settings.requests_max)
        self._commits = Commits(self.settings.write_timeout_s)
        self._watches = Watches(self._engine.watching, self._admission, watches_max=self.settings.watches_max)
        self._followups = FollowupQueue(self.settings.followups_max)
        self._telemetry = Telemetry(self.settings, mode=self._health.mode)
        self._streams = self._connect_streams()
        made = sinks.sinks(self.settings, ports.clock, self._telemetry.tracer)
        self._outboxes = Outboxes(
            namespaces,
            sinks.config(self.settings),
            sinks=made.named,
            default=made.default,
            ports=ports,
            tracer=self._telemetry.tracer,
        )
        interval_s = self.settings.telemetry.census_interval_s
        self._sizes = Sizes(sources(backends, self._engine), ports.clock, interval_s=interval_s)
        self._report = Report(
            self.settings,
            backends=backends,
            engine=self._engine,
            admission=self._admission,
            followups=self._followups,
            start_time=ports.clock.now(),
            health=self._health,
            buffer=self._engine.buffer,
            cleaned=self._cleaner.tally,
            outbox=self._outboxes.figures,
            telemetry=self._telemetry,
            watchers=lambda: self._watches.count,
            sizes=self._sizes.latest,
            now=ports.clock.now,
        )
        self._telemetry.figures = self._report
        self._server = self._grpc_server(self._outboxes)
        self.addresses = await self._listening.bind(self._server)
        await self._server.start()
        reach("start.serving")
        self._followups.start()
        self._start_background(backends.bus, ports)
        self._outboxes.start()
        self._start_probes()
        for service in ("", *SERVICES):
            await self._grpc_health.set(service, health_pb2.HealthCheckResponse.SERVING)
        log.info("serving", extra={"addresses": self.addresses, "http": self.http_address})

    async def stop(self) -> None:
        """Drain and stop. Idempotent. In this order:

        1. not ready: health NOT_SERVING, /readyz 503, so that nobody sends more;
        2. nothing new is admitted (DRAINING), everything admitted is answered;
        3. the gRPC server stops; writes whose callers are gone are finished; 2 and 3 within `grace_period_s`;
        4. messages that can go out do, within the same time; followups are run, rounds end;
        5. backends close, locks are let go.
        """
        if self._stopped:
            return
        self._stopped = True
        if self._server is not None:
            reach("stop.drain.before")
            await self._drain(self._server)
            reach("stop.drain.after")
            await self._followups.finish()
        if self._outboxes is not None:
            await self._outboxes.stop()
        for background in self._background:
            await background.stop()
        if self._probes is not None:
            self._probes.stop()
        if self._buffer is not None:
            await self._buffer.journal.close()
        if self._backends is not None:
            await self._backends.close()
        if self._audit is not None:
            await self._audit.stop()
        self._listening.release()
        log.info("stopped")

    async def _open_buffer(self, ports: Ports, sealer: Sealer | None) -> Buffer | None:
        try:
            return await build.buffer(self.settings, ports, sealer)
        except SidecarError as exc:
            # What was acknowledged is in there: to go on without it would lose it.
            raise StartError(f"the journal can't be opened: {exc.message}", exit_code=os.EX_IOERR) from exc

    async def _drain(self, server: grpc.aio.Server) -> None:
        await self._grpc_health.enter_graceful_shutdown()
        end = asyncio.get_running_loop().time() + self.settings.grace_period_s
        try:
            self._watches.end()
            self._streams.end()
            async with asyncio.timeout_at(end):
                await self._admission.drain()
        except TimeoutError:
            log.warning("grace period ended with requests in flight", extra={"count": self._admission.in_flight})
        await server.stop(grace=LAST_REPLIES_S)
        try:
            async with asyncio.timeout_at(end):
                await self._commits.finish()
        except TimeoutError:
            log.warning("grace period ended with writes under way", extra={"count": len(self._commits)})
        if self._outboxes is not None:
            await self._outboxes.drain(max(end - asyncio.get_running_loop().time(), 0.0))

    def _grpc_server(self, outboxes: Outboxes) -> grpc.aio.Server:
        size = self.settings.request_limits().message_bytes_max + MESSAGE_OVERHEAD_BYTES
        server = grpc.aio.server(
            options=(
                ("grpc.max_receive_message_length", size),
                ("grpc.max_send_message_length", -1),
                # Without it the kernel would share a TCP port between two daemons.
                ("grpc.so_reuseport", 0),
                *memory.server_options(self.settings),
            )
        )
        service = StateService(
            self._engine,
            admission=self._admission,
            commits=self._commits,
            watches=self._watches,
            streams=self._streams,
            submit=self._followups.submit,
            read_timeout_s=self.settings.read_timeout_s,
            mode=self._health.mode,
        )
        admin = AdminService(
            self._report.status,
            self._dead_writes(),
            Collections(self._cleaner, self._admission),
            MigrationAccess(self._engine.migrations, self._engine.resealings, self._admission),
        )
        self._grpc_health = health.aio.HealthServicer()
        generic = GenericHandlers(
            server,
            memory.GivingBack(self.settings),
            self._telemetry.requests,
            gate=guarding.gate(self.settings, self._audit),
            audit=self._audit,
        )
        add_StateServiceServicer_to_server(service, generic)
        self._streams.behaviours = generic.carried
        outbox = OutboxAccess(
            outbox_of=outboxes.at,
            namespaces=self._engine.namespaces,
            admission=self._admission,
            commits=self._commits,
            read_timeout_s=self.settings.read_timeout_s,
        )
        add_OutboxServiceServicer_to_server(OutboxService(outbox), generic)
        add_AdminServiceServicer_to_server(admin, generic)
        health_pb2_grpc.add_HealthServicer_to_server(self._grpc_health, generic)
        told = reflection.aio.ReflectionServicer((*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME))
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(told, generic)
        return server

    def _connect_streams(self) -> Streams:
        gets = GetBatches(self._engine.reads, self._admission, self._telemetry.requests, self._followups.submit)
        timeout_s = max(self.settings.read_timeout_s, self.settings.write_timeout_s)
        return Streams(self._admission, gets, timeout_s=timeout_s, mode=self._health.mode)

    def _jobs(self, placement: Placement) -> tuple[Job, ...]:
        checkpoints = self._engine.checkpoints
        return (
            Settle(checkpoints, placement),
            Retention(checkpoints, placement),
            Contents(checkpoints, placement),
            *build.cold_jobs(self.settings, placement, lambda: self._engine.namespaces.named),
        )

    def _dead_writes(self) -> DeadWriteAccess | None:
        replay = self._engine.buffer
        return (
            None
            if replay is None
            else DeadWriteAccess(dead_writes=replay, admission=self._admission, commits=self._commits)
        )

    def _start_background(self, bus: Bus | None, ports: Ports) -> None:
        placements = self._engine.namespaces.placements()
        for guard in {id(guard): guard for one in placements for guard in one.guards}.values():
            self._background.append(Rounds("probe", guard.probe, interval_s=LOOK_INTERVAL_S))
        if (replay := self._engine.buffer) is not None:
            self._background += [Rounds("replay", replay.one, interval_s=REPLAY_INTERVAL_S) for _ in range(REPLAYS)]
        for placement in placements:
            shared = placement.authority.capabilities.shared or placement.cache.backend.capabilities.shared
            if placement.cached and shared:
                repairer = Repairer(placement, ports)
                self._background.append(Rounds("cache repair", repairer.round, interval_s=REPAIR_INTERVAL_S))
            if placement.near is not None and bus is not None:
                self._background.append(NearChannel(bus, placement.near, ports))
        self._background += [Cleaning(self._cleaner, self.settings), self._membership, self._telemetry, self._sizes]
        self._background += [FeedReader(feed) for feed in self._engine.watching.feeds]
        self._background.append(Rounds("mode", self._look, interval_s=LOOK_INTERVAL_S))
        for background in self._background:
            background.start()

    async def _look(self) -> bool:
        self._health.look()
        return False

    def _start_probes(self) -> None:
        if self.settings.http_listen:
            self._probes = ProbeServer(
                self.settings.http_listen,
                healthz=lambda: (True, '{"alive": true}'),
                readyz=self._report.ready,
                metrics=lambda accept: exposition(self._report, accept),
            )
            self._probes.start()
