"""Who decided what about money, as the command line shows it; and ledger rows with what is out of the ordinary."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import SecretStr

from commands import costing, money_history, planning, pricing, reading, starting
from commands.costing import CostFlags
from commands.exits import CommandError, ExitCode
from commands.session import Session
from commands.starting import Started
from commands.terminal import Terminal
from config import Settings
from db import plans, prices, reconciliation
from db.cost_reports import spending_room
from db.money_decisions import money_decisions
from db.overview import step_costs
from db.workflows import create_workflow, load_workflow, raise_cap
from domain.brief import brief_from_mapping, normalized
from domain.errors import BadInputError
from domain.export import csv_text
from domain.plans import PlanChange
from domain.prices import parse_prices
from domain.spend import NewAttempt, ask_route
from domain.states import State
from tests.conftest import MadeWorkflow, MakeWorkflow, TenantDatabase, new_workflow
from tests.integration.money_cases import MINI, SONAR, Till, an_answer, an_ask, chat

NOBODY = UUID(int=0)
SONAR_HOLD = Decimal("0.00619")  # of chat(SONAR)


@pytest.fixture
async def till(database: TenantDatabase, make_workflow: MakeWorkflow) -> Till:
    return Till(database.app, await make_workflow(State.ICP_PROCESSING))


@asynccontextmanager
async def session_of(database: TenantDatabase, *, as_json: bool) -> AsyncIterator[Session]:
    settings = Settings(
        _env_file=None,
        postgres_dsn=SecretStr(database.app_dsn),
        postgres_operator_dsn=SecretStr(database.operator_dsn),
    )
    async with Session(settings, Terminal(as_json=as_json), "ada") as session:
        yield session


def printed(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def routed(workflow: MadeWorkflow, slot: str) -> NewAttempt:
    request = chat(SONAR)
    plain = an_ask(workflow, slot=slot, request=request)
    return plain.model_copy(update={"route": ask_route(request, (SONAR, MINI), 0.5)})


async def correct(database: TenantDatabase, till: Till, attempt_id: UUID, amount: str) -> None:
    async with database.operator.transaction(till.organization_id) as connection:
        await reconciliation.correct_ledger(
            connection,
            till.organization_id,
            original=attempt_id,
            key=uuid4(),
            amount_usd=Decimal(amount),
            reason="credit note 7",
            actor="grace",
        )


async def decide_all(database: TenantDatabase, till: Till) -> None:
    """Every kind of decision about money, in this order."""
    async with database.app.transaction(till.organization_id) as connection:
        await raise_cap(
            connection,
            till.workflow.workflow_id,
            till.organization_id,
            Decimal("2.5"),
            decision_id=uuid4(),
            actor="ada",
        )
    attempt_id = await till.paid(an_ask(till.workflow), an_answer("0.0004"))
    month = await database.admin.fetchval("SELECT spend_month(now())")
    for scope in ({"workflow_id": till.workflow.workflow_id}, {"month": month}):
        for freeze_or_thaw, reason in (
            (reconciliation.freeze_scope, "odd bill"),
            (reconciliation.thaw_scope, "explained"),
        ):
            async with database.operator.transaction(till.organization_id) as connection:
                facts: dict[str, Any] = {**scope, "decision_id": uuid4(), "actor": "grace", "reason": reason}
                await freeze_or_thaw(connection, till.organization_id, **facts)
    await correct(database, till, attempt_id, "-0.0001")
    async with database.operator.transaction(till.organization_id) as connection:
        change = PlanChange(workflow_cap_usd=Decimal("0.75"), month_cap_usd=Decimal(9), price_usd_per_month=Decimal(49))
        await plans.set_plan(connection, "small", change, decision_id=uuid4(), actor="ops")
        await plans.assign_plan(connection, till.organization_id, "small", decision_id=uuid4(), actor="ops")
        lower = PlanChange(month_cap_usd=Decimal(5))
        await plans.set_plan(connection, "small", lower, decision_id=uuid4(), actor="cfo")


# Decisions -------------------------------------------------------------------------------------------------------


async def test_every_decision_about_a_runs_money_is_shown_with_who_and_why(
    database: TenantDatabase, till: Till, capsys: pytest.CaptureFixture[str]
) -> None:
    await decide_all(database, till)
    id_ = str(till.workflow.workflow_id)
    async with session_of(database, as_json=True) as session:
        assert await money_history.run_history(session, id_) is ExitCode.DONE
        found = printed(capsys)
    month = f"{await database.admin.fetchval('SELECT spend_month(now())'):%Y-%m}"
    row = next(line for line in await till.ledger() if line.entry == "correction").ledger_id
    assert [(one["actor"], one["what"], one["reason"]) for one in found] == [
        ("ada", "raised the run's cap from $ 1.00 to $ 2.50", None),
        ("grace", "froze the run", "odd bill"),
        ("grace", "thawed the run", "explained"),
        ("grace", f"froze the organization's month {month}", "odd bill"),
        ("grace", f"thawed the organization's month {month}", "explained"),
        ("grace", f"corrected by $ -0.0001, ledger row {row}", "credit note 7"),
        ("ops", "changed the plan small: month cap from $ none to $ 9.00", None),
        ("ops", "changed the plan small: price a month from $ 0.00 to $ 49.00", None),
        ("ops", "changed the plan small: workflow cap from $ none to $ 0.75", None),
        ("ops", "gave the organization the plan small, until then default", None),
        ("cfo", "changed the plan small: month cap from $ 9.00 to $ 5.00", None),
    ]
    assert (found[0]["kind"], found[0]["from_usd"], found[0]["to_usd"]) == ("cap_raised", "1.00", "2.50")
    async with session_of(database, as_json=False) as session:
        await money_history.run_history(session, id_)
    out = capsys.readouterr().out
    assert "credit note 7" in out
    assert "11 decisions about money" in out


async def test_L20_decisions_are_those_of_the_run_and_its_organization_alone(
    database: TenantDatabase, till: Till, make_workflow: MakeWorkflow
) -> None:
    other = Till(database.app, await make_workflow(State.ICP_PROCESSING, domain="ledgerpilot.example"))
    await decide_all(database, other)
    sibling = Till(database.app, await make_workflow(State.ICP_PROCESSING, domain="ledgerpilot.example"))
    async with database.app.transaction(till.organization_id) as connection:
        assert await money_decisions(connection, till.workflow.workflow_id) == []
        assert await money_decisions(connection, other.workflow.workflow_id) == []
    async with database.operator.reading() as connection:
        assert await money_decisions(connection, till.workflow.workflow_id) == []
        assert await money_decisions(connection, sibling.workflow.workflow_id) == []  # began when all was decided
        assert len(await money_decisions(connection, other.workflow.workflow_id)) == 11


async def test_who_changed_a_plan_and_who_gave_it(
    database: TenantDatabase, till: Till, capsys: pytest.CaptureFixture[str]
) -> None:
    await decide_all(database, till)
    domain = await database.admin.fetchval("SELECT domain FROM organizations")
    async with session_of(database, as_json=True) as session:
        await money_history.plans_history(session, "small")
        made, lowered = printed(capsys)
        await money_history.plans_history(session, None)
        assert printed(capsys) == [made, lowered]
        await planning.plan(session, domain, None)
        [given] = printed(capsys)["changes"]
        with pytest.raises(CommandError, match="there is no plan huge") as missing:
            await money_history.plans_history(session, "huge")
        with pytest.raises(BadInputError, match="small letters"):
            await money_history.plans_history(session, "No Plan")
    assert missing.value.exit_code is ExitCode.NOT_FOUND
    assert (made["actor"], made["is_new"], made["to_month_cap_usd"]) == ("ops", True, "9.00")
    assert (lowered["actor"], lowered["from_month_cap_usd"], lowered["to_month_cap_usd"]) == ("cfo", "9.00", "5.00")
    assert (given["actor"], given["from_plan_key"], given["to_plan_key"]) == ("ops", "default", "small")
    async with session_of(database, as_json=False) as session:
        await money_history.plans_history(session, "small")
        assert "9.00 → 5.00" in capsys.readouterr().out
        await planning.plan(session, domain, None)
        assert "ops gave it small, until then default" in capsys.readouterr().out
        await money_history.plans_history(session, "default")
        assert "nobody has changed a plan" in capsys.readouterr().out


async def test_who_changed_a_price(database: TenantDatabase, capsys: pytest.CaptureFixture[str]) -> None:
    [dearer] = parse_prices(
        "{model: perplexity/sonar, input_usd_per_million: 3, output_usd_per_million: 3}", source="prices.yaml"
    )
    async with database.operator.transaction(NOBODY) as connection:
        await prices.add_price(connection, dearer, actor="cfo")
    async with session_of(database, as_json=True) as session:
        await money_history.prices_history(session, "sonar")
        found = printed(capsys)
        await money_history.prices_history(session, MINI)
        assert printed(capsys) == []
        await money_history.prices_history(session, None)
        assert printed(capsys) == found
    assert {(one["actor"], one["action"], one["model"]) for one in found} == {
        ("cfo", "ended", SONAR),
        ("cfo", "added", SONAR),
    }
    async with session_of(database, as_json=False) as session:
        await money_history.prices_history(session, MINI)
        assert f"nobody has changed a price of {MINI}" in capsys.readouterr().out
        await money_history.prices_history(session, None)
        assert "cfo" in capsys.readouterr().out


# Ledger rows -----------------------------------------------------------------------------------------------------


async def test_a_ledger_row_says_its_number_its_cheaper_model_and_who_corrected_it(
    database: TenantDatabase, make_workflow: MakeWorkflow, capsys: pytest.CaptureFixture[str]
) -> None:
    till = Till(database.app, await make_workflow(State.ICP_PROCESSING, cap_usd=SONAR_HOLD * 2))
    await till.sent(routed(till.workflow, "a"))
    cheap = await till.paid(routed(till.workflow, "b"), an_answer("0.0001"))
    await correct(database, till, cheap, "-0.00004")
    id_ = str(till.workflow.workflow_id)
    async with session_of(database, as_json=True) as session:
        await reading.costs(session, id_)
        used, corrected = printed(capsys)
        await pricing.recompute_(session, str(used["ledger_id"]), None)
        assert [one["idempotency_key"] for one in printed(capsys)] == [used["idempotency_key"]]
    assert (used["downgraded_from"], used["reason"], used["actor"]) == (SONAR, None, None)
    assert (corrected["reason"], corrected["actor"]) == ("credit note 7", "grace")
    async with session_of(database, as_json=False) as session:
        await reading.costs(session, id_)
    out = capsys.readouterr().out
    assert f"downgraded from {SONAR}" in out
    assert "correction by grace: credit note 7" in out
    assert any(line.split()[0] == str(used["ledger_id"]) for line in out.splitlines())
    async with database.app.transaction(till.organization_id) as connection:
        costs = await step_costs(connection, till.workflow.workflow_id)
    assert (costs["icp"].calls, costs["icp"].downgraded_calls) == (1, 1)


async def test_an_exported_ledger_has_reason_actor_and_the_model_that_was_asked_for_first(
    database: TenantDatabase, till: Till
) -> None:
    from commands.exporting import LEDGER_COLUMNS

    await correct(database, till, await till.paid(an_ask(till.workflow), an_answer("0.0001")), "-0.00004")
    header, used, corrected, *_ = csv_text(
        LEDGER_COLUMNS, [line.model_dump(mode="json") for line in await till.ledger()]
    ).splitlines()
    assert {"ledger_id", "downgraded_from", "reason", "actor"} <= set(header.lstrip("\ufeff").split(","))
    assert "credit note 7" in corrected
    assert "grace" in corrected
    assert "grace" not in used


# Reports and forecasts -------------------------------------------------------------------------------------------


async def test_a_month_alone_is_the_sum_of_its_ledger(
    database: TenantDatabase, till: Till, capsys: pytest.CaptureFixture[str]
) -> None:
    await till.paid(an_ask(till.workflow, 1), an_answer("0.0003"))
    await till.paid(an_ask(till.workflow, 2), an_answer("0.0004"))
    month = f"{await database.admin.fetchval('SELECT spend_month(now())'):%Y-%m}"
    async with session_of(database, as_json=True) as session:
        for workflow in (None, str(till.workflow.workflow_id)):
            await costing.report(session, workflow, CostFlags(month=month))
            assert [(one["model"], one["cost_usd"]) for one in printed(capsys)] == [(MINI, "0.0007")]
        await costing.report(session, None, CostFlags(month="2020-01"))
        assert printed(capsys) == []
        with pytest.raises(BadInputError, match="--month is"):
            await costing.report(session, None, CostFlags(month="May"))


async def test_what_a_run_costs_for_an_article_is_not_called_as_writing_it_is(
    database: TenantDatabase, till: Till, capsys: pytest.CaptureFixture[str]
) -> None:
    await till.paid(an_ask(till.workflow), an_answer("0.0003"))
    async with session_of(database, as_json=False) as session:
        await costing.report(session, None, CostFlags(top=1))
    head = capsys.readouterr().out.splitlines()[0]
    assert "run's cost per article" in head
    assert "an article" not in head


async def test_what_plan_and_month_leave_is_what_the_other_runs_left(
    database: TenantDatabase, till: Till, make_workflow: MakeWorkflow
) -> None:
    await till.paid(an_ask(till.workflow, 1), an_answer("0.0003"))
    other = Till(database.app, await make_workflow(State.ICP_PROCESSING))
    await other.paid(an_ask(other.workflow, 1), an_answer("0.0002"))
    await other.sent(an_ask(other.workflow, 2))
    async with database.operator.transaction(till.organization_id) as connection:
        change = PlanChange(workflow_cap_usd=Decimal("0.5"), month_cap_usd=Decimal(2))
        await plans.set_plan(connection, "small", change, decision_id=uuid4(), actor="ops")
        await plans.assign_plan(connection, till.organization_id, "small", decision_id=uuid4(), actor="ops")
    hold = (await other.counters()).held_usd
    assert hold > 0
    async with database.operator.reading() as connection:
        new = await spending_room(connection, till.organization_id)
        own = await spending_room(connection, till.organization_id, workflow_id=other.workflow.workflow_id)
        nobody = await spending_room(connection, uuid4())
    assert (new.plan_key, new.workflow_cap_usd) == ("small", Decimal("0.5"))
    assert new.month_left_usd == 2 - Decimal("0.0005") - hold
    assert own.month_left_usd == 2 - Decimal("0.0003")
    assert (nobody.plan_key, nobody.month_left_usd) == ("default", nobody.month_cap_usd)


async def a_start(
    database: TenantDatabase, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, as_json: bool
) -> str:
    """What ``start`` prints of a row that was made; its run is Temporal's, and not asked for here."""
    description = "It sells software that matches invoices to orders for controllers at mid-size distributors " * 3
    organization = {"name": "A", "url": "https://harborline.example", "description": description}
    brief = brief_from_mapping({"organization": organization})
    new = new_workflow().model_copy(update={"brief": normalized(brief)})
    async with database.app.transaction(new.organization_id) as connection:
        await create_workflow(connection, new)
        record = await load_workflow(connection, new.workflow_id)
    assert record is not None

    async def started(*_: object, **__: object) -> Started:
        return Started(record, existing=False, run_id="run-1")

    monkeypatch.setattr(starting, "start", started)
    async with session_of(database, as_json=as_json) as session:
        code = await starting.start_and_tell(session, brief, name=None, auto_approve=False, waits=False)
        assert code is ExitCode.DONE
        out = capsys.readouterr().out
        if as_json:
            from commands.local_stack import settings_of_worker

            settings = settings_of_worker(session.settings).step_settings(auto_approve_seeds=False)
            if json.loads(out)["forecast"] is not None:
                await costing.tell_forecast(session, brief, settings)
                assert json.loads(out)["forecast"] == printed(capsys)  # the very object of --forecast
    return out


