"""One worker's life at ledger level: the real activities, in a process of their own, until a fault strikes or they end.

Run as a process it is a zygote: everything is imported once, and each line of JSON on stdin forks a child that works
and dies. What Temporal would remember (which activities completed, with what) is a journal, a file of JSON lines that
the next child reads. The failpoints are put around the activities' parts from here; nothing in them knows of it.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
import httpx2
from pydantic import SecretStr, TypeAdapter
from temporalio.testing import ActivityEnvironment

import providers.language_model as language_model_module
from activities.icp import GenerateIcp, IcpActivities, build_icp_request
from activities.spend import AuthorizeCalls, PaidCall, PaidCallActivities, SettleCalls, SpendActivities, Spent
from activities.state import BeginStep, CancelWorkflow, StateActivities
from db import spend
from db.pool import Connection, Database
from domain.errors import PermanentError
from domain.identifiers import attempt_id_of
from domain.progress import CallKind, CallSpec, ClaimRef, Judged, JudgedKind, Progress, Slot, WorkflowRef
from domain.spend import CallOutcome, Decision, DecisionKind, NotBilled, OutcomeKind, ProviderAnswer, UnknownOutcome
from domain.states import Step
from providers.language_model import LanguageModel
from tests.chaos.cells import Failpoint, Fault, Moment, Side
from tests.chaos.postgres_proxy import PostgresProxy, postgres_proxy

DONE, ACTIVITY_FAILED, CANCELLED, PERMANENT_FAILURE = 0, 3, 4, 5
MINI, SONAR = "openai/gpt-4o-mini", "perplexity/sonar"
ASKS_MAX = 6
REPORTED = ("call", "settle", "judge")  # activities whose completion a fault may keep from Temporal

ResultT = TypeVar("ResultT")
RequestT = TypeVar("RequestT")
_moment_of_transaction: ContextVar[list[Moment] | None] = ContextVar("moment_of_transaction", default=None)
# Of an activity whose transactions are all one moment.
_commits: ContextVar[Moment | None] = ContextVar("commits", default=None)


class InjectedError(BaseException):
    """What an activity fails by. No Exception: the adapter would make an outcome of one."""


@dataclass(frozen=True)
class ChildTask:
    """What one child is told to do."""

    dsn: str
    proxied_dsn: str
    admin_dsn: str
    socket_dir: Path
    sandbox_url: str
    journal: Path
    scratch: Path
    name: str
    ref: WorkflowRef
    failpoint: Failpoint | None
    cancels: bool
    has_side_call: bool
    call_timeout_seconds: float
    hang_is_billed: bool

    @classmethod
    def read(cls, facts: dict[str, Any]) -> "ChildTask":
        point = facts.pop("failpoint")
        ref = WorkflowRef.model_validate(facts.pop("ref"))
        paths: dict[str, Any] = {name: Path(facts.pop(name)) for name in ("socket_dir", "journal", "scratch")}
        known = Failpoint(Fault(point["fault"]), Moment(point["moment"]), Side(point["side"])) if point else None
        return cls(**facts, **paths, ref=ref, failpoint=known)


class Journal:
    """Temporal's memory: what completed, and with what result. A line is whole or absent."""

    def __init__(self, path: Path) -> None:
        self._path = path
        lines = path.read_text().splitlines() if path.exists() else []
        self._completed = {fact["completed"]: fact["result"] for fact in map(json.loads, lines) if "completed" in fact}

    def result(self, key: str) -> Any:
        return self._completed.get(key)

    def write(self, **facts: Any) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(descriptor, (json.dumps(facts) + "\n").encode())
        os.close(descriptor)


