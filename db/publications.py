"""What was sent where: the intent first, then the effect; what was taken back, by whom and why."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from db.pool import Connection
from domain.money import Frozen
from domain.progress import ClaimRef, WorkflowRef


class PublicationRow(Frozen):
    """``confirmed_mode`` is how the page has stood at the target as it was meant to, None when it never did;
    ``change_id`` the last change of what stands that took it up."""

    publication_id: UUID
    article_id: UUID
    target: str
    mode: str
    slug: str
    content_hash: str
    state: str
    external_id: str | None = None
    published_url: str | None = None
    reason: str | None = None
    confirmed_mode: str | None = None
    change_id: UUID | None = None


class PublicationIntent(Frozen):
    publication_id: UUID
    article_id: UUID
    target: str
    mode: str
    slug: str
    content_hash: str


class PublicationEvent(Frozen):
    """A line of the history: somebody wanted a publication changed, or it was."""

    article_id: UUID
    event: str
    actor: str
    reason: str | None
    created_at: datetime


async def store_intent(connection: Connection, claim: ClaimRef, intent: PublicationIntent) -> None:
    """Before anything is sent. A publication that already stands is kept; a new content hash opens it again."""
    await connection.execute(
        """
        INSERT INTO publications (publication_id, article_id, workflow_id, organization_id, target, mode, slug,
                                  content_hash, state, claim)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'PENDING', $9)
        ON CONFLICT (article_id, organization_id, target) DO UPDATE
        SET mode = excluded.mode, content_hash = excluded.content_hash, claim = excluded.claim, updated_at = now(),
            state = CASE WHEN publications.content_hash = excluded.content_hash
                          AND publications.state IN ('PUBLISHED', 'UNCHANGED')
                         THEN publications.state ELSE 'PENDING' END
        """,
        intent.publication_id,
        intent.article_id,
        claim.workflow_id,
        claim.organization_id,
        intent.target,
        intent.mode,
        intent.slug,
        intent.content_hash,
        claim.claim,
    )


async def take_up(connection: Connection, publication_id: UUID, *, attempt_id: UUID) -> None:
    """The newest attempt is the only one that may have effects, and tell what came of them."""
    await connection.execute(
        "UPDATE publications SET attempt_id = $2 WHERE publication_id = $1", publication_id, attempt_id
    )


async def take_up_change(connection: Connection, publication_id: UUID, *, change_id: UUID, attempt_id: UUID) -> bool:
    """The same for a change of what stands; False when it does not have the publication to carry out any more."""
    taken = await connection.fetchval(
        """
        UPDATE publications SET attempt_id = $3
        WHERE publication_id = $1 AND change_id = $2 AND state IN ('UNPUBLISHING', 'PENDING') RETURNING true
        """,
        publication_id,
        change_id,
        attempt_id,
    )
    return taken is not None


async def take_up_all(connection: Connection, workflow_id: UUID, *, states: Collection[str], attempt_id: UUID) -> None:
    """The same for all of a workflow's publications in these states."""
    await connection.execute(
        "UPDATE publications SET attempt_id = $3 WHERE workflow_id = $1 AND state = ANY ($2)",
        workflow_id,
        list(states),
        attempt_id,
    )


async def is_newest_attempt(connection: Connection, publication_id: UUID, *, attempt_id: UUID) -> bool:
    found = await connection.fetchval(
        "SELECT true FROM publications WHERE publication_id = $1 AND attempt_id = $2", publication_id, attempt_id
    )
    return found is not None


async def keep_external_id(
    connection: Connection, publication_id: UUID, *, external_id: str, instead_of: str | None
) -> str | None:
    """Compare and set: of several publishers the first one's id is recorded. The id that is recorded then; None when
    there is no such publication."""
    recorded: str | None = await connection.fetchval(
        """
        UPDATE publications
        SET external_id = CASE WHEN external_id IS NOT DISTINCT FROM $3 THEN $2 ELSE external_id END,
            confirmed_mode = CASE WHEN external_id = $3 AND $3 <> $2 THEN NULL ELSE confirmed_mode END
        WHERE publication_id = $1 RETURNING external_id
        """,
        publication_id,
        external_id,
        instead_of,
    )
    return recorded


