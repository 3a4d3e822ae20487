"""Validation and overrides on a real Postgres: who keeps a hub, what a person may set aside, and what others see."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest

from activities.state import run_id
from activities.validation import DecideOverride, ValidationActivities
from db import articles, clusters, outputs
from db.articles import NewArticle
from db.clusters import ClusterRow, cluster_id_of
from db.pool import Connection
from db.workflows import create_workflow
from domain.brief import brief_from_mapping, normalized
from domain.clustering import Cluster, Clustering, Spoke
from domain.decisions import OverrideClusters
from domain.errors import BadInputError, ConfigurationError, WorkflowTransitionError
from domain.identifiers import article_id_of
from domain.keyphrases import Intent
from domain.progress import ClaimRef, WorkflowRef
from domain.settings import StepSettings
from domain.states import State, Step
from domain.verdict import Level, Reason, verdict_of
from tests.conftest import MadeWorkflow, TenantDatabase, legal_path, new_workflow, walk

HUBS = ("invoice approval", "supplier portal")


def clustering(*hubs: str, spokes: int = 2) -> Clustering:
    return Clustering(
        clusters=tuple(
            Cluster(
                hub=hub,
                intent=Intent.COMMERCIAL,
                spokes=tuple(Spoke(text=f"{hub} {word}", similarity=0.5) for word in ("software", "tool")[:spokes]),
            )
            for hub in hubs
        ),
        leftovers=(),
        method="m",
        threshold=0.1,
    )


async def made(
    database: TenantDatabase,
    state: State = State.VALIDATION_PROCESSING,
    *hubs: str,
    domain: str = "harborline.example",
    spokes: int = 2,
    **brief: Any,
) -> MadeWorkflow:
    """A workflow in a state, with clusters of these hubs that are not validated yet, and a brief like no other's."""
    description = (
        "Sells accounts payable automation to distributors whose teams get many invoices and want to pay on time."
    )
    organization = {
        "name": "Harborline",
        "url": f"https://{domain}",
        "description": f"{description} Every day, all day.",
    }
    parsed = brief_from_mapping({"organization": organization, "audiences": [f"readers of {uuid4()}"], **brief})
    new = new_workflow(domain=domain).model_copy(
        update={"brief": normalized(parsed), "settings": StepSettings().model_dump(mode="json")}
    )
    async with database.app.transaction(new.organization_id) as connection:
        await create_workflow(connection, new)
        workflow = MadeWorkflow(new.workflow_id, new.organization_id, name=new.name)
        workflow = await walk(connection, workflow, legal_path(State.CLUSTERING_PROCESSING))
        claim = claim_of(workflow, Step.CLUSTERING)
        await _store_clusters(connection, claim, clustering(*(hubs or HUBS), spokes=spokes))
        rest = legal_path(state)[len(legal_path(State.CLUSTERING_PROCESSING)) :]
        return await walk(connection, workflow, rest)


async def _store_clusters(connection: Connection, claim: ClaimRef, found: Clustering) -> None:
    await outputs.store_output(connection, claim, found.model_dump(mode="json"), verdict_of([]))
    rows = [
        ClusterRow(
            cluster_id=cluster_id_of(claim, one.hub),
            position=position,
            hub=one.hub,
            intent=one.intent,
            spokes=[spoke.model_dump() for spoke in one.spokes],
        )
        for position, one in enumerate(found.clusters, start=1)
    ]
    await clusters.store_clusters(connection, claim, rows)


def claim_of(workflow: MadeWorkflow, step: Step = Step.VALIDATION) -> ClaimRef:
    return ClaimRef(
        workflow_id=workflow.workflow_id, organization_id=workflow.organization_id, step=step, claim=workflow.version
    )


async def rows_of(database: TenantDatabase, workflow: MadeWorkflow) -> list[ClusterRow]:
    async with database.app.transaction(workflow.organization_id) as connection:
        return await clusters.load_clusters(connection, workflow.workflow_id)


async def valid_hubs(database: TenantDatabase, workflow: MadeWorkflow) -> list[str]:
    return [row.hub for row in await rows_of(database, workflow) if row.is_valid]


async def validate(database: TenantDatabase, workflow: MadeWorkflow) -> Any:
    return (await ValidationActivities(database.app).validate_clusters(claim_of(workflow))).progress


def decision(progress: Any, *cluster_ids: UUID, **facts: Any) -> DecideOverride:
    given = {
        "decision_id": uuid4(),
        "actor": "ada",
        "expected_state": progress.state,
        "expected_version": progress.version,
        "cluster_ids": cluster_ids,
        "reason": "another audience",
        **facts,
    }
    return DecideOverride(ref=progress.ref, decision=OverrideClusters(**given))


# Who keeps a hub


