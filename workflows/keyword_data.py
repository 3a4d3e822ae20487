"""The competitor step asks a keyword data provider, where there is an account: calls like any other paid ones, whose
failing costs the step nothing but what they would have added."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from uuid import UUID

from temporalio import workflow

from workflows.failures import all_of, stop_if_cancelled
from workflows.paid_calls import Answered, CallContext, SlotEnd, ask_all
from workflows.policies import in_database

with workflow.unsafe.imports_passed_through():
    from activities.keyword_data import (
        JudgeKeywordData,
        KeywordAnswer,
        KeywordDataActivities,
        MergedKeywords,
        MergeKeywordData,
    )
    from domain.errors import CapReachedError
    from domain.keyword_data import PROVIDER_NAME, KeywordEndpoint
    from domain.language import Route
    from domain.progress import Judged, Slot
    from domain.verdict import Level, Reason


async def add_keyword_data(context: CallContext) -> None:
    """Every site and phrase first, then what follows from the merged list; stored for whoever judges the step."""
    claim, timeouts = context.claim, context.settings.timeouts
    plan = await in_database(KeywordDataActivities.plan_keyword_data, claim, timeouts, "keyword data: what to ask")
    stop_if_cancelled()
    asking = _Asking(context, [plan.note] if plan.note else [])
    await asking.ask(plan.slots)
    merged = await asking.merge()
    if merged.slots and plan.note is None:
        await asking.ask(merged.slots)
        await asking.merge()


class _Asking:
    """The answers and the failures of one claim so far."""

    def __init__(self, context: CallContext, notes: Sequence[Reason]) -> None:
        settings = context.settings
        spend = settings.spend.model_copy(update={"asks_max": settings.competitor.keyword_data.asks_max})
        self._context = replace(context, settings=settings.model_copy(update={"spend": spend}))
        self._answers: list[KeywordAnswer] = []
        self._notes = list(notes)

    async def ask(self, slots: Sequence[Slot]) -> None:
        """All at once; each kind of endpoint is a route of its own."""
        kinds = list(dict.fromkeys(slot.part for slot in slots))
        rounds = [[slot for slot in slots if slot.part == kind] for kind in kinds]
        for ends in await all_of(self._ask_alike(one) for one in rounds):
            for end in ends.values():
                self._take(end)
        stop_if_cancelled()

    async def _ask_alike(self, slots: Sequence[Slot]) -> Mapping[str, SlotEnd]:
        route = Route(models=(KeywordEndpoint(slots[0].part or "").model,))
        return await ask_all(self._context, slots, route, self._judge)

    async def _judge(self, answers: Sequence[Answered]) -> Sequence[Judged]:
        request = JudgeKeywordData(
            claim=self._context.claim,
            answers=tuple(KeywordAnswer(slot=answer.slot, attempt_id=answer.attempt_id) for answer in answers),
            repairs_left=min(answer.repairs_left for answer in answers),
        )
        timeouts = self._context.settings.timeouts
        return await in_database(
            KeywordDataActivities.judge_keyword_data, request, timeouts, "keyword data: judge the answers"
        )

    def _take(self, end: SlotEnd) -> None:
        if end.judged is not None and end.is_accepted:
            attempt_id = UUID(end.judged.facts["attempt_id"])
            self._answers.append(KeywordAnswer(slot=end.slot, attempt_id=attempt_id))
        elif end.failure is not None:
            is_cap = end.failure.type == CapReachedError.__name__
            subject = f"{end.slot.part} of {end.slot.subject}"
            self._notes.append(
                Reason(
                    code="KEYWORD_DATA_CAP_REACHED" if is_cap else "KEYWORD_DATA_MISSING",
                    message=f"no keyword data from {PROVIDER_NAME} ({subject}): {end.failure.message}",
                    subject=end.slot.subject,
                    level=Level.WARN,
                )
            )

    async def merge(self) -> MergedKeywords:
        request = MergeKeywordData(claim=self._context.claim, answers=tuple(self._answers), notes=tuple(self._notes))
        timeouts = self._context.settings.timeouts
        summary = "keyword data: one list of it all"
        return await in_database(KeywordDataActivities.merge_keyword_data, request, timeouts, summary)
