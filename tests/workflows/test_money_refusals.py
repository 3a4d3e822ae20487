"""A run that money stopped: what its card says is carried out to the letter, by the commands, and it goes on."""

import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
import pytest
import typer
from pydantic import SecretStr

import starter
from commands import controlling, deciding, planning, pricing, reconciling, waiting, watching
from commands.exits import ExitCode
from commands.session import Session
from commands.snapshot import take_snapshot
from commands.terminal import Terminal
from domain.decisions import ReviewSeeds
from domain.language import Route
from domain.progress import Progress
from domain.refusals import RefusalScope
from domain.reminders import WaitsFor
from domain.seed_review import SeedDecision, SeedDecisionKind
from domain.settings import Embeddings, StepSettings, with_embeddings
from domain.states import State
from sandbox import bill
from tests.workflows.conftest import Pipeline, Run, assert_books_balance
from workflows.status_card import next_command, status_card

ONE_ARTICLE = {"max": 1, "min": 1, "words": 400}
# The sandbox serves it in one test, and no price of it is shipped.
UNPRICED = "acme/writer"
PRICES = f"- {{model: {UNPRICED}, input_usd_per_million: '1', output_usd_per_million: '1', usd_per_request: '0.005'}}\n"


@asynccontextmanager
async def session_of(run: Run, *, as_json: bool = False) -> AsyncIterator[Session]:
    operator_dsn = SecretStr(run.pipeline.database.operator_dsn)
    settings = run.pipeline.settings.model_copy(update={"postgres_operator_dsn": operator_dsn})
    async with Session(settings, Terminal(as_json=as_json), "ada") as session:
        yield session


def arguments_of(words: list[str]) -> dict[str, Any]:
    """As the command line reads them: what it would not take is an error here, too."""
    group = typer.main.get_command(starter.app)
    context = click.Context(group)  # type: ignore[arg-type]
    command: Any = group
    while isinstance(command, click.Group) or hasattr(command, "resolve_command"):
        name, command, words = command.resolve_command(context, words)
        if hasattr(command, "resolve_command"):
            context = click.Context(command, parent=context)
    made: dict[str, Any] = command.make_context(name, words, parent=context).params
    return made


async def carry_out(run: Run, command: str, price_file: Path | None = None) -> None:
    async with session_of(run) as session:
        for part in command.split(" && "):
            words = shlex.split(part.replace(" FILE", f" {price_file}"))
            given = arguments_of(words[1:])
            assert await _done(session, words[1], given) is ExitCode.DONE, part


async def _done(session: Session, name: str, given: dict[str, Any]) -> ExitCode:
    match name:
        case "prices":
            return await pricing.add(session, given["file"])
        case "thaw":
            return await reconciling.thaw(session, given["workflow"], given["reason"])
        case "plans":
            caps = {"workflow_cap": given["workflow_cap"], "month_cap": given["month_cap"]}
            return await planning.set_(session, given["plan"], **caps, price=given["price"])
        case "raise-cap":
            return await controlling.raise_cap(session, given["workflow"], given["usd"])
        case "retry":
            return await deciding.retry(session, given["workflow"], accept_partial=False, waits=False)
    raise AssertionError(f"the card names {name}")


async def set_plan(run: Run, **caps: str) -> None:
    async with session_of(run) as session:
        await planning.set_(session, "default", **{"workflow_cap": None, "month_cap": None, "price": None, **caps})


async def parked(run: Run, state: State, *scopes: RefusalScope) -> tuple[Progress, str]:
    """The progress and the command, which card, `status --json` and `list --waiting` agree about."""
    progress = await run.reaches(state)
    assert progress.standing is not None
    assert {ask.scope for ask in progress.standing.asks} == set(scopes)
    command = next_command(progress)
    assert f"- **to go on**: `{command}`" in status_card(progress)
    async with session_of(run) as session:
        snapshot = await take_snapshot(session, await session.find(str(run.ref.workflow_id)))
        facts = watching.status_object(session, snapshot)
        async with session.reading() as connection:
            (waits,) = await waiting.waits_of(connection, [run.ref.workflow_id])
            listed = await waiting._command(connection, waits)
    assert (facts["next_command"], facts["waiting_for"]) == (command, WaitsFor.RETRY)
    assert (listed, waits.waits_for) == (command, WaitsFor.RETRY)
    return progress, command


