"""Pages that a search model cites: read within a time, whatever the sites do, and each tried once."""

import asyncio
import json
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest
from aiohttp import web
from temporalio.testing import ActivityEnvironment

from activities.cited_pages import CitedPageActivities, CitedPagesRead, ReadCitedPages
from domain.progress import ClaimRef
from domain.states import State, Step
from providers.web_pages import WebPages
from tests.conftest import MadeWorkflow, MakeWorkflow, TenantDatabase
from tests.integration.money_cases import Till, an_answer, an_ask

PROSE = "Count every bolt before it leaves the shop, and write down who took it. " * 12
HANGING, READABLE = "https://slow.example/page", "https://quick.example/page"
SECONDS_MAX = 3.0


@pytest.fixture
async def sites() -> AsyncIterator[WebPages]:
    """One site answers at once, one never."""

    async def page(request: web.Request) -> web.Response:
        if request.match_info["name"] == "slow":
            await asyncio.sleep(60)
        return web.Response(text=f"<title>Bolts</title><main><p>{PROSE}</p></main>", content_type="text/html")

    application = web.Application()
    application.router.add_get("/{name}/{tail:.*}", page)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    reader = WebPages(user_agent="Tests/1 (tests)", site_overrides={".example": base}, per_host_delay_seconds=0)
    yield reader
    await reader.close()
    await runner.cleanup()


async def an_article(database: TenantDatabase, workflow: MadeWorkflow) -> UUID:
    article_id, cluster_id = uuid4(), uuid4()
    ids = (workflow.workflow_id, workflow.organization_id)
    async with database.app.transaction(workflow.organization_id) as connection:
        await connection.execute(
            "INSERT INTO keyword_clusters (cluster_id, workflow_id, organization_id, claim, position, hub, intent,"
            " spokes) VALUES ($1, $2, $3, 1, 1, 'bolts', 'informational', '[]')",
            cluster_id,
            *ids,
        )
        await connection.execute(
            "INSERT INTO articles (article_id, workflow_id, organization_id, cluster_id, position, keyword, role,"
            " state, slug) VALUES ($1, $2, $3, $4, 1, 'bolts', 'hub', 'WRITING', 'bolts')",
            article_id,
            *ids,
            cluster_id,
        )
    return article_id


async def test_what_takes_too_long_counts_as_not_readable_and_the_rest_is_kept(
    database: TenantDatabase, make_workflow: MakeWorkflow, sites: WebPages
) -> None:
    workflow = await make_workflow(State.ARTICLE_PROCESSING)
    article_id = await an_article(database, workflow)
    body = json.dumps({"choices": [], "citations": [HANGING, READABLE]})
    attempt_id = await Till(database.app, workflow).paid(an_ask(workflow, step="article"), an_answer(body=body))
    claim = ClaimRef(
        workflow_id=workflow.workflow_id,
        organization_id=workflow.organization_id,
        step=Step.ARTICLE,
        claim=workflow.version,
    )
    request = ReadCitedPages(claim=claim, article_id=article_id, attempt_ids=(attempt_id,), seconds_max=SECONDS_MAX)
    activities = CitedPageActivities(database.app, sites, 1)

    async def read() -> CitedPagesRead:
        return await asyncio.wait_for(ActivityEnvironment().run(activities.read_cited_pages, request), 40)

    first = await read()
    assert first == CitedPagesRead(pages=1, failures=(f"{HANGING} was not read in time",))
    assert (await read()).failures == ()  # tried once, and no second time
    stored = await database.admin.fetch("SELECT cited_url, failure IS NULL AS is_read FROM cited_pages ORDER BY 1")
    assert [tuple(row) for row in stored] == [(READABLE, True), (HANGING, False)]
