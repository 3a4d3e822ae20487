"""Publications on a real Postgres: of several who write about one article, the right one is heard."""

from uuid import UUID, uuid4

import pytest

from db import publications
from db.publications import PublicationIntent, PublicationRow
from domain.progress import ClaimRef
from domain.states import State, Step
from tests.conftest import MadeWorkflow, MakeWorkflow, TenantDatabase

HASH = "hash of what was approved"


@pytest.fixture
async def workflow(make_workflow: MakeWorkflow) -> MadeWorkflow:
    return await make_workflow(State.PUBLISH_PROCESSING)


async def an_article(database: TenantDatabase, workflow: MadeWorkflow) -> UUID:
    article_id = uuid4()
    await database.admin.execute(
        """
        INSERT INTO articles (article_id, workflow_id, organization_id, cluster_id, position, keyword, role, state)
        VALUES ($1, $2, $3, $1, 0, 'invoice matching', 'hub', 'PASSED')
        """,
        article_id, workflow.workflow_id, workflow.organization_id,
    )  # fmt: skip
    return article_id


async def intend(
    database: TenantDatabase, workflow: MadeWorkflow, article_id: UUID, *, content_hash: str = HASH
) -> None:
    """The publication's id is the article's here."""
    claim = ClaimRef(
        workflow_id=workflow.workflow_id,
        organization_id=workflow.organization_id,
        step=Step.PUBLISH,
        claim=workflow.version,
    )
    intent = PublicationIntent(
        publication_id=article_id,
        article_id=article_id,
        target="files",
        mode="publish",
        slug="invoice-matching",
        content_hash=content_hash,
    )
    async with database.app.transaction(workflow.organization_id) as connection:
        await publications.store_intent(connection, claim, intent)


@pytest.fixture
async def publication_id(database: TenantDatabase, workflow: MadeWorkflow) -> UUID:
    """Of an article that is meant to go out and has not yet."""
    article_id = await an_article(database, workflow)
    await intend(database, workflow, article_id)
    return article_id


async def row_of(database: TenantDatabase, workflow: MadeWorkflow) -> PublicationRow:
    async with database.app.transaction(workflow.organization_id) as connection:
        [row] = await publications.load_publications(connection, workflow.workflow_id)
    return row


async def store(database: TenantDatabase, workflow: MadeWorkflow, publication_id: UUID, state: str) -> None:
    attempt_id = uuid4()
    async with database.app.transaction(workflow.organization_id) as connection:
        await publications.take_up(connection, publication_id, attempt_id=attempt_id)
        await publications.store_result(
            connection,
            publication_id,
            attempt_id=attempt_id,
            state=state,
            external_id="7",
            published_url="https://a.example/p",
            reason=None,
        )


async def test_only_the_newest_attempt_may_have_effects(
    database: TenantDatabase, workflow: MadeWorkflow, publication_id: UUID
) -> None:
    zombie, newest = uuid4(), uuid4()
    async with database.app.transaction(workflow.organization_id) as connection:
        for attempt_id in (zombie, newest):
            await publications.take_up(connection, publication_id, attempt_id=attempt_id)
            assert await publications.is_newest_attempt(connection, publication_id, attempt_id=attempt_id)
        assert not await publications.is_newest_attempt(connection, publication_id, attempt_id=zombie)


async def test_of_several_publishers_the_first_ones_post_is_recorded(
    database: TenantDatabase, workflow: MadeWorkflow, publication_id: UUID
) -> None:
    """A post is replaced by naming the one that it stands in for, and by nobody who saw an older one."""
    kept = []
    async with database.app.transaction(workflow.organization_id) as connection:
        for external_id, instead_of in (("1", None), ("2", None), ("3", "1"), ("4", "1"), ("3", "3")):
            kept.append(
                await publications.keep_external_id(
                    connection, publication_id, external_id=external_id, instead_of=instead_of
                )
            )
    assert kept == ["1", "1", "3", "3", "3"]


@pytest.mark.parametrize("taken_back", ["UNPUBLISHING", "UNPUBLISHED"])
async def test_an_answer_that_comes_after_it_was_taken_back_changes_nothing(
    database: TenantDatabase, workflow: MadeWorkflow, publication_id: UUID, taken_back: str
) -> None:
    async with database.app.transaction(workflow.organization_id) as connection:
        await publications.begin_change(connection, publication_id, state=taken_back, change_id=uuid4())
    before = await row_of(database, workflow)
    await store(database, workflow, publication_id, "PUBLISHED")
    assert await row_of(database, workflow) == before
    assert (before.state, before.published_url) == (taken_back, None)


async def test_an_older_change_does_not_end_a_later_one(
    database: TenantDatabase, workflow: MadeWorkflow, publication_id: UUID
) -> None:
    older, later, attempt_id = uuid4(), uuid4(), uuid4()
    async with database.app.transaction(workflow.organization_id) as connection:
        await publications.begin_change(connection, publication_id, state="UNPUBLISHING", change_id=older)
        await publications.begin_change(connection, publication_id, state="PENDING", change_id=later)
        await publications.take_up(connection, publication_id, attempt_id=attempt_id)
        in_change = [
            await publications.is_in_change(connection, publication_id, change_id=change_id)
            for change_id in (older, later)
        ]
        ended = [
            await publications.end_change(
                connection,
                publication_id,
                change_id=change_id,
                attempt_id=attempt_id,
                state=state,
                published_url=url,
                reason=None,
            )
            for change_id, state, url in ((older, "UNPUBLISHED", None), (later, "PUBLISHED", "https://a.example/p"))
        ]
    assert in_change == ended == [False, True]
    assert (await row_of(database, workflow)).state == "PUBLISHED"


@pytest.mark.parametrize("state", ["PUBLISHED", "UNCHANGED"])
async def test_what_stands_stays_and_other_content_opens_it_again(
    database: TenantDatabase, workflow: MadeWorkflow, publication_id: UUID, state: str
) -> None:
    await store(database, workflow, publication_id, state)
    await intend(database, workflow, publication_id)
    assert (await row_of(database, workflow)).state == state
    await intend(database, workflow, publication_id, content_hash="hash of what was written anew")
    again = await row_of(database, workflow)
    assert (again.state, again.content_hash) == ("PENDING", "hash of what was written anew")
    assert again.external_id == "7"  # the same post is changed


async def test_what_failed_is_open_again(
    database: TenantDatabase, workflow: MadeWorkflow, publication_id: UUID
) -> None:
    await store(database, workflow, publication_id, "FAILED")
    await intend(database, workflow, publication_id)
    assert (await row_of(database, workflow)).state == "PENDING"
