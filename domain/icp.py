"""Step 1, the ideal customer profile: the request for it and the judgement of the answer."""

import re
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from itertools import chain, islice
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from domain.brief import Brief, brief_for_models
from domain.identifiers import bare_domain
from domain.language import (
    InvalidAnswerError,
    Route,
    answer_object,
    chat_request,
    json_block,
    slot_hash,
    strict_schema,
)
from domain.money import Frozen
from domain.pages import BLANK_CHARACTERS, Passage
from domain.settings import IcpSettings
from domain.spend import ProviderRequest
from domain.text import content_stems
from domain.verdict import AskAgain, Blocked, Completed, Level, Reason, verdict_of
from domain.web_addresses import web_address_in

PROMPT_VERSION = "icp-1"
STEP = "icp"
SCHEMA_NAME = "icp"
ITEM_WORDS_MAX = 15
ITEM_CHARACTERS_MAX = 600
VALUE_PROPOSITION_WORDS = (10, 60)
COUNTS = {
    "industries": (1, 5),
    "buyer_roles": (2, 4),
    "pains": (3, 5),
    "goals": (3, 5),
    "triggers": (1, 3),
    "alternatives": (1, 3),
    "disqualifiers": (0, 3),
}
PASSAGE_WORDS_MAX = 60

SHAPE_PROBLEMS_MAX = 8
PROBLEMS_MAX = 12
PROBLEM_CHARACTERS_MAX = 160
# Letters that two words have to begin with alike to be of one family ("distributor", "distribution").
FAMILY_LETTERS = 5

AnswerT = TypeVar("AnswerT", bound=BaseModel)

_MARKUP = re.compile(r"<[/!?]?[a-z]|\]\s?\(|!\[", re.IGNORECASE)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=\S)")

SYSTEM = f"""You are a B2B market researcher. You write the ideal customer profile of one company: who buys its \
product, why, when, and instead of what.

Work only from the company's brief and the numbered passages of its site. Do not invent numbers, customer names or \
statistics. Where the material is silent, infer what a careful analyst would, and give no evidence for it.

Lists, each without repetition:
- industries: 1 to 5. firmographics: size (employees, revenue or volume) and geography, a few words each.
- buyer_roles: 2 to 4, each with role (job title) and decision_power (what the person decides or influences).
- pains: 3 to 5, goals: 3 to 5, triggers (events that start the search): 1 to 3.
- alternatives (what they do or use today): 1 to 3. disqualifiers (who is no fit): 0 to 3.
Every entry is a concrete phrase of 2 to 10 words, {ITEM_WORDS_MAX} at the very most, in the customer's language; no \
sentences, no praise, no web addresses.
- value_proposition: one sentence of 15 to 40 words.
- evidence: for each entry that a passage supports, its field and that passage's number. field is the list's name and \
the entry's position from 0, such as "pains.0" or "buyer_roles.1", or "value_proposition". Use only numbers that stand \
in the passages. One passage per entry is enough.

Answer with one compact JSON object by the schema and nothing else; it must fit in 650 tokens. Write in the language \
of the brief's locale."""


class Firmographics(Frozen):
    size: str
    geography: str


class BuyerRole(Frozen):
    role: str
    decision_power: str


class Evidence(Frozen):
    """``item`` is the claim, ``quotation`` the passage it rests on, word for word; filled in by code."""

    field: str
    item: str
    passage: int
    url: str
    quotation: str


class Icp(Frozen):
    industries: tuple[str, ...]
    firmographics: Firmographics
    buyer_roles: tuple[BuyerRole, ...]
    pains: tuple[str, ...]
    goals: tuple[str, ...]
    triggers: tuple[str, ...]
    alternatives: tuple[str, ...]
    disqualifiers: tuple[str, ...]
    value_proposition: str
    evidence: tuple[Evidence, ...] = ()


class EvidenceAnswer(Frozen):
    field: str
    passage: int


