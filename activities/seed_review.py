"""Step 3: a person decides which keywords go on. Selection, decision and transition are one transaction."""

import itertools
from collections.abc import Sequence

from temporalio import activity

from activities.case import load_case, progress_of
from activities.state import run_id
from db import keywords, transitions
from db.keywords import DecidedKeyword, KeywordRow
from db.pool import Connection, Database
from db.transitions import Advance
from domain.decisions import ReviewSeeds
from domain.identifiers import decision_transition_id
from domain.keyphrases import intent_of
from domain.money import Frozen
from domain.progress import Progress, WorkflowRef
from domain.seed_review import ReviewedKeyword, SeedDecisionKind, apply_decision, check_round
from domain.settings import SeedReviewSettings
from domain.states import State


class ApplySeedReview(Frozen):
    ref: WorkflowRef
    decision: ReviewSeeds


class SeedReviewActivities:
    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn(name="apply_seed_review")
    async def apply_seed_review(self, request: ApplySeedReview) -> Progress:
        """Approved: SEED_REVIEW_COMPLETED. Rejected with feedback: COMPETITOR_PENDING, and the step runs again."""
        ref, review = request.ref, request.decision
        async with self._database.transaction(ref.organization_id) as connection:
            case = await load_case(connection, ref.workflow_id)
            advanced = await transitions.advance(connection, _transition(ref, review))
            if not advanced.replayed:
                await _decide(connection, ref, review, case.settings.seed_review)
            return await progress_of(connection, await load_case(connection, ref.workflow_id))


async def _decide(connection: Connection, ref: WorkflowRef, review: ReviewSeeds, settings: SeedReviewSettings) -> None:
    """Only what stands in the list now is decided about: it is the list that was shown, for the version is the same."""
    if review.seeds.kind is SeedDecisionKind.REJECT:
        check_round(len(await keywords.load_rejections(connection, ref.workflow_id)), settings)
    shown = await keywords.load_keywords(connection, ref.workflow_id)
    reviewed = apply_decision([keyword.text for keyword in shown], review.seeds, settings)
    lines = _lines(shown, reviewed)
    for line, keyword in zip(lines, reviewed, strict=True):
        if keyword.added:
            await keywords.add_keyword(
                connection,
                ref,
                keyword.text,
                position=line.position,
                intent=intent_of(keyword.text),
                added_by=review.actor,
            )
    await keywords.store_review(connection, ref, review, lines)


def _lines(shown: Sequence[KeywordRow], reviewed: Sequence[ReviewedKeyword]) -> list[DecidedKeyword]:
    known = {keyword.text: keyword for keyword in shown}
    after = itertools.count(max((keyword.position for keyword in shown), default=0) + 1)
    return [
        DecidedKeyword(
            position=next(after) if one.added else known[one.text].position,
            text=one.text,
            decision=one.decision,
            is_own=one.added or known[one.text].added_by is not None,
            note=one.note,
        )
        for one in reviewed
    ]


def _transition(ref: WorkflowRef, review: ReviewSeeds) -> Advance:
    rejected = review.seeds.kind is SeedDecisionKind.REJECT
    return Advance(
        workflow_id=ref.workflow_id,
        organization_id=ref.organization_id,
        expected_state=State.SEED_REVIEW_PENDING,
        expected_version=review.expected_version,
        next_state=State.COMPETITOR_PENDING if rejected else State.SEED_REVIEW_COMPLETED,
        transition_id=decision_transition_id(ref.workflow_id, str(review.decision_id)),
        actor=review.actor,
        reason=review.seeds.feedback if rejected else review.seeds.kind,
        run_id=run_id(),
    )