async def store_result(
    connection: Connection,
    publication_id: UUID,
    *,
    attempt_id: UUID,
    state: str,
    external_id: str | None,
    published_url: str | None,
    reason: str | None,
) -> bool:
    """What the target answered to the newest attempt. False, and nothing is written, when the answer came too late: a
    later attempt has begun, or somebody takes the publication back."""
    stored = await connection.fetchval(
        """
        UPDATE publications SET state = $2, external_id = coalesce(external_id, $3),
                                published_url = coalesce($4, published_url), reason = $5, updated_at = now(),
                                confirmed_mode = CASE WHEN $2 IN ('PUBLISHED', 'UNCHANGED') THEN mode
                                                      ELSE confirmed_mode END
        WHERE publication_id = $1 AND state NOT IN ('UNPUBLISHING', 'UNPUBLISHED') AND attempt_id = $6
        RETURNING true
        """,
        publication_id,
        state,
        external_id,
        published_url,
        reason,
        attempt_id,
    )
    return stored is not None


async def begin_change(connection: Connection, publication_id: UUID, *, state: str, change_id: UUID) -> None:
    """From here on the publication belongs to this change: to be taken back (UNPUBLISHING) or put out (PENDING)."""
    await connection.execute(
        """
        UPDATE publications SET state = $2, change_id = $3, reason = NULL, updated_at = now()
        WHERE publication_id = $1
        """,
        publication_id,
        state,
        change_id,
    )


async def end_change(
    connection: Connection,
    publication_id: UUID,
    *,
    change_id: UUID,
    attempt_id: UUID,
    state: str,
    published_url: str | None,
    reason: str | None,
) -> bool:
    """Whether the publication was still this change's, and the attempt its newest. UNPUBLISHED forgets where it stood:
    at most a draft is left."""
    changed = await connection.fetchval(
        """
        UPDATE publications
        SET state = $3, reason = $5, updated_at = now(),
            published_url = CASE WHEN $3 = 'UNPUBLISHED' THEN NULL ELSE coalesce($4, published_url) END,
            confirmed_mode = CASE WHEN $3 = 'UNPUBLISHED' THEN 'draft'
                                  WHEN $3 IN ('PUBLISHED', 'UNCHANGED') THEN mode ELSE confirmed_mode END
        WHERE publication_id = $1 AND change_id = $2 AND attempt_id = $6 RETURNING true
        """,
        publication_id,
        change_id,
        state,
        published_url,
        reason,
        attempt_id,
    )
    return changed is not None


async def is_in_change(connection: Connection, publication_id: UUID, *, change_id: UUID) -> bool:
    """Whether this change still has the publication to carry out."""
    found = await connection.fetchval(
        """
        SELECT true FROM publications
        WHERE publication_id = $1 AND change_id = $2 AND state IN ('UNPUBLISHING', 'PENDING')
        """,
        publication_id,
        change_id,
    )
    return found is not None


async def store_event(
    connection: Connection,
    ref: WorkflowRef,
    publication_id: UUID,
    *,
    event_id: UUID,
    event: str,
    actor: str,
    reason: str | None,
    run_id: str | None,
) -> bool:
    """Whether the event is new: the same ``event_id`` again adds nothing."""
    stored = await connection.fetchval(
        """
        INSERT INTO publication_events
            (event_id, publication_id, workflow_id, organization_id, event, actor, reason, run_id)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (event_id, organization_id) DO NOTHING
        RETURNING true
        """,
        event_id,
        publication_id,
        ref.workflow_id,
        ref.organization_id,
        event,
        actor,
        reason,
        run_id,
    )
    return stored is not None


async def load_events(connection: Connection, workflow_id: UUID) -> list[PublicationEvent]:
    """In the order in which they happened."""
    rows = await connection.fetch(
        """
        SELECT publication.article_id, event.event, event.actor, event.reason, event.created_at
        FROM publication_events AS event JOIN publications AS publication USING (publication_id, organization_id)
        WHERE event.workflow_id = $1 ORDER BY event.created_at, event.event_id
        """,
        workflow_id,
    )
    return [PublicationEvent.model_validate(dict(row)) for row in rows]


async def load_publications(connection: Connection, workflow_id: UUID) -> list[PublicationRow]:
    rows = await connection.fetch(
        """
        SELECT publication_id, article_id, target, mode, slug, content_hash, state, external_id, published_url, reason,
               confirmed_mode, change_id
        FROM publications WHERE workflow_id = $1 ORDER BY slug
        """,
        workflow_id,
    )
    return [PublicationRow.model_validate(dict(row)) for row in rows]
