"""Keyword data in the competitor step: what to ask a provider, what its answers are worth, one list of it all.

A provider adds to what was crawled and never takes from it: what it does not answer is noted, and the step goes on.
"""

from collections.abc import Sequence
from uuid import UUID

from temporalio import activity

from activities.case import Case, load_case
from activities.competitor import load_icp
from activities.judging import answer_of, reject
from activities.spend import PreparedRequest
from db import keywords, pages, transitions
from db.pool import Connection, Database
from domain import keyword_data
from domain.competitor import SeedKeyword, with_review
from domain.errors import BadInputError, InvalidModelOutputError
from domain.identifiers import bare_domain
from domain.keyword_data import FoundKeywords, KeywordEndpoint, Market, ProviderSource, Trouble, read_reply
from domain.money import Frozen
from domain.progress import CallKind, CallSpec, ClaimRef, Judged, JudgedKind, Slot
from domain.seed_merging import lacking_difficulty, merge_keywords
from domain.settings import KeywordDataSettings
from domain.spend import ProviderRequest
from domain.states import Step
from domain.verdict import Level, Reason

OF_ALL = "seed_keywords"  # the subject of a call about the whole list


class KeywordDataPlan(Frozen):
    """The calls to make, each by its slot; ``note`` says why there are none where that is so."""

    slots: tuple[Slot, ...] = ()
    note: Reason | None = None


class KeywordAnswer(Frozen):
    slot: Slot
    attempt_id: UUID


class JudgeKeywordData(Frozen):
    claim: ClaimRef
    answers: tuple[KeywordAnswer, ...]
    repairs_left: int = 0


class MergeKeywordData(Frozen):
    """Every accepted answer of the claim so far, and what failed."""

    claim: ClaimRef
    answers: tuple[KeywordAnswer, ...]
    notes: tuple[Reason, ...] = ()


class MergedKeywords(Frozen):
    """``slots`` are the calls that follow from the merged list."""

    keywords: int
    slots: tuple[Slot, ...] = ()


async def build_keyword_data_request(connection: Connection, case: Case, call: CallSpec) -> PreparedRequest:
    request = await _request(connection, case, call.slot)
    return PreparedRequest(request=request, slot_hash=keyword_data.request_slot_hash(call.slot.name, request))


async def _request(connection: Connection, case: Case, slot: Slot) -> ProviderRequest:
    settings, market = case.settings.competitor.keyword_data, _market(case)
    subject, endpoint = slot.subject or "", KeywordEndpoint(slot.part or "")
    match endpoint:
        case KeywordEndpoint.KEYWORDS_FOR_SITE:
            return keyword_data.site_request(subject, market, settings.rows_per_site_max)
        case KeywordEndpoint.RELATED_KEYWORDS | KeywordEndpoint.KEYWORD_SUGGESTIONS:
            return keyword_data.phrase_request(endpoint, subject, market, settings.rows_per_phrase_max)
        case KeywordEndpoint.BULK_KEYWORD_DIFFICULTY:
            seeds = await _seeds(connection, case.claim_of(Step.COMPETITOR))
            return keyword_data.difficulty_request(lacking_difficulty(seeds), market)


def _market(case: Case) -> Market:
    return keyword_data.market_of(case.brief.country, case.brief.locale)


async def _seeds(connection: Connection, claim: ClaimRef, *, as_crawled: bool = False) -> tuple[SeedKeyword, ...]:
    load = keywords.load_crawled_candidates if as_crawled else keywords.load_candidates
    stored = await load(connection, claim)
    if stored is None:
        raise InvalidModelOutputError(f"no keywords were extracted under claim {claim.claim}; retry the step")
    return tuple(SeedKeyword.model_validate(candidate) for candidate in stored)


def _slot(subject: str, endpoint: KeywordEndpoint) -> Slot:
    return Slot(kind=CallKind.KEYWORD_DATA, subject=subject, part=endpoint)


def _source(slot: Slot) -> ProviderSource:
    endpoint = KeywordEndpoint(slot.part or "")
    is_site = endpoint is KeywordEndpoint.KEYWORDS_FOR_SITE
    return ProviderSource(endpoint=endpoint, asked=slot.subject or "", domain=slot.subject or "" if is_site else "")


