"""ArticleWorkflow: one article under one claim of its parent. What is stored already is not asked for again."""

from collections.abc import Sequence
from uuid import UUID

from temporalio import workflow
from temporalio.exceptions import ActivityError

from workflows.failures import is_cancelled, is_lost, root_cause, stop_if_cancelled
from workflows.paid_calls import Answered, CallContext, SlotEnd, ask_all, ask_one
from workflows.policies import in_database, on_the_web

with workflow.unsafe.imports_passed_through():
    from activities.article import (
        ArticleActivities,
        ArticleParts,
        ArticleRef,
        AssembleArticle,
        Assembled,
        FailArticle,
        JudgeOutline,
        JudgeSections,
        SectionAnswer,
    )
    from activities.cited_pages import CitedPageActivities, ReadCitedPages
    from domain.citations import is_search_model
    from domain.money import Frozen
    from domain.progress import CallKind, ClaimRef, Judged, Slot
    from domain.settings import StepSettings
    from domain.verdict import Reason

WORKFLOW_NAME = "ArticleWorkflow"
CITED_PAGES_SHARE = 0.5  # of the time that work on the web has: the rest is for storing what was read


class ArticleInput(Frozen):
    claim: ClaimRef
    article_id: UUID
    revision: int
    label: str
    settings: StepSettings
    queue: str


def article_workflow_id(parent_id: str, article_id: UUID, claim: int) -> str:
    return f"{parent_id}/article/{article_id}/{claim}"


@workflow.defn(name=WORKFLOW_NAME)
class ArticleWorkflow:
    @workflow.run
    async def run(self, start: ArticleInput) -> Assembled:
        """Outline, sections, assembly with its gates, one bounded repair."""
        self._start = start
        parts = await self._load()
        failure = await self._write_outline(parts)
        if failure is None:
            failure = await self._write_sections(await self._load())
        if failure is not None:
            return await self._fail(failure)
        assembled = await self._assemble(may_repair=True)
        if assembled.repairs:
            await self._repair(assembled)
            assembled = await self._assemble(may_repair=False)
        return assembled

    @property
    def _ref(self) -> ArticleRef:
        return ArticleRef(claim=self._start.claim, article_id=self._start.article_id, revision=self._start.revision)

    def _context(self, part: str) -> CallContext:
        summary = f"{self._start.label}: {part}"
        workflow.set_current_details(summary)
        return CallContext(self._start.claim, self._start.settings, self._start.queue, summary)

    async def _load(self) -> ArticleParts:
        return await in_database(
            ArticleActivities.load_article,
            self._ref,
            self._start.settings.timeouts,
            f"{self._start.label}: what is stored already",
        )

    async def _write_outline(self, parts: ArticleParts) -> SlotEnd | None:
        """The failure, or None when there is an outline."""
        if parts.sections is not None:
            return None
        slot = Slot(kind=CallKind.ARTICLE_OUTLINE, article_id=self._start.article_id, revision=self._start.revision)
        route = self._start.settings.article.outline_route
        end = await ask_one(self._context("outline"), slot, route, self._judge_outline)
        return None if end.is_accepted else end

    async def _judge_outline(self, answers: Sequence[Answered]) -> Sequence[Judged]:
        (answer,) = answers
        request = JudgeOutline(**dict(self._ref), attempt_id=answer.attempt_id, repairs_left=answer.repairs_left)
        return [
            await in_database(
                ArticleActivities.judge_outline,
                request,
                self._start.settings.timeouts,
                f"{self._start.label}: judge the outline",
            )
        ]

    async def _write_sections(self, parts: ArticleParts) -> SlotEnd | None:
        """The first failure, or None when every section is stored."""
        slots = [self._section_slot(number) for number in parts.missing]
        return await self._ask_sections(slots, f"{len(slots)} of {parts.sections} sections")

    def _section_slot(self, number: int, problems: tuple[str, ...] = ()) -> Slot:
        kind = CallKind.ARTICLE_REPAIR if problems else CallKind.ARTICLE_SECTION
        return Slot(
            kind=kind,
            article_id=self._start.article_id,
            revision=self._start.revision,
            section=number,
            problems=problems,
        )

    async def _ask_sections(self, slots: Sequence[Slot], part: str) -> SlotEnd | None:
        if not slots:
            return None
        route = self._start.settings.article.section_route
        ends = await ask_all(self._context(part), slots, route, self._judge_sections)
        return next((end for end in ends.values() if not end.is_accepted), None)

    async def _judge_sections(self, answers: Sequence[Answered]) -> Sequence[Judged]:
        await self._read_cited_pages(answers)
        request = JudgeSections(
            **dict(self._ref),
            answers=tuple(
                SectionAnswer(
                    section=answer.slot.section or 0, attempt_id=answer.attempt_id, repairs_left=answer.repairs_left
                )
                for answer in answers
            ),
        )
        return await in_database(
            ArticleActivities.judge_sections,
            request,
            self._start.settings.timeouts,
            f"{self._start.label}: judge {len(answers)} sections",
        )

    async def _read_cited_pages(self, answers: Sequence[Answered]) -> None:
        """What a search model cites is read before it counts as a source. Where that fails the sections, which are
        paid for, are judged by the sources they have."""
        if not any(is_search_model(model) for model in self._start.settings.article.section_route.models):
            return
        stop_if_cancelled()
        request = ReadCitedPages(
            claim=self._start.claim,
            article_id=self._start.article_id,
            attempt_ids=tuple(answer.attempt_id for answer in answers),
            seconds_max=self._start.settings.timeouts.web_seconds * CITED_PAGES_SHARE,
        )
        what = f"{self._start.label}: read what {len(answers)} answers cite"
        try:
            await on_the_web(
                CitedPageActivities.read_cited_pages,
                request,
                self._start.settings.timeouts,
                what,
                queue=self._start.queue,
            )
        except ActivityError as error:
            if is_cancelled() or is_lost(error):
                raise
            workflow.logger.warning("cited pages were not read: %s", root_cause(error))

    async def _assemble(self, *, may_repair: bool) -> Assembled:
        stop_if_cancelled()
        return await in_database(
            ArticleActivities.assemble_article,
            AssembleArticle(**dict(self._ref), may_repair=may_repair),
            self._start.settings.timeouts,
            f"{self._start.label}: assemble and check",
        )

    async def _repair(self, assembled: Assembled) -> None:
        """One repair per section at fault. What is not repaired is judged as it stands."""
        slots = [self._section_slot(number, problems) for number, problems in sorted(assembled.repairs.items())]
        await self._ask_sections(slots, f"repair {len(slots)} sections")

    async def _fail(self, end: SlotEnd) -> Assembled:
        reasons = end.failure.reasons if end.failure else (Reason(code="interrupted", message="not finished"),)
        return await in_database(
            ArticleActivities.fail_article,
            FailArticle(**dict(self._ref), reasons=reasons),
            self._start.settings.timeouts,
            f"{self._start.label}: failed",
        )
