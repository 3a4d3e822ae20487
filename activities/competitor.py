"""Step 2: who else sells it, and which words they use. Crawled pages in, seed keywords with their sources out."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

from temporalio import activity

from activities.case import Case, load_case
from activities.judging import answer_of, block_with, failure_of, judged, reject
from activities.spend import PreparedRequest, heartbeating
from activities.state import complete_step
from db import keywords, outputs, pages, transitions
from db.keywords import KeywordRow
from db.pool import Connection, Database
from domain import competitor
from domain.competitor import CompetitorAnalysis, CompetitorLabels, SeedKeyword
from domain.errors import InvalidModelOutputError
from domain.icp import Icp
from domain.money import Frozen
from domain.pages import SiteRead
from domain.progress import CallSpec, ClaimRef, Judged, JudgedKind, WorkflowRef
from domain.states import Step
from domain.verdict import AskAgain, Blocked, Completed, Reason


class JudgeDiscovery(Frozen):
    claim: ClaimRef
    attempt_id: UUID
    repairs_left: int


class AnalyzeCompetitors(Frozen):
    """``label_attempt_id`` is None where the model gave no labels: word rules do then."""

    claim: ClaimRef
    label_attempt_id: UUID | None
    repairs_left: int = 0


async def load_icp(connection: Connection, workflow_id: UUID) -> Icp:
    stored = await outputs.latest_output(connection, workflow_id, Step.ICP)
    if stored is None:
        raise InvalidModelOutputError(f"workflow {workflow_id} has no ICP; its first step has to complete first")
    return Icp.model_validate(stored.output)


async def build_discovery_request(connection: Connection, case: Case, call: CallSpec) -> PreparedRequest:
    profile = await load_icp(connection, case.workflow_id)
    rejections = await keywords.load_rejections(connection, case.workflow_id)
    return PreparedRequest(
        request=competitor.build_discovery_request(
            case.brief,
            profile,
            route=case.settings.competitor.route,
            model=call.model,
            feedback=call.feedback,
            rejections=rejections,
        ),
        slot_hash=competitor.discovery_slot_hash(case.brief, profile, rejections),
    )


async def build_label_request(connection: Connection, case: Case, call: CallSpec) -> PreparedRequest:
    profile = await load_icp(connection, case.workflow_id)
    claim = case.claim_of(Step.COMPETITOR)
    reads = await pages.load_competitor_reads(connection, claim)
    seeds = await load_candidates(connection, claim)
    rejections = await keywords.load_rejections(connection, case.workflow_id)
    return PreparedRequest(
        request=competitor.build_label_request(
            case.brief,
            profile,
            reads,
            seeds,
            route=case.settings.competitor.route,
            model=call.model,
            feedback=call.feedback,
            rejections=rejections,
        ),
        slot_hash=competitor.label_slot_hash(case.brief, profile, reads, seeds, rejections),
    )


async def load_candidates(connection: Connection, claim: ClaimRef) -> tuple[SeedKeyword, ...]:
    stored = await keywords.load_candidates(connection, claim)
    if stored is None:
        raise InvalidModelOutputError(f"no keywords were extracted under claim {claim.claim}; retry the step")
    return tuple(SeedKeyword.model_validate(candidate) for candidate in stored)


class SeedExtractionActivities:
    """Seconds of computing over large sites: on the web queue, outside of any transaction."""

    def __init__(self, database: Database, heartbeat_every_seconds: float) -> None:
        self._database = database
        self._heartbeat_every_seconds = heartbeat_every_seconds

    @activity.defn(name="extract_seed_keywords")
    async def extract_seed_keywords(self, claim: ClaimRef) -> int:
        """How many were found; once per claim."""
        async with self._database.transaction(claim.organization_id) as connection:
            stored = await keywords.load_candidates(connection, claim)
            if stored is not None:
                return len(stored)
            case = await load_case(connection, claim.workflow_id)
            profile = await load_icp(connection, claim.workflow_id)
            reads = await pages.load_competitor_reads(connection, claim)
            rejections = await keywords.load_rejections(connection, claim.workflow_id)
        async with heartbeating(self._heartbeat_every_seconds):
            pool = competitor.searched(case.settings.competitor, rejections)
            found = await asyncio.to_thread(competitor.extract_seed_keywords, reads, case.brief, profile, pool)
            seeds = competitor.with_review(found, rejections, case.settings.competitor)
        async with self._database.transaction(claim.organization_id) as connection:
            await transitions.check_claim(connection, claim.workflow_id, claim.organization_id, claim.step, claim.claim)
            await keywords.store_candidates(connection, claim, [seed.model_dump(mode="json") for seed in seeds])
        return len(seeds)


class CompetitorActivities:
    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn(name="judge_discovery")
    async def judge_discovery(self, request: JudgeDiscovery) -> Judged:
        """Facts: {"urls": […]} of the competitors the model found; each counts only when it can be read."""
        claim = request.claim
        async with self._database.transaction(claim.organization_id) as connection:
            case = await load_case(connection, claim.workflow_id)
            body = await answer_of(connection, claim, request.attempt_id)
            match competitor.judge_discovery(
                body, case.brief, settings=case.settings.competitor, repairs_left=request.repairs_left
            ):
                case Completed(output=discovery):
                    return Judged(kind=JudgedKind.ACCEPTED, facts={"urls": list(discovery.urls)})
                case Blocked() as blocked:
                    message = failure_of(blocked.verdict).message
                    await reject(connection, claim, request.attempt_id, message)
                    return Judged(kind=JudgedKind.BLOCKED, message=message)
                case AskAgain(message=message):
                    await reject(connection, claim, request.attempt_id, message)
                    return Judged(kind=JudgedKind.ASK_AGAIN, message=message)

    @activity.defn(name="competitor_sites")
    async def competitor_sites(self, ref: WorkflowRef) -> list[str]:
        """URLs of the competitors that the brief names."""
        async with self._database.transaction(ref.organization_id) as connection:
            case = await load_case(connection, ref.workflow_id)
            return list(case.brief.competitors)

    @activity.defn(name="analyze_competitors")
    async def analyze_competitors(self, request: AnalyzeCompetitors) -> Judged:
        """The step's own activity: competitors and seed keywords with COMPETITOR_COMPLETED, or COMPETITOR_FAILED."""
        claim = request.claim
        async with self._database.transaction(claim.organization_id) as connection:
            profile = await load_icp(connection, claim.workflow_id)
            reads = await pages.load_competitor_reads(connection, claim)
            seeds = await load_candidates(connection, claim)
            labels = await self._labels(connection, request, reads, seeds)
            if isinstance(labels, Judged):
                return labels
            notes = [Reason.model_validate(note) for note in await keywords.load_candidate_notes(connection, claim)]
            match competitor.analyze(profile, reads, competitor.flagged_last(seeds, labels), labels, notes):
                case Completed(output=analysis, verdict=verdict):
                    if await complete_step(connection, claim, analysis.model_dump(mode="json"), verdict):
                        await keywords.replace_keywords(connection, claim.workflow, _rows(analysis))
                    return await judged(connection, claim, JudgedKind.ACCEPTED)
                case Blocked() as blocked:
                    await block_with(connection, claim, blocked)
                    return await judged(connection, claim, JudgedKind.BLOCKED)

    async def _labels(
        self,
        connection: Connection,
        request: AnalyzeCompetitors,
        reads: list[SiteRead],
        seeds: Sequence[SeedKeyword],
    ) -> CompetitorLabels | Judged | None:
        """The model's labels; None where it gave none that are usable, a Judged when it is to be asked again."""
        if request.label_attempt_id is None:
            return None
        body = await answer_of(connection, request.claim, request.label_attempt_id)
        match competitor.judge_labels(body, reads, seeds, repairs_left=request.repairs_left):
            case Completed(output=labels):
                return labels
            case AskAgain(message=message):
                await reject(connection, request.claim, request.label_attempt_id, message)
                return Judged(kind=JudgedKind.ASK_AGAIN, message=message)
            case Blocked() as blocked:
                await reject(connection, request.claim, request.label_attempt_id, failure_of(blocked.verdict).message)
                return None


def _rows(analysis: CompetitorAnalysis) -> list[KeywordRow]:
    return [_row(position, keyword) for position, keyword in enumerate(analysis.keywords, start=1)]


def _row(position: int, keyword: SeedKeyword) -> KeywordRow:
    return KeywordRow(
        position=position,
        text=keyword.text,
        score=keyword.score,
        volume=keyword.volume,
        difficulty=keyword.difficulty,
        cpc_usd=keyword.cpc_usd,
        intent=keyword.intent,
        sources=[source.model_dump(mode="json") for source in keyword.sources],
        flag=keyword.flag,
    )
