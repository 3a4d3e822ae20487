"""Reading of plain English without a model: sentences, content words, noun phrases, relevance, seeded choice."""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

_ItemT = TypeVar("_ItemT")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"”’]?\s+(?=[A-Z0-9\"“])")
_WORD = re.compile(r"[A-Za-z][A-Za-z'’-]*|\d[\d.,/%]*")
_TOKEN = re.compile(r"[A-Za-z][A-Za-z'’-]*|\d[\d.,/%]*|[^\sA-Za-z0-9]")

_DETERMINERS = frozenset(
    "a an the this that these those each every any some no its their our your his her my all both either neither "
    "another such which what whose".split()
)
_PREPOSITIONS = frozenset(
    "of for with without in on at by from to into onto over under between among through during before after against "
    "across behind beside beyond about around per via within inside outside until since near like as than".split()
)
_OTHER_FUNCTION_WORDS = frozenset(
    "and or but nor so yet if because although though while when where who whom why how whether once unless is are was "
    "were be been being am has have had having do does did doing done can could may might must shall should will would "
    "not never only also just even still too very more most less least much many few several other others own same "
    "it they we you i he she them us me him there here then now again already always often usually sometimes rather "
    "quite almost soon later earlier up down out off away back together apart instead else one ones two three four "
    "five six seven eight nine ten first second third last next both s t don isn doesn aren it's that's there's don't "
    "doesn't isn't won't can't you're they're we're nothing nobody anyone everyone someone something anything "
    "everything".split()
)
FUNCTION_WORDS = _DETERMINERS | _PREPOSITIONS | _OTHER_FUNCTION_WORDS
# Verbs (and a few adverbs) that would spoil a noun phrase. Words that are nouns as often as verbs are left out.
_VERBS = frozenset(
    "accept accepts accepted add adds added agree agrees agreed allow allows allowed answer answers answered appear "
    "appears apply applies applied arrive arrives arrived ask asks asked assign assigns assigned attach attaches "
    "attached avoid avoids avoided become becomes became begin begins began belong belongs bring brings brought build "
    "builds built buy buys bought call calls called carry carries carried catch catches caught cause causes caused "
    "charges charged chase chases chased choose chooses chose chosen clear clears cleared close closes closed code "
    "codes coded collect collects collected come comes came compare compares compared connect connects connected "
    "contain contains contained cost costs count counts counted cover covers covered create creates created cut cuts "
    "decide decides decided deliver delivers delivered depend depends describe describes described differ differs "
    "drop drops dropped earn earns earned enter enters entered expect expects expected explain explains explained "
    "fail fails failed fall falls fell feed feeds fed feel feels felt find finds found finish finishes finished fit "
    "fits fix fixes fixed flag flags flagged follow follows followed force forces forced forget forgets forgot get "
    "gets got give gives gave given go goes went grow grows grew handle handles handled happen happens happened help "
    "helps helped hide hides hid hidden hold holds held import imports imported keep keeps kept know knows knew known "
    "lead leads led learn learns learned leave leaves left let lets list lists listed live lives lived look looks "
    "looked lose loses lost make makes made manage manages managed match matches matched mean means meant meet meets "
    "met miss misses missed move moves moved need needs needed offer offers offered open opens opened owe owes owed "
    "own owns owned pass passes passed pay pays paid pick picks picked plan plans planned post posts posted prevent "
    "prevents prevented print prints printed prove proves proved publish publishes published pull pulls pulled push "
    "pushes pushed put puts raise raises raised reach reaches reached read reads receive receives received recognize "
    "recognizes record records recorded reduce reduces reduced reject rejects rejected release releases released rely "
    "relies remain remains remember remind reminds reminded remove removes removed replace replaces replaced report "
    "reports reported require requires required resolve resolves resolved return returns returned ride rides route "
    "routes routed run runs ran save saves saved say says said schedule schedules scheduled search see sees saw seen "
    "sell sells sold send sends sent serve serves served set sets share shares shared ship ships shipped show shows "
    "showed shown sign signs signed sit sits sat solve solves solved sort sorts sorted speak speaks spend spends spent "
    "split splits stand stands stood start starts started stay stays stayed stop stops stopped store stores stored "
    "suit suits suited support supports supported take takes took taken talk talks teach teaches tell tells told tend "
    "tends tie ties tied track tracks tracked treat treats treated trust trusts try tries tried turn turns turned "
    "understand use uses used wait waits waited walk walks want wants wanted warn warns warned watch watches watched "
    "wear wears win wins won work works worked write writes wrote written wrote yields arriving asking being buying "
    "chasing choosing coming cutting doing finding getting giving going hoping keeping knowing leaving letting looking "
    "losing making meaning moving needing opening paying putting reaching reading running saving saying sending "
    "setting showing sitting starting stopping taking telling trying turning typing using waiting wanting working "
    "writing long well fast late early slowly quickly automatically directly simply easily exactly roughly finally "
    "mostly enough open ready available able likely sure alone possible different certain true wrong clear good bad "
    "best better worse worst hard easy full whole half today tomorrow yesterday ago twice once yes no please thus "
    "hence however therefore meanwhile otherwise besides".split()
)


