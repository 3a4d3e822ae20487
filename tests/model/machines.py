"""How the model-based tests run: a loop and connections of their own, and how much they do.

``MODEL_EXAMPLES=500 MODEL_STEPS=80 pytest tests/model`` looks longer and shrinks what it finds.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import asyncpg
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from db.pool import Connection, Database, register_codecs
from tests.conftest import TenantDatabase

T = TypeVar("T")
IS_LONG = "MODEL_EXAMPLES" in os.environ


def bounded(examples: int, steps: int) -> settings:
    """Shrinking is for the long run: a test of the normal one must end, also when it fails."""
    phases = [phase for phase in Phase if IS_LONG or phase is not Phase.shrink]
    return settings(
        max_examples=int(os.environ.get("MODEL_EXAMPLES", examples)),
        stateful_step_count=int(os.environ.get("MODEL_STEPS", steps)),
        phases=phases,
        deadline=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )


class Bench:
    """The database of one test as its actors reach it. Hypothesis' machines are not async: they run a loop here."""

    def __init__(self, tenants: TenantDatabase) -> None:
        self._loop = asyncio.new_event_loop()
        self.app, self.operator, self.admin = self.run(self._connect(tenants))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(work)

    async def _connect(self, tenants: TenantDatabase) -> tuple[Database, Database, Connection]:
        admin = await asyncpg.connect(tenants.admin_dsn)
        await register_codecs(admin)
        app = await Database.connect(tenants.app_dsn, size_min=1, size_max=4)
        return app, await Database.connect(tenants.operator_dsn, size_min=1, size_max=1), admin

    async def _close(self) -> None:
        await asyncio.gather(self.app.close(), self.operator.close(), self.admin.close())

    def close(self) -> None:
        self.run(self._close())
        self._loop.close()


def run_machine(tenants: TenantDatabase, machine: Callable[[Bench], RuleBasedStateMachine], limits: settings) -> None:
    bench = Bench(tenants)
    try:
        run_state_machine_as_test(lambda: machine(bench), settings=limits)  # type: ignore[arg-type]
    finally:
        bench.close()


async def together(*calls: Awaitable[T]) -> list[T]:
    return list(await asyncio.gather(*calls))
