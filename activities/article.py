"""Step 6: articles. Outline, sections, assembly and gates; every part is stored as it is accepted, so that a crash
or a retry pays for nothing twice."""

from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, Decimal
from uuid import UUID

from pydantic import Field
from temporalio import activity

from activities.case import Case, load_case
from activities.competitor import load_icp
from activities.judging import answer_of, block_with, failure_of, judged, reject
from activities.spend import PreparedRequest
from activities.state import complete_step
from db import articles, cited_pages, clusters, pages, prices, transitions
from db.articles import ArticleRow, NewArticle
from db.clusters import ClusterRow
from db.pool import Connection, Database
from domain import article, assembly, quality
from domain.article import ArticlePlan, Outline, PlannedCluster, SectionContent
from domain.assembly import Document, LinkTarget
from domain.citations import cited_passages
from domain.errors import InvalidModelOutputError
from domain.money import Frozen, ModelPrice, format_usd
from domain.pages import Passage, numbered_passages
from domain.progress import ACCEPT_PARTIAL, CallSpec, ClaimRef, Judged, JudgedKind
from domain.validation import OVERRIDDEN
from domain.verdict import AskAgain, Blocked, Completed, Level, Reason, Verdict, verdict_of

SOURCE_CHARACTERS_MAX = 200_000
CAP_REACHED = "cap_reached"
NOTHING_PLANNED = "nothing_planned"
HUNDREDTH_OF_A_CENT = Decimal("0.0001")
RESUMABLE_CODES = frozenset({CAP_REACHED, "provider_unavailable", "asks_used_up", "interrupted"})


class ArticleTask(Frozen):
    article_id: UUID
    revision: int
    position: int
    keyword: str


class ArticlesPlan(Frozen):
    """``to_write`` is the next wave, empty when nothing more can be begun."""

    to_write: tuple[ArticleTask, ...]
    total: int


class ArticleRef(Frozen):
    claim: ClaimRef
    article_id: UUID
    revision: int


class ArticleParts(Frozen):
    """What is stored of a revision: ``sections`` is None until its outline is accepted; numbers count from 1."""

    keyword: str
    position: int
    sections: int | None
    missing: tuple[int, ...] = ()


class JudgeOutline(ArticleRef):
    attempt_id: UUID
    repairs_left: int


class SectionAnswer(Frozen):
    section: int
    attempt_id: UUID
    repairs_left: int


class JudgeSections(ArticleRef):
    answers: tuple[SectionAnswer, ...]


class AssembleArticle(ArticleRef):
    may_repair: bool


class Assembled(Frozen):
    """``repairs`` are problems by section where one bounded repair may still help; empty when the state is final."""

    state: str
    repairs: dict[int, tuple[str, ...]] = Field(default_factory=dict)


class FailArticle(ArticleRef):
    reasons: tuple[Reason, ...]


async def source_passages(connection: Connection, case: Case) -> tuple[Passage, ...]:
    """Everything that was crawled, own site first, with numbers that stay the same for the whole step."""
    own = await pages.load_pages(connection, case.workflow_id, is_own_site=True)
    others = await pages.load_pages(connection, case.workflow_id, is_own_site=False)
    return numbered_passages(own + others, characters_max=SOURCE_CHARACTERS_MAX)


class ArticleSources(Frozen):
    """What the requests, the judges and the gates of one article have in common."""

    plan: ArticlePlan
    passages: tuple[Passage, ...]
    terms: tuple[str, ...]
    cited: tuple[Passage, ...] = ()

    @property
    def pool(self) -> tuple[Passage, ...]:
        """What references may be made of: the crawled passages, and those of pages that a search model cited and that
        were read. Requests are made of the crawled ones alone, so that a page read later changes no request."""
        return (*self.passages, *self.cited)


