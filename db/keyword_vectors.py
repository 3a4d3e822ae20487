"""Embeddings of a workflow's keywords by model, computed or paid for once."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from db.pool import Connection
from domain.embeddings import Vector, unit_vector
from domain.progress import WorkflowRef


async def store_vectors(
    connection: Connection, ref: WorkflowRef, model: str, vectors: Mapping[str, Sequence[float]]
) -> None:
    """Vectors as the model gave them, of any length above 0; they are stored as ``domain.embeddings.unit_vector``
    makes them. The first vector of a text stays, so that a verdict once given can be given again."""
    await connection.executemany(
        """
        INSERT INTO keyword_vectors (workflow_id, organization_id, model, text, vector) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (workflow_id, organization_id, model, text) DO NOTHING
        """,
        [
            (ref.workflow_id, ref.organization_id, model, text, list(unit_vector(vectors[text])))
            for text in sorted(vectors)
        ],
    )


async def load_vectors(
    connection: Connection, workflow_id: UUID, model: str, texts: Sequence[str]
) -> dict[str, Vector]:
    """Vectors by text; a text that has none is missing."""
    rows = await connection.fetch(
        """
        SELECT text, vector FROM keyword_vectors
        WHERE workflow_id = $1 AND model = $2 AND text = ANY($3::text[])
        ORDER BY text
        """,
        workflow_id,
        model,
        list(texts),
    )
    return {row["text"]: tuple(row["vector"]) for row in rows}


async def load_organization_vectors(
    connection: Connection, organization_id: UUID, model: str, texts: Sequence[str]
) -> dict[str, Vector]:
    """Vectors by text, whichever workflow of the organization they were computed for; the oldest workflow's."""
    rows = await connection.fetch(
        """
        SELECT DISTINCT ON (text) text, vector
        FROM keyword_vectors JOIN intent_workflows AS workflow
            ON workflow.id = keyword_vectors.workflow_id AND workflow.organization_id = keyword_vectors.organization_id
        WHERE keyword_vectors.organization_id = $1 AND model = $2 AND text = ANY($3::text[])
        ORDER BY text, workflow.created_at, workflow.id
        """,
        organization_id,
        model,
        list(texts),
    )
    return {row["text"]: tuple(row["vector"]) for row in rows}