class IcpAnswer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    industries: tuple[str, ...]
    firmographics: Firmographics
    buyer_roles: tuple[BuyerRole, ...]
    pains: tuple[str, ...]
    goals: tuple[str, ...]
    triggers: tuple[str, ...]
    alternatives: tuple[str, ...]
    disqualifiers: tuple[str, ...] = Field(default=())
    value_proposition: str
    evidence: tuple[EvidenceAnswer, ...] = Field(default=())


def brief_passages(brief: Brief) -> tuple[Passage, ...]:
    """The brief's own sentences, for a company whose site can't be read."""
    sentences = [part.strip() for part in _SENTENCE_END.split(brief.organization.description) if part.strip()]
    if brief.audiences:
        sentences.append(f"Made for {', '.join(brief.audiences)}.")
    return tuple(
        Passage(number=number, url=brief.organization.url, text=text) for number, text in enumerate(sentences, start=1)
    )


def build_request(
    brief: Brief, passages: Sequence[Passage], *, route: Route, model: str, feedback: str | None = None
) -> ProviderRequest:
    """The structured-output request for the profile; ``feedback`` is the validator's message of a re-ask."""
    return chat_request(
        model=model,
        route=route,
        system=SYSTEM,
        user="\n\n".join(_parts(brief, passages)),
        schema_name=SCHEMA_NAME,
        schema=strict_schema(IcpAnswer),
        feedback=feedback,
    )


def slot_hash_of(brief: Brief, passages: Sequence[Passage]) -> str:
    return slot_hash(
        step=STEP,
        slot=SCHEMA_NAME,
        prompt_version=PROMPT_VERSION,
        parts=_parts(brief, passages),
        schema=strict_schema(IcpAnswer),
    )


def _parts(brief: Brief, passages: Sequence[Passage]) -> tuple[str, str]:
    shown = [{"number": one.number, "url": one.url, "text": one_line(one.text)} for one in passages]
    return json_block("brief", brief_for_models(brief)), json_block("passages", shown)


def judge(
    answer_body: str, passages: Sequence[Passage], *, settings: IcpSettings, repairs_left: int
) -> Completed[Icp] | Blocked | AskAgain:
    """Read and judge a stored answer against the passages it was asked about.

    An invalid answer is asked again while ``repairs_left`` is above 0, with all problems at once, and blocks after.
    """
    try:
        answer = read_answer(answer_body, IcpAnswer)
    except InvalidAnswerError as error:
        return rejected([Reason(code="ICP_ANSWER_UNREADABLE", message=str(error))], repairs_left)
    problems = _problems(answer, passages)
    if problems:
        return rejected(problems, repairs_left, answer.model_dump(mode="json"))
    icp, unrelated = _resolved(answer, passages)
    reasons, share = _evidence_reasons(icp, settings)
    reasons += _unrelated_reasons(unrelated)
    return Completed[Icp](
        output=icp,
        verdict=verdict_of(reasons, {"evidence_share": share, "evidence_share_min": settings.evidence_share_min}),
    )


def rejected(problems: list[Reason], repairs_left: int, output: dict[str, Any] | None = None) -> Blocked | AskAgain:
    """What follows from an answer with problems: the question again with all of them, or the end."""
    if repairs_left > 0:
        return AskAgain(message=" ".join(problem.message for problem in problems))
    return Blocked(verdict=verdict_of(problems), output=output)


def read_answer(answer_body: str, model: type[AnswerT]) -> AnswerT:
    """A stored answer as a step's answer object, texts on one line. Raises InvalidAnswerError with its problems."""
    try:
        return model.model_validate(_texts_on_one_line(answer_object(answer_body)))
    except RecursionError as error:
        raise InvalidAnswerError("The answer is nested too deeply.") from error
    except ValidationError as error:
        raise InvalidAnswerError(" ".join(map(_shape_problem, error.errors()[:SHAPE_PROBLEMS_MAX]))) from error


