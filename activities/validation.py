"""Step 5: only clusters that hold go on; the verdict decides the transition. And what people override of it."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from temporalio import activity

from activities.case import Case, load_case, progress_of
from activities.judging import block_with, judged
from activities.state import Decide, complete_step, decide
from db import articles, clusters, keyword_vectors, outputs, pages
from db.articles import NewArticle
from db.clusters import ClusterRow, OtherWorkflow
from db.pool import Connection, Database
from domain import article, assembly, validation
from domain.article import PlannedCluster
from domain.clustering import Clustering
from domain.decisions import OverrideClusters
from domain.embeddings import Vector
from domain.errors import BadInputError, InvalidModelOutputError, WorkflowTransitionError
from domain.identifiers import bare_domain
from domain.keyphrases import Intent
from domain.money import Frozen
from domain.progress import ClaimRef, Judged, JudgedKind, Progress, WorkflowRef
from domain.states import State, Step, is_terminal, step_of
from domain.validation import JudgedCluster, Override, TakenBy, TakenSubject
from domain.verdict import Blocked, Completed

# Where an override can still take effect, and where the run goes on from.
OVERRIDE_GOES_TO: Mapping[State, State] = {
    State.VALIDATION_FAILED: State.VALIDATION_PROCESSING,
    State.ARTICLE_FAILED: State.ARTICLE_PROCESSING,
    State.PUBLISH_PENDING: State.ARTICLE_PENDING,
}

PLANNED_MAX = 1_000


class DecideOverride(Decide):
    decision: OverrideClusters


class _Facts(Frozen):
    """Everything a validation is computed from, loaded under the organization's lock."""

    clustering: Clustering
    taken: tuple[TakenSubject, ...]
    overrides: tuple[Override, ...]
    vectors: dict[str, Vector]


class ValidationActivities:
    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn(name="validate_clusters")
    async def validate_clusters(self, claim: ClaimRef) -> Judged:
        """Stores every cluster's verdict with its reasons, also when none is valid. Workflows of one organization are
        decided one after the other, so that of two that want a hub exactly one keeps it."""
        async with self._database.transaction(claim.organization_id) as connection:
            others = await clusters.lock_other_workflows(connection, claim.workflow)
            case = await load_case(connection, claim.workflow_id)
            facts = await _facts(connection, case, others)
            end = validation.validate(
                facts.clustering,
                facts.taken,
                facts.overrides,
                settings=case.settings.validation,
                clustering_settings=case.settings.clustering,
                vectors=facts.vectors,
            )
            match end:
                case Completed(output=found, verdict=verdict):
                    if await complete_step(connection, claim, found.model_dump(mode="json"), verdict):
                        await _store(connection, claim, found.clusters)
                    return await judged(connection, claim, JudgedKind.ACCEPTED)
                case Blocked() as blocked:
                    if await block_with(connection, claim, blocked):
                        await _store_blocked(connection, claim, blocked)
                    return await judged(connection, claim, JudgedKind.BLOCKED)

    @activity.defn(name="override_clusters")
    async def override_clusters(self, decide_override: DecideOverride) -> Progress:
        """Fallen clusters go on: a failed validation is judged again with them; where articles were written already,
        theirs are planned beside them. Raises WorkflowTransitionError where it is too late or too early, BadInputError
        for a cluster that did not fall or that nobody can override."""
        ref, decision = decide_override.ref, decide_override.decision
        async with self._database.transaction(ref.organization_id) as connection:
            await clusters.lock_other_workflows(connection, ref)
            next_state = OVERRIDE_GOES_TO.get(decision.expected_state)
            if next_state is None:
                raise _too_late(ref, decision)
            replayed = await decide(connection, ref, decision, next_state, reason=f"override: {decision.reason}")
            case = await load_case(connection, ref.workflow_id)
            if not replayed:
                await _override(connection, case, decision)
            return await progress_of(connection, case)


