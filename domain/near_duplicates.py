"""Keywords that are one keyword: the same words in another number, spelling or order.

What tells two meanings apart stays: numbers, negations, prepositions with a direction, the order of nouns, every word
that is not listed here. In doubt two keywords stay two; a person merges them with one key in the review.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from domain.text import stem

if TYPE_CHECKING:
    from domain.competitor import SeedKeyword


def _word_set(words: str) -> frozenset[str]:
    return frozenset(words.split())


def _pairs(words: str) -> dict[str, str]:
    return {word: form for word, _, form in (pair.partition("=") for pair in words.split())}


# "Software for invoices" is "invoice software". Not after a verb that a particle belongs to, nor in questions.
_CONNECTORS = frozenset({"for", "of", "in"})
_PARTICLE_VERBS = _word_set("log sign check opt plug built build drop trade walk buy fill cash phase clock dial tie")
_QUESTION_WORDS = _word_set("how what why when where who which is are can do does should")
_BEFORE_ARTICLES = _word_set("for of in with without to is are from on at by as into vs and or")
_PREFIXES_OF_THEIR_OWN = frozenset({"re"})  # to re-sign is not to resign

# Their plural is another word, or the singular is: "custom software" and "customs software".
_OWN_WORDS = _word_set("""
    analytics arms benefits blues brakes clothes communications contents customs damages economics electronics ethics
    futures genetics glasses goods graphics grounds headquarters lens logistics lots manners mathematics means mechanics
    minutes news odds operations options pants physics politics powers premises proceeds quarters rights robotics sales
    savings securities series shorts species spirits sports statics statistics stocks supplies talks tropics values
    wages windows woods works
    """)
_IRREGULAR = _pairs("""
    children=child women=woman men=man feet=foot teeth=tooth lenses=lens analyses=analysis crises=crisis bases=basis
    kpis=kpi taxis=taxi buses=bus viruses=virus statuses=status bonuses=bonus menus=menu leaves=leave ads=ad tvs=tv
    pcs=pc ids=id shelves=shelf knives=knife wives=wife lives=life halves=half wolves=wolf indices=index
    matrices=matrix appendices=appendix
    """)
_NUMBERS = _pairs("""
    one=1 two=2 three=3 four=4 five=5 six=6 seven=7 eight=8 nine=9 ten=10 eleven=11 twelve=12 twenty=20 fifty=50
    hundred=100 thousand=1000
    """)
_ABBREVIATIONS = {"&": "and", "+": "and", "w/o": "without", "w/": "with", "versus": "vs", "vs.": "vs"}

# British spellings by rule; what only looks like one is named.
_ISE = re.compile(r"(?<=[a-z]{3})is(e|ed|er|ers|es|ing|able|ation|ations|ational)$")
_NOT_ISE = _word_set("""
    advertise advise appraise arise bruise comprise compromise concise cruise demise despise devise disguise enterprise
    excise exercise expertise franchise improvise merchandise noise otherwise paradise practise praise precise premise
    promise raise revise rise supervise surprise televise treatise turquoise wise likewise poise chemise
    """)
_NOT_ISE_STEMS = tuple(word[:-1] for word in sorted(_NOT_ISE))
_YSE = re.compile(r"(?<=anal|aral|atal)ys(e|ed|er|ers|es|ing)$")
_OUR = re.compile(r"^(col|fav|behavi|lab|neighb|hon|harb|hum|flav|vap|od|rum|sav|endeav|arm|tum|parl|rig|vig)our")
_DOUBLED = re.compile(
    r"^(travel|cancel|label|model|fuel|level|counsel|channel|panel|tunnel|dial|signal|total)l(ed|ing|er)$"
)
_RE = _pairs("centre=center theatre=theater fibre=fiber litre=liter metre=meter calibre=caliber spectre=specter "
             "kilometre=kilometer millimetre=millimeter centimetre=centimeter")  # fmt: skip
_SPELLINGS = _RE | _pairs("""
    catalogue=catalog dialogue=dialog analogue=analog licence=license defence=defense offence=offense practise=practice
    cheque=check tyre=tire grey=gray aluminium=aluminum mould=mold plough=plow kerb=curb programme=program
    pyjamas=pajamas pyjama=pajama cosy=cozy ageing=aging judgement=judgment artefact=artifact jewellery=jewelry
    fulfilment=fulfillment enrolment=enrollment instalment=installment skilful=skillful paediatric=pediatric
    paediatrics=pediatrics paediatrician=pediatrician orthopaedic=orthopedic anaesthesia=anesthesia
    gynaecology=gynecology gynaecologist=gynecologist manoeuvre=maneuver draught=draft maths=math sceptical=skeptical
    acknowledgement=acknowledgment
    """)
_MONEY_SIGNS = frozenset("$€£")
_HOW_DO_I = re.compile(r"^how (?:do|can|should|could) (?:i|you|we|one) ")
_WHAT_ARE = re.compile(r"^what(?:'s| are| is) ")
_TOKEN = re.compile(r"[^\s\-‐‑–—_,;:!?()\[\]\"“”„«»]+")


def meaning_key(text: str) -> str:
    """Two keywords with the same key are one; "" for a text without words."""
    lowered = unicodedata.normalize("NFKC", text).lower().replace("’", "'").replace("‘", "'")
    lowered = re.sub(r"(?<=\d),(?=\d{3}\b)", "", " ".join(lowered.split()))
    question = _WHAT_ARE.sub("what is ", _HOW_DO_I.sub("how to ", lowered))
    chunks = [_ABBREVIATIONS.get(chunk, chunk) for chunk in _spaced(question).split()]
    words = [list(_words(chunk)) for chunk in _without_articles(chunks)]
    return _joined(_in_order(words))


def merge_near_duplicates(keywords: Sequence["SeedKeyword"]) -> tuple["SeedKeyword", ...]:
    """One keyword of all that mean the same, where the first of them stood: the most searched form, with the sources
    of all and the most that is known of any."""
    groups: dict[str, list[SeedKeyword]] = {}
    for keyword in keywords:
        groups.setdefault(meaning_key(keyword.text) or keyword.text, []).append(keyword)
    return tuple(_merged(group) for group in groups.values())


def _merged(group: Sequence["SeedKeyword"]) -> "SeedKeyword":
    if len(group) == 1:
        return group[0]
    ordered = sorted(group, key=lambda one: (-(one.volume or 0), -one.score, one.text))
    best = ordered[0]
    sources = {str(source): source for keyword in ordered for source in keyword.sources}
    update = {
        "score": max(keyword.score for keyword in group),
        "volume": best.volume,
        "difficulty": _first(keyword.difficulty for keyword in ordered),
        "cpc_usd": _first(keyword.cpc_usd for keyword in ordered),
        "sources": tuple(sources.values()),
    }
    return best.model_copy(update=update)


def _first(values: Iterable[object]) -> object:
    return next((value for value in values if value is not None), None)


# Words ---------------------------------------------------------------------------------------------------------------


def _spaced(text: str) -> str:
    """An ampersand stands by itself; a sign of money or per cent is a word."""
    signs = re.sub(r"[$€£&]", r" \g<0> ", text)
    return re.sub(r"%|\bper cent\b", " percent ", signs)


def _without_articles(chunks: Sequence[str]) -> Iterator[str]:
    """ "The" goes, "a" only where it is an article: "a crm for agencies", not "series a funding" or "a level"."""
    is_question = bool(chunks) and chunks[0] in _QUESTION_WORDS
    for position, chunk in enumerate(chunks):
        follows = chunks[position + 1] if position + 1 < len(chunks) else ""
        is_led = is_question or position == 0 or chunks[position - 1] in _BEFORE_ARTICLES
        is_article = chunk == "the" or (chunk in ("a", "an") and is_led and follows not in ("", "level", "levels"))
        if not (is_article and follows):
            yield chunk


def _words(chunk: str) -> Iterator[str]:
    """The words of a chunk between two spaces, in one number and spelling; a hyphenated one has several."""
    for token in _TOKEN.findall(chunk):
        plain = _plain(token)
        for word in [plain] if any(map(str.isdigit, plain)) else plain.split("/"):
            if word:
                yield _in_one_form(word)


def _plain(token: str) -> str:
    """Without marks that say nothing: "a/p" and "u.s." are letters; "node.js", "c++", ".net" and "24/7" stay."""
    token = token.strip("'*").rstrip(".…|")
    if re.fullmatch(r"[a-z](?:[./][a-z])+", token):
        token = re.sub(r"[./]", "", token)
    return token if any(character.isalnum() for character in token) or token in _MONEY_SIGNS else ""


def _in_one_form(word: str) -> str:
    if word in _NUMBERS:
        return _NUMBERS[word]
    word = word.removesuffix("'s").removesuffix("'")
    if word in _OWN_WORDS:
        return word
    return _american(_IRREGULAR.get(word) or stem(_american(word)))


def _american(word: str) -> str:
    if word in _SPELLINGS:
        return _SPELLINGS[word]
    if not word.startswith(_NOT_ISE_STEMS):
        word = _ISE.sub(r"iz\1", word)
    return _DOUBLED.sub(r"\1\2", _OUR.sub(r"\1or", _YSE.sub(r"yz\1", word)))


def _in_order(chunks: Sequence[Sequence[str]]) -> list[str]:
    """ "A for B" as "B A", from the right; questions keep their order."""
    words = [word for chunk in chunks for word in chunk]
    if not words or words[0] in _QUESTION_WORDS or "to" in words:
        return words
    for position, chunk in enumerate(chunks):
        before, after = chunks[:position], chunks[position + 1 :]
        if before and after and len(chunk) == 1 and chunk[0] in _CONNECTORS and not _is_particle(before[-1], chunk[0]):
            return [*_in_order(after), *(word for one in before for word in one)]
    return words


def _is_particle(before: Sequence[str], connector: str) -> bool:
    return connector == "in" and bool(before) and before[-1] in _PARTICLE_VERBS


def _joined(words: Sequence[str]) -> str:
    """In one run, so that "follow up", "follow-up" and "followup" are one; numbers don't run into each other."""
    key = ""
    for word in words:
        key += ("|" if key[-1:].isdigit() and word[:1].isdigit() else "") + word
        key += "|" if word in _PREFIXES_OF_THEIR_OWN else ""
    return key