async def test_the_same_brief_again_keeps_its_hubs_and_is_told(database: TenantDatabase) -> None:
    first = await made(database, audiences=["controllers"])
    again = await made(database, audiences=["controllers"], cap_usd="3.00", articles={"max": 9})
    for one in (first, again):
        await validate(database, one)
    assert await valid_hubs(database, again) == await valid_hubs(database, first) == list(HUBS)
    told = [reason for row in await rows_of(database, again) for reason in row.reasons]
    assert {(reason.code, reason.level) for reason in told} == {("REPEATS_WORKFLOW", Level.WARN)}


async def test_of_many_that_validate_at_once_exactly_one_keeps_each_hub(database: TenantDatabase) -> None:
    workflows = [await made(database) for _ in range(6)]
    ends = await asyncio.gather(*[validate(database, one) for one in workflows])
    kept = [await valid_hubs(database, one) for one in workflows]
    assert sorted(hub for hubs in kept for hub in hubs) == sorted(HUBS)
    assert [end.state for end in ends].count(State.VALIDATION_COMPLETED) == 1
    assert [end.state for end in ends].count(State.VALIDATION_FAILED) == 5


async def test_another_organization_takes_nothing_and_sees_nothing(database: TenantDatabase) -> None:
    mine, theirs = await made(database), await made(database, domain="ledgerpilot.example")
    for workflow in (mine, theirs):
        assert (await validate(database, workflow)).state is State.VALIDATION_COMPLETED
    async with database.app.transaction(theirs.organization_id) as connection:
        for ref in (mine, theirs):
            others = await clusters.lock_other_workflows(
                connection, WorkflowRef(workflow_id=ref.workflow_id, organization_id=theirs.organization_id)
            )
            assert mine.workflow_id not in [one.workflow_id for one in others]


@pytest.mark.parametrize(
    ("state", "takes"),
    [
        (State.VALIDATION_PROCESSING, False),
        (State.VALIDATION_FAILED, False),
        (State.CANCELLED, False),
        (State.VALIDATION_COMPLETED, True),
        (State.ARTICLE_PROCESSING, True),
    ],
)
async def test_what_takes_a_subject_before_articles_are_planned(
    database: TenantDatabase, state: State, takes: bool
) -> None:
    first = await made(database, state)
    async with database.app.transaction(first.organization_id) as connection:
        for row in await clusters.load_clusters(connection, first.workflow_id):
            await clusters.judge_cluster(connection, row.cluster_id, is_valid=True, reasons=())
    second = await made(database)
    assert (await validate(database, second)).state is (
        State.VALIDATION_FAILED if takes else State.VALIDATION_COMPLETED
    )


async def test_only_what_is_planned_is_taken(database: TenantDatabase) -> None:
    """A limit of one article takes one hub; the other may be another workflow's."""
    first = await made(database, articles={"max": 1})
    await validate(database, first)
    second = await made(database)
    await validate(database, second)
    assert await valid_hubs(database, second) == ["supplier portal"]


@pytest.mark.parametrize(("is_written", "takes"), [(True, True), (False, False)])
async def test_of_a_finished_workflow_what_was_written_is_taken(
    database: TenantDatabase, is_written: bool, takes: bool
) -> None:
    first = await made(database, State.COMPLETED)
    row = (await rows_of(database, first))[0]
    async with database.app.transaction(first.organization_id) as connection:
        new = NewArticle(
            article_id=article_id_of(first.workflow_id, row.hub), cluster_id=row.cluster_id, position=0,
            keyword=row.hub, role="hub", slug="a",
        )  # fmt: skip
        await articles.insert_article(connection, claim_of(first).workflow, new)
        if is_written:
            await articles.accept_revision(connection, new.article_id, 1, title="A", reasons=())
    second = await made(database)
    await validate(database, second)
    assert (row.hub not in await valid_hubs(database, second)) is takes


# Overriding


async def test_an_override_is_kept_and_the_validation_goes_on(database: TenantDatabase) -> None:
    await validate(database, await made(database))
    second = await made(database)
    failed = await validate(database, second)
    assert failed.state is State.VALIDATION_FAILED
    portal = (await rows_of(database, second))[1]
    activities = ValidationActivities(database.app)
    decided = decision(failed, portal.cluster_id)
    progress = await activities.override_clusters(decided)
    assert (progress.state, progress.version) == (State.VALIDATION_PROCESSING, failed.version + 1)
    assert await activities.override_clusters(decided) == progress, "the same decision again is one"
    done = await activities.validate_clusters(progress.claim_of(Step.VALIDATION))
    assert done.progress is not None
    assert done.progress.state is State.VALIDATION_COMPLETED
    assert await valid_hubs(database, second) == ["supplier portal"]
    (_, after) = await rows_of(database, second)
    assert [(one.code, one.level) for one in after.reasons] == [
        ("CANNIBALIZES_WORKFLOW", Level.WARN),
        ("OVERRIDDEN", Level.WARN),
    ]
    (kept,) = await database.admin.fetch("SELECT * FROM cluster_overrides")
    assert (kept["actor"], kept["reason"], kept["hub"]) == ("ada", "another audience", "supplier portal")
    assert kept["overridden"][0]["code"] == "CANNIBALIZES_WORKFLOW"