def words(text: str) -> list[str]:
    return _WORD.findall(text)


def word_count(text: str) -> int:
    return len(text.split())


def sentences(text: str) -> list[str]:
    return [part.strip() for part in _SENTENCE_END.split(" ".join(text.split())) if part.strip()]


def stem(word: str) -> str:
    """Enough to make the plural and the singular of a word the same."""
    lower = word.lower().replace("’", "'").removesuffix("'s")
    if lower.endswith("ies") and len(lower) > 4:
        return f"{lower[:-3]}y"
    if lower.endswith("s") and not lower.endswith(("ss", "us", "is")) and len(lower) > 3:
        return lower[:-1]
    return lower


def content_stems(text: str) -> list[str]:
    """Stems of the words that carry meaning, in order; the parts of a hyphenated word count on their own."""
    return [stem(word) for word in words(text.replace("-", " ")) if word.lower() not in FUNCTION_WORDS and len(word) > 1]


def digest(*parts: object) -> int:
    """A number that is the same for the same parts, everywhere and always."""
    joined = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(joined.encode(), digest_size=8).digest(), "big")


def pick(options: Sequence[_ItemT], *seed: object) -> _ItemT:
    return options[digest(*seed) % len(options)]


def shuffled(items: Iterable[_ItemT], *seed: object) -> list[_ItemT]:
    """A seeded order that does not depend on the order given."""
    return sorted(items, key=lambda item: digest(*seed, item))


def starts_upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def is_plural(phrase: str) -> bool:
    last = phrase.split()[-1].lower() if phrase.split() else ""
    return last.endswith("s") and not last.endswith(("ss", "us", "is", "ics", "news")) or last in ("people", "data")


def joined(items: Sequence[str], conjunction: str = "and") -> str:
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} {conjunction} {items[-1]}"


def contains_phrase(text: str, phrase: str) -> bool:
    return count_phrase(text, phrase) > 0


def count_phrase(text: str, phrase: str) -> int:
    return len(re.findall(rf"(?<!\w){re.escape(phrase)}(?!\w)", text, re.IGNORECASE))


def noun_phrases(text: str, *, words_min: int = 2, words_max: int = 4) -> list[str]:
    """Phrases of the text, verbatim but for a capital at a sentence's start, that stand like a noun phrase: after a
    determiner, preposition, conjunction or verb, and before punctuation or a function word. No digits."""
    phrases = [phrase for sentence in sentences(text) for phrase in _phrases_of(sentence, words_min, words_max)]
    return list(dict.fromkeys(phrases))


def _phrases_of(sentence: str, words_min: int, words_max: int) -> Iterable[str]:
    tokens = _TOKEN.findall(sentence)
    start = 0
    while start < len(tokens):
        end = start
        while end < len(tokens) and _is_nominal(tokens[end]):
            end += 1
        run = tokens[start:end]
        follower = tokens[end].lower() if end < len(tokens) else "."
        if _is_clean(run, follower) and words_min <= len(run) <= words_max:
            yield _uncapitalized(run, is_first=start == 0)
        start = max(end, start) + 1


def _is_nominal(token: str) -> bool:
    lower = token.lower()
    return token[0].isalpha() and lower not in FUNCTION_WORDS and lower not in _VERBS and not lower.endswith("ly")


def _is_clean(run: Sequence[str], follower: str) -> bool:
    """A run before a determiner or pronoun may end in a verb that is not in the list; one that begins with a
    participle, or ends in one, may be half a clause."""
    if not run or follower in _DETERMINERS or follower in ("it", "them", "you", "us", "me", "him"):
        return False
    if any("'" in word or "’" in word for word in run):
        return False
    return not run[-1].lower().endswith(("ed", "able", "ible", "ful", "ive", "ous")) and len(run[-1]) > 2


def _uncapitalized(run: Sequence[str], *, is_first: bool) -> str:
    head = run[0]
    if is_first and head[1:].islower():
        head = head.lower()
    return " ".join([head, *run[1:]])


@dataclass(frozen=True)
class Passage:
    number: int
    url: str
    text: str

    @classmethod
    def all_of(cls, values: object) -> list["Passage"]:
        """Passages of a ``passages`` block; entries of another form are left out."""
        entries = values if isinstance(values, list) else []
        return [
            cls(int(entry["number"]), str(entry.get("url", "")), str(entry["text"]))
            for entry in entries
            if isinstance(entry, dict) and isinstance(entry.get("number"), int) and isinstance(entry.get("text"), str)
        ]


class Relevance:
    """How much of a query a text answers: shared stems, the rarer among the texts the weightier."""

    def __init__(self, texts: Sequence[str]) -> None:
        seen = Counter(name for text in texts for name in set(content_stems(text)))
        self._weights: Mapping[str, float] = {
            name: math.log(1 + len(texts) / count) for name, count in seen.items()
        }

    def of(self, query: str, text: str) -> float:
        wanted = set(content_stems(query))
        return sum(self._weights.get(name, 0.0) for name in wanted & set(content_stems(text)))
