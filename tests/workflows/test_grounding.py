"""What a model invents does not get published; what it cites is read before it counts."""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from domain.grounding import claim_spans
from domain.states import State
from providers.web_pages import WebPages
from tests.workflows.conftest import Pipeline, Run

Check = Callable[[Run], Awaitable[None]]
SECTION = {"kind": "added_claim", "schema": "article_section"}
CITED = "https://cogbase.example/guide-spare-parts"


async def _documents(run: Run) -> list[dict[str, Any]]:
    rows = await run.rows(
        """
        SELECT revision.document, revision.quality FROM articles AS article
        JOIN article_revisions AS revision USING (article_id, organization_id)
        WHERE article.workflow_id = $1 AND article.accepted_revision = revision.revision ORDER BY article.position
        """
    )
    return [{name: _json(row[name]) for name in row} for row in rows]


def _json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


async def _rejections(run: Run) -> list[str]:
    rows = await run.rows(
        "SELECT rejected_reason FROM spend_attempts WHERE workflow_id = $1 AND rejected_reason IS NOT NULL"
    )
    return [row["rejected_reason"] for row in rows]


def _markdown(found: Mapping[str, Any]) -> str:
    return str(found["document"]["markdown"])


async def test_an_invented_statistic_is_asked_about_and_mended(pipeline: Pipeline, books_balance: Check) -> None:
    await pipeline.faults({**SECTION, "count": 1})
    run = await pipeline.begin(articles={"max": 1, "min": 1, "words": 600})
    await run.reaches(State.COMPLETED)
    (reason,) = await _rejections(run)
    assert "“73.6%” stands in no passage that its block cites" in reason
    assert "without a number" in reason
    (found,) = await _documents(run)
    assert "73.6" not in _markdown(found)
    assert found["quality"]["values"]["ungrounded"] == []
    await books_balance(run)


async def test_a_model_that_insists_on_its_invention_is_not_published_with_it(
    pipeline: Pipeline, books_balance: Check
) -> None:
    """Every section and every repair has the statistic: its sentence goes, or the article falls."""
    await pipeline.faults(SECTION, {**SECTION, "schema": "article_repair"})
    run = await pipeline.begin(articles={"max": 1, "min": 1, "words": 600})
    progress = await run.reaches(State.COMPLETED, State.ARTICLE_FAILED)
    assert len(await _rejections(run)) >= 2
    for found in await _documents(run):
        assert "73.6" not in _markdown(found)
    assert progress.articles.done + progress.articles.failed == 1
    await books_balance(run)


async def test_a_cited_page_is_read_and_becomes_a_source(pipeline: Pipeline, books_balance: Check) -> None:
    """Beside it a page that does not exist and one on a private address, which is never connected to."""
    sentence = await _sentence_of_the_cited_page(pipeline)
    cites = [CITED, "https://nowhere.example/report", "http://127.0.0.1:1/secret"]
    await pipeline.faults(
        {**SECTION, "nth": 1, "text": sentence, "cites": cites}, {**SECTION, "nth": 2, "cites": cites[1:]}
    )
    run = await pipeline.begin(articles={"max": 1, "min": 1, "words": 600})
    await run.reaches(State.COMPLETED)
    stored = await run.rows("SELECT cited_url, failure FROM cited_pages WHERE workflow_id = $1 ORDER BY position")
    assert {row["cited_url"]: bool(row["failure"]) for row in stored} == dict(
        zip(cites, [False, True, True], strict=True)
    )
    (reason,) = await _rejections(run)
    assert "73.6%" in reason
    (found,) = await _documents(run)
    assert sentence in _markdown(found)
    assert "73.6" not in _markdown(found)
    assert {reference["url"] for reference in found["document"]["references"]} & set(cites) == {CITED}
    await books_balance(run)


async def test_paid_sections_are_judged_where_cited_pages_can_not_be_stored(
    pipeline: Pipeline, books_balance: Check
) -> None:
    """Reading what is cited is an addition: it fails for good, and the article goes on with the sources it has."""
    sentence = await _sentence_of_the_cited_page(pipeline)
    await pipeline.faults({**SECTION, "count": 1, "text": sentence, "cites": [CITED]})
    await pipeline.database.admin.execute("REVOKE INSERT ON cited_pages FROM infin8_app")
    run = await pipeline.begin(articles={"max": 1, "min": 1, "words": 400})
    await run.reaches(State.COMPLETED)
    assert await run.rows("SELECT 1 FROM cited_pages WHERE workflow_id = $1") == []
    await books_balance(run)


async def _sentence_of_the_cited_page(pipeline: Pipeline) -> str:
    """Words that stand on the cited page and on no page that the run crawls."""
    web_pages = WebPages(user_agent="tests", site_overrides=pipeline.settings.site_overrides)
    try:
        read = await web_pages.read_site(CITED, pages_max=1)
    finally:
        await web_pages.close()
    text = " ".join(read.pages[0].passages)
    return next(text[start:end] for start, end in claim_spans(text) if 60 < end - start < 160)
