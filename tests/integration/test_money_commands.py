"""The commands about prices, plans, alerts and costs, as people and scripts see them."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from commands import costing, planning, pricing
from commands.costing import CostFlags
from commands.exits import CommandError, ExitCode
from commands.session import Session
from commands.terminal import Terminal
from config import Settings
from domain.errors import BadInputError
from domain.states import State
from tests.conftest import MakeWorkflow, TenantDatabase
from tests.integration.money_cases import DROPPED, MINI, Till, an_answer, an_ask

PRICE_FILE = """
prices:
  - model: acme/one
    input_usd_per_million: "1.5"
    cached_input_usd_per_million: "0.5"
    output_usd_per_million: "2"
"""


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


# Prices ----------------------------------------------------------------------------------------------------------


async def test_prices_are_added_from_a_file_and_listed(
    database: TenantDatabase, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text(PRICE_FILE)
    async with session_of(database, as_json=True) as session:
        outcomes = []
        for _ in range(2):
            assert await pricing.add(session, file) is ExitCode.DONE
            outcomes += [one["outcome"] for one in printed(capsys)]
        await pricing.list_(session)
        listed = {one["model"]: one for one in printed(capsys)}
    assert outcomes == ["added", "existing"]
    assert (listed["acme/one"]["input_usd_per_million"], listed["acme/one"]["is_in_force"]) == ("1.50", True)
    assert listed[MINI]["output_usd_per_million"] == "0.60"
    async with session_of(database, as_json=False) as session:
        await pricing.list_(session)
    assert "in force, not used" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"prices: [", "prices.yaml"),
        (b"\xff\xfe\x00", "UTF-8"),
        (b"prices: []", "price"),
        (PRICE_FILE.replace('"2"', '"-2"').encode(), "output_usd_per_million"),
        (PRICE_FILE.replace('"1.5"', '"dear"').encode(), "input_usd_per_million"),
    ],
)
async def test_a_bad_price_file_is_one_line_and_adds_nothing(
    database: TenantDatabase, tmp_path: Path, content: bytes, words: str
) -> None:
    file = tmp_path / "prices.yaml"
    file.write_bytes(content)
    before = await database.admin.fetchval("SELECT count(*) FROM model_prices")
    async with session_of(database, as_json=True) as session:
        with pytest.raises(BadInputError, match=words) as refused:
            await pricing.add(session, file)
        with pytest.raises(BadInputError, match="there is no file"):
            await pricing.add(session, tmp_path / "none.yaml")
    assert "\n" not in str(refused.value)
    assert await database.admin.fetchval("SELECT count(*) FROM model_prices") == before


async def test_any_booked_row_is_recomputed(
    database: TenantDatabase, till: Till, capsys: pytest.CaptureFixture[str]
) -> None:
    attempt_id = await till.paid(an_ask(till.workflow), an_answer("0.000021"))
    async with session_of(database, as_json=True) as session:
        assert await pricing.recompute_(session, str(attempt_id), None) is ExitCode.DONE
        [row] = printed(capsys)
        await pricing.recompute_(session, None, str(till.workflow.workflow_id))
        assert printed(capsys) == [row]
        for ledger, workflow in ((None, None), ("1", "both")):
            with pytest.raises(BadInputError, match="give one ledger row"):
                await pricing.recompute_(session, ledger, workflow)
        with pytest.raises(BadInputError, match="neither the number nor the key"):
            await pricing.recompute_(session, "the first", None)
        with pytest.raises(CommandError, match="no ledger row") as missing:
            await pricing.recompute_(session, "999999", None)
    assert (row["is_equal"], row["stored_usd"], row["cost_usd"]) == (True, row["recomputed_usd"], "0.000021")
    assert missing.value.exit_code is ExitCode.NOT_FOUND


# Plans and alerts ------------------------------------------------------------------------------------------------


async def test_a_plan_is_set_given_and_shown(
    database: TenantDatabase, till: Till, capsys: pytest.CaptureFixture[str]
) -> None:
    domain = await database.admin.fetchval("SELECT domain FROM organizations")
    async with session_of(database, as_json=True) as session:
        await planning.set_(session, "small", workflow_cap="0.50", month_cap="none", price="49")
        assert printed(capsys) == {
            "plan_key": "small",
            "workflow_cap_usd": "0.50",
            "month_cap_usd": None,
            "price_usd_per_month": "49.00",
        }
        await planning.plan(session, domain, "small")
        assert printed(capsys)["before"] == "default"
        await planning.plan(session, domain, None)
        assert printed(capsys)["plan"] == "small"
        await planning.list_(session)
        assert {one["plan_key"]: one["organizations"] for one in printed(capsys)}["small"] == 1
        with pytest.raises(BadInputError, match="there is no plan huge"):
            await planning.plan(session, domain, "huge")
        with pytest.raises(BadInputError, match="say what to set"):
            await planning.set_(session, "small", workflow_cap=None, month_cap=None, price=None)
        for wrong in ("-1", "much", "NaN", "0.0000000001"):
            with pytest.raises(BadInputError, match="--month-cap"):
                await planning.set_(session, "small", workflow_cap=None, month_cap=wrong, price=None)
        with pytest.raises(CommandError, match="no organization") as missing:
            await planning.plan(session, "nobody.example", None)
    assert missing.value.exit_code is ExitCode.NOT_FOUND
    async with session_of(database, as_json=False) as session:
        await planning.set_(session, "small", workflow_cap="0", month_cap=None, price=None)
    assert "nothing is authorized" in capsys.readouterr().err


async def test_alerts_name_the_scope_its_figures_and_what_to_do(
    database: TenantDatabase, make_workflow: MakeWorkflow, capsys: pytest.CaptureFixture[str]
) -> None:
    workflow = await make_workflow(State.ICP_PROCESSING, cap_usd=Decimal("0.001"))
    till = Till(database.app, workflow)
    await till.authorize(an_ask(workflow, 1), an_ask(workflow, 2))
    async with session_of(database, as_json=True) as session:
        await planning.alerts(session, str(workflow.workflow_id), None, 10)
        found = printed(capsys)
        await planning.alerts(session, None, None, 1)
        assert len(printed(capsys)) == 1
        with pytest.raises(CommandError, match="not both"):
            await planning.alerts(session, str(workflow.workflow_id), "harborline.example", 10)
    assert {one["threshold_percent"] for one in found} == {50, 100}
    full = next(one for one in found if one["threshold_percent"] == 100)
    assert "the next call did not fit" in full["message"]
    assert f"starter.py raise-cap {workflow.workflow_id} USD" in full["message"]
    async with session_of(database, as_json=False) as session:
        await planning.alerts(session, None, None, 10)
    assert "100 %" in capsys.readouterr().out


# Reports ---------------------------------------------------------------------------------------------------------


async def test_every_report_prints_in_both_forms(
    database: TenantDatabase, till: Till, capsys: pytest.CaptureFixture[str]
) -> None:
    await till.paid(an_ask(till.workflow, 1), an_answer("0.0003"))
    lost = await till.sent(an_ask(till.workflow, 2))
    await till.store(lost, DROPPED)
    id_ = str(till.workflow.workflow_id)
    async with session_of(database, as_json=True) as session:
        await costing.report(session, id_, CostFlags(by="step,model"))
        assert [(one["step"], one["model"], one["cost_usd"]) for one in printed(capsys)] == [("icp", MINI, "0.0003")]
        await costing.report(session, None, CostFlags(top=5))
        assert [(one["workflow_id"], one["cost_usd"]) for one in printed(capsys)] == [(id_, "0.0003")]
        await costing.report(session, None, CostFlags(waste=True))
        assert Decimal(printed(capsys)["share"]) <= 1
        await costing.report(session, None, CostFlags(margin=True))
        assert printed(capsys)[0]["cost_usd"] == "0.0003"
        await costing.report(session, id_, CostFlags(drift=True))
        assert [one["provider_cost_usd"] for one in printed(capsys)] == ["0.0003"]
        await costing.report(session, None, CostFlags(by="model", month="2020-01"))
        assert printed(capsys) == []
    async with session_of(database, as_json=False) as session:
        for flags in (
            CostFlags(by="organization,month"),
            CostFlags(top=1),
            CostFlags(waste=True),
            CostFlags(margin=True),
            CostFlags(drift=True),
        ):
            assert await costing.report(session, None, flags) is ExitCode.DONE
            assert "0.0003" in capsys.readouterr().out or flags.waste


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (CostFlags(), "choose one report"),
        (CostFlags(waste=True, drift=True), "choose one report"),
        (CostFlags(by="colour"), "--by is 'colour'"),
        (CostFlags(by="model", month="March"), "--month is 'March'"),
    ],
)
async def test_a_report_that_is_no_report_is_one_clear_line(
    database: TenantDatabase, flags: CostFlags, words: str
) -> None:
    async with session_of(database, as_json=True) as session:
        with pytest.raises((BadInputError, CommandError), match=words):
            await costing.report(session, None, flags)