async def test_a_start_has_its_forecast_and_says_when_the_plan_allows_less(
    database: TenantDatabase, till: Till, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = json.loads(await a_start(database, monkeypatch, capsys, as_json=True))
    assert found["forecast"]["fits"]
    assert not [warning for warning in found["warnings"] if "is expected" in warning]
    async with database.operator.transaction(till.organization_id) as connection:
        change = PlanChange(workflow_cap_usd=Decimal(0))
        await plans.set_plan(connection, "default", change, decision_id=uuid4(), actor="ops")
    found = json.loads(await a_start(database, monkeypatch, capsys, as_json=True))
    assert found["forecast"]["binding_cap"] == {"scope": "plan", "allowed_usd": "0.00"}
    [warning] = [warning for warning in found["warnings"] if "is expected" in warning]
    assert "the plan default, which allows a run nothing" in warning
    assert "the plan default, which allows a run nothing" in await a_start(database, monkeypatch, capsys, as_json=False)


async def test_a_forecast_that_fails_never_hides_that_the_run_was_started(
    database: TenantDatabase, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A price as it could be stored before rates had a bound."""
    for model in (SONAR, MINI):
        await database.admin.execute(
            f"UPDATE model_prices SET effective_until = now() + interval '1 ms' WHERE model = '{model}'"
        )
        await database.admin.execute(
            "INSERT INTO model_prices (price_id, model, input_usd_per_million, cached_input_usd_per_million, "
            "output_usd_per_million, usd_per_request, effective_from) "
            f"SELECT gen_random_uuid(), '{model}', 1, 1, 1, 99999999999, max(effective_until) FROM model_prices "
            f"WHERE model = '{model}'"
        )
    found = json.loads(await a_start(database, monkeypatch, capsys, as_json=True))
    assert (found["run_id"], found["forecast"]) == ("run-1", None)
    assert "no credible amount" in found["warnings"][-1]
    out = await a_start(database, monkeypatch, capsys, as_json=False)
    assert "no forecast: the prices in force make no credible amount: see `starter.py prices`" in out
    assert "started" in out

    def defect(*_: object) -> None:
        raise RuntimeError("a defect of ours")

    monkeypatch.setattr(costing, "forecast", defect)
    out = await a_start(database, monkeypatch, capsys, as_json=False)
    assert "no forecast: a defect of ours" in out
    assert "started" in out


async def test_an_incredible_rate_is_refused_with_the_value_and_what_to_do(
    database: TenantDatabase, tmp_path: Path
) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text(
        "{model: acme/one, input_usd_per_million: 1, output_usd_per_million: 1, usd_per_request: 99999999999}"
    )
    async with session_of(database, as_json=True) as session:
        with pytest.raises(BadInputError, match=r"usd_per_request is '99999999999'.*at most 100.00") as refused:
            await pricing.add(session, file)
    assert "\n" not in str(refused.value)
    assert await database.admin.fetchval("SELECT count(*) FROM model_prices WHERE model = 'acme/one'") == 0
