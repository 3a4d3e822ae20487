"""``up``: the local stack and one worker, in the foreground until Ctrl-C or SIGTERM."""

import asyncio
import signal
from collections.abc import Awaitable, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path

from commands.exits import ExitCode
from commands.local_stack import SANDBOX_ANSWERS, Answers, answers_of, refuse_second, stack_up
from commands.session import Session, shortest_id
from commands.terminal import Terminal
from commands.worker_process import worker_up
from config import Settings
from db.workflows import list_workflows
from domain.errors import BadInputError
from domain.states import is_terminal

RUNS_LOOKED_AT = 1_000


async def up(
    settings: Settings, terminal: Terminal, *, with_worker: bool, sites: Sequence[Path], sandbox_wanted: bool
) -> ExitCode:
    check_sites(sites)
    await refuse_second(settings.state_dir)
    await until_stopped(_run(settings, terminal, with_worker, sites, sandbox_wanted))
    terminal.say("stopped: everything is kept in " + str(settings.state_dir))
    return ExitCode.DONE


def check_sites(sites: Sequence[Path]) -> None:
    for folder in sites:
        if not folder.is_dir():
            raise BadInputError(f"--sites names {folder}, which is no folder with NAME/index.html in it", "sites")


async def until_stopped(work: Awaitable[None]) -> None:
    """Until Ctrl-C or SIGTERM, then cleans up; a second signal ends at once, and the servers with us."""
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()

    def stop() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    with suppress(asyncio.CancelledError):
        await task


async def _run(
    settings: Settings, terminal: Terminal, with_worker: bool, sites: Sequence[Path], sandbox_wanted: bool
) -> None:
    terminal.say(f"Infin8Content · the local stack of {settings.state_dir}", "bold")
    answers = answers_of(settings, sandbox_wanted=sandbox_wanted)
    async with AsyncExitStack() as exits:
        running = await exits.enter_async_context(stack_up(settings, terminal, sites))
        terminal.say(f"  Temporal UI  {running.temporal_ui}")
        if with_worker:
            terminal.say(f"  {answer_words(settings, answers, sandbox_wanted)}")
            if answers is not Answers.SANDBOX:
                await _tell_of_sandbox_runs(running, terminal)
            await exits.enter_async_context(worker_up(running, terminal, answers, command="up"))
        else:
            terminal.say("  no worker: start one or more with `worker.py`")
        follows = " --wait" if with_worker else ""
        terminal.say(f"  begin  starter.py start briefs/harborline.yaml{follows} · Ctrl-C stops everything")
        terminal.say("ready", "bold green")
        await asyncio.Event().wait()


async def _tell_of_sandbox_runs(running: Settings, terminal: Terminal) -> None:
    """Runs that were begun with demo text go on at the account's cost: nobody should learn that from the bill."""
    async with Session(running, terminal) as session, session.reading() as connection:
        records = await list_workflows(connection, RUNS_LOOKED_AT)
    begun = [one for one in records if not is_terminal(one.state) and one.settings.get("is_demo_text")]
    if begun:
        named = ", ".join(f"{one.name} ({shortest_id(one.workflow_id)})" for one in begun[:3])
        more = f" and {len(begun) - 3} more" if len(begun) > 3 else ""
        terminal.say(
            f"  begun with the sandbox and open: {named}{more}. They go on with the account; "
            "`starter.py cancel ID` ends them, INFIN8_STATE_DIR gives a fresh folder",
            "yellow",
        )


def answer_words(settings: Settings, answers: Answers, sandbox_wanted: bool) -> str:
    """Who answers for the models, and why."""
    if answers is not Answers.SANDBOX:
        return f"an account is set up: {settings.model_url} answers for the models, at its prices"
    has_account = answers_of(settings) is not Answers.SANDBOX
    why = "an account is set up and not used" if has_account and sandbox_wanted else "no API key found"
    return f"{why}: {SANDBOX_ANSWERS}"
