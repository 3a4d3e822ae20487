"""PublicationChangeWorkflow: takes back, or puts out again, what a workflow that has ended published.

One run at a time per workflow: its id is the intent run's with a suffix, so that two wishes follow each other. A run
that dies half way is carried on by the next worker; the same wish again finds nothing to do.
"""

import asyncio

from temporalio import workflow
from temporalio.exceptions import ActivityError

from workflows.failures import all_of, is_cancelled
from workflows.policies import in_database, on_the_web

with workflow.unsafe.imports_passed_through():
    from activities.publication_changes import ChangeArticle, PublicationChangeActivities, PublicationWishActivities
    from activities.publish import PublishActivities
    from domain.money import Frozen
    from domain.publication_changes import ChangedArticle, PublicationChange
    from domain.settings import ActivityTimeouts

WORKFLOW_NAME = "PublicationChangeWorkflow"
PARALLEL_MAX = 4


class ChangeInput(Frozen):
    """``queue`` is the workflows' task queue."""

    change: PublicationChange
    queue: str
    timeouts: ActivityTimeouts = ActivityTimeouts()


def publication_change_id(temporal_workflow_id: str) -> str:
    return f"{temporal_workflow_id}/publications"


@workflow.defn(name=WORKFLOW_NAME)
class PublicationChangeWorkflow:
    @workflow.run
    async def run(self, start: ChangeInput) -> list[ChangedArticle]:
        change, timeouts = start.change, start.timeouts
        summary = f"{change.kind}, by {change.actor}"
        todo = await in_database(PublicationWishActivities.begin_publication_change, change, timeouts, summary)
        bound = asyncio.Semaphore(PARALLEL_MAX)

        async def one(number: int) -> None:
            async with bound:
                request = ChangeArticle(change=change, article_id=todo[number])
                method = PublicationChangeActivities.change_publication
                what = f"{change.kind} article {number + 1} of {len(todo)}"
                await on_the_web(method, request, timeouts, what, queue=start.queue)

        failed: ActivityError | None = None
        try:
            await all_of(one(number) for number in range(len(todo)))
        except ActivityError as error:
            if is_cancelled():
                raise
            failed = error  # what did change shows in the links and the index all the same
        what = "links, index, sitemap, manifest"
        await on_the_web(PublishActivities.finish_publications, change.ref, timeouts, what, queue=start.queue)
        if failed is not None:
            raise failed
        return await in_database(PublicationWishActivities.changed_articles, change, timeouts, "how they stand")
