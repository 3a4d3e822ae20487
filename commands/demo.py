"""``demo``: the first minute. A brief through all seven steps on this machine, with the proof of its bookkeeping."""

import asyncio
import secrets
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from os.path import relpath
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from commands.bill import BillCheck, check_bill
from commands.exits import CommandError, ExitCode, conflict
from commands.failures import is_failed, spent_words
from commands.local_stack import (
    SANDBOX_ANSWERS,
    Answers,
    answers_of,
    of_stack,
    read_note,
    refuse_second,
    stack_up,
    with_answers,
)
from commands.publishing import check_target
from commands.reading import cost_lines
from commands.session import Session
from commands.snapshot import Snapshot
from commands.starting import forecast_line, start
from commands.steps import PUBLISHED
from commands.terminal import Terminal
from commands.watching import Follower, exit_of, status_object
from commands.worker_process import worker_up
from config import Settings
from db.overview import FoundWorkflow
from domain.brief import Approval, Brief
from domain.money import format_usd
from sandbox.stack import find_stack

DEMO_QUEUE = "infin8-demo"


async def demo(settings: Settings, terminal: Terminal, brief: Brief, *, actor: str) -> ExitCode:
    check_target(settings, brief)
    _end_on_sigterm()
    terminal.say("Infin8Content · from a brief to published articles, all on this machine", "bold")
    terminal.say(f"  {_why_sandbox(settings)}: {SANDBOX_ANSWERS}")
    async with AsyncExitStack() as exits:
        running, is_own = await _servers(settings, terminal, exits)
        session = await exits.enter_async_context(Session(running, terminal, actor))
        return await _run(session, brief, is_own=is_own)


def _end_on_sigterm() -> None:
    """As Ctrl-C does: what was started is stopped."""
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


def _why_sandbox(settings: Settings) -> str:
    if answers_of(settings) is Answers.SANDBOX:
        return "no API key found"
    return "the demo never uses your API key"


async def _servers(settings: Settings, terminal: Terminal, exits: AsyncExitStack) -> tuple[Settings, bool]:
    """The folder's stack, ours or the one that is up, with a worker that the sandbox answers."""
    addresses = await find_stack(settings.state_dir)
    note = read_note(settings.state_dir)
    if addresses is None:
        await refuse_second(settings.state_dir)
        running = await exits.enter_async_context(stack_up(settings, terminal))
        is_own = True
    else:
        if note is not None and note.command == "demo":
            raise conflict(
                f"another demo is running in {settings.state_dir}: wait for its end, or set INFIN8_STATE_DIR"
            )
        terminal.say(f"  uses the stack that is up in {settings.state_dir}")
        running, is_own = of_stack(settings, addresses), False
    running = with_answers(running, Answers.SANDBOX)
    if is_own or note is None or note.answers is not Answers.SANDBOX:
        # Beside a worker that uses an account the demo keeps to a queue of its own.
        running = running if is_own else _on_own_queue(running)
        command = "demo" if is_own else None
        await exits.enter_async_context(worker_up(running, terminal, Answers.SANDBOX, command=command))
    elif note.queue != running.task_queue:
        running = running.model_copy(update={"task_queue": note.queue})
    return running, is_own


def _on_own_queue(settings: Settings) -> Settings:
    """With a maintenance schedule of its own, so that the other workers keep theirs."""
    reconcile = settings.reconcile.model_copy(update={"schedule_id": f"{settings.reconcile.schedule_id}-demo"})
    return settings.model_copy(update={"task_queue": DEMO_QUEUE, "reconcile": reconcile})


async def _run(session: Session, brief: Brief, *, is_own: bool) -> ExitCode:
    brief = brief.model_copy(update={"publish": brief.publish.model_copy(update={"approval": Approval.AUTO})})
    name = f"demo-{datetime.now().astimezone():%m%d-%H%M%S}-{secrets.token_hex(2)}"
    with_figures = session.settings.model_copy(update={"keyword_data_demo": True})
    steps = with_figures.step_settings(auto_approve_seeds=True)
    # Shown again and again with the same brief, a demo takes no subject away, nor finds one taken.
    alone = steps.validation.model_copy(update={"compares_workflows": False})
    steps = steps.model_copy(update={"validation": alone})
    session.terminal.say(
        "  keyword data: volumes, difficulties and click prices are demo figures, all of them invented"
    )
    started = await start(session, brief, name=name, settings=steps)
    found = FoundWorkflow.model_validate(started.record, from_attributes=True)
    url = session.ui_url(found.organization_id, found.workflow_id)
    session.terminal.say(f"  watch it in the Temporal UI  {url}")
    session.terminal.say(f"  {await forecast_line(session, brief, steps)}")
    session.terminal.say()
    async with _way_back(session, found, is_own=is_own):
        snapshot = await Follower(session, found, shows_sum=False).follow()
    return await _tell_end(session, found, snapshot, is_own=is_own)


@asynccontextmanager
async def _way_back(session: Session, found: FoundWorkflow, *, is_own: bool) -> AsyncIterator[None]:
    """Interrupted, it says how to come back."""
    try:
        yield
    except asyncio.CancelledError:
        first = "starter.py up, then " if is_own else ""
        session.terminal.note(f"\nthe run is kept; to go on with it: {first}starter.py watch {found.workflow_id}")
        raise


async def _tell_end(session: Session, found: FoundWorkflow, snapshot: Snapshot, *, is_own: bool) -> ExitCode:
    bill = await check_bill(session, found)
    if session.terminal.as_json:
        session.terminal.emit(_end_object(session, snapshot, bill))
    else:
        _say_end(session.terminal, snapshot, bill, is_own=is_own)
    if not bill.is_equal:
        facts = {"workflow_id": str(found.workflow_id), "differences": list(bill.differences)}
        raise CommandError("BillMismatchError", bill.words(), ExitCode.RUN_FAILED, facts)
    return exit_of(session, snapshot)


def _end_object(session: Session, snapshot: Snapshot, bill: BillCheck) -> dict[str, Any]:
    return {
        **status_object(session, snapshot),
        "ledger_usd": format_usd(bill.ledger_usd),
        "bill_usd": format_usd(bill.bill_usd),
        "ledger_equals_bill": bill.is_equal,
        "pages": [str(page) for page in _pages(snapshot)],
    }


def _say_end(terminal: Terminal, snapshot: Snapshot, bill: BillCheck, *, is_own: bool) -> None:
    id_, pages = str(snapshot.record.workflow_id), _pages(snapshot)
    terminal.say()
    terminal.say(f"  {spent_words(snapshot)} · {bill.words()}", "green" if bill.is_equal else "red")
    if pages:
        terminal.say(f"  read them    {_short(pages[0].parent / 'index.html')}")
        for page in pages:
            terminal.say(f"               {_short(page)}", "dim")
    for text in cost_lines(snapshot.articles):
        terminal.say(text)
    up = " (while the stack is up: `make up`)" if is_own else ""
    terminal.say(f"  look closer  starter.py show {id_} icp · history {id_[:8]} · costs {id_[:8]}{up}")
    if not is_failed(snapshot):
        terminal.say("  your own     cp briefs/harborline.yaml my.yaml && starter.py start my.yaml")


def _short(path: Path) -> str:
    """As seen from here, where it lies below."""
    here = relpath(path)
    return str(path) if here.startswith("..") else here


def _pages(snapshot: Snapshot) -> list[Path]:
    urls = [article.published_url for article in snapshot.articles if article.publication_state in PUBLISHED]
    return [Path(unquote(urlsplit(url).path)) for url in urls if url]
