"""Meanings of keywords from a paid model: calls like any other paid ones, whose failing fails the step."""

from collections.abc import Sequence

from temporalio import workflow

from workflows.failures import StepFailedError, stop_if_cancelled
from workflows.paid_calls import Answered, CallContext, ask_all
from workflows.policies import in_database

with workflow.unsafe.imports_passed_through():
    from activities.embeddings import EmbeddingsAnswer, JudgeEmbeddings, PaidEmbeddingActivities
    from domain.language import Route
    from domain.progress import Judged


async def buy_embeddings(context: CallContext) -> None:
    """Every approved keyword has its vector afterwards, or StepFailedError says why not: the verdict is never given by
    another method than the workflow was started with."""
    timeouts = context.settings.timeouts

    async def judge(answers: Sequence[Answered]) -> Sequence[Judged]:
        told = tuple(EmbeddingsAnswer(attempt_id=one.attempt_id, repairs_left=one.repairs_left) for one in answers)
        request = JudgeEmbeddings(claim=context.claim, answers=told)
        return await in_database(
            PaidEmbeddingActivities.judge_embeddings, request, timeouts, "embeddings: store the vectors"
        )

    plan = await in_database(
        PaidEmbeddingActivities.plan_embeddings, context.claim, timeouts, "embeddings: what is missing"
    )
    stop_if_cancelled()
    if plan.slots:
        ends = await ask_all(context, plan.slots, Route(models=(plan.model,)), judge)
        for end in ends.values():
            if end.failure is not None:
                raise StepFailedError(end.failure)