@dataclass
class Child:
    """The process under test: its activities, and the one fault that waits for it."""

    task: ChildTask
    journal: Journal
    environment: ActivityEnvironment = field(default_factory=ActivityEnvironment)
    proxy: PostgresProxy | None = None
    is_armed: bool = True
    is_cancelled: bool = False
    launch_side_call: Callable[[], None] = lambda: None

    # -- the fault --------------------------------------------------------------------------------------------------

    async def reach(self, moment: Moment, side: Side) -> None:
        point = self.task.failpoint
        if point is None or not self.is_armed or (point.moment, point.side) != (moment, side):
            return
        self.is_armed = False
        self.journal.write(struck=str(point.fault))
        await self._strike(point)

    async def _strike(self, point: Failpoint) -> None:
        match point.fault:
            case Fault.SIGKILL:
                os.kill(os.getpid(), signal.SIGKILL)
            case Fault.EXCEPTION:
                raise InjectedError(f"{point.side} {point.moment}")
            case Fault.CANCELLATION:
                self.is_cancelled = True
                self.environment.cancel()
                await asyncio.sleep(0)
            case Fault.DATABASE_CUT:
                await self._cut_database()
            case Fault.LOST_COMMIT_REPLY:
                assert self.proxy is not None
                self.proxy.lost_replies_left = 1
            case Fault.PROVIDER_HANG:
                await self._hang(point)

    async def _cut_database(self) -> None:
        """Every session of this process is ended by the server."""
        connection = await asyncpg.connect(self.task.admin_dsn)
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1", self.task.name
        )
        await connection.close()

    async def _hang(self, point: Failpoint) -> None:
        """The request that comes hangs; where it is out already, another one of the claim is sent and hangs."""
        is_before_sending = point.moment in (Moment.AUTHORIZE, Moment.DISPATCH) or (
            (point.moment, point.side) == (Moment.SENDING, Side.BEFORE)
        )
        rule = {"kind": "hang", "seconds": 3, "count": 1, "model": MINI if is_before_sending else SONAR}
        async with httpx2.AsyncClient() as http:
            where = {"where": "mid_body"} if self.task.hang_is_billed else {}
            await http.post(f"{self.task.sandbox_url}/faults", json={"rules": [{**rule, **where}]})
        if not is_before_sending:
            self.launch_side_call()

    # -- one activity -----------------------------------------------------------------------------------------------

    async def perform(
        self, key: str, method: Callable[[RequestT], Awaitable[ResultT]], request: RequestT, kind: Any
    ) -> ResultT:
        """As Temporal does it: once completed never again, and completed is what was reported."""
        adapter: TypeAdapter[ResultT] = TypeAdapter(kind)
        known = self.journal.result(key)
        if known is not None:
            return adapter.validate_python(known)
        self.environment = ActivityEnvironment()
        result = await self.environment.run(method, request)
        is_main = key.partition(":")[0] in REPORTED and not key.endswith(":side")
        if is_main:
            await self.reach(Moment.REPORT, Side.BEFORE)
        self.journal.write(completed=key, result=adapter.dump_python(result, mode="json"))
        if is_main:
            await self.reach(Moment.REPORT, Side.AFTER)
        if self.is_cancelled and is_main:
            raise asyncio.CancelledError
        return result


class FailingDatabase(Database):
    """The pool, with a failpoint before and after each COMMIT. ``child`` is set before the first use."""

    child: Child

    @asynccontextmanager
    async def transaction(self, organization_id: UUID) -> AsyncIterator[Connection]:
        known = _commits.get()
        moments = [] if known is None else [known]
        token = _moment_of_transaction.set(moments)
        try:
            async with super().transaction(organization_id) as connection:
                yield connection
                await self._reach(moments, Side.BEFORE)
            await self._reach(moments, Side.AFTER)
        finally:
            _moment_of_transaction.reset(token)

    async def _reach(self, moments: list[Moment], side: Side) -> None:
        for moment in moments[:1]:
            await self.child.reach(moment, side)


def mark(moment: Moment) -> None:
    """The transaction that is open commits this."""
    moments = _moment_of_transaction.get()
    if moments is not None:
        moments.append(moment)


def marked(moment: Moment, method: Callable[..., Awaitable[ResultT]]) -> Callable[..., Awaitable[ResultT]]:
    async def with_mark(*arguments: Any, **named: Any) -> ResultT:
        mark(moment)
        return await method(*arguments, **named)

    return with_mark


