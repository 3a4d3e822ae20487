"""Keyword data: requests to DataForSEO Labs, what its envelope says, and the figures in its answers.

The provider answers HTTP 200 also to what it refused: the truth is in ``status_code``, of the envelope and of the task
(20000 is success). Each says what it ``cost``, and a task that failed may have cost something.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from functools import lru_cache
from typing import Any

from domain.errors import BadInputError
from domain.icp import has_address, one_line
from domain.keyphrases import Intent, normalized_keyword
from domain.money import Frozen, usd
from domain.spend import Endpoint, ProviderRequest

PROVIDER = "dataforseo"
PROVIDER_NAME = "DataForSEO"
REQUEST_VERSION = "keyword-data-1"
STEP = "competitor"
CODE_OK = 20000
CODE_NO_RESULTS = 40102
KEYWORD_CHARACTERS_MAX = 80
KEYWORD_WORDS_MAX = 10
FIGURE_MAX = 2_000_000_000
CPC_USD_MAX = Decimal(10_000)
STATED_USD_MAX = Decimal(1_000_000_000)  # what is not credible is for the booking to say


class KeywordEndpoint(StrEnum):
    """Endpoints of DataForSEO Labs for Google, each answering at once ("live")."""

    KEYWORDS_FOR_SITE = "keywords_for_site"
    RELATED_KEYWORDS = "related_keywords"
    KEYWORD_SUGGESTIONS = "keyword_suggestions"
    BULK_KEYWORD_DIFFICULTY = "bulk_keyword_difficulty"

    @property
    def model(self) -> str:
        """The name under which it has a price."""
        return f"{PROVIDER}/{self.value}"

    @property
    def path(self) -> str:
        return f"/dataforseo_labs/google/{self.value}/live"


class ProviderSource(Frozen):
    """Where a provider says a keyword comes from: ``asked`` is what it was asked about (a domain or a phrase),
    ``domain`` that domain, empty for a phrase."""

    provider: str = PROVIDER
    endpoint: KeywordEndpoint
    asked: str
    domain: str = ""


def source_words(source: Mapping[str, Any]) -> str:
    """Where a keyword comes from, in words: a page's address, or the provider's endpoint and what it was asked."""
    if "endpoint" in source:
        return f"{PROVIDER_NAME} {source['endpoint']} {source.get('asked', '')}".rstrip()
    return str(source.get("url", ""))


def source_names(sources: Iterable[Mapping[str, Any]]) -> str:
    """The same in short: each site and the provider once."""
    names = (PROVIDER_NAME if "endpoint" in source else str(source.get("domain", "")) for source in sources)
    return ", ".join(dict.fromkeys(name for name in names if name))


class KeywordFigures(Frozen):
    """What the provider says of one keyword; None where it says nothing."""

    text: str
    volume: int | None = None
    difficulty: int | None = None
    cpc_usd: Decimal | None = None
    intent: Intent | None = None


class FoundKeywords(Frozen):
    """The keywords of one answer, in the provider's order, and where they come from."""

    source: ProviderSource
    keywords: tuple[KeywordFigures, ...]


# The market: which searches are counted ------------------------------------------------------------------------------

# ISO country, its number (the provider's location code is 2000 more), the languages that the provider has figures for.
_MARKETS = """
AE 784 ar,en|AL 8 sq|AM 51 hy|AO 24 pt|AR 32 es|AT 40 de|AU 36 en|AZ 31 az|BA 70 bs|BD 50 bn|BE 56 nl,fr,de|BF 854 fr
BG 100 bg|BH 48 ar|BO 68 es|BR 76 pt|CA 124 en,fr|CH 756 de,fr,it|CI 384 fr|CL 152 es|CM 120 fr|CO 170 es|CR 188 es
CY 196 el,en|CZ 203 cs|DE 276 de|DK 208 da|DZ 12 fr,ar|EC 218 es|EE 233 et|EG 818 ar,en|ES 724 es|FI 246 fi|FR 250 fr
GB 826 en|GH 288 en|GR 300 el,en|GT 320 es|HK 344 zh-TW,en|HR 191 hr|HU 348 hu|ID 360 id,en|IE 372 en|IL 376 he,ar
IN 356 en,hi|IT 380 it|JO 400 ar|JP 392 ja|KE 404 en|KH 116 en|KR 410 ko|KZ 398 ru|LK 144 en|LT 440 lt|LV 428 lv
MA 504 ar,fr|MC 492 fr|MD 498 ro|MK 807 mk|MM 104 en|MT 470 en|MX 484 es|MY 458 en,ms|NG 566 en|NI 558 es|NL 528 nl
NO 578 nb|NZ 554 en|PA 591 es|PE 604 es|PH 608 en,tl|PK 586 en,ur|PL 616 pl|PT 620 pt|PY 600 es|RO 642 ro|RS 688 sr
SA 682 ar|SE 752 sv|SG 702 en,zh-CN|SI 705 sl|SK 703 sk|SN 686 fr|SV 222 es|TH 764 th|TN 788 ar|TR 792 tr|TW 158 zh-TW
UA 804 uk,ru|US 840 en,es|UY 858 es|VE 862 es|VN 704 vi,en|ZA 710 en
"""
_SAME_LANGUAGE = {"no": "nb", "fil": "tl", "iw": "he"}


