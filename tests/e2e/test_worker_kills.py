"""``kill -9`` of worker processes: whatever the moment, the run completes, and money, articles and pages add up."""

import asyncio
import random
import signal

import pytest

from domain.states import State
from tests.conftest import AdminSession, TenantDatabase, drop_database
from tests.e2e.conftest import (
    HeldCall,
    HeldSite,
    HeldWrite,
    Workers,
    assert_books,
    assert_sound,
    begin,
    environment_of,
    eventually,
    install_holds,
    settings_for,
)
from tests.workflows.conftest import Pipeline

RECOVERY_SECONDS = 60.0


async def test_killed_in_the_middle_of_every_step(pipeline: Pipeline, workers: Workers) -> None:
    """One run, and a new worker after each kill."""
    admin = pipeline.database.admin
    await install_holds(admin)
    moments = [
        HeldSite(pipeline, "harborline"),
        HeldCall(pipeline, "icp", r"^icp$"),
        HeldSite(pipeline, "payloom"),
        HeldCall(pipeline, "competitor_labels", r"^competitor_labels$"),
        HeldWrite(admin, "clustering completes"),
        HeldWrite(admin, "validation completes"),
        HeldCall(pipeline, "article_outline", r":outline$"),
        HeldCall(pipeline, "article_section", r":section:\d+$"),
        HeldWrite(admin, "an article is assembled"),
        HeldWrite(admin, "a page is written and not noted"),
    ]
    await moments[0].arm()
    run = await begin(pipeline)
    for moment, following in zip(moments, [*moments[1:], None], strict=True):
        child = workers.start()
        await moment.reached()
        if following is not None:
            await following.arm()
        await child.kill()
        await moment.release()
    workers.start()
    await run.reaches(State.COMPLETED, seconds=RECOVERY_SECONDS)
    await asyncio.wait_for(run.handle.result(), RECOVERY_SECONDS)
    unknown = await run.rows("SELECT slot FROM spend_attempts WHERE workflow_id = $1 AND state = 'UNKNOWN'")
    assert len(unknown) >= 4  # one call of each kind was torn away
    await assert_sound(pipeline, [run])