async def load_sources(connection: Connection, case: Case, article_id: UUID) -> ArticleSources:
    rows = await articles.load_articles(connection, case.workflow_id)
    plan = await _plan_of(connection, case, rows, article_id)
    everything = await source_passages(connection, case)
    query = " ".join((plan.keyword, *plan.spokes))
    passages = article.relevant_passages(query, everything, characters_max=case.settings.article.passage_characters_max)
    terms = article.key_terms(plan.keyword, plan.spokes, passages)
    cited = cited_passages(await cited_pages.load_cited_pages(connection, article_id))
    return ArticleSources(plan=plan, passages=passages, terms=terms, cited=cited)


async def _plan_of(connection: Connection, case: Case, rows: Sequence[ArticleRow], article_id: UUID) -> ArticlePlan:
    row = next(row for row in rows if row.article_id == article_id)
    cluster = next(
        found
        for found in await clusters.load_clusters(connection, case.workflow_id)
        if found.cluster_id == row.cluster_id
    )
    return ArticlePlan(
        article_id=row.article_id,
        keyword=row.keyword,
        role=row.role,
        cluster_id=row.cluster_id,
        spokes=tuple(spoke["text"] for spoke in cluster.spokes) if row.role == "hub" else (),
        siblings=tuple(other.keyword for other in rows if other.article_id != article_id),
        position=row.position,
        hub=None if row.role == "hub" else cluster.hub,
    )


async def _outline_of(connection: Connection, ref_article: UUID, revision: int) -> Outline | None:
    stored = await articles.load_revision(connection, ref_article, revision)
    return None if stored is None else Outline.model_validate(stored.outline)


async def _required_outline(connection: Connection, article_id: UUID, revision: int) -> Outline:
    outline = await _outline_of(connection, article_id, revision)
    if outline is None:
        raise InvalidModelOutputError(f"article {article_id} revision {revision} has no accepted outline")
    return outline


async def build_outline_request(connection: Connection, case: Case, call: CallSpec) -> PreparedRequest:
    article_id = _article_id(call)
    sources = await load_sources(connection, case, article_id)
    row = await articles.load_article(connection, article_id)
    profile = (await load_icp(connection, case.workflow_id)).model_dump(mode="json")
    note = row.redo_note if row else None
    return PreparedRequest(
        request=article.build_outline_request(
            case.brief,
            profile,
            sources.plan,
            sources.terms,
            sources.passages,
            route=case.settings.article.outline_route,
            model=call.model,
            feedback=call.feedback,
            note=note,
        ),
        slot_hash=article.outline_slot_hash(
            case.brief, profile, sources.plan, sources.terms, sources.passages, note=note
        ),
    )


async def build_section_request(connection: Connection, case: Case, call: CallSpec) -> PreparedRequest:
    """A section, or its repair where the slot names problems."""
    article_id, number = _article_id(call), _section(call)
    sources = await load_sources(connection, case, article_id)
    outline = await _required_outline(connection, article_id, call.slot.revision)
    row = await articles.load_article(connection, article_id)
    problems = call.slot.problems
    draft = await _draft(connection, call) if problems else None
    facts = (
        case.brief,
        sources.plan,
        outline,
        number,
        article.section_terms(outline, number, sources.terms),
        (*section_passages(case, sources, outline, number), *_cited_in(draft, sources)),
        article.section_words(case.brief.articles.words, len(outline.sections)),
    )
    note = row.redo_note if row else None
    return PreparedRequest(
        request=article.build_section_request(
            *facts,
            route=case.settings.article.section_route,
            model=call.model,
            feedback=call.feedback,
            problems=problems,
            draft=draft,
            note=note,
        ),
        slot_hash=article.section_slot_hash(*facts, problems=problems, draft=draft, note=note),
    )


def _cited_in(draft: SectionContent | None, sources: ArticleSources) -> list[Passage]:
    """Passages of cited pages that a draft stands on: its repair has to see them."""
    numbers = {number for block in draft.blocks for number in block.passages} if draft else set()
    return [passage for passage in sources.cited if passage.number in numbers]