async def _facts(connection: Connection, case: Case, others: Sequence[OtherWorkflow]) -> _Facts:
    clustering = await _clustering(connection, case.workflow_id)
    own_pages = await pages.load_pages(connection, case.workflow_id, is_own_site=True)
    organization = case.brief.organization
    brands = (organization.name, bare_domain(organization.url))
    taken = [*validation.taken_by_pages(case.brief.existing_pages, own_pages, brands=brands)]
    if case.settings.validation.compares_workflows:
        taken += _taken_by_workflows(others)
    current = {row.cluster_id for row in await clusters.load_clusters(connection, case.workflow_id)}
    overrides = await load_overrides(connection, case.workflow_id, current)
    texts = {text for cluster in clustering.clusters for text in (cluster.hub, *(one.text for one in cluster.spokes))}
    texts |= {leftover.text for leftover in clustering.leftovers} | {subject.text for subject in taken}
    return _Facts(
        clustering=clustering,
        taken=tuple(taken),
        overrides=overrides,
        vectors=await _vectors(connection, case, sorted(texts)),
    )


async def _vectors(connection: Connection, case: Case, texts: Sequence[str]) -> dict[str, Vector]:
    """The workflow's own vectors first; what its neighbours wrote about has theirs."""
    model = case.settings.clustering.embedding_model
    if model is None:
        return {}
    theirs = await keyword_vectors.load_organization_vectors(connection, case.organization_id, model, texts)
    return theirs | await keyword_vectors.load_vectors(connection, case.workflow_id, model, texts)


async def load_overrides(connection: Connection, workflow_id: UUID, cluster_ids: set[UUID]) -> tuple[Override, ...]:
    """What people overrode of these clusters; a cluster that was drawn anew is judged anew."""
    return tuple(
        Override(
            hub=row.hub,
            actor=row.actor,
            reason=row.reason,
            set_aside=tuple((reason.code, reason.subject) for reason in row.overridden),
        )
        for row in await clusters.load_overrides(connection, workflow_id)
        if row.cluster_id in cluster_ids
    )


def _taken_by_workflows(others: Sequence[OtherWorkflow]) -> list[TakenSubject]:
    """What each other workflow writes or wrote about, oldest first. A cancelled one has given up its subjects; one
    whose clusters were not validated, or failed, has none yet; of a finished one those count that were written."""
    return [
        TakenSubject(
            by=TakenBy.WORKFLOW,
            text=text,
            place=other.name,
            intent=Intent(intent),
            is_repeated=other.is_same_brief,
        )
        for other in others
        for text, intent in _subjects_of(other)
    ]


def _subjects_of(other: OtherWorkflow) -> list[tuple[str, str]]:
    if other.state is State.CANCELLED:
        return []
    if other.articles:
        is_over = is_terminal(other.state)
        return [(one.keyword, one.intent) for one in other.articles if one.is_written or not is_over]
    if step_of(other.state) not in (Step.ARTICLE, Step.PUBLISH):
        return []
    intents = {text: cluster.intent for cluster in other.clusters for text in (cluster.hub, *cluster.spokes)}
    planned = article.plan_articles(
        other.workflow_id,
        [PlannedCluster(cluster_id=one.cluster_id, hub=one.hub, spokes=one.spokes) for one in other.clusters],
        articles_max=other.articles_max,
    )
    return [(plan.keyword, intents[plan.keyword]) for plan in planned]


async def _clustering(connection: Connection, workflow_id: UUID) -> Clustering:
    stored = await outputs.latest_output(connection, workflow_id, Step.CLUSTERING)
    if stored is None:
        raise InvalidModelOutputError(f"workflow {workflow_id} has no clusters to validate")
    return Clustering.model_validate(stored.output)


async def _store(connection: Connection, claim: ClaimRef, judged_clusters: tuple[JudgedCluster, ...]) -> None:
    ids = {row.hub: row.cluster_id for row in await clusters.load_clusters(connection, claim.workflow_id)}
    for cluster in judged_clusters:
        await clusters.judge_cluster(connection, ids[cluster.hub], is_valid=cluster.is_valid, reasons=cluster.reasons)


async def _store_blocked(connection: Connection, claim: ClaimRef, blocked: Blocked) -> None:
    judged_clusters = (blocked.output or {}).get("clusters", [])
    await _store(connection, claim, tuple(JudgedCluster.model_validate(item) for item in judged_clusters))