class Market(Frozen):
    """As the provider names them: a location code and a language code."""

    location_code: int
    language_code: str


@lru_cache
def _markets() -> Mapping[str, tuple[int, tuple[str, ...]]]:
    entries = (entry.split() for line in _MARKETS.split("\n") for entry in line.split("|") if entry)
    return {country: (2000 + int(number), tuple(languages.split(","))) for country, number, languages in entries}


def market_of(country: str, locale: str) -> Market:
    """The searches of a country in a locale's language. Raises BadInputError where the provider counts none."""
    known = _markets().get(country)
    if known is None:
        raise BadInputError(f"{PROVIDER_NAME} has no keyword figures for the country {country}", "country")
    location_code, languages = known
    language = locale.partition("-")[0]
    language = _SAME_LANGUAGE.get(language, language)
    match = next((one for one in languages if one.split("-")[0] == language), None)
    if match is None:
        raise BadInputError(
            f"{PROVIDER_NAME} has keyword figures for {country} in {', '.join(languages)}, not in the language of the "
            f"locale {locale}",
            "locale",
        )
    return Market(location_code=location_code, language_code=match)


# Requests ------------------------------------------------------------------------------------------------------------


def site_request(domain: str, market: Market, rows_max: int) -> ProviderRequest:
    """Keywords that are relevant to a site; ``domain`` is bare (no scheme, no www)."""
    return _request(KeywordEndpoint.KEYWORDS_FOR_SITE, market, {"target": domain, "limit": rows_max})


def phrase_request(endpoint: KeywordEndpoint, phrase: str, market: Market, rows_max: int) -> ProviderRequest:
    """Keywords near a phrase: suggestions contain it, related ones are searched for beside it."""
    return _request(endpoint, market, {"keyword": phrase, "limit": rows_max})


def difficulty_request(keywords: Sequence[str], market: Market) -> ProviderRequest:
    return _request(KeywordEndpoint.BULK_KEYWORD_DIFFICULTY, market, {"keywords": list(keywords)})


def _request(endpoint: KeywordEndpoint, market: Market, task: dict[str, Any]) -> ProviderRequest:
    whole = {**task, "location_code": market.location_code, "language_code": market.language_code}
    return ProviderRequest(
        endpoint=Endpoint.KEYWORD_DATA,
        model=endpoint.model,
        path=endpoint.path,
        body=json.dumps([whole], ensure_ascii=False, sort_keys=True),
        messages=0,
        max_tokens=0,
        searches=task.get("limit", len(task.get("keywords", ()))),
    )


def request_slot_hash(slot: str, request: ProviderRequest) -> str:
    """What makes two requests of a slot the same."""
    return hashlib.sha256("\x1f".join((STEP, slot, REQUEST_VERSION, request.path, request.body)).encode()).hexdigest()


# The envelope --------------------------------------------------------------------------------------------------------


class Trouble(StrEnum):
    """What an internal status code means for whoever asked."""

    REFUSED = "refused"  # our request or our account: asking again changes nothing
    NO_MONEY = "no_money"  # the same, and somebody has to pay in
    RATE_LIMITED = "rate_limited"
    UNAVAILABLE = "unavailable"


_NO_MONEY = frozenset({40200, 40203, 40210})  # payment required, the day's limit of costs, insufficient funds
_RATE_LIMITED = frozenset({40202, 40209})  # calls a minute, calls at once
_TEMPORARY = frozenset({40101, 40103, 40601, 40602})  # the search engine's error, the task's, not ready
_NEVER = frozenset({50100})  # not implemented


def trouble_of(code: int) -> Trouble | None:
    """None for success. Codes below 50000 speak of our request, those above of the provider."""
    if code in (CODE_OK, CODE_NO_RESULTS):
        return None
    if code in _NO_MONEY:
        return Trouble.NO_MONEY
    if code in _RATE_LIMITED:
        return Trouble.RATE_LIMITED
    if code in _TEMPORARY or (code >= 50000 and code not in _NEVER):
        return Trouble.UNAVAILABLE
    return Trouble.REFUSED


class Reply(Frozen):
    """An envelope read: the code that counts, the provider's own figure and how many rows it returned."""

    code: int
    message: str
    cost_usd: Decimal | None
    rows: int

    @property
    def trouble(self) -> Trouble | None:
        return trouble_of(self.code)

    def told(self) -> str:
        words = {
            Trouble.NO_MONEY: "the account has no money left; pay in and retry",
            Trouble.RATE_LIMITED: "too many requests",
            Trouble.UNAVAILABLE: "the provider failed",
            Trouble.REFUSED: "the provider refused",
        }
        trouble = self.trouble
        return f"{self.message or 'no message'} (code {self.code})" + (f": {words[trouble]}" if trouble else "")