def section_passages(case: Case, sources: ArticleSources, outline: Outline, number: int) -> tuple[Passage, ...]:
    """The passages a section is shown and may cite."""
    return article.section_passages(
        outline, number, sources.passages, characters_max=case.settings.article.section_passage_characters_max
    )


async def _draft(connection: Connection, call: CallSpec) -> SectionContent:
    stored = await articles.load_sections(connection, _article_id(call), call.slot.revision)
    return SectionContent.model_validate(stored[_section(call)])


def _article_id(call: CallSpec) -> UUID:
    if call.slot.article_id is None:
        raise InvalidModelOutputError(f"slot {call.slot.name} names no article")
    return call.slot.article_id


def _section(call: CallSpec) -> int:
    if call.slot.section is None:
        raise InvalidModelOutputError(f"slot {call.slot.name} names no section")
    return call.slot.section


class ArticleActivities:
    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn(name="plan_articles")
    async def plan_articles(self, claim: ClaimRef) -> ArticlesPlan:
        """The next wave within bound and cap. What the cap can't cover is not begun, and says what it would cost."""
        async with self._database.transaction(claim.organization_id) as connection:
            await _check(connection, claim)
            case = await load_case(connection, claim.workflow_id)
            rows = await articles.load_articles(connection, claim.workflow_id)
            if not rows:
                await self._create(connection, case, claim)
                rows = await articles.load_articles(connection, claim.workflow_id)
            unfinished = [row for row in rows if row.state in ("PLANNED", "WRITING")]
            wave = await self._affordable(connection, case, unfinished)
            for row in wave:
                await articles.set_article_state(connection, row.article_id, "WRITING")
            return ArticlesPlan(to_write=tuple(_task(row) for row in wave), total=len(rows))

    async def _create(self, connection: Connection, case: Case, claim: ClaimRef) -> None:
        valid = [row for row in await clusters.load_clusters(connection, claim.workflow_id) if row.is_valid]
        planned = article.plan_articles(
            claim.workflow_id,
            [
                PlannedCluster(
                    cluster_id=row.cluster_id, hub=row.hub, spokes=tuple(spoke["text"] for spoke in row.spokes)
                )
                for row in valid
            ],
            articles_max=case.brief.articles.max,
        )
        slugs = assembly.planned_slugs(planned)
        for plan in planned:
            await articles.insert_article(
                connection,
                claim.workflow,
                NewArticle(
                    article_id=plan.article_id,
                    cluster_id=plan.cluster_id,
                    position=plan.position,
                    keyword=plan.keyword,
                    role=plan.role,
                    slug=slugs[plan.article_id],
                ),
            )

    async def _affordable(
        self, connection: Connection, case: Case, unfinished: Sequence[ArticleRow]
    ) -> list[ArticleRow]:
        wave = list(unfinished[: case.settings.article.parallel_max])
        if not wave:
            return []
        prices_of_routes = await _prices(connection, case)
        if prices_of_routes is None:
            return wave  # a model without a price is refused at authorization, with its name
        each = article.estimated_hold(case.settings.article, prices_of_routes, sections=article.SECTIONS_MAX)
        left = case.record.cap_usd - case.record.spent_usd - case.record.held_usd
        affordable = int(left // each) if left > 0 else 0
        if affordable == 0:
            for row in unfinished:
                message = (
                    f"not begun: an article may hold up to {_shown(each)} while it is written, and "
                    f"{_shown(max(left, each * 0))} of the cap of ${format_usd(case.record.cap_usd)} is left; "
                    "raise the cap and retry"
                )
                reason = Reason(code=CAP_REACHED, message=message, subject=row.keyword)
                await articles.set_article_state(connection, row.article_id, "NOT_BEGUN", [reason])
        return wave[:affordable]

    @activity.defn(name="load_article")
    async def load_article(self, ref: ArticleRef) -> ArticleParts:
        async with self._database.transaction(ref.claim.organization_id) as connection:
            row = await articles.load_article(connection, ref.article_id)
            if row is None:
                raise InvalidModelOutputError(f"article {ref.article_id} does not exist")
            outline = await _outline_of(connection, ref.article_id, ref.revision)
            stored = await articles.load_sections(connection, ref.article_id, ref.revision)
            total = None if outline is None else len(outline.sections)
            missing = tuple(number for number in range(1, (total or 0) + 1) if number not in stored)
            return ArticleParts(keyword=row.keyword, position=row.position, sections=total, missing=missing)

    @activity.defn(name="judge_outline")
    async def judge_outline(self, request: JudgeOutline) -> Judged:
        """Facts: {"sections": n} of the accepted outline."""
        claim = request.claim
        async with self._database.transaction(claim.organization_id) as connection:
            await _check(connection, claim)
            case = await load_case(connection, claim.workflow_id)
            sources = await load_sources(connection, case, request.article_id)
            body = await answer_of(connection, claim, request.attempt_id)
            end = article.judge_outline(
                body, sources.plan, sources.passages, brief=case.brief, repairs_left=request.repairs_left
            )
            match end:
                case Completed(output=outline):
                    await articles.store_outline(
                        connection, claim, request.article_id, request.revision, outline.model_dump(mode="json")
                    )
                    return Judged(kind=JudgedKind.ACCEPTED, facts={"sections": len(outline.sections)})
                case Blocked() | AskAgain():
                    return await _refuse(connection, claim, request.attempt_id, end)

    @activity.defn(name="judge_sections")
    async def judge_sections(self, request: JudgeSections) -> list[Judged]:
        """One judgement per answer, in order; accepted sections are stored under the claim."""
        claim = request.claim
        async with self._database.transaction(claim.organization_id) as connection:
            await _check(connection, claim)
            case = await load_case(connection, claim.workflow_id)
            sources = await load_sources(connection, case, request.article_id)
            outline = await _required_outline(connection, request.article_id, request.revision)
            return [
                await self._judge_section(connection, case, request, sources, outline, answer)
                for answer in request.answers
            ]

    async def _judge_section(
        self,
        connection: Connection,
        case: Case,
        request: JudgeSections,
        sources: ArticleSources,
        outline: Outline,
        answer: SectionAnswer,
    ) -> Judged:
        body = await answer_of(connection, request.claim, answer.attempt_id)
        passages = section_passages(case, sources, outline, answer.section)
        end = article.judge_section(
            body,
            answer.section,
            passages,
            case.brief,
            repairs_left=answer.repairs_left,
            plan=sources.plan,
            cited=sources.cited,
        )
        match end:
            case Completed(output=content):
                await articles.store_section(
                    connection,
                    request.claim,
                    article_id=request.article_id,
                    revision=request.revision,
                    section=answer.section,
                    attempt_id=answer.attempt_id,
                    content=content.model_dump(mode="json"),
                )
                return Judged(kind=JudgedKind.ACCEPTED)
            case Blocked() | AskAgain():
                return await _refuse(connection, request.claim, answer.attempt_id, end)

    @activity.defn(name="assemble_article")
    async def assemble_article(self, request: AssembleArticle) -> Assembled:
        """Assembly and gates by code. The row's lock makes siblings see each other, whoever comes first."""
        claim = request.claim
        async with self._database.transaction(claim.organization_id) as connection:
            await _check(connection, claim)
            case = await load_case(connection, claim.workflow_id)
            sources = await load_sources(connection, case, request.article_id)
            document, verdict = await self._document(connection, case, request, sources)
            repairs = quality.repairable_sections(verdict)
            if verdict.level is Level.BLOCK and repairs and request.may_repair:
                return Assembled(
                    state="WRITING", repairs={section: tuple(problems) for section, problems in repairs.items()}
                )
            await articles.store_document(
                connection,
                request.article_id,
                request.revision,
                document=document.model_dump(mode="json"),
                content_hash=assembly.content_hash(document),
                quality=verdict.model_dump(mode="json"),
            )
            if verdict.level is Level.BLOCK:
                return await _fail(connection, request, verdict.reasons)
            await articles.accept_revision(
                connection, request.article_id, request.revision, title=document.title, reasons=verdict.reasons
            )
            return Assembled(state="PASSED")

    async def _document(
        self, connection: Connection, case: Case, request: AssembleArticle, sources: ArticleSources
    ) -> tuple[Document, Verdict]:
        rows = await articles.load_articles(connection, case.workflow_id)
        outline = await _required_outline(connection, request.article_id, request.revision)
        stored = await articles.load_sections(connection, request.article_id, request.revision)
        document = assembly.assemble(
            case.brief,
            sources.plan,
            outline,
            [SectionContent.model_validate(stored[number]) for number in sorted(stored)],
            sources.pool,
            _siblings(rows, request.article_id),
            existing_slugs=[row.slug for row in rows if row.slug and row.article_id != request.article_id],
            page_titles={
                **await cited_pages.load_cited_titles(connection, request.article_id),
                **await pages.load_page_titles(connection, case.workflow_id),
            },
        )
        verdict = quality.check(
            document,
            brief=case.brief,
            plan=sources.plan,
            terms=sources.terms,
            passages=sources.pool,
            sibling_documents=await _sibling_documents(connection, rows, request.article_id),
            settings=case.settings.article,
        )
        return document, verdict

    @activity.defn(name="fail_article")
    async def fail_article(self, request: FailArticle) -> Assembled:
        claim = request.claim
        async with self._database.transaction(claim.organization_id) as connection:
            await _check(connection, claim)
            return await _fail(connection, request, request.reasons)

    @activity.defn(name="complete_articles")
    async def complete_articles(self, claim: ClaimRef) -> Judged:
        """The step's own activity: ARTICLE_COMPLETED, or ARTICLE_FAILED with what is left to do."""
        async with self._database.transaction(claim.organization_id) as connection:
            case = await load_case(connection, claim.workflow_id)
            rows = await articles.load_articles(connection, claim.workflow_id)
            audit = await transitions.list_transitions(connection, claim.workflow_id)
            accept_partial = bool(audit) and audit[-1].reason == ACCEPT_PARTIAL
            verdict = judge_articles(rows, articles_min=case.brief.articles.min, accept_partial=accept_partial)
            verdict = with_overrides(verdict, await clusters.load_clusters(connection, claim.workflow_id))
            output = {"articles": [_summary(row) for row in rows]}
            if verdict.level is Level.BLOCK:
                blocked = Blocked(verdict=verdict, output=output)
                await block_with(connection, claim, blocked)
                return await judged(connection, claim, JudgedKind.BLOCKED)
            await complete_step(connection, claim, output, verdict)
            return await judged(connection, claim, JudgedKind.ACCEPTED)


def judge_articles(rows: Sequence[ArticleRow], *, articles_min: int, accept_partial: bool) -> Verdict:
    """Pass when all passed; warn when gates refused some and enough passed; block otherwise or when some can resume.
    Without a single article there is nothing to pass."""
    if not rows:
        return verdict_of([_nothing_planned()], {"articles_min": articles_min})
    passed = [row for row in rows if row.accepted_revision is not None]
    failed = [row for row in rows if row.accepted_revision is None]
    resumable = [row for row in failed if is_resumable(row)]
    enough = len(passed) >= (1 if accept_partial else articles_min)
    if not failed:
        return verdict_of([], {"articles_min": articles_min})
    level = Level.WARN if enough and (accept_partial or not resumable) else Level.BLOCK
    counted = f"{len(passed)} of {len(rows)} articles passed"
    reasons = [Reason(code="articles_missing", message=counted, level=level)]
    for row in failed:
        first = row.reasons[0] if row.reasons else Reason(code="interrupted", message="not finished")
        reasons.append(
            Reason(code=first.code, message=f"{row.keyword}: {first.message}", subject=row.keyword, level=level)
        )
    if level is Level.BLOCK and resumable:
        reasons = [*reasons[1:], reasons[0]]
    return Verdict(level=level, reasons=tuple(reasons), values={"articles_min": articles_min})


def _nothing_planned() -> Reason:
    message = (
        "no article is planned: see `show ID clusters`; where a cluster is valid, retry plans its articles, and where "
        "none is, `override ID CLUSTER --reason …` lets one go on"
    )
    return Reason(code=NOTHING_PLANNED, message=message, level=Level.BLOCK)


def with_overrides(verdict: Verdict, rows: Sequence[ClusterRow]) -> Verdict:
    """The verdict with a word on every cluster that goes on because a person said so."""
    said = [
        reason.model_copy(update={"message": f'"{row.hub}" was {reason.message}'})
        for row in rows
        for reason in row.reasons
        if row.is_valid and reason.code == OVERRIDDEN
    ]
    if not said:
        return verdict
    level = Level.WARN if verdict.level is Level.PASS else verdict.level
    return verdict.model_copy(update={"level": level, "reasons": (*verdict.reasons, *said)})


def is_resumable(row: ArticleRow) -> bool:
    """A retry can finish it: interrupted, out of money or out of luck with the provider, not refused by the gates."""
    return row.state != "FAILED" or any(reason.code in RESUMABLE_CODES for reason in row.reasons)


def _shown(amount: Decimal) -> str:
    """For people: to the next hundredth of a cent."""
    return f"${format_usd(amount.quantize(HUNDREDTH_OF_A_CENT, rounding=ROUND_CEILING))}"


def _task(row: ArticleRow) -> ArticleTask:
    return ArticleTask(article_id=row.article_id, revision=row.revision, position=row.position, keyword=row.keyword)


def _summary(row: ArticleRow) -> dict[str, str | None]:
    return {"article_id": str(row.article_id), "keyword": row.keyword, "state": row.state, "title": row.title}


async def _check(connection: Connection, claim: ClaimRef) -> None:
    await transitions.check_claim(connection, claim.workflow_id, claim.organization_id, claim.step, claim.claim)


async def _refuse(connection: Connection, claim: ClaimRef, attempt_id: UUID, end: Blocked | AskAgain) -> Judged:
    if isinstance(end, AskAgain):
        await reject(connection, claim, attempt_id, end.message)
        return Judged(kind=JudgedKind.ASK_AGAIN, message=end.message)
    message = failure_of(end.verdict).message
    await reject(connection, claim, attempt_id, message)
    return Judged(kind=JudgedKind.BLOCKED, message=message)


async def _fail(connection: Connection, ref: ArticleRef, reasons: Sequence[Reason]) -> Assembled:
    """An article that has an accepted revision keeps it: what was asked anew did not pass, and says why."""
    row = await articles.load_article(connection, ref.article_id)
    state = "PASSED" if row is not None and row.accepted_revision is not None else "FAILED"
    await articles.set_article_state(connection, ref.article_id, state, reasons)
    return Assembled(state=state)


async def _prices(connection: Connection, case: Case) -> Mapping[str, ModelPrice] | None:
    """By model name; None when a first choice has no price."""
    settings = case.settings.article
    found: dict[str, ModelPrice] = {}
    for model in {settings.outline_route.models[0], settings.section_route.models[0]}:
        price = await prices.price_of(connection, model)
        if price is None:
            return None
        found[model] = price
    return found


def _siblings(rows: Sequence[ArticleRow], article_id: UUID) -> list[LinkTarget]:
    return [
        LinkTarget(article_id=row.article_id, keyword=row.keyword, title=row.title or "", slug=row.slug or "")
        for row in rows
        if row.article_id != article_id and row.state not in ("FAILED", "NOT_BEGUN")
    ]


async def _sibling_documents(connection: Connection, rows: Sequence[ArticleRow], article_id: UUID) -> list[Document]:
    documents = []
    for row in rows:
        if row.article_id == article_id or row.accepted_revision is None:
            continue
        stored = await articles.load_revision(connection, row.article_id, row.accepted_revision)
        if stored is not None and stored.document is not None:
            documents.append(Document.model_validate(stored.document))
    return documents