def _texts_on_one_line(value: Any) -> Any:
    if isinstance(value, str):
        return one_line(value)
    if isinstance(value, dict):
        return {key: _texts_on_one_line(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_texts_on_one_line(inner) for inner in value]
    return value


def _shape_problem(detail: ErrorDetails) -> str:
    field = ".".join(str(part) for part in detail["loc"])
    return f"{field}: {detail['msg'].lower()}."


def one_line(text: str) -> str:
    """Text on one line without characters that nobody sees (zero-width, bidirectional, tag and control characters)."""
    visible = "".join(_visible(character) for character in text)
    return unicodedata.normalize("NFC", " ".join(visible.split()))


def _visible(character: str) -> str:
    if character.isspace():
        return " "
    if character in BLANK_CHARACTERS:
        return ""
    return "" if unicodedata.category(character) in ("Cc", "Cf", "Co", "Cs", "Cn") else character


# The rules


def _problems(answer: IcpAnswer, passages: Sequence[Passage]) -> list[Reason]:
    """At most PROBLEMS_MAX, each of a bounded length: they are sent back to the model, which pays by length."""
    own_domains = {bare_domain(one.url) for one in passages}
    kinds = (
        _count_problems(answer),
        _item_problems(answer, own_domains),
        _duplicate_problems(answer),
        _value_proposition_problems(answer),
        _evidence_problems(answer, {one.number for one in passages}),
    )
    return [_bounded(problem) for problem in islice(chain.from_iterable(kinds), PROBLEMS_MAX)]


def _bounded(problem: Reason) -> Reason:
    if len(problem.message) <= PROBLEM_CHARACTERS_MAX:
        return problem
    subject = problem.subject and problem.subject[:PROBLEM_CHARACTERS_MAX]
    message = f"{problem.message[:PROBLEM_CHARACTERS_MAX]}…"
    return problem.model_copy(update={"message": message, "subject": subject})


def _count_problems(answer: IcpAnswer) -> Iterator[Reason]:
    for field, (least, most) in COUNTS.items():
        count = len(getattr(answer, field))
        if not least <= count <= most:
            message = f"{field} has {count} entries; give {least} to {most}."
            yield Reason(code="ICP_COUNT", message=message, subject=field)


def _item_problems(answer: IcpAnswer, own_domains: Collection[str]) -> Iterator[Reason]:
    for field, text in [*_claims(answer), *_side_texts(answer)]:
        if not _folded(text):
            yield Reason(code="ICP_EMPTY", message=f"{field} is empty.", subject=field)
        elif len(text.split()) > ITEM_WORDS_MAX and field != "value_proposition":
            message = f"{field} has {len(text.split())} words; give at most {ITEM_WORDS_MAX}."
            yield Reason(code="ICP_TOO_LONG", message=message, subject=field)
        elif len(text) > ITEM_CHARACTERS_MAX:
            message = f"{field} has {len(text)} characters; give at most {ITEM_CHARACTERS_MAX}."
            yield Reason(code="ICP_TOO_LONG", message=message, subject=field)
        if has_address(text, own_domains):
            message = f"{field} holds a web address or markup; give plain words, names without an ending such as .com."
            yield Reason(code="ICP_WEB_ADDRESS", message=message, subject=field)


def has_address(text: str, own_domains: Collection[str] = ()) -> bool:
    """Whether a text holds a web or mail address, a tag or a link: no answer of ours needs one. Hosts of
    ``own_domains`` may be called by their name."""
    return bool(_MARKUP.search(text)) or web_address_in(text, own_domains) is not None


def _duplicate_problems(answer: IcpAnswer) -> Iterator[Reason]:
    for field in COUNTS:
        seen: set[str] = set()
        for position, text in enumerate(map(_item_text, getattr(answer, field))):
            if _folded(text) and _folded(text) in seen:
                message = f"{field}.{position} repeats an entry of {field}: {text!r}."
                yield Reason(code="ICP_DUPLICATE", message=message, subject=f"{field}.{position}")
            seen.add(_folded(text))


def _value_proposition_problems(answer: IcpAnswer) -> Iterator[Reason]:
    least, most = VALUE_PROPOSITION_WORDS
    count = len(answer.value_proposition.split())
    if not least <= count <= most:
        message = f"value_proposition has {count} words; give {least} to {most}."
        yield Reason(code="ICP_VALUE_PROPOSITION", message=message, subject="value_proposition")


def _evidence_problems(answer: IcpAnswer, numbers: set[int]) -> Iterator[Reason]:
    known = dict([*_claims(answer), *_side_texts(answer)])
    for evidence in answer.evidence:
        if evidence.passage not in numbers:
            message = f"evidence for {evidence.field} names passage {evidence.passage}, which does not exist."
            yield Reason(code="ICP_PASSAGE_MISSING", message=message, subject=evidence.field)
        if evidence.field not in known:
            message = f"evidence names the field {evidence.field!r}, which does not exist."
            yield Reason(code="ICP_FIELD_MISSING", message=message, subject=evidence.field)


def _claims(answer: IcpAnswer | Icp) -> list[tuple[str, str]]:
    """What evidence is counted for: every list entry and the value proposition, by the name of its field."""
    claims = [
        (f"{field}.{position}", _item_text(item))
        for field in COUNTS
        for position, item in enumerate(getattr(answer, field))
    ]
    return [*claims, ("value_proposition", answer.value_proposition)]


def _side_texts(answer: IcpAnswer) -> list[tuple[str, str]]:
    powers = [
        (f"buyer_roles.{position}.decision_power", role.decision_power)
        for position, role in enumerate(answer.buyer_roles)
    ]
    firmographics = answer.firmographics
    return [
        ("firmographics.size", firmographics.size),
        ("firmographics.geography", firmographics.geography),
        *powers,
    ]


def _item_text(item: str | BuyerRole) -> str:
    return item.role if isinstance(item, BuyerRole) else item


def _folded(text: str) -> str:
    return re.sub(r"\W+", " ", text.casefold()).strip()


# Evidence


def _resolved(answer: IcpAnswer, passages: Sequence[Passage]) -> tuple[Icp, list[EvidenceAnswer]]:
    """The profile with its quotations, and the evidence that was left out: nothing of the claim stands in it."""
    by_number = {passage.number: passage for passage in passages}
    items = dict([*_claims(answer), *_side_texts(answer)])
    named = dict.fromkeys(answer.evidence)
    unrelated = [one for one in named if not _speaks_of(by_number[one.passage].text, items[one.field])]
    evidence = tuple(
        Evidence(
            field=one.field,
            item=items[one.field],
            passage=one.passage,
            url=by_number[one.passage].url,
            quotation=by_number[one.passage].text,
        )
        for one in named
        if one not in unrelated
    )
    fields = {name: getattr(answer, name) for name in IcpAnswer.model_fields if name != "evidence"}
    return Icp(**fields, evidence=evidence), unrelated


def _speaks_of(passage: str, item: str) -> bool:
    """Whether a passage has at least one word of a claim's family: a quotation beside it means something then."""
    families = {_family(word) for word in content_stems(unicodedata.normalize("NFKC", passage))}
    wanted = {_family(word) for word in content_stems(unicodedata.normalize("NFKC", item))}
    return not wanted.isdisjoint(families)


def _family(word: str) -> str:
    return word.casefold()[:FAMILY_LETTERS]


def _unrelated_reasons(unrelated: Sequence[EvidenceAnswer]) -> list[Reason]:
    if not unrelated:
        return []
    fields = ", ".join(sorted({one.field for one in unrelated}))
    message = f"{len(unrelated)} passages were named as evidence and say nothing of it, so they are left out: {fields}"
    return [Reason(code="ICP_EVIDENCE_UNRELATED", message=message, level=Level.WARN)]


def _evidence_reasons(icp: Icp, settings: IcpSettings) -> tuple[list[Reason], float]:
    claims = [field for field, _ in _claims(icp)]
    proven = {evidence.field for evidence in icp.evidence} & set(claims)
    share = round(len(proven) / len(claims), 3)
    if share >= settings.evidence_share_min:
        return [], share
    message = f"{len(proven)} of {len(claims)} items have evidence; {settings.evidence_share_min:.0%} are wanted"
    return [Reason(code="ICP_EVIDENCE_THIN", message=message, level=Level.WARN)], share