class FailingLanguageModel:
    """The adapter, with failpoints around sending and around the answer's body."""

    def __init__(self, inner: LanguageModel, child: Child) -> None:
        self._inner = inner
        self._child = child

    async def call(self, **request: Any) -> ProviderAnswer | NotBilled | UnknownOutcome:
        await self._child.reach(Moment.SENDING, Side.BEFORE)
        calling = asyncio.create_task(self._inner.call(**request))
        point = self._child.task.failpoint
        try:
            if point is not None and (point.moment, point.side) == (Moment.SENDING, Side.AFTER):
                await self._provider_has_it()
                await self._child.reach(Moment.SENDING, Side.AFTER)
            result = await calling
        except BaseException:
            calling.cancel()
            raise
        await self._child.reach(Moment.BODY, Side.AFTER)
        return result

    async def _provider_has_it(self) -> None:
        """It was told to take its time over the first request."""
        async with httpx2.AsyncClient() as http:
            while True:
                facts = (await http.get(f"{self._child.task.sandbox_url}/faults")).json()
                if any(rule["fired"] for rule in facts["rules"]) or not facts["rules"]:
                    return
                await asyncio.sleep(0.01)


def put_failpoints(child: Child) -> None:
    """In this process alone: the parts of the activities that have no seam to pass a failpoint through."""
    spend.dispatch = marked(Moment.DISPATCH, spend.dispatch)  # type: ignore[assignment]
    for name in ("store_answer", "store_not_billed", "store_unknown"):
        setattr(spend, name, marked(Moment.STORING, getattr(spend, name)))
    note_generation_id = language_model_module._note_generation_id
    seen: dict[int, int] = {}

    async def note(received: Any, *arguments: Any) -> None:
        await note_generation_id(received, *arguments)
        seen[id(received)] = seen.get(id(received), 0) + 1
        if seen[id(received)] == 2:  # the headers came first, now the first piece of the body
            await child.reach(Moment.BODY, Side.BEFORE)

    setattr(language_model_module, note_generation_id.__name__, note)


class Crew:
    """The activities of one child, and the run that asks for them in the workflow's order."""

    def __init__(self, child: Child, database: FailingDatabase, language_model: FailingLanguageModel) -> None:
        self._child = child
        builders = {CallKind.ICP: build_icp_request, CallKind.COMPETITOR_DISCOVERY: build_icp_request}
        self._state = StateActivities(database)
        self._spend = SpendActivities(database, builders)
        self._calls = PaidCallActivities(database, language_model, 0.2, is_sandbox=True)  # type: ignore[arg-type]
        self._icp = IcpActivities(database)
        self._side: asyncio.Task[CallOutcome] | None = None
        child.launch_side_call = self._launch_side_call
        self._claim: ClaimRef | None = None

    async def run(self) -> None:
        child, ref = self._child, self._child.task.ref
        begin = BeginStep(ref=ref, step=Step.ICP)
        progress = await child.perform("begin", self._state.begin_step, begin, Progress)
        self._claim = claim = progress.claim_of(Step.ICP)
        for ask in range(1, ASKS_MAX + 1):
            if await self._ask(claim, ask):
                await self._end_side_call()
                return
        raise RuntimeError(f"no accepted answer in {ASKS_MAX} asks")

    async def _ask(self, claim: ClaimRef, ask: int) -> bool:
        child = self._child
        calls = [CallSpec(slot=Slot(kind=CallKind.ICP), ask=ask, model=MINI)]
        if ask == 1 and child.task.has_side_call:
            calls.append(CallSpec(slot=Slot(kind=CallKind.COMPETITOR_DISCOVERY), ask=1, model=SONAR))
        request = AuthorizeCalls(claim=claim, calls=tuple(calls))
        decisions = await child.perform(f"authorize:{ask}", self._authorize, request, list[Decision])
        assert all(decision.kind is DecisionKind.AUTHORIZED for decision in decisions), decisions
        attempt_id = decisions[0].attempt_id
        call = PaidCall(claim=claim, attempt_id=attempt_id)
        outcome = await child.perform(f"call:{ask}", self._calls.call_provider, call, CallOutcome)
        if outcome.kind is not OutcomeKind.ANSWERED:
            return False
        settling = SettleCalls(ref=claim.workflow, attempt_ids=(attempt_id,))
        await child.perform(f"settle:{ask}", self._settle, settling, Spent)
        judging = GenerateIcp(claim=claim, attempt_id=attempt_id, repairs_left=2)
        judged = await child.perform(f"judge:{ask}", self._judge, judging, Judged)
        return judged.kind is JudgedKind.ACCEPTED

    async def _authorize(self, request: AuthorizeCalls) -> list[Decision]:
        return await self._in_moment(Moment.AUTHORIZE, self._spend.authorize, request)

    async def _settle(self, request: SettleCalls) -> Spent:
        return await self._in_moment(Moment.SETTLE, self._spend.settle, request)

    async def _judge(self, request: GenerateIcp) -> Judged:
        return await self._in_moment(Moment.TRANSITION, self._icp.generate_icp, request)

    async def _in_moment(
        self, moment: Moment, method: Callable[[RequestT], Awaitable[ResultT]], request: RequestT
    ) -> ResultT:
        _commits.set(moment)
        try:
            return await method(request)
        finally:
            _commits.set(None)

    # -- the call beside it -----------------------------------------------------------------------------------------

    def _launch_side_call(self) -> None:
        self._side = asyncio.create_task(self._call_beside())

    async def _call_beside(self) -> CallOutcome:
        _commits.set(None)
        assert self._claim is not None
        decisions = TypeAdapter(list[Decision]).validate_python(self._child.journal.result("authorize:1") or [])
        attempt_id = decisions[1].attempt_id if decisions else self._side_attempt_id()
        return await ActivityEnvironment().run(
            self._calls.call_provider, PaidCall(claim=self._claim, attempt_id=attempt_id)
        )

    def _side_attempt_id(self) -> UUID:
        assert self._claim is not None
        return attempt_id_of(self._claim.workflow_id, "icp", "competitor_discovery", self._claim.claim, 1)

    async def _end_side_call(self) -> None:
        """It is awaited like every call of a claim; what it cost is booked, the claim being over or not."""
        if not self._child.task.has_side_call:
            return
        outcome = await (self._side or asyncio.create_task(self._call_beside()))
        self._child.journal.write(side=str(outcome.kind))
        if outcome.kind is OutcomeKind.ANSWERED:
            settling = SettleCalls(ref=self._child.task.ref, attempt_ids=(self._side_attempt_id(),))
            await ActivityEnvironment().run(self._spend.settle, settling)

    async def cancel(self) -> None:
        request = CancelWorkflow(ref=self._child.task.ref, reason="cancelled by the bench")
        await self._child.perform("cancel", self._state.cancel_workflow, request, Progress)