# Overriding


def _too_late(ref: WorkflowRef, decision: OverrideClusters) -> WorkflowTransitionError:
    return WorkflowTransitionError(
        workflow_id=ref.workflow_id,
        reason="terminal" if is_terminal(decision.expected_state) else "illegal",
        current_state=decision.expected_state,
        expected_state=decision.expected_state,
        attempted_state=State.VALIDATION_PROCESSING,
        current_version=decision.expected_version,
        expected_version=decision.expected_version,
    )


async def _override(connection: Connection, case: Case, decision: OverrideClusters) -> None:
    rows = {row.cluster_id: row for row in await clusters.load_clusters(connection, case.workflow_id)}
    chosen = [rows[one] for one in dict.fromkeys(decision.cluster_ids) if one in rows]
    if not chosen or len(chosen) < len(set(decision.cluster_ids)):
        raise BadInputError("one of the clusters is none of this workflow's newest; see `show ID clusters`", "cluster")
    for row in chosen:
        check_overridable(row)
        await clusters.store_override(
            connection,
            case.claim_of(Step.VALIDATION),
            row,
            decision_id=decision.decision_id,
            actor=decision.actor,
            reason=decision.reason,
        )
    if decision.expected_state is not State.VALIDATION_FAILED:
        await _let_go_on(connection, case, chosen)


def check_overridable(row: ClusterRow) -> None:
    """Raises BadInputError saying why a cluster can't be overridden."""
    if row.is_valid is None:
        raise BadInputError(f'"{row.hub}" was not validated yet: there is nothing to override', "cluster")
    if row.is_valid:
        raise BadInputError(f'"{row.hub}" is valid: there is nothing to override', "cluster")
    for reason in validation.not_overridable(row.reasons):
        raise BadInputError(
            f"{reason.message}: this can't be overridden; add keywords with `review ID --reopen`", "cluster"
        )


async def _let_go_on(connection: Connection, case: Case, chosen: Sequence[ClusterRow]) -> None:
    """The clusters are valid from now on and their articles planned; what failed before is tried again with them."""
    overrides = await load_overrides(connection, case.workflow_id, {row.cluster_id for row in chosen})
    for row in chosen:
        before = JudgedCluster(hub=row.hub, is_valid=False, reasons=row.reasons)
        after = validation.overridden(before, overrides)
        await clusters.judge_cluster(connection, row.cluster_id, is_valid=after.is_valid, reasons=after.reasons)
    await _plan(connection, case, chosen)
    if case.state is State.ARTICLE_PROCESSING:
        await articles.plan_again(connection, case.workflow_id)


async def _plan(connection: Connection, case: Case, chosen: Sequence[ClusterRow]) -> None:
    """The hubs in any case, for a person asked for them; their spokes as far as the brief's limit has room."""
    rows = await articles.load_articles(connection, case.workflow_id)
    known = {row.article_id for row in rows}
    planned = article.plan_articles(case.workflow_id, [_planned(row) for row in chosen], articles_max=PLANNED_MAX)
    new = [plan for plan in planned if plan.article_id not in known]
    room = case.brief.articles.max - len(rows)
    hubs = [plan for plan in new if plan.role == "hub"]
    new = [*hubs, *[plan for plan in new if plan.role != "hub"][: max(0, room - len(hubs))]]
    slugs = assembly.planned_slugs(new, [row.slug for row in rows if row.slug])
    for position, plan in enumerate(new, start=len(rows)):
        planned_article = NewArticle(
            article_id=plan.article_id,
            cluster_id=plan.cluster_id,
            position=position,
            keyword=plan.keyword,
            role=plan.role,
            slug=slugs[plan.article_id],
        )
        await articles.insert_article(connection, case.claim_of(Step.ARTICLE).workflow, planned_article)


def _planned(row: ClusterRow) -> PlannedCluster:
    return PlannedCluster(cluster_id=row.cluster_id, hub=row.hub, spokes=tuple(spoke["text"] for spoke in row.spokes))
