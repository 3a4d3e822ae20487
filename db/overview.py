"""What people look at: finding a workflow by what they remember of it, costs by step, how far the articles are."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from db.errors import translated_errors
from db.pool import Connection
from domain.money import Frozen, Usd
from domain.states import State
from domain.verdict import Reason

FOUND_MAX = 6


class FoundWorkflow(Frozen):
    workflow_id: UUID
    organization_id: UUID
    name: str
    state: State


class StepCost(Frozen):
    """``downgraded_calls`` of the calls went to a cheaper model than the run asked for."""

    step: str
    calls: int
    cost_usd: Usd
    downgraded_calls: int = 0


class BookedAttempt(Frozen):
    """One attempt beside what the ledger booked for it, corrections included."""

    attempt_id: UUID
    state: str
    hold_usd: Usd
    booked_usd: Usd


class ArticleOverview(Frozen):
    """``sections_planned`` is None before the outline stands; ``content_hash`` is that of the accepted revision;
    ``cost_usd`` is what the ledger has booked for the article, all its revisions and corrections included."""

    article_id: UUID
    position: int
    keyword: str
    role: str
    state: str
    slug: str | None
    title: str | None
    revision: int
    accepted_revision: int | None
    reasons: tuple[Reason, ...]
    sections_planned: int | None
    sections_written: int
    content_hash: str | None
    quality: dict[str, Any] | None
    publication_state: str | None
    published_url: str | None
    publication_reason: str | None
    cost_usd: Usd = Decimal(0)


async def find_workflows(operator_connection: Connection, text: str) -> list[FoundWorkflow]:
    """Workflows whose name is ``text`` or whose id begins with it (hyphens or not), at most FOUND_MAX, youngest first.

    Only the operator's role sees all organizations.
    """
    with translated_errors():
        rows = await operator_connection.fetch(
            """
            SELECT id AS workflow_id, organization_id, name, state FROM intent_workflows
            WHERE name = $1 OR ($2 <> '' AND starts_with(replace(id::text, '-', ''), $2))
            ORDER BY created_at DESC LIMIT $3
            """,
            text,
            _id_prefix(text),
            FOUND_MAX,
        )
    return [FoundWorkflow.model_validate(dict(row)) for row in rows]


PREFIX_CHARACTERS_MIN = 4


def _id_prefix(text: str) -> str:
    """Empty when the text can't be the beginning of an id."""
    digits = text.replace("-", "").lower()
    is_hex = all(character in "0123456789abcdef" for character in digits)
    return digits if is_hex and len(digits) >= PREFIX_CHARACTERS_MIN else ""


async def step_costs(connection: Connection, workflow_id: UUID) -> dict[str, StepCost]:
    """What was booked per step of one workflow, and in how many calls."""
    with translated_errors():
        rows = await connection.fetch(
            """
            SELECT ledger.step, count(DISTINCT ledger.attempt_id) AS calls, sum(ledger.cost) AS cost_usd,
                count(DISTINCT ledger.attempt_id) FILTER (WHERE attempt.downgraded_from IS NOT NULL)
                    AS downgraded_calls
            FROM ai_usage_ledger AS ledger JOIN spend_attempts AS attempt USING (attempt_id, organization_id)
            WHERE ledger.workflow_id = $1 GROUP BY ledger.step
            """,
            workflow_id,
        )
    return {row["step"]: StepCost.model_validate(dict(row)) for row in rows}


async def booked_attempts(connection: Connection, workflow_id: UUID) -> list[BookedAttempt]:
    """Every attempt of a workflow that was ever authorized, in the order of authorization."""
    with translated_errors():
        rows = await connection.fetch(
            """
            SELECT attempt.attempt_id, attempt.state, attempt.hold_usd, coalesce(sum(ledger.cost), 0) AS booked_usd
            FROM spend_attempts AS attempt LEFT JOIN ai_usage_ledger AS ledger USING (attempt_id, organization_id)
            WHERE attempt.workflow_id = $1 AND attempt.state <> 'REFUSED'
            GROUP BY attempt.attempt_id, attempt.state, attempt.hold_usd, attempt.authorized_at
            ORDER BY attempt.authorized_at, attempt.attempt_id
            """,
            workflow_id,
        )
    return [BookedAttempt.model_validate(dict(row)) for row in rows]


async def article_overview(connection: Connection, workflow_id: UUID) -> list[ArticleOverview]:
    """The articles in the plan's order with how far each is and where it was published."""
    with translated_errors():
        rows = await connection.fetch(
            """
            SELECT article.article_id, article.position, article.keyword, article.role, article.state, article.slug,
                article.title, article.revision, article.accepted_revision, article.reasons,
                jsonb_array_length(present.outline -> 'sections') AS sections_planned,
                (SELECT count(*) FROM article_sections AS section
                 WHERE section.article_id = article.article_id AND section.revision = article.revision
                ) AS sections_written,
                accepted.content_hash, coalesce(accepted.quality, present.quality) AS quality,
                publication.state AS publication_state, publication.published_url,
                publication.reason AS publication_reason, coalesce(booked.cost_usd, 0) AS cost_usd
            FROM articles AS article
            LEFT JOIN (
                SELECT split_part(slot, ':', 2) AS article_id, sum(cost) AS cost_usd FROM ai_usage_ledger
                WHERE workflow_id = $1 AND step = 'article' GROUP BY split_part(slot, ':', 2)
            ) AS booked ON booked.article_id = article.article_id::text
            LEFT JOIN article_revisions AS present
                ON present.article_id = article.article_id AND present.revision = article.revision
            LEFT JOIN article_revisions AS accepted
                ON accepted.article_id = article.article_id AND accepted.revision = article.accepted_revision
            LEFT JOIN LATERAL (
                SELECT state, published_url, reason FROM publications
                WHERE publications.article_id = article.article_id ORDER BY updated_at DESC LIMIT 1
            ) AS publication ON true
            WHERE article.workflow_id = $1 ORDER BY article.position, article.keyword
            """,
            workflow_id,
        )
    return [ArticleOverview.model_validate(dict(row)) for row in rows]


async def database_time(connection: Connection) -> datetime:
    """The clock by which the audit was written."""
    with translated_errors():
        now: datetime = await connection.fetchval("SELECT clock_timestamp()")
    return now


async def connected_role(connection: Connection) -> tuple[str, bool]:
    """Name of the role that is connected, and whether it is mightier than row-level security."""
    with translated_errors():
        row = await connection.fetchrow(
            "SELECT rolname, rolsuper OR rolbypassrls AS is_mighty FROM pg_roles WHERE rolname = current_user"
        )
    return (row["rolname"], row["is_mighty"]) if row else ("", False)