def read_reply(text: str) -> Reply | None:
    """None where the text is no envelope: then nobody knows what became of the request."""
    envelope = _loaded(text)
    code = _whole_number(envelope.get("status_code")) if isinstance(envelope, Mapping) else None
    if code is None:
        return None
    task = _task(envelope)
    task_code = None if task is None else _whole_number(task.get("status_code"))
    if code == CODE_OK and task_code is None:
        return None
    source = task if code == CODE_OK and task is not None else envelope
    return Reply(
        code=task_code if code == CODE_OK and task_code is not None else code,
        message=one_line(str(source.get("status_message") or ""))[:200],
        cost_usd=_dearer(envelope.get("cost"), task.get("cost") if task is not None else None),
        rows=len(list(_items(task))) if task is not None else 0,
    )


def _dearer(one: Any, other: Any) -> Decimal | None:
    """The envelope states the sum of its tasks; where the two differ the larger is booked."""
    stated = [amount for amount in (_amount(one), _amount(other)) if amount is not None]
    return max(stated) if stated else None


def _loaded(text: str) -> Any:
    """JSON with exact decimals, None where it is none."""
    try:
        return json.loads(text, parse_float=Decimal, parse_constant=_refuse_constant)
    except (ValueError, ArithmeticError, RecursionError):
        return None


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _task(envelope: Mapping[str, Any]) -> Mapping[str, Any] | None:
    tasks = envelope.get("tasks")
    return tasks[0] if isinstance(tasks, list) and tasks and isinstance(tasks[0], Mapping) else None


def _items(task: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    results = task.get("result")
    for result in results if isinstance(results, list) else ():
        items = result.get("items") if isinstance(result, Mapping) else None
        yield from (item for item in items if isinstance(item, Mapping)) if isinstance(items, list) else ()


# Figures -------------------------------------------------------------------------------------------------------------


def read_keywords(body: str) -> tuple[KeywordFigures, ...]:
    """The keywords of a stored answer, each once by its normalized text. What no keyword can be is left out; an answer
    without rows has none. Raises BadInputError when the answer tells of trouble or is no envelope."""
    reply = read_reply(body)
    if reply is None:
        raise BadInputError(f"{PROVIDER_NAME} answered with something else than its envelope")
    if reply.trouble is not None:
        raise BadInputError(f"{PROVIDER_NAME}: {reply.told()}")
    envelope = _loaded(body)
    task = _task(envelope)
    found: dict[str, KeywordFigures] = {}
    for item in _items(task) if task is not None else ():
        figures = _figures(item)
        if figures is not None:
            found.setdefault(figures.text, figures)
    return tuple(found.values())


def _figures(item: Mapping[str, Any]) -> KeywordFigures | None:
    inner = item.get("keyword_data")
    data: Mapping[str, Any] = inner if isinstance(inner, Mapping) else item
    text = keyword_text(data.get("keyword"))
    if text is None:
        return None
    info, properties = _group(data, "keyword_info"), _group(data, "keyword_properties")
    difficulty = properties.get("keyword_difficulty", data.get("keyword_difficulty"))
    return KeywordFigures(
        text=text,
        volume=_figure(info.get("search_volume"), FIGURE_MAX),
        difficulty=_figure(difficulty, 100),
        cpc_usd=_cpc(info.get("cpc")),
        intent=_intent(_group(data, "search_intent_info").get("main_intent")),
    )


def keyword_text(value: Any) -> str | None:
    """A keyword as we store them; None for what is none (too long, a web address, hidden characters only)."""
    if not isinstance(value, str):
        return None
    text = normalized_keyword(one_line(value))
    is_short = len(text) <= KEYWORD_CHARACTERS_MAX and len(text.split()) <= KEYWORD_WORDS_MAX
    is_word = bool(text) and text[0].isalnum() and any(map(str.isalpha, text))
    return text if is_word and is_short and not has_address(text) else None


def _group(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    group = data.get(name)
    return group if isinstance(group, Mapping) else {}


def _intent(value: Any) -> Intent | None:
    return Intent(value) if isinstance(value, str) and value in set(Intent) else None


def _whole_number(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    if isinstance(value, Decimal) and not (value.is_finite() and abs(value) <= FIGURE_MAX and value == int(value)):
        return None
    return int(value)


def _figure(value: Any, most: int) -> int | None:
    number = _whole_number(value)
    return number if number is not None and 0 <= number <= most else None


def _amount(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    try:
        amount = Decimal(value)
        return usd(amount) if amount.is_finite() and 0 <= amount < STATED_USD_MAX else None
    except (InvalidOperation, ValueError):
        return None


def _cpc(value: Any) -> Decimal | None:
    amount = _amount(value)
    return amount if amount is not None and amount <= CPC_USD_MAX else None


def chosen_phrases(texts: Iterable[str], phrases_max: int) -> tuple[str, ...]:
    """The first phrases that may be asked about."""
    usable = [text for text in map(keyword_text, texts) if text is not None]
    return tuple(dict.fromkeys(usable))[:phrases_max]
