"""The operator's commands: reconcile money and runs now, freeze and thaw what may spend, correct what was booked."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID, uuid4, uuid5

from commands.exits import CommandError, ExitCode, not_found, report_of
from commands.failures import command_after_thaw
from commands.local_stack import HELD_ELSEWHERE, settings_of_worker
from commands.operating import operator_database
from commands.session import Session
from commands.snapshot import take_snapshot
from commands.terminal import counted, dollars
from db import reconciliation
from db.overview import FoundWorkflow
from db.pool import Connection, Database
from db.prices import recompute
from domain.errors import BadInputError, ConfigurationError, PipelineError
from domain.money import NANO_DOLLAR, format_usd
from domain.reconciliation import FrozenScope, MoneyReport, ReconciliationReport, RunsReport, report_lines

NO_KEY = "the provider's key is with the worker, whose own passes look them up"
PASSES_MAX = 50


# Reconciling -----------------------------------------------------------------------------------------------------


async def reconcile(session: Session) -> ExitCode:
    """What the Schedule does every minute, now, and over the counters of every scope. Money needs no Temporal.

    Raises a conflict after the report when the books have a defect.
    """
    async with operator_database(session) as operator:
        money = await _reconcile_money(session, operator)
        runs, runs_trouble = await _compare_runs(session, operator)
    report = ReconciliationReport(money=money, runs=runs, runs_trouble=runs_trouble)
    _tell(session, report.model_dump(mode="json"), report_lines(report))
    _check_books(money)
    return ExitCode.DONE


def _check_books(money: MoneyReport) -> None:
    """What nobody mends by itself ends with 4: a scheduled job that only looks at exit codes has to see it."""
    scopes = [f"{one.scope} of organization {one.organization_id}" for one in money.imbalances]
    defects = [*money.failures, *(f"the counters of {scope} are not the sums of its rows" for scope in scopes)]
    if defects:
        message = f"the books have {counted(len(defects), 'defect')}, the first: {defects[0]}; see docs/runbook.md"
        facts = {"scopes": scopes, "failures": list(money.failures)}
        raise CommandError("BooksDefectError", message, ExitCode.CONFLICT, facts)


async def _reconcile_money(session: Session, operator: Database) -> MoneyReport:
    from activities.reconciliation import LookUpCost, reconcile_money
    from providers.language_model import LanguageModel

    settings = settings_of_worker(session.settings)
    async with AsyncExitStack() as stack:
        look_up_cost: LookUpCost | None = None
        if not _key_is_elsewhere(session):
            language_model = LanguageModel(
                base_url=settings.model_url,
                api_key=settings.model_key,
                timeout_seconds=settings.steps.spend.call_timeout_seconds,
            )
            stack.push_async_callback(language_model.close)
            look_up_cost = language_model.look_up_cost
        report = await reconcile_money(operator, settings.reconcile, look_up_cost, trouble=NO_KEY)
        for _ in range(PASSES_MAX):
            if not report.has_more:
                break
            report = report.after(await reconcile_money(operator, settings.reconcile, look_up_cost, trouble=NO_KEY))
    return report


def _key_is_elsewhere(session: Session) -> bool:
    try:
        return settings_of_worker(session.settings).model_key.get_secret_value() == HELD_ELSEWHERE
    except ConfigurationError:
        return True


async def _compare_runs(session: Session, operator: Database) -> tuple[RunsReport | None, str]:
    """Or why not: without Temporal, or when it fails on the way, the money is reconciled all the same."""
    from temporalio.service import RPCError

    from activities.reconciliation import ConsistencyActivities
    from worker import intent_runs

    settings = session.settings
    try:
        client = await session.client()
        consistency = ConsistencyActivities(
            operator,
            intent_runs(client, settings),
            settings.reconcile,
            settings.timeouts.heartbeat_every_seconds,
        )
        return await consistency.compare(), ""
    except (CommandError, PipelineError, RPCError, TimeoutError) as error:
        return None, report_of(error).message


# Freezing and thawing --------------------------------------------------------------------------------------------


async def thaw(session: Session, workflow: str, reason: str) -> ExitCode:
    """Lets a workflow, and the frozen months of its organization, authorize again."""
    words = _reason(reason)
    found = await session.find(workflow)
    thawed: list[FrozenScope] = []
    decision = uuid4()
    async with operator_database(session) as operator:
        async with operator.reading() as connection:
            frozen = await _frozen_around(connection, found.organization_id, found.workflow_id)
        for scope in frozen:
            thawed += await _thawed(session, operator, scope, decision, words)
    facts = {"workflow_id": str(found.workflow_id), "thawed": [one.model_dump(mode="json") for one in thawed]}
    _tell(session, facts, [f"✔ {_named(one)} is thawed; it was frozen because {one.reason}" for one in thawed])
    command = command_after_thaw(await take_snapshot(session, found)) if thawed else ""
    if command:
        session.terminal.say(f"  to go on  {command}")
    if not thawed:
        session.terminal.say(f"{found.name} was not frozen, nor was a month of its organization: nothing to thaw")
    return ExitCode.DONE


async def _frozen_around(connection: Connection, organization_id: UUID, workflow_id: UUID) -> list[FrozenScope]:
    """What keeps a workflow from spending, which is what one ``thaw`` of it thaws."""
    frozen = await reconciliation.frozen_scopes(connection, organization_id)
    return [scope for scope in frozen if scope.workflow_id in (None, workflow_id)]


async def _thawed(
    session: Session, operator: Database, scope: FrozenScope, decision: UUID, reason: str
) -> list[FrozenScope]:
    async with operator.transaction(scope.organization_id) as connection:
        was = await reconciliation.thaw_scope(
            connection,
            scope.organization_id,
            workflow_id=scope.workflow_id,
            month=scope.month,
            decision_id=uuid5(decision, _named(scope)),
            actor=session.actor,
            reason=reason,
        )
    return [] if was is None else [scope.model_copy(update={"reason": was})]


async def freeze(session: Session, workflow: str, reason: str, *, month: bool = False) -> ExitCode:
    """No new authorizations for a workflow, or with ``month`` for its whole organization in the current month.

    A scope that is frozen keeps the reason it has, and what was given is not kept: it is told so.
    """
    words = _reason(reason)
    found = await session.find(workflow)
    async with operator_database(session) as operator, operator.transaction(found.organization_id) as connection:
        this_month: date = await connection.fetchval("SELECT spend_month(clock_timestamp())")
        before = await reconciliation.frozen_scopes(connection, found.organization_id)
        frozen = await reconciliation.freeze_scope(
            connection,
            found.organization_id,
            workflow_id=None if month else found.workflow_id,
            month=this_month if month else None,
            decision_id=uuid4(),
            actor=session.actor,
            reason=words,
        )
    scope = _scope(found, this_month if month else None, frozen)
    # The one who froze it while this command came to it left a reason that is not ours.
    was_frozen = scope in before or frozen != f"{session.actor.strip(' ')}: {words}"
    line = f"already frozen: {frozen} ({_named(scope)}; your reason is not kept)"
    if not was_frozen:
        line = f"✔ {_named(scope)} is frozen: {frozen}"
    _tell(session, {**scope.model_dump(mode="json"), "already_frozen": was_frozen}, [line])
    session.terminal.say(f"  what is in flight is still booked; to undo: {_thaw_command(found.workflow_id)}")
    return ExitCode.DONE


def _thaw_command(workflow_id: UUID) -> str:
    return f"starter.py thaw {workflow_id} --reason TEXT"


def _scope(found: FoundWorkflow, month: date | None, reason: str) -> FrozenScope:
    workflow_id = None if month else found.workflow_id
    return FrozenScope(organization_id=found.organization_id, workflow_id=workflow_id, month=month, reason=reason)


def _named(scope: FrozenScope) -> str:
    if scope.workflow_id is not None:
        return f"workflow {scope.workflow_id}"
    return f"the organization's month {scope.month:%Y-%m}"


def _reason(text: str) -> str:
    words = " ".join(text.split())
    if not words:
        raise BadInputError("--reason is empty: say why, it is kept in the audit", "reason")
    return words


# Correcting ------------------------------------------------------------------------------------------------------


async def correct(session: Session, row: str, amount: str, reason: str, key: str | None = None) -> ExitCode:
    """A linked ledger row: a refund (below 0) or a dearer bill. With ``key`` the same command again adds nothing.

    One that passes the call's hold or a cap freezes the run and its month; what is frozen is told, with the way out.
    """
    original, amount_usd, words = _uuid(row, "ROW"), _amount(amount), _reason(reason)
    correction = uuid4() if key is None else _uuid(key, "--key")
    async with operator_database(session) as operator:
        async with operator.reading() as connection:
            organization_id = await reconciliation.organization_of_row(connection, original)
            workflow_ids = [row.workflow_id for row in await recompute(connection, ledger_key=original)]
        if organization_id is None or not workflow_ids:
            raise not_found(f"no ledger row has the key {original}; see `starter.py costs --json`")
        async with operator.transaction(organization_id) as connection:
            booked = await reconciliation.correct_ledger(
                connection,
                organization_id,
                original=original,
                key=correction,
                amount_usd=amount_usd,
                reason=words,
                actor=session.actor,
            )
            frozen = await _frozen_around(connection, organization_id, workflow_ids[0])
    facts = {"idempotency_key": str(correction), "corrects": str(original), "booked_usd": format_usd(booked)}
    line = f"✔ corrected by {format_usd(amount_usd)}: the call is booked at {dollars(booked)} now"
    _tell(session, facts | _frozen_facts(frozen, workflow_ids[0]), [line, *_frozen_lines(frozen, workflow_ids[0])])
    return ExitCode.DONE


def _frozen_facts(frozen: Sequence[FrozenScope], workflow_id: UUID) -> dict[str, Any]:
    return {
        "frozen": [one.model_dump(mode="json") for one in frozen],
        "thaw": _thaw_command(workflow_id) if frozen else None,
    }


def _frozen_lines(frozen: Sequence[FrozenScope], workflow_id: UUID) -> list[str]:
    lines = [f"! {_named(one)} is frozen, nothing new is authorized: {one.reason}" for one in frozen]
    return [*lines, f"  to let it spend again  {_thaw_command(workflow_id)}"] if frozen else []


def _uuid(text: str, field: str) -> UUID:
    try:
        return UUID(text.strip())
    except ValueError:
        raise BadInputError(f"{field} is {text!r}: it must be a UUID, as `starter.py costs --json` shows it") from None


def _amount(text: str) -> Decimal:
    try:
        amount = Decimal(text.strip().replace("$", "", 1))
        exact = amount.is_finite() and amount != 0 and amount == amount.quantize(NANO_DOLLAR)
    except InvalidOperation:
        exact = False
    if not exact:
        raise BadInputError(f"the amount is {text!r}: give US dollars such as -0.0042, not 0", "amount")
    return amount


def _tell(session: Session, facts: dict[str, Any], lines: list[str]) -> None:
    if session.terminal.as_json:
        session.terminal.emit(facts)
    for line in lines:
        session.terminal.say(line)
