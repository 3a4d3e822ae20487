"""What the cap did not cover of a workflow's articles, by the prices in force."""

from typing import TYPE_CHECKING

from db import articles, prices
from db.pool import Connection
from domain.article import SECTIONS_MAX, estimated_hold
from domain.budget import BudgetSlice, Unfinished, budget_slice
from domain.errors import BadInputError
from domain.forecast import forecast, models_of

if TYPE_CHECKING:
    from activities.case import Case


async def load_budget(connection: Connection, case: "Case") -> BudgetSlice | None:
    """None where nothing waits for money, or where a price is missing, so that nobody can tell what it would cost."""
    unfinished = await articles.unpaid_articles(connection, case.workflow_id)
    if not unfinished:
        return None
    known = await prices.prices_of(connection, models_of(case.settings))
    try:
        expected = forecast(case.brief, case.settings, known)
    except BadInputError:
        return None
    return budget_slice(
        [Unfinished(paid_usd=paid) for paid in unfinished],
        expected_usd=expected.article_expected_usd,
        hold_usd=max(expected.article_worst_usd, estimated_hold(case.settings.article, known, sections=SECTIONS_MAX)),
        taken_usd=case.record.spent_usd + case.record.held_usd,
        cap_usd=case.record.cap_usd,
    )
