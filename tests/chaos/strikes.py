"""The faults that the long bench strikes with, each drawn from its own seeded stream and over when it returns."""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random

import asyncpg

from domain.states import State
from sandbox.postgres import socket_dsn
from tests.chaos.holds import HOLDS, Holder
from tests.chaos.postgres_proxy import PostgresProxy
from tests.chaos.stack import Crew, Stack
from tests.e2e.conftest import WorkerChild
from tests.workflows.conftest import Pipeline, Run

TERMINATE = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND usename = 'infin8_app'
"""


@dataclass
class Scene:
    """What a strike works on. The first worker of ``slots`` reaches Postgres through the proxy."""

    stack: Stack
    pipeline: Pipeline
    crew: Crew
    proxy: PostgresProxy
    slots: list[WorkerChild] = field(default_factory=list)
    open_runs: list[Run] = field(default_factory=list)
    struck: list[tuple[str, datetime]] = field(default_factory=list)  # each fault with the moment it was over
    kills: int = 0

    def start_worker(self, slot: int) -> WorkerChild:
        changes = {"INFIN8_EMBEDDINGS": "auto"}  # as it is shipped: the model is loaded ahead
        if slot == 0:
            changes["INFIN8_POSTGRES_DSN"] = socket_dsn(self.proxy.folder, "infin8_app", self.pipeline.database.name)
        return self.crew.start(**changes)

    async def man(self, workers: int) -> None:
        self.slots = [self.start_worker(slot) for slot in range(workers)]
        for child in self.slots:
            await child.is_up()

    async def replace(self, slot: int) -> None:
        """SIGKILL, and a fresh one in its place."""
        await self.slots[slot].kill()
        self.kills += 1
        self.slots[slot] = self.start_worker(slot)

    def over(self, fault: str) -> None:
        self.struck.append((fault, datetime.now(UTC)))

    async def start_spares(self) -> list[WorkerChild]:
        """A whole shift more, up and working."""
        spares = [self.start_worker(slot) for slot in range(len(self.slots))]
        for child in spares:
            await child.is_up()
        return spares

    async def relieve(self, spares: list[WorkerChild]) -> None:
        """SIGKILL of the whole shift at once."""
        dying, self.slots = self.slots, spares
        for child in dying:
            await child.kill()
            self.kills += 1


Strike = Callable[[Scene, Random], Awaitable[None]]


async def kill(scene: Scene, draws: Random) -> None:
    await scene.replace(draws.randrange(len(scene.slots)))
    scene.over("kill")


async def kill_at_a_crash_point(scene: Scene, draws: Random) -> None:
    """Some open run is held at some moment; the workers die while it stands there."""
    moment = draws.choice(sorted(HOLDS))
    if not scene.open_runs:
        return
    run = draws.choice(scene.open_runs)
    async with Holder(scene.pipeline.database.admin) as holder:
        await holder.hold(moment, run.ref.workflow_id)
        with contextlib.suppress(AssertionError):  # it is past that moment, or far from it
            await holder.all_reached(seconds=2.5)
        spares = await scene.start_spares()
        await scene.relieve(spares)
        await holder.cut_waiting()
    scene.over("crash point")


async def kill_while_publishing(scene: Scene, draws: Random) -> None:
    """The workers die while some article is on its way to its target."""
    spares = await scene.start_spares()
    for _ in range(60):
        rows = await scene.pipeline.database.admin.fetch(
            "SELECT 1 FROM publications WHERE state = 'PENDING' UNION ALL "
            "SELECT 1 FROM intent_workflows WHERE state = 'PUBLISH_PROCESSING' LIMIT 1"
        )
        if rows:
            break
        await asyncio.sleep(0.05)
    await asyncio.sleep(draws.uniform(0, 0.1))
    await scene.relieve(spares)
    scene.over("publish")


async def restart_postgres(scene: Scene, draws: Random) -> None:
    await scene.stack.restart_postgres(down_seconds=draws.uniform(0, 1.5))
    scene.over("postgres")


async def restart_temporal(scene: Scene, draws: Random) -> None:
    await scene.stack.restart_temporal(down_seconds=draws.uniform(0, 1.5))
    scene.over("temporal")


async def make_a_zombie(scene: Scene, draws: Random) -> None:
    """Stopped past its heartbeat; the others take over; it wakes."""
    zombie = draws.choice(scene.slots)
    zombie.signal(signal.SIGSTOP)
    await asyncio.sleep(draws.uniform(1.5, 4))
    zombie.signal(signal.SIGCONT)
    scene.over("zombie")


async def trouble_the_network(scene: Scene, draws: Random) -> None:
    proxy = scene.proxy
    match draws.choice(("delay", "half-open", "cut", "lost COMMIT")):
        case "delay":
            proxy.delay_seconds = 0.02
            await asyncio.sleep(draws.uniform(1, 2))
            proxy.delay_seconds = 0
        case "half-open":
            proxy.swallows = True
            await asyncio.sleep(draws.uniform(1, 3))
            proxy.swallows = False
        case "cut":
            for _ in range(4):
                proxy.cut_all()
                await asyncio.sleep(draws.uniform(0.1, 0.4))
        case _:
            for _ in range(5):
                proxy.lost_replies_left = 1
                await asyncio.sleep(draws.uniform(0.1, 0.4))
            proxy.lost_replies_left = 0
    scene.over("network")


async def terminate_sessions(scene: Scene, draws: Random) -> None:
    for _ in range(5):
        await scene.pipeline.database.admin.execute(TERMINATE)
        await asyncio.sleep(draws.uniform(0.05, 0.4))
    scene.over("sessions")


async def take_all_connections(scene: Scene, draws: Random) -> None:
    """Every slot of the server that the application's role may have."""
    held: list[asyncpg.Connection[asyncpg.Record]] = []
    await scene.pipeline.database.admin.execute(TERMINATE)
    try:
        for _ in range(int(draws.uniform(1, 2.5) / 0.25)):
            with contextlib.suppress(asyncpg.PostgresError, OSError):
                while True:
                    held.append(await asyncpg.connect(scene.pipeline.database.app_dsn))
            await asyncio.sleep(0.25)
    finally:
        for connection in held:
            connection.terminate()
    scene.over("connections")


async def cancel_a_run(scene: Scene, draws: Random) -> None:
    """A person's cancellation, and the death of a worker right after."""
    if not scene.open_runs:
        return
    run = draws.choice(scene.open_runs)
    if (await run.progress()).state is State.COMPLETED:
        return
    with contextlib.suppress(Exception):  # it may have ended this moment
        await run.handle.cancel()
    await kill(scene, draws)