async def goes_on(run: Run, *states: State) -> Progress:
    progress = await run.reaches(*states, seconds=60)
    assert progress.standing is None
    await assert_books_balance(run)
    return progress


async def test_a_month_cap_is_raised_and_the_run_completes(pipeline: Pipeline) -> None:
    """Stopped in the middle of its article; the workflow's own cap is left alone."""
    run = await pipeline.create(articles=ONE_ARTICLE)
    await set_plan(run, month_cap="0.03")
    await run.start()
    progress, command = await parked(run, State.ARTICLE_FAILED, RefusalScope.MONTH)
    id_ = run.ref.workflow_id
    assert command == f"starter.py plans set default --month-cap 1.00 && starter.py retry {id_}"
    assert "the cap does not cover" not in status_card(progress)
    await carry_out(run, command)
    done = await goes_on(run, State.COMPLETED)
    assert (done.cap_usd, done.articles.done) == (Decimal("1.00"), 1)


async def test_a_month_that_somebody_raised_meanwhile_is_not_set_again(pipeline: Pipeline) -> None:
    run = await pipeline.create(auto_approve=False)
    await set_plan(run, month_cap="0.000001")
    await run.start()
    await parked(run, State.ICP_FAILED, RefusalScope.MONTH)
    await set_plan(run, month_cap="70")
    _, command = await parked(run, State.ICP_FAILED, RefusalScope.MONTH)
    assert command == f"starter.py retry {run.ref.workflow_id}"
    await carry_out(run, command)
    await goes_on(run, State.SEED_REVIEW_PENDING)


@pytest.mark.parametrize("cap", ["0", "none"])
async def test_a_plan_that_allows_nothing_is_given_caps(pipeline: Pipeline, cap: str) -> None:
    """Both caps of the plan are named at once, for both would refuse."""
    run = await pipeline.create(auto_approve=False)
    await set_plan(run, workflow_cap=cap, month_cap=cap)
    await run.start()
    _, command = await parked(run, State.ICP_FAILED, RefusalScope.PLAN)
    caps = "--workflow-cap 1.00 --month-cap 1.00"
    assert command == f"starter.py plans set default {caps} && starter.py retry {run.ref.workflow_id}"
    await carry_out(run, command)
    await goes_on(run, State.SEED_REVIEW_PENDING)


@pytest.mark.parametrize("month", [False, True])
async def test_what_is_frozen_is_thawed(pipeline: Pipeline, capsys: pytest.CaptureFixture[str], month: bool) -> None:
    run = await pipeline.create(auto_approve=False)
    id_ = str(run.ref.workflow_id)
    async with session_of(run) as session:
        await reconciling.freeze(session, id_, "look first", month=month)
        await run.start()
        _, command = await parked(run, State.ICP_FAILED, RefusalScope.FROZEN)
        assert command == f"starter.py thaw {id_} --reason TEXT && starter.py retry {id_}"
        capsys.readouterr()
        await carry_out(run, command)
        assert f"to go on  starter.py retry {id_}\n" in capsys.readouterr().out
        await goes_on(run, State.SEED_REVIEW_PENDING)
        await reconciling.freeze(session, id_, "look again", month=month)
        capsys.readouterr()
        await reconciling.thaw(session, id_, "looked")
    told = capsys.readouterr().out
    assert "is thawed" in told
    assert "retry" not in told, "no freeze has stopped it"


