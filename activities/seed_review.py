"""Step 3: a person decides which keywords go on. Selection, decision and transition are one transaction."""

from temporalio import activity

from activities.case import load_case, progress_of
from activities.state import run_id
from db import keywords, transitions
from db.keywords import KeywordRow
from db.pool import Connection, Database
from db.transitions import Advance
from domain.decisions import ReviewSeeds
from domain.identifiers import decision_transition_id
from domain.keyphrases import intent_of
from domain.money import Frozen
from domain.progress import Progress, WorkflowRef
from domain.seed_review import ReviewedKeyword, SeedDecisionKind, apply_decision
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
            if not advanced.replayed and review.seeds.kind is not SeedDecisionKind.REJECT:
                shown = await keywords.load_keywords(connection, ref.workflow_id)
                reviewed = apply_decision([keyword.text for keyword in shown], review.seeds, case.settings.seed_review)
                await _store(connection, ref, shown, reviewed, review.actor)
            return await progress_of(connection, await load_case(connection, ref.workflow_id))


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


async def _store(
    connection: Connection,
    ref: WorkflowRef,
    shown: list[KeywordRow],
    reviewed: tuple[ReviewedKeyword, ...],
    actor: str,
) -> None:
    position = max((keyword.position for keyword in shown), default=0)
    for keyword in reviewed:
        if keyword.added:
            position += 1
            await keywords.add_keyword(
                connection, ref, keyword.text, position=position, intent=intent_of(keyword.text), added_by=actor
            )
        else:
            await keywords.decide_keyword(connection, ref, keyword.text, decision=keyword.decision, decided_by=actor)
