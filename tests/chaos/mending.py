"""What is done after the faults: the reconciler resolves what is unknown, people do what the status card says."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from uuid import uuid4

import httpx2
from pydantic import SecretStr
from temporalio.client import WorkflowExecutionStatus
from temporalio.service import RPCError

from activities.reconciliation import LookUpCost, reconcile_money
from db import reconciliation
from db.plans import set_plan
from db.pool import Database
from domain.decisions import RaiseCap, ReopenReview, Retry, ReviewSeeds
from domain.errors import DatabaseUnavailableError
from domain.money import Usage
from domain.plans import PlanChange
from domain.reconciliation import ReconcileSettings
from domain.seed_review import SeedDecision, SeedDecisionKind
from domain.states import State, Status, is_terminal, status_of
from providers.language_model import LanguageModel
from tests.chaos.checkers import BillLine, Findings, bill_lines, check_money_and_state, check_published
from tests.workflows.conftest import Pipeline, Run
from workflows.status_card import next_command

SETTINGS = ReconcileSettings(
    call_grace_seconds=0, settle_grace_seconds=0, write_off_after_seconds=0, look_up_every_seconds=0.1
)
RECONCILE_SECONDS_MAX = 20.0
ACTIONS_MAX = 6
OPEN = "SELECT count(*) FROM spend_attempts WHERE state IN ('RESERVED', 'DISPATCHED', 'ANSWERED', 'UNKNOWN')"


async def reconcile_until_closed(operator: Database, sandbox_urls: Sequence[str]) -> Counter[str]:
    """Passes of the reconciler until nothing is open; how many attempts each kind of resolution closed."""
    models = [
        LanguageModel(base_url=f"{url}/v1", api_key=SecretStr("sandbox"), timeout_seconds=5, look_up_attempts=1)
        for url in sandbox_urls
    ]

    async def look_up(generation_id: str) -> Usage | None:
        for model in models:
            usage = await model.look_up_cost(generation_id)
            if usage is not None:
                return usage
        return None

    resolved: Counter[str] = Counter()
    asking: LookUpCost = look_up
    try:
        async with asyncio.timeout(RECONCILE_SECONDS_MAX):
            while True:
                report = await reconcile_money(operator, SETTINGS, asking)
                assert not report.failures, report.failures
                for summed in report.sums:
                    resolved[summed.kind] += summed.attempts
                async with operator.reading() as connection:
                    if await connection.fetchval(OPEN) == 0:
                        return resolved
                await asyncio.sleep(0.3)
    except TimeoutError:
        return resolved  # the checkers name what is left
    finally:
        for model in models:
            await model.close()


async def finish(run: Run, seconds: float) -> list[str]:
    """Until the row is at its end and its run closed; does what the card of a parked run says. The actions taken."""
    actions: list[str] = []
    try:
        async with asyncio.timeout(seconds):
            while True:
                if await _has_ended(run, actions):
                    break
                await asyncio.sleep(0.25)
    except TimeoutError:
        progress = await run.progress()
        raise AssertionError(f"{run.temporal_id} stands in {progress.state} after {seconds:g} s; {actions}") from None
    return actions


async def _has_ended(run: Run, actions: list[str]) -> bool:
    """One look; a server that is away just now is asked again."""
    try:
        progress = await run.progress()
        if is_terminal(progress.state):
            return await _run_is_closed(run, progress.state)
        if status_of(progress.state) is Status.FAILED:
            assert len(actions) < ACTIONS_MAX, f"{run.ref.workflow_id} does not finish by {actions}"
            command = next_command(progress)
            actions.append(f"{progress.state}: {command} [{progress.failure and progress.failure.message}]")
            await act(run, command)
        elif progress.state is State.SEED_REVIEW_PENDING and progress.last_reason == "reopened":
            await approve_all(run)
    except (DatabaseUnavailableError, RPCError):
        return False
    return False


async def _run_is_closed(run: Run, state: State) -> bool:
    status = (await run.handle.describe()).status
    if status is WorkflowExecutionStatus.RUNNING:
        return False
    wanted = WorkflowExecutionStatus.COMPLETED if state is State.COMPLETED else WorkflowExecutionStatus.CANCELED
    assert status is wanted, f"{run.temporal_id} ended {status} with its row in {state}"
    return True


async def act(run: Run, command: str) -> None:
    """The command of a status card, as the update that it sends."""
    assert command, f"{run.ref.workflow_id} is parked and its card names no command"
    for part in command.split(" && "):
        words = part.split()
        match words[1]:
            case "raise-cap":
                facts = await run.decision(cap_usd=Decimal(words[3]))
                await run.update("raise_cap", RaiseCap(**facts))
            case "retry":
                await run.update("retry", Retry(**await run.decision()))
            case "review":
                await run.update("reopen_review", ReopenReview(**await run.decision()))
            case "thaw":
                await _thaw(run)
            case "plans":
                await _set_plan(run, words[3], dict(zip(words[4::2], words[5::2], strict=True)))
            case other:
                raise AssertionError(f"the card of {run.ref.workflow_id} names {other!r}: {command}")


async def _thaw(run: Run) -> None:
    """The workflow, and the frozen months of its organization."""
    operator, organization_id = run.pipeline.database.operator, run.ref.organization_id
    async with operator.transaction(organization_id) as connection:
        for scope in await reconciliation.frozen_scopes(connection, organization_id):
            if scope.workflow_id in (None, run.ref.workflow_id):
                await reconciliation.thaw_scope(
                    connection,
                    organization_id,
                    workflow_id=scope.workflow_id,
                    month=scope.month,
                    decision_id=uuid4(),
                    actor="bench",
                    reason="the bench looked into it",
                )


async def _set_plan(run: Run, plan_key: str, options: Mapping[str, str]) -> None:
    names = {"--workflow-cap": "workflow_cap_usd", "--month-cap": "month_cap_usd"}
    change = PlanChange.model_validate({names[option]: amount for option, amount in options.items()})
    async with run.pipeline.database.operator.transaction(run.ref.organization_id) as connection:
        await set_plan(connection, plan_key, change, decision_id=uuid4(), actor="bench")


async def approve_all(run: Run) -> None:
    seeds = SeedDecision(kind=SeedDecisionKind.APPROVE_ALL)
    await run.update("review_seeds", ReviewSeeds(**await run.decision(seeds=seeds)), update_id=str(uuid4()))


async def bill_of(pipeline: Pipeline, strangers: frozenset[str] | set[str] = frozenset()) -> list[BillLine]:
    """The provider's bill without the lines of attempts that other databases had."""
    async with httpx2.AsyncClient(timeout=30) as http:
        lines = (await http.get(f"{pipeline.sandbox.url}/bill")).json()
    return bill_lines(line for line in lines if line["client_request_id"] not in strangers)


async def look_at_all(pipeline: Pipeline, strangers: set[str]) -> tuple[Findings, Counter[str]]:
    """Reconciles, then every checker."""
    resolved = await reconcile_until_closed(pipeline.database.operator, [pipeline.sandbox.url])
    bill = await bill_of(pipeline, strangers)
    findings = await check_money_and_state(pipeline.database.admin, bill, may_be_unknown=False)
    await check_published(findings, pipeline.database.admin, pipeline.output_dir)
    return findings, resolved