async def test_an_overrun_is_thawed_and_the_caps_it_broke_are_raised(pipeline: Pipeline) -> None:
    """One command for all of it: thawed alone, it would be refused again."""
    run = await pipeline.create(articles=ONE_ARTICLE, cap_usd="0.04")
    await set_plan(run, month_cap="0.04")
    await pipeline.faults({"kind": "overbill", "schema": "icp", "nth": 1})
    await run.start()
    progress, command = await parked(run, State.ARTICLE_FAILED)
    assert progress.spent_usd > progress.cap_usd, "the fault must break the caps"
    assert [part.split()[1] for part in command.split(" && ")] == ["thaw", "plans", "raise-cap", "retry"]
    await carry_out(run, command)
    done = await run.reaches(State.COMPLETED, seconds=60)
    assert done.articles.done == 1


async def test_a_model_without_a_price_gets_one(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(bill.PRICES, UNPRICED, bill.Price(Decimal(1), Decimal(1), Decimal("0.005")))
    steps = pipeline.settings.step_settings(auto_approve_seeds=False)
    icp = steps.icp.model_copy(update={"route": Route(models=(UNPRICED,))})
    run = await pipeline.begin(steps=steps.model_copy(update={"icp": icp}))
    progress, command = await parked(run, State.ICP_FAILED, RefusalScope.PRICE)
    assert progress.failure is not None
    assert UNPRICED in progress.failure.message
    assert command == f"starter.py prices add FILE && starter.py retry {run.ref.workflow_id}"
    file = tmp_path / "prices.yaml"
    file.write_text(PRICES)
    await carry_out(run, command, file)
    await goes_on(run, State.SEED_REVIEW_PENDING)


def paying_for_embeddings(pipeline: Pipeline) -> StepSettings:
    steps = pipeline.settings.step_settings(auto_approve_seeds=False)
    return with_embeddings(steps, Embeddings.PROVIDER, "openai/text-embedding-3-small")


async def test_a_refusal_in_clustering_keeps_the_review(pipeline: Pipeline) -> None:
    run = await pipeline.begin(steps=paying_for_embeddings(pipeline), auto_approve=False, articles=ONE_ARTICLE)
    before = await run.reaches(State.SEED_REVIEW_PENDING)
    await set_plan(run, month_cap=f"{before.spent_usd}")
    approve = SeedDecision(kind=SeedDecisionKind.APPROVE_ALL)
    await run.update("review_seeds", ReviewSeeds(**await run.decision(seeds=approve)))
    _, command = await parked(run, State.CLUSTERING_FAILED, RefusalScope.MONTH)
    assert command == f"starter.py plans set default --month-cap 1.00 && starter.py retry {run.ref.workflow_id}"
    reviewed = "SELECT count(*) AS n FROM seed_reviews WHERE workflow_id = $1"
    (reviews,) = await run.rows(reviewed)
    await carry_out(run, command)
    await goes_on(run, State.COMPLETED)
    assert await run.rows(reviewed) == [reviews], "nobody had to review again"


async def test_an_alert_about_a_completed_run_asks_for_nothing(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    run = await pipeline.begin(cap_usd="0.000000001", articles=ONE_ARTICLE)
    id_ = str(run.ref.workflow_id)
    _, command = await parked(run, State.ICP_FAILED, RefusalScope.WORKFLOW)
    assert command == f"starter.py raise-cap {id_} 0.06 && starter.py retry {id_}"
    assert f"raise-cap {id_}" in await alerts_of(run, capsys)
    await carry_out(run, f"starter.py raise-cap {id_} 1.00 && starter.py retry {id_}")
    await goes_on(run, State.COMPLETED)
    assert "the next call did not fit" in (told := await alerts_of(run, capsys))
    assert "raise-cap" not in told


async def alerts_of(run: Run, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    async with session_of(run) as session:
        await planning.alerts(session, str(run.ref.workflow_id), None, 10)
    return " ".join(capsys.readouterr().out.split())
