"""What articles cost, what the cap does not cover, what a redo keeps, and the export of all that."""

import json
from decimal import Decimal
from typing import Any

from commands import waiting
from commands.exporting import Material, export_of, read_material
from commands.reading import article_object
from db.overview import ArticleOverview, FoundWorkflow, article_overview
from db.pool import Database
from domain.budget import BudgetSlice
from domain.decisions import RaiseCap, RedoArticle, Retry
from domain.export import Export
from domain.money import format_usd
from domain.states import State
from tests.workflows.conftest import Pipeline, Run


async def overview_of(run: Run) -> list[ArticleOverview]:
    async with run.pipeline.database.app.transaction(run.ref.organization_id) as connection:
        return await article_overview(connection, run.ref.workflow_id)


async def material_of(run: Run) -> Material:
    progress = await run.progress()
    found = FoundWorkflow(**dict(run.ref), name=progress.name, state=progress.state)
    async with run.pipeline.database.app.transaction(run.ref.organization_id) as connection:
        return await read_material(connection, found)


async def waiting_command(run: Run) -> str:
    """As `list --waiting` reads it, by the operator's role."""
    operator = await Database.connect(run.pipeline.database.operator_dsn)
    try:
        async with operator.reading() as connection:
            (waits,) = await waiting.waits_of(connection, [run.ref.workflow_id])
            return await waiting._command(connection, waits)
    finally:
        await operator.close()


async def prompts_of(run: Run, slot_start: str) -> list[str]:
    rows = await run.rows("SELECT slot, request_body FROM spend_attempts WHERE workflow_id = $1 ORDER BY authorized_at")
    return [row["request_body"] for row in rows if row["slot"].startswith(slot_start)]


async def ledger_of_articles(run: Run) -> Decimal:
    rows = await run.rows("SELECT cost FROM ai_usage_ledger WHERE workflow_id = $1 AND step = 'article'")
    return sum((row["cost"] for row in rows), Decimal(0))


async def test_what_the_cap_does_not_cover_is_named_with_its_price_and_a_cap_that_does(pipeline: Pipeline) -> None:
    run = await pipeline.begin(cap_usd="0.07")
    parked = await run.reaches(State.ARTICLE_FAILED)
    assert (parked.articles.done, parked.articles.not_begun) == (1, 1)
    budget = parked.budget
    assert isinstance(budget, BudgetSlice)
    assert budget.articles == 1
    check_export_of_a_partial_success(export_of(await material_of(run)))
    raised = f"starter.py raise-cap {run.ref.workflow_id} {format_usd(budget.cap_usd)}"
    assert await waiting_command(run) == f"{raised} && starter.py retry {run.ref.workflow_id}"
    (written,) = [article for article in await overview_of(run) if article.accepted_revision]
    assert abs(budget.expected_usd - written.cost_usd) < written.cost_usd / 4
    await run.update("raise_cap", RaiseCap(**await run.decision(), cap_usd=budget.cap_usd))
    await run.update("retry", Retry(**await run.decision()))
    done = await run.reaches(State.COMPLETED)
    assert done.articles.done == 2
    assert done.budget is None
    overview = await overview_of(run)
    assert sum((article.cost_usd for article in overview), Decimal(0)) == await ledger_of_articles(run)
    for article in overview:
        assert Decimal(0) < article.cost_usd < Decimal("0.05")
        assert Decimal(article_object(article)["cost_usd"]) == article.cost_usd


def check_export_of_a_partial_success(exported: Export) -> None:
    missing = {one.path: one.reason for one in exported.missing}
    assert len(missing) == 2
    assert all("not begun" in reason for reason in missing.values())
    (path,) = [path.replace(".md", ".json") for path in missing if path.endswith(".md")]
    assert json.loads(exported.files[path])["state"] == "NOT_BEGUN"


async def test_a_note_reaches_every_prompt_and_the_earlier_version_stays_when_the_new_one_fails(
    pipeline: Pipeline,
) -> None:
    run = await pipeline.begin(publish={"approval": "person"})
    await run.reaches(State.PUBLISH_PENDING)
    first = (await overview_of(run))[0]
    note = "more about credit notes, please"
    await pipeline.faults({"kind": "invalid_json", "schema": "article_section"})
    redo = RedoArticle(**await run.decision(), article_id=first.article_id, note=note)
    await run.update("redo_article", redo)
    await run.reaches(State.PUBLISH_PENDING)
    kept = (await overview_of(run))[0]
    assert (kept.state, kept.accepted_revision, kept.content_hash) == ("PASSED", 1, first.content_hash)
    assert kept.revision == 2
    assert kept.reasons
    prompts = await prompts_of(run, f"article:{first.article_id}:2:")
    assert len(prompts) > 2
    assert all(note in prompt for prompt in prompts)
    await pipeline.no_faults()
    await run.update("redo_article", RedoArticle(**await run.decision(), article_id=first.article_id, note=note))
    await run.reaches(State.PUBLISH_PENDING)
    anew = (await overview_of(run))[0]
    assert (anew.accepted_revision, anew.state) == (3, "PASSED")
    assert anew.content_hash != first.content_hash


async def test_an_export_holds_everything_and_the_same_state_gives_the_same_bytes(pipeline: Pipeline) -> None:
    run = await pipeline.begin()
    await run.reaches(State.COMPLETED)
    material = await material_of(run)
    exported = export_of(material)
    assert exported.missing == ()
    slugs = [article.slug for article in material.articles]
    assert set(exported.files) == {
        *("workflow.json", "transitions.json", "ledger.json", "ledger.csv", "icp.json", "competitors.json"),
        *("keywords.json", "keywords.csv", "clusters.json", "validation.json", "articles/index.html"),
        "articles/feed.xml",
        *(f"articles/{slug}.{ending}" for slug in slugs for ending in ("md", "html", "json")),
    }
    ledger = json.loads(exported.files["ledger.json"])
    assert sum((Decimal(line["cost"]) for line in ledger), Decimal(0)) == (await run.progress()).spent_usd
    assert len(exported.files["ledger.csv"].splitlines()) == 1 + len(ledger)
    assert not floats_named_usd(json.loads(exported.files["workflow.json"]))
    published = next(path for path in pipeline.output_dir.rglob(f"{slugs[0]}.html"))
    assert exported.files[f"articles/{slugs[0]}.html"] == published.read_text()
    assert export_of(await material_of(run)).all_files == exported.all_files


def floats_named_usd(value: Any) -> list[str]:
    """Money that is no text."""
    if isinstance(value, dict):
        found = [name for name, one in value.items() if name.endswith("_usd") and isinstance(one, float)]
        return found + [name for one in value.values() for name in floats_named_usd(one)]
    return [name for one in value for name in floats_named_usd(one)] if isinstance(value, list) else []


async def test_an_export_on_the_way_names_what_is_not_there_yet(pipeline: Pipeline) -> None:
    run = await pipeline.begin(auto_approve=False)
    await run.reaches(State.SEED_REVIEW_PENDING)
    exported = export_of(await material_of(run))
    assert {"icp.json", "competitors.json", "keywords.csv", "transitions.json"} <= set(exported.files)
    assert [one.path for one in exported.missing] == ["clusters.json", "validation.json", "articles/"]
