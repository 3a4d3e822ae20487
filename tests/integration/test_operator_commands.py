"""The operator's commands on a real Postgres, as people and scheduled jobs see them: report, exit code, way out."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
import pytest_asyncio
from pydantic import SecretStr

import starter
from activities.reconciliation import reconcile_money
from commands import reconciling
from commands.exits import CommandError, ExitCode
from commands.session import Session
from commands.terminal import Terminal
from config import Settings
from db import spend
from domain.reconciliation import ReconcileSettings
from domain.states import State
from sandbox.server import RunningSandbox, start_sandbox_server
from tests.conftest import MakeWorkflow, TenantDatabase
from tests.integration.money_cases import DROPPED, Till, an_answer, an_ask, assert_books_balance

ROOT = Path(starter.__file__).parent
NOBODY_LISTENS = "127.0.0.1:1"
PATIENCE_SECONDS = 60


@pytest.fixture
async def till(database: TenantDatabase, make_workflow: MakeWorkflow) -> Till:
    return Till(database.app, await make_workflow(State.ICP_PROCESSING))


@pytest_asyncio.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[RunningSandbox]:
    server = await start_sandbox_server(tmp_path / "sandbox")
    yield server
    await server.stop()


@asynccontextmanager
async def session_of(
    database: TenantDatabase, *, as_json: bool = True, actor: str = "ada", **changes: Any
) -> AsyncIterator[Session]:
    settings = Settings(
        _env_file=None,
        postgres_dsn=SecretStr(database.app_dsn),
        postgres_operator_dsn=SecretStr(database.operator_dsn),
        **changes,
    )
    async with Session(settings, Terminal(as_json=as_json), actor) as session:
        yield session


def printed(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


async def unknown(till: Till, generation_id: str) -> UUID:
    """Sent, with the provider's id, and no telling what it cost."""
    attempt_id = await till.sent(an_ask(till.workflow))
    async with till.database.transaction(till.organization_id) as connection:
        await spend.record_generation_id(connection, till.organization_id, attempt_id, generation_id)
    await till.store(attempt_id, DROPPED)
    return attempt_id


async def thaw_all(database: TenantDatabase) -> None:
    for table in ("intent_workflows", "organization_months"):
        await database.admin.execute(f"UPDATE {table} SET frozen_reason = NULL")


# Reconciling -------------------------------------------------------------------------------------------------


