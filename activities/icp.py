"""Step 1: who buys. Reads the organization's own site, asks the model, judges the answer."""

from uuid import UUID

from temporalio import activity

from activities.case import Case, load_case
from activities.judging import answer_of, block_with, judged, reject
from activities.spend import PreparedRequest
from activities.state import complete_step
from db import pages
from db.pool import Connection, Database
from domain import icp
from domain.money import Frozen
from domain.pages import Passage, numbered_passages
from domain.progress import CallSpec, ClaimRef, Judged, JudgedKind
from domain.verdict import AskAgain, Blocked, Completed


class GenerateIcp(Frozen):
    claim: ClaimRef
    attempt_id: UUID
    repairs_left: int


async def own_passages(connection: Connection, case: Case) -> tuple[Passage, ...]:
    """Numbered passages of the own site; of the brief where the site gave none."""
    own_pages = await pages.load_pages(connection, case.workflow_id, is_own_site=True)
    passages = numbered_passages(own_pages, characters_max=case.settings.icp.passage_characters_max)
    return passages or icp.brief_passages(case.brief)


async def build_icp_request(connection: Connection, case: Case, call: CallSpec) -> PreparedRequest:
    passages = await own_passages(connection, case)
    return PreparedRequest(
        request=icp.build_request(
            case.brief, passages, route=case.settings.icp.route, model=call.model, feedback=call.feedback
        ),
        slot_hash=icp.slot_hash_of(case.brief, passages),
    )


class IcpActivities:
    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn(name="generate_icp")
    async def generate_icp(self, request: GenerateIcp) -> Judged:
        """Judges a stored answer: the profile and ICP_COMPLETED, ICP_FAILED, or a message to ask again with."""
        claim = request.claim
        async with self._database.transaction(claim.organization_id) as connection:
            case = await load_case(connection, claim.workflow_id)
            body = await answer_of(connection, claim, request.attempt_id)
            passages = await own_passages(connection, case)
            match icp.judge(body, passages, settings=case.settings.icp, repairs_left=request.repairs_left):
                case Completed(output=profile, verdict=verdict):
                    await complete_step(connection, claim, profile.model_dump(mode="json"), verdict)
                case Blocked() as blocked:
                    await block_with(connection, claim, blocked, request.attempt_id)
                    return await judged(connection, claim, JudgedKind.BLOCKED)
                case AskAgain(message=message):
                    await reject(connection, claim, request.attempt_id, message)
                    return Judged(kind=JudgedKind.ASK_AGAIN, message=message)
            return await judged(connection, claim, JudgedKind.ACCEPTED)
