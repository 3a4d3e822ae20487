"""The worker that ``up`` and ``demo`` keep: a child that ends with its parent and is started again when it dies."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client
from temporalio.service import RPCError

from commands.exits import CommandError, ExitCode, unreachable
from commands.local_stack import NOTE_FILE, Answers, WorkerNote, worker_environment
from commands.terminal import Terminal, duration
from config import Settings
from sandbox.processes import (
    EXEC_TIED,
    end_child,
    log_since,
    log_size,
    open_log,
    wait_for_exit,
    write_atomically,
)
from workflows.policies import LLM_QUEUE_SUFFIX, WEB_QUEUE_SUFFIX

WORKER = Path(__file__).resolve().parent.parent / "worker.py"
LOG_FILE = "worker.log"
READY_SECONDS_MAX = 60.0
POLL_SECONDS = 0.05
WATCH_SECONDS = 0.3
BACKOFF_SECONDS_MAX = 30.0
SETTLED_SECONDS = 60.0  # a worker that lived so long died of something new
DRAIN_MARGIN_SECONDS = 15.0


class WorkerProcess:
    """One worker at a time. ``start`` returns when it polls its queues; ``keep`` starts it again when it dies."""

    def __init__(self, settings: Settings, terminal: Terminal, answers: Answers) -> None:
        self._settings = settings
        self._terminal = terminal
        self._environment = worker_environment(settings, answers)
        self._log_file = settings.state_dir.absolute() / LOG_FILE
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0

    @property
    def log_file(self) -> Path:
        return self._log_file

    async def start(self) -> float:
        """Seconds it took until the worker polls. Raises with the worker's own line when it refuses to run."""
        began = time.monotonic()
        offset = log_size(self._log_file)
        process = self._spawn()
        client = await Client.connect(str(self._settings.temporal_address), namespace=self._settings.temporal_namespace)
        while not await self._polls(client, process.pid):
            if process.poll() is not None:
                raise self._refused(process.returncode, offset)
            if time.monotonic() - began > READY_SECONDS_MAX:
                raise unreachable(f"the worker is not ready after {READY_SECONDS_MAX:.0f} s: see {self._log_file}")
            await asyncio.sleep(POLL_SECONDS)
        return time.monotonic() - began

    def _spawn(self) -> subprocess.Popen[bytes]:
        """Tied to us by the kernel, in a session of its own so that Ctrl-C reaches us alone and it can drain."""
        umask = os.umask(0o022)
        os.umask(umask)
        tie = [sys.executable, "-I", "-S", str(EXEC_TIED), str(os.getpid()), str(signal.SIGKILL.value), "-1", "-1"]
        # The tie closes the umask for servers; published pages are for others to read.
        keep_umask = ["/bin/sh", "-c", f'umask {umask:04o}; exec "$@"', "worker"]
        with open_log(self._log_file) as output:
            self._process = subprocess.Popen(  # noqa: S603 -- our own worker by our own interpreter
                [*tie, *keep_umask, sys.executable, str(WORKER)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self._environment,
                start_new_session=True,
            )
        self._started_at = time.monotonic()
        return self._process

    async def _polls(self, client: Client, pid: int) -> bool:
        queue = self._settings.task_queue
        wanted = (
            (queue, TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW),
            (queue + LLM_QUEUE_SUFFIX, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY),
            (queue + WEB_QUEUE_SUFFIX, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY),
        )
        return all([await is_polled(client, name, kind, f"{pid}@") for name, kind in wanted])

    def _refused(self, code: int, log_offset: int) -> CommandError:
        said = [line for line in log_since(self._log_file, log_offset).splitlines() if line.startswith("worker: ")]
        message = said[-1].removeprefix("worker: ") if said else f"it ended with code {code}; see {self._log_file}"
        exit_code = ExitCode.BAD_INPUT if code == ExitCode.BAD_INPUT else ExitCode.UNREACHABLE
        return CommandError("WorkerError", f"the worker does not start: {message}", exit_code)

    async def keep(self) -> None:
        """For ever: a worker that died is started again, after a pause that grows while it keeps dying."""
        deaths = 0
        while self._process is not None:
            if self._process.poll() is None:
                await asyncio.sleep(WATCH_SECONDS)
                continue
            deaths = 1 if time.monotonic() - self._started_at > SETTLED_SECONDS else deaths + 1
            pause = min(2.0 ** (deaths - 1), BACKOFF_SECONDS_MAX)
            self._terminal.note(
                f"the worker died ({_how(self._process.returncode)}): it is started again in {duration(pause)}; "
                f"its runs go on then. Its log: {self._log_file}"
            )
            await asyncio.sleep(pause)
            self._spawn()

    async def stop(self) -> None:
        """Finishes what it is paying for, then ends."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGTERM)
        if not await wait_for_exit(process, 3.0):
            self._terminal.note("the worker finishes what it is paying for …")
        await end_child(process, ((signal.SIGTERM, self._settings.drain_seconds + DRAIN_MARGIN_SECONDS),))


def _how(code: int) -> str:
    with suppress(ValueError):
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return f"exit code {code}"


async def is_polled(client: Client, queue: str, kind: "TaskQueueType.ValueType", identity: str = "") -> bool:
    """Whether a worker, or the one whose identity begins so, asks this queue for work."""
    request = DescribeTaskQueueRequest(
        namespace=client.namespace, task_queue=TaskQueue(name=queue), task_queue_type=kind
    )
    try:
        answer = await client.workflow_service.describe_task_queue(request)
    except RPCError:
        return False
    return any(poller.identity.startswith(identity) for poller in answer.pollers)


@asynccontextmanager
async def worker_up(
    settings: Settings, terminal: Terminal, answers: Answers, *, command: str | None
) -> AsyncIterator[WorkerProcess]:
    """A worker of this stack that polls, told in one line and stopped with the block; noted as the stack's own worker
    where a ``command`` is named."""
    worker = WorkerProcess(settings, terminal, answers)
    note_file = settings.state_dir.absolute() / NOTE_FILE
    keeping: asyncio.Task[None] | None = None
    try:
        seconds = await worker.start()
        if command is not None:
            note = WorkerNote(owner=os.getpid(), command=command, answers=answers, queue=settings.task_queue)
            write_atomically(note_file, note.model_dump_json() + "\n")
        terminal.say(f"  worker up in {duration(seconds)} · its log {worker.log_file}")
        keeping = asyncio.create_task(worker.keep())
        yield worker
    finally:
        if command is not None:
            note_file.unlink(missing_ok=True)
        if keeping is not None:
            keeping.cancel()
        await asyncio.shield(worker.stop())