async def test_an_override_can_not_be_rewritten_by_anybody(database: TenantDatabase) -> None:
    await validate(database, await made(database))
    failed = await validate(database, second := await made(database))
    row = (await rows_of(database, second))[0]
    await ValidationActivities(database.app).override_clusters(decision(failed, row.cluster_id))
    for statement in ("UPDATE cluster_overrides SET reason = 'x'", "DELETE FROM cluster_overrides"):
        with pytest.raises(ConfigurationError):
            async with database.app.transaction(second.organization_id) as connection:
                await connection.execute(statement)
        with pytest.raises(Exception, match="append-only"):
            await database.admin.execute(statement)
    async with database.app.transaction(uuid4()) as connection:
        assert await clusters.load_overrides(connection, second.workflow_id) == []


async def test_too_small_and_valid_and_foreign_clusters_are_refused(database: TenantDatabase) -> None:
    small = await made(database, State.VALIDATION_PROCESSING, "invoice approval", spokes=1)
    failed = await validate(database, small)
    (row,) = await rows_of(database, small)
    other = await made(database, domain="ledgerpilot.example")
    await validate(database, other)
    foreign = (await rows_of(database, other))[0]
    activities = ValidationActivities(database.app)
    for cluster_id, words in (
        (row.cluster_id, "can't be overridden"),
        (foreign.cluster_id, "none of this workflow's"),
        (uuid4(), "none of this workflow's"),
    ):
        with pytest.raises(BadInputError, match=words):
            await activities.override_clusters(decision(failed, cluster_id))
    with pytest.raises(BadInputError, match="none of this"):
        await activities.override_clusters(decision(failed))
    assert not await database.admin.fetch("SELECT 1 FROM cluster_overrides")
    async with database.app.transaction(small.organization_id) as connection:
        assert await connection.fetchval("SELECT state FROM intent_workflows WHERE id = $1", small.workflow_id) == (
            State.VALIDATION_FAILED
        )


@pytest.mark.parametrize(
    "state", [State.ARTICLE_PROCESSING, State.PUBLISH_FAILED, State.SEED_REVIEW_PENDING, State.COMPLETED]
)
async def test_elsewhere_an_override_is_a_conflict(database: TenantDatabase, state: State) -> None:
    workflow = await made(database, State.VALIDATION_PROCESSING)
    progress = (await validate(database, workflow)).model_copy(update={"state": state})
    row = (await rows_of(database, workflow))[0]
    with pytest.raises(WorkflowTransitionError):
        await ValidationActivities(database.app).override_clusters(decision(progress, row.cluster_id))


@pytest.mark.parametrize("state", [State.ARTICLE_FAILED, State.PUBLISH_PENDING])
@pytest.mark.parametrize(("articles_max", "planned"), [(1, 2), (3, 3), (9, 4)])
async def test_later_the_hub_is_planned_and_its_spokes_within_the_limit(
    database: TenantDatabase, state: State, articles_max: int, planned: int
) -> None:
    """One article there is; the hub comes in any case, its two spokes as far as the limit has room."""
    workflow = await made(database, state, articles={"max": articles_max})
    kept, fallen = await rows_of(database, workflow)
    async with database.app.transaction(workflow.organization_id) as connection:
        await clusters.judge_cluster(connection, kept.cluster_id, is_valid=True, reasons=())
        reason = Reason(code="EXISTING_PAGE", message="x", subject="https://harborline.example/x")
        await clusters.judge_cluster(connection, fallen.cluster_id, is_valid=False, reasons=[reason])
        new = NewArticle(
            article_id=article_id_of(workflow.workflow_id, kept.hub), cluster_id=kept.cluster_id, position=0,
            keyword=kept.hub, role="hub", slug="supplier-portal",
        )  # fmt: skip
        await articles.insert_article(connection, claim_of(workflow).workflow, new)
    progress = (await load(database, workflow)).model_copy(update={"state": state})
    progress = await ValidationActivities(database.app).override_clusters(decision(progress, fallen.cluster_id))
    assert progress.state is (State.ARTICLE_PROCESSING if state is State.ARTICLE_FAILED else State.ARTICLE_PENDING)
    async with database.app.transaction(workflow.organization_id) as connection:
        found = await articles.load_articles(connection, workflow.workflow_id)
    assert len(found) == planned
    assert [one.keyword for one in found[:2]] == [kept.hub, fallen.hub]
    assert len({one.slug for one in found}) == planned
    assert await valid_hubs(database, workflow) == [kept.hub, fallen.hub]


async def load(database: TenantDatabase, workflow: MadeWorkflow) -> Any:
    from activities.case import load_case, progress_of

    assert run_id() is None
    async with database.app.transaction(workflow.organization_id) as connection:
        return await progress_of(connection, await load_case(connection, workflow.workflow_id))
