"""How long the event loop stood still: a worker that reads one provider's answer has heartbeats and calls to serve."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

STALL_SECONDS_MAX = 0.5


@asynccontextmanager
async def largest_stall() -> AsyncIterator[list[float]]:
    """The longest that the loop's own thread computed before anything else had its turn, in seconds of its CPU time:
    a busy machine fails no test."""
    stalls = [0.0]

    async def tick() -> None:
        last = time.thread_time()
        while True:
            await asyncio.sleep(0.01)
            now = time.thread_time()
            stalls[0] = max(stalls[0], now - last)
            last = now

    ticking = asyncio.create_task(tick())
    await asyncio.sleep(0.05)
    try:
        yield stalls
        await asyncio.sleep(0.05)
    finally:
        ticking.cancel()