async def reconcile_as_a_process(
    database: TenantDatabase, sandbox: RunningSandbox, tmp_path: Path, *arguments: str
) -> tuple[int, str, str]:
    """Exit code and both outputs, with a Temporal server that refuses connections."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("INFIN8_", "TEMPORAL_"))}
    environment |= {
        "INFIN8_POSTGRES_DSN": database.app_dsn,
        "INFIN8_POSTGRES_OPERATOR_DSN": database.operator_dsn,
        "INFIN8_SANDBOX_URL": sandbox.url,
        "INFIN8_STATE_DIR": str(tmp_path / "state"),
        "TEMPORAL_ADDRESS": NOBODY_LISTENS,
        "OPENROUTER_API_KEY": "",
        "OPENAI_API_KEY": "",
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(ROOT / "starter.py"), "reconcile", *arguments),
        env=environment,
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(PATIENCE_SECONDS):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_a_look_up_without_a_figure_leaves_one_json_value_and_no_false_reason(
    database: TenantDatabase, till: Till, sandbox: RunningSandbox, tmp_path: Path
) -> None:
    """The provider's own outage and Temporal's at once: everything that could be done is done and told."""
    await unknown(till, "gen-7")
    async with httpx2.AsyncClient() as http:
        rule = {"kind": "http_status", "path": "generation", "status": 503}
        (await http.post(f"{sandbox.url}/faults", json={"rules": [rule]})).raise_for_status()
    code, out, err = await reconcile_as_a_process(database, sandbox, tmp_path, "--json")
    assert (code, err) == (ExitCode.DONE, "")
    report = json.loads(out)
    assert (report["money"]["looked_up"], report["money"]["trouble"]) == (1, "")
    assert [one["state"] for one in report["money"]["open_sums"]] == ["UNKNOWN"]
    assert report["runs"] is None
    assert NOBODY_LISTENS in report["runs_trouble"]


async def test_people_read_that_the_runs_were_not_compared(
    database: TenantDatabase, capsys: pytest.CaptureFixture[str]
) -> None:
    async with session_of(database, as_json=False, TEMPORAL_ADDRESS=NOBODY_LISTENS) as session:
        assert await reconciling.reconcile(session) is ExitCode.DONE
    out = capsys.readouterr().out
    assert "money: nothing was due" in out
    assert f"runs: not compared (Temporal does not answer at {NOBODY_LISTENS}" in out


async def test_the_key_is_elsewhere_only_where_nobody_was_asked(
    database: TenantDatabase, till: Till, capsys: pytest.CaptureFixture[str]
) -> None:
    await unknown(till, "gen-7")
    async with session_of(database) as session:
        assert await reconciling.reconcile(session) is ExitCode.DONE
    money = printed(capsys)["money"]
    assert (money["looked_up"], money["trouble"]) == (0, reconciling.NO_KEY)


@pytest.mark.parametrize("has_figure", [True, False])
async def test_who_could_be_asked_is_not_said_to_be_missing(
    database: TenantDatabase, till: Till, has_figure: bool
) -> None:
    await unknown(till, "gen-7")

    async def look_up_cost(_: str) -> Any:
        return an_answer("0.0001").usage if has_figure else None

    report = await reconcile_money(database.operator, ReconcileSettings(), look_up_cost, trouble="nobody to ask")
    assert (report.looked_up, report.trouble) == (1, "")


async def test_counters_that_are_not_the_sums_of_their_rows_end_with_four_after_the_report(
    database: TenantDatabase, till: Till, capsys: pytest.CaptureFixture[str]
) -> None:
    await till.paid(an_ask(till.workflow), an_answer("0.0001"))
    async with session_of(database) as session:
        assert await reconciling.reconcile(session) is ExitCode.DONE
        assert printed(capsys)["money"]["imbalances"] == []
    await database.admin.execute("UPDATE organization_months SET held_usd = held_usd + 0.2")
    await database.admin.execute("UPDATE intent_workflows SET spent_usd = spent_usd + 0.1")
    scope = f"workflow {till.workflow.workflow_id}"
    for as_json in (True, False):
        async with session_of(database, as_json=as_json) as session:
            with pytest.raises(CommandError) as ended:
                await reconciling.reconcile(session)
        out = capsys.readouterr().out
        assert ended.value.exit_code is ExitCode.CONFLICT
        assert f"2 defects, the first: the counters of {scope}" in str(ended.value)
        assert len(ended.value.facts["scopes"]) == 2
        if as_json:
            assert json.loads(out)["money"]["imbalances"][0]["scope"] == scope
        else:
            assert f"DEFECT: counters of {scope} say" in out
            assert "runs: not compared" in out


async def test_a_hold_that_can_not_be_resolved_ends_with_four(
    database: TenantDatabase, till: Till, capsys: pytest.CaptureFixture[str]
) -> None:
    attempt = an_ask(till.workflow)
    await till.authorize(attempt, expires_after_seconds=0)
    await database.admin.execute("UPDATE intent_workflows SET held_usd = 0")
    for as_json in (True, False):
        async with session_of(database, as_json=as_json) as session:
            with pytest.raises(CommandError, match=f"the first: attempt {attempt.attempt_id}") as ended:
                await reconciling.reconcile(session)
        out = capsys.readouterr().out
        assert ended.value.exit_code is ExitCode.CONFLICT
        assert str(attempt.attempt_id) in (json.loads(out)["money"]["failures"][0] if as_json else out)


# Freezing ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("month", [False, True])
async def test_freezing_what_is_frozen_says_so_with_the_reason_that_stays(
    database: TenantDatabase, till: Till, capsys: pytest.CaptureFixture[str], month: bool
) -> None:
    id_ = str(till.workflow.workflow_id)
    async with session_of(database) as session:
        await reconciling.freeze(session, id_, "look first", month=month)
        assert printed(capsys)["already_frozen"] is False
    for actor, reason in (("ada", "look first"), ("ada", "another"), ("bob", "look first")):
        async with session_of(database, actor=actor) as session:
            assert await reconciling.freeze(session, id_, reason, month=month) is ExitCode.DONE
            found = printed(capsys)
        assert (found["already_frozen"], found["reason"]) == (True, "ada: look first")
    async with session_of(database, as_json=False) as session:
        await reconciling.freeze(session, id_, "another", month=month)
        out = capsys.readouterr().out
        assert "already frozen: ada: look first" in out
        assert "✔" not in out
        assert f"starter.py thaw {id_}" in out
        await thaw_all(database)
        await reconciling.freeze(session, id_, "another", month=month)
        assert "is frozen: ada: another" in capsys.readouterr().out


# Correcting --------------------------------------------------------------------------------------------------


async def test_a_correction_that_freezes_says_so_and_names_the_way_out(
    database: TenantDatabase, till: Till, capsys: pytest.CaptureFixture[str]
) -> None:
    id_ = str(till.workflow.workflow_id)
    row = await till.paid(an_ask(till.workflow), an_answer("0.0001"))
    key = str(uuid4())
    async with session_of(database) as session:
        await reconciling.correct(session, str(row), "-0.00001", "credit note")
        refund = printed(capsys)
        assert (refund["frozen"], refund["thaw"]) == ([], None)
        for _ in range(2):  # a script that lost the first answer reads it again
            await reconciling.correct(session, str(row), "5", "the invoice of May", key)
            dearer = printed(capsys)
            assert {one["workflow_id"] for one in dearer["frozen"]} == {id_, None}
            assert dearer["thaw"] == f"starter.py thaw {id_} --reason TEXT"
            assert "passed what was allowed" in dearer["frozen"][0]["reason"]
    [decision] = await till.authorize(an_ask(till.workflow, 2))
    assert decision.kind != "AUTHORIZED"
    async with session_of(database, as_json=False) as session:
        await reconciling.correct(session, str(row), "1", "another invoice")
        out = capsys.readouterr().out
        assert f"! workflow {id_} is frozen, nothing new is authorized: a correction of $5" in out
        assert "! the organization's month" in out
        assert f"starter.py thaw {id_} --reason TEXT" in out
        await thaw_all(database)
        await reconciling.correct(session, str(row), "-1", "a refund")
        assert "frozen" not in capsys.readouterr().out
    await assert_books_balance(database.admin)


async def test_a_correction_tells_of_its_own_run_only(
    database: TenantDatabase, till: Till, make_workflow: MakeWorkflow, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Till(database.app, await make_workflow(State.ICP_PROCESSING))
    row = await till.paid(an_ask(till.workflow), an_answer("0.0001"))
    async with session_of(database) as session:
        await reconciling.freeze(session, str(other.workflow.workflow_id), "not this one")
        capsys.readouterr()
        await reconciling.correct(session, str(row), str(Decimal("-0.00001")), "credit note")
        assert printed(capsys)["frozen"] == []