async def live(task: ChildTask) -> None:
    child = Child(task, Journal(task.journal))
    put_failpoints(child)
    async with AsyncExitStack() as stack:
        dsn = task.dsn
        if task.failpoint is not None and task.failpoint.fault is Fault.LOST_COMMIT_REPLY:
            child.proxy = await stack.enter_async_context(postgres_proxy(task.scratch, task.socket_dir))
            dsn = task.proxied_dsn
        database = await FailingDatabase.connect(dsn, size_min=0, size_max=4, application_name=task.name)
        database.child = child
        stack.push_async_callback(database.close)
        language_model = LanguageModel(
            base_url=f"{task.sandbox_url}/v1",
            api_key=SecretStr("sandbox"),
            timeout_seconds=task.call_timeout_seconds,
            look_up_delay_seconds=0.05,
        )
        stack.push_async_callback(language_model.close)
        crew = Crew(child, database, FailingLanguageModel(language_model, child))
        await (crew.cancel() if task.cancels else crew.run())


def die_as(task: ChildTask) -> int:
    """The exit code that tells how the child's last activity ended."""
    try:
        asyncio.run(live(task))
    except asyncio.CancelledError:
        return CANCELLED
    except PermanentError as error:
        Journal(task.journal).write(failed=f"{type(error).__name__}: {error}")
        return PERMANENT_FAILURE
    except (Exception, InjectedError) as error:
        Journal(task.journal).write(failed=f"{type(error).__name__}: {error}")
        return ACTIVITY_FAILED
    return DONE


def fork_child(answers: int, lane: int, task: ChildTask) -> None:
    """The middle process waits for the child and tells how it ended; the zygote goes on reading."""
    if os.fork():
        return
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            code = die_as(task)
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    os.write(answers, (json.dumps({"lane": lane, "code": os.waitstatus_to_exitcode(status)}) + "\n").encode())
    os._exit(0)


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    answers = os.dup(1)
    os.dup2(2, 1)  # what the activities log is no answer
    os.write(answers, b"ready\n")
    for line in sys.stdin:
        facts = json.loads(line)
        fork_child(answers, facts.pop("lane"), ChildTask.read(facts))


if __name__ == "__main__":
    main()
