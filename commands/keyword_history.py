"""Who decided what about every keyword, and when: also of those that a later search no longer found."""

from collections.abc import Sequence
from typing import Any

from commands.exits import ExitCode, not_found
from commands.session import Session
from commands.terminal import counted
from db.keywords import DecidedKeyword, KeywordRow, ReviewRecord, load_keywords, load_reviews
from domain.seed_review import KeywordDecision, SeedDecisionKind

TIME = "%Y-%m-%d %H:%M:%S"


async def show_keyword_history(session: Session, workflow: str) -> ExitCode:
    found = await session.find(workflow)
    async with session.transaction(found.organization_id) as connection:
        keywords = await load_keywords(connection, found.workflow_id)
        reviews = await load_reviews(connection, found.workflow_id)
    if not keywords and not reviews:
        raise not_found(f"{found.name} has no keywords yet: it is in {found.state}")
    texts = _texts(keywords, reviews)
    if session.terminal.as_json:
        session.terminal.emit([_object(text, keywords, reviews) for text in texts])
        return ExitCode.DONE
    rows = [row for text in texts for row in _rows(text, keywords, reviews)]
    session.terminal.table(("keyword", "decision", "who", "when", "why"), rows)
    for review in reviews:
        session.terminal.say(_review_words(review))
    session.terminal.say(f"{counted(len(texts), 'keyword')}, {counted(len(reviews), 'review')}")
    return ExitCode.DONE


def history_objects(text: str, reviews: Sequence[ReviewRecord]) -> list[dict[str, Any]]:
    """Every decision about a keyword, oldest first."""
    return [
        {
            "decision": line.decision,
            "decided_by": review.actor,
            "decided_at": review.at.isoformat(),
            "decision_id": str(review.decision_id),
            "shown_version": review.shown_version,
            "note": line.note,
        }
        for review, line in _lines(text, reviews)
    ]


def _texts(keywords: Sequence[KeywordRow], reviews: Sequence[ReviewRecord]) -> list[str]:
    """Those of the list first, in its order."""
    gone = (line.text for review in reviews for line in review.keywords)
    return list(dict.fromkeys([*(keyword.text for keyword in keywords), *gone]))


def _lines(text: str, reviews: Sequence[ReviewRecord]) -> list[tuple[ReviewRecord, DecidedKeyword]]:
    return [(review, line) for review in reviews for line in review.keywords if line.text == text]


def _object(text: str, keywords: Sequence[KeywordRow], reviews: Sequence[ReviewRecord]) -> dict[str, Any]:
    number = next((keyword.position for keyword in keywords if keyword.text == text), None)
    return {
        "text": text,
        "number": number,
        "is_in_the_list": number is not None,
        "history": history_objects(text, reviews),
    }


def _rows(text: str, keywords: Sequence[KeywordRow], reviews: Sequence[ReviewRecord]) -> list[tuple[object, ...]]:
    is_gone = all(keyword.text != text for keyword in keywords)
    name = f"{text}  (no longer in the list)" if is_gone else text
    rows = [
        (
            name if number == 0 else "",
            line.decision + (", own" if line.is_own else ""),
            review.actor,
            f"{review.at.astimezone():{TIME}}",
            line.note,
        )
        for number, (review, line) in enumerate(_lines(text, reviews))
    ]
    return list(rows) or [(name, "not decided yet", "", "", "")]


def _review_words(review: ReviewRecord) -> str:
    said = f": “{review.feedback}”" if review.kind is SeedDecisionKind.REJECT else ""
    selected = f"selected {review.count(KeywordDecision.APPROVED)} of {len(review.keywords)}"
    kind = {SeedDecisionKind.REJECT: "rejected the list", SeedDecisionKind.APPROVE_ALL: "approved all"}
    return f"{review.at.astimezone():{TIME}}  {review.actor} {kind.get(review.kind, selected)}{said}"
