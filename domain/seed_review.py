"""Step 3, seed review: a person's decision about the keywords that were shown."""

from collections.abc import Sequence
from enum import StrEnum

from domain.errors import BadInputError
from domain.icp import has_address, one_line
from domain.keyphrases import folded, normalized_keyword
from domain.money import Frozen
from domain.settings import SeedReviewSettings

ADDED_CHARACTERS_MAX = 80
ADDED_WORDS_MAX = 10
FEEDBACK_CHARACTERS_MAX = 2_000


class SeedDecisionKind(StrEnum):
    APPROVE_ALL = "approve_all"
    SELECT = "select"
    REJECT = "reject"


class SeedDecision(Frozen):
    """``approve`` and ``drop`` are texts that were shown, ``add`` own keywords, ``feedback`` the words of a reject."""

    kind: SeedDecisionKind
    approve: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    add: tuple[str, ...] = ()
    feedback: str = ""


class KeywordDecision(StrEnum):
    APPROVED = "approved"
    DROPPED = "dropped"


class ReviewedKeyword(Frozen):
    """``added`` is true for a keyword that the reviewer brought along."""

    text: str
    decision: KeywordDecision
    added: bool = False


def apply_decision(
    shown: Sequence[str], decision: SeedDecision, settings: SeedReviewSettings
) -> tuple[ReviewedKeyword, ...]:
    """What becomes of every shown keyword, in their order, then the added ones; nothing for a reject.

    In a selection, what is named by neither list is dropped if ``approve`` names any, and approved if only ``drop``
    does. Raises BadInputError naming the field at fault.
    """
    if decision.kind is SeedDecisionKind.REJECT:
        _check_reject(decision)
        return ()
    _check_lists(shown, decision)
    dropped = _dropped(shown, decision)
    reviewed = [
        ReviewedKeyword(text=text, decision=KeywordDecision.DROPPED if text in dropped else KeywordDecision.APPROVED)
        for text in shown
    ]
    added = [
        ReviewedKeyword(text=text, decision=KeywordDecision.APPROVED, added=True)
        for text in _added(shown, decision.add)
    ]
    _check_count([*reviewed, *added], settings)
    return (*reviewed, *added)


def _check_reject(decision: SeedDecision) -> None:
    if decision.approve or decision.drop or decision.add:
        raise BadInputError("a rejection takes feedback only, no keywords to approve, drop or add", "feedback")
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
    for field, texts in (("approve", decision.approve), ("drop", decision.drop)):
        for text in texts:
            if text not in shown:
                message = (
                    f"{field} names {text!r}, which was not shown; look at the list again with `starter.py review`"
                )
                raise BadInputError(message, field)
    both = [text for text in decision.approve if text in decision.drop]
    if both:
        raise BadInputError(f"{both[0]!r} is both approved and dropped: decide for one", "drop")


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
    if not settings.approved_min <= approved <= settings.approved_max:
        rule = f"{settings.approved_min} to {settings.approved_max} are needed"
        raise BadInputError(f"{approved} keywords would be approved: {rule}", "approve")