class KeywordDataActivities:
    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn(name="plan_keyword_data")
    async def plan_keyword_data(self, claim: ClaimRef) -> KeywordDataPlan:
        """Which sites and phrases to ask about; nothing for a market without figures."""
        async with self._database.transaction(claim.organization_id) as connection:
            case = await load_case(connection, claim.workflow_id)
            settings = case.settings.competitor.keyword_data
            try:
                _market(case)
            except BadInputError as error:
                return KeywordDataPlan(note=_note("KEYWORD_DATA_NO_MARKET", str(error)))
            reads = await pages.load_competitor_reads(connection, claim)
            domains = [bare_domain(read.site) for read in reads][: settings.sites_max]
            seeds = await _seeds(connection, claim, as_crawled=True)
            return KeywordDataPlan(slots=tuple(_planned(settings, domains, [seed.text for seed in seeds])))

    @activity.defn(name="judge_keyword_data")
    async def judge_keyword_data(self, request: JudgeKeywordData) -> list[Judged]:
        """An answer that tells of trouble was paid for and is never handed out again; a passing trouble is asked about
        again. Facts: {"attempt_id"} of an accepted one."""
        claim = request.claim
        async with self._database.transaction(claim.organization_id) as connection:
            return [await self._judge(connection, request, answer) for answer in request.answers]

    async def _judge(self, connection: Connection, request: JudgeKeywordData, answer: KeywordAnswer) -> Judged:
        body = await answer_of(connection, request.claim, answer.attempt_id)
        try:
            keyword_data.read_keywords(body)
        except BadInputError as error:
            await reject(connection, request.claim, answer.attempt_id, str(error))
            may_ask = _is_passing(body) and request.repairs_left > 0
            return Judged(kind=JudgedKind.ASK_AGAIN if may_ask else JudgedKind.BLOCKED, message=str(error))
        return Judged(kind=JudgedKind.ACCEPTED, facts={"attempt_id": str(answer.attempt_id)})

    @activity.defn(name="merge_keyword_data")
    async def merge_keyword_data(self, request: MergeKeywordData) -> MergedKeywords:
        """Crawled keyphrases and all answers as one list, stored with the notes; made anew each time it is asked for,
        so asking twice changes nothing."""
        claim = request.claim
        async with self._database.transaction(claim.organization_id) as connection:
            await transitions.check_claim(connection, claim.workflow_id, claim.organization_id, claim.step, claim.claim)
            case = await load_case(connection, claim.workflow_id)
            merged = await self._merged(connection, case, claim, request.answers)
            plain = [keyword.model_dump(mode="json") for keyword in merged]
            notes = [note.model_dump(mode="json") for note in request.notes]
            await keywords.store_merged_candidates(connection, claim, plain, notes)
        return MergedKeywords(keywords=len(merged), slots=_following(case.settings.competitor.keyword_data, merged))

    async def _merged(
        self, connection: Connection, case: Case, claim: ClaimRef, answers: Sequence[KeywordAnswer]
    ) -> tuple[SeedKeyword, ...]:
        found = [await _found(connection, claim, answer) for answer in answers]
        is_difficulty = KeywordEndpoint.BULK_KEYWORD_DIFFICULTY
        reads = await pages.load_competitor_reads(connection, claim)
        merged = merge_keywords(
            await _seeds(connection, claim, as_crawled=True),
            [one for one in found if one.source.endpoint is not is_difficulty],
            [one for one in found if one.source.endpoint is is_difficulty],
            case.brief,
            await load_icp(connection, case.workflow_id),
            [read.site for read in reads],
            case.settings.competitor.keyword_data,
        )
        # What reviewers spoke against comes back by no other door.
        rejections = await keywords.load_rejections(connection, case.workflow_id)
        whole = case.settings.competitor.model_copy(update={"keywords_max": len(merged)})
        return with_review(merged, rejections, whole)


async def _found(connection: Connection, claim: ClaimRef, answer: KeywordAnswer) -> FoundKeywords:
    body = await answer_of(connection, claim, answer.attempt_id)
    return FoundKeywords(source=_source(answer.slot), keywords=keyword_data.read_keywords(body))


def _planned(settings: KeywordDataSettings, domains: Sequence[str], texts: Sequence[str]) -> list[Slot]:
    endpoints = _endpoints(settings)
    slots = []
    if KeywordEndpoint.KEYWORDS_FOR_SITE in endpoints:
        slots += [_slot(domain, KeywordEndpoint.KEYWORDS_FOR_SITE) for domain in dict.fromkeys(domains)]
    phrases = keyword_data.chosen_phrases(texts, settings.phrases_max)
    for endpoint in (KeywordEndpoint.KEYWORD_SUGGESTIONS, KeywordEndpoint.RELATED_KEYWORDS):
        if endpoint in endpoints:
            slots += [_slot(phrase, endpoint) for phrase in phrases]
    return slots


def _following(settings: KeywordDataSettings, merged: Sequence[SeedKeyword]) -> tuple[Slot, ...]:
    endpoint = KeywordEndpoint.BULK_KEYWORD_DIFFICULTY
    if endpoint not in _endpoints(settings) or not lacking_difficulty(merged):
        return ()
    return (_slot(OF_ALL, endpoint),)


def _endpoints(settings: KeywordDataSettings) -> frozenset[KeywordEndpoint]:
    return frozenset(map(KeywordEndpoint, settings.endpoints))


def _is_passing(body: str) -> bool:
    reply = read_reply(body)
    return reply is None or reply.trouble in (Trouble.UNAVAILABLE, Trouble.RATE_LIMITED)


def _note(code: str, message: str, subject: str | None = None) -> Reason:
    return Reason(code=code, message=message, subject=subject, level=Level.WARN)
