"""Step 3, seed review: a person's decision about the keywords that were shown."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

from pydantic import Field

from domain.errors import BadInputError
from domain.icp import has_address, one_line
from domain.keyphrases import folded, normalized_keyword
from domain.money import Frozen
from domain.settings import SeedReviewSettings
from domain.text import clean_text

ADDED_CHARACTERS_MAX = 80
ADDED_WORDS_MAX = 10
FEEDBACK_CHARACTERS_MAX = 2_000
NOTE_CHARACTERS_MAX = 300


class SeedDecisionKind(StrEnum):
    APPROVE_ALL = "approve_all"
    SELECT = "select"
    REJECT = "reject"


class SeedDecision(Frozen):
    """``approve`` and ``drop`` are texts that were shown, ``add`` own keywords, ``feedback`` the words of a reject.

    ``notes`` says of single shown keywords why they are decided so. In a reject ``drop`` names what is wrong.
    """

    kind: SeedDecisionKind
    approve: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    add: tuple[str, ...] = ()
    feedback: str = ""
    notes: dict[str, str] = Field(default_factory=dict)


class KeywordDecision(StrEnum):
    """``REJECTED`` is what was sent back with the whole list, without a word about this one."""

    APPROVED = "approved"
    DROPPED = "dropped"
    REJECTED = "rejected"


class ReviewedKeyword(Frozen):
    """``added`` is true for a keyword that the reviewer brought along."""

    text: str
    decision: KeywordDecision
    added: bool = False
    note: str | None = None


class Rejection(Frozen):
    """A list that was sent back: who said what of it, what it held, and what of that was named as wrong, with why."""

    actor: str
    at: datetime
    feedback: str
    shown: tuple[str, ...]
    wrong: dict[str, str | None] = Field(default_factory=dict)


def apply_decision(
    shown: Sequence[str], decision: SeedDecision, settings: SeedReviewSettings
) -> tuple[ReviewedKeyword, ...]:
    """What becomes of every shown keyword, in their order, then the added ones.

    In a selection, what is named by neither list is dropped if ``approve`` names any, and approved if only ``drop``
    does. A reject drops what it names and sends back the rest. Raises BadInputError naming the field at fault.
    """
    if decision.kind is SeedDecisionKind.REJECT:
        _check_reject(decision)
    _check_lists(shown, decision)
    added = tuple(
        ReviewedKeyword(text=text, decision=KeywordDecision.APPROVED, added=True)
        for text in _added(shown, decision.add)
    )
    reviewed = (*_reviewed(shown, decision), *added)
    if decision.kind is not SeedDecisionKind.REJECT:
        _check_count(reviewed, settings)
    return reviewed


def check_round(rejections: int, settings: SeedReviewSettings) -> None:
    """Raises BadInputError when the list was sent back as often as it may be."""
    if rejections >= settings.rejections_max:
        message = (
            f"the keywords were rejected {times(rejections)} already, which is the most: approve some, add keywords of "
            "your own, or cancel and start with another brief"
        )
        raise BadInputError(message, "feedback")


def times(number: int) -> str:
    """In words: "once", "twice", "3 times"."""
    return {1: "once", 2: "twice"}.get(number, f"{number} times")


def _reviewed(shown: Sequence[str], decision: SeedDecision) -> list[ReviewedKeyword]:
    dropped = _dropped(shown, decision)
    is_reject = decision.kind is SeedDecisionKind.REJECT
    otherwise = KeywordDecision.REJECTED if is_reject else KeywordDecision.APPROVED
    return [
        ReviewedKeyword(
            text=text,
            decision=KeywordDecision.DROPPED if text in dropped else otherwise,
            note=clean_text(decision.notes.get(text, "")) or None,
        )
        for text in shown
    ]


def _check_reject(decision: SeedDecision) -> None:
    if decision.approve:
        message = "a rejection approves nothing: it takes feedback, keywords to drop as wrong, and keywords to add"
        raise BadInputError(message, "feedback")
    if not decision.feedback.strip():
        raise BadInputError("feedback is empty: say what the next search for keywords should do otherwise", "feedback")
    if len(decision.feedback) > FEEDBACK_CHARACTERS_MAX:
        message = f"feedback has {len(decision.feedback)} characters: at most {FEEDBACK_CHARACTERS_MAX} are allowed"
        raise BadInputError(message, "feedback")


def _check_lists(shown: Sequence[str], decision: SeedDecision) -> None:
    if decision.kind is SeedDecisionKind.APPROVE_ALL and (decision.approve or decision.drop):
        raise BadInputError("approving all takes no keywords to approve or drop; use a selection", "approve")
    if decision.kind is SeedDecisionKind.SELECT and not (decision.approve or decision.drop or decision.add):
        raise BadInputError("the selection is empty: name keywords to approve, drop or add", "approve")
    known = set(shown)
    for field, texts in (("approve", decision.approve), ("drop", decision.drop), ("notes", tuple(decision.notes))):
        for text in texts:
            if text not in known:
                message = (
                    f"{field} names {text!r}, which was not shown; look at the list again with `starter.py review`"
                )
                raise BadInputError(message, field)
    dropped = set(decision.drop)
    both = [text for text in decision.approve if text in dropped]
    if both:
        raise BadInputError(f"{both[0]!r} is both approved and dropped: decide for one", "drop")
    for text, note in decision.notes.items():
        if len(note) > NOTE_CHARACTERS_MAX:
            message = f"the note on {text!r} has {len(note)} characters: at most {NOTE_CHARACTERS_MAX} are allowed"
            raise BadInputError(message, "notes")


def _dropped(shown: Sequence[str], decision: SeedDecision) -> set[str]:
    if decision.approve:
        return set(shown) - set(decision.approve)
    return set(decision.drop)


def _added(shown: Sequence[str], given: Sequence[str]) -> list[str]:
    taken = {folded(text): text for text in shown}
    added: list[str] = []
    for raw in given:
        text = normalized_keyword(one_line(raw))
        _check_added(raw, text)
        same = taken.get(folded(text))
        if same is not None:
            raise BadInputError(f"add names {raw!r}, which is in the list already as {same!r}", "add")
        taken[folded(text)] = text
        added.append(text)
    return added


def _check_added(raw: str, text: str) -> None:
    if not folded(text):
        raise BadInputError(f"add names {raw!r}: a keyword needs at least one word", "add")
    if len(text) > ADDED_CHARACTERS_MAX or len(text.split()) > ADDED_WORDS_MAX:
        rule = f"a keyword has at most {ADDED_WORDS_MAX} words and {ADDED_CHARACTERS_MAX} characters"
        raise BadInputError(f"add names {raw[:ADDED_CHARACTERS_MAX]!r}: {rule}", "add")
    if has_address(text):
        raise BadInputError(f"add names {raw!r}: a keyword is no web address", "add")


def _check_count(reviewed: Sequence[ReviewedKeyword], settings: SeedReviewSettings) -> None:
    approved = sum(1 for one in reviewed if one.decision is KeywordDecision.APPROVED)
    problem = count_problem(approved, settings)
    if problem:
        raise BadInputError(problem, "approve")


def count_problem(approved: int, settings: SeedReviewSettings) -> str | None:
    """Why so many approved keywords can't be sent; None when they can."""
    if settings.approved_min <= approved <= settings.approved_max:
        return None
    keywords = "1 keyword" if approved == 1 else f"{approved} keywords"
    return f"{keywords} would be approved: {settings.approved_min} to {settings.approved_max} are needed"
