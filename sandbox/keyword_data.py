"""A keyword data provider's requests and answers as DataForSEO Labs' HTTP has them, with invented figures.

Every volume, price and difficulty follows from the keyword's own hash and from how often the served sites write of it:
the same request has the same answer, and none of it is true. Keywords of a site that the sandbox serves are phrases of
its pages and what people put around such.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

from domain.keyphrases import extract_keyphrases
from domain.pages import Page, SiteRead
from sandbox.answers import SiteText
from sandbox.bill import cost_above_any_hold, round_up
from sandbox.completions import Answer, Origin
from sandbox.faults import FaultKind, FaultRule

USD_PER_TASK = Decimal("0.01")
USD_PER_ROW = Decimal("0.0001")
ROWS_MAX = 1000
ROWS_UNSAID = 100
PHRASES_MAX = 40
LONGER_MAX = 12
REFUSED_LOGIN = "wrong-login"
ENDPOINTS = ("keywords_for_site", "related_keywords", "keyword_suggestions", "bulk_keyword_difficulty")

_VOLUMES = (
    10, 20, 30, 40, 50, 70, 90, 110, 140, 170, 210, 260, 320, 390, 480, 590, 720, 880, 1000, 1300, 1600, 1900, 2400,
    2900, 3600, 4400, 5400,
)  # fmt: skip
_INTENTS = ("informational", "commercial", "transactional", "navigational")
_BEFORE = ("best", "how to use", "what is", "free", "cheap")
_AFTER = ("software", "template", "examples", "process", "checklist", "for small business", "best practices")
_GENERIC = ("software", "pricing", "alternatives", "reviews", "integration", "login", "support", "demo", "customers")
_MESSAGES = {
    40000: "You can set only one task at a time.",
    40100: "You are not authorized to access this resource.",
    40101: "Internal SE Server Error.",
    40102: "No Search Results.",
    40200: "Payment Required.",
    40202: "The rate-limit per minute has been exceeded.",
    40210: "Insufficient Funds.",
    40400: "Not Found.",
    40501: "Invalid Field.",
    50000: "Internal Error.",
    50401: "Internal Service Timeout.",
}


@dataclass(frozen=True)
class Refusal:
    """What is answered in place of rows; nothing is charged for it."""

    status: int
    code: int
    detail: str = ""


def refusal_of_login(authorization: str) -> Refusal | None:
    scheme, _, token = authorization.partition(" ")
    try:
        login, colon, password = base64.b64decode(token, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        login = colon = password = ""
    if scheme.lower() != "basic" or not login or not colon or not password or login == REFUSED_LOGIN:
        return Refusal(401, 40100)
    return None


def task_of(endpoint: str, body: bytes) -> dict[str, Any] | Refusal:
    """The one task of a request, or why it is refused."""
    if endpoint not in ENDPOINTS:
        return Refusal(404, 40400)
    try:
        tasks = json.loads(body)
    except ValueError:
        return Refusal(200, 40501, "POST Data")
    if not isinstance(tasks, list) or not tasks or not isinstance(tasks[0], dict):
        return Refusal(200, 40501, "POST Data")
    if len(tasks) > 1:
        return Refusal(200, 40000)
    return tasks[0] if (fault := _wrong_field(endpoint, tasks[0])) is None else Refusal(200, 40501, fault)


def _wrong_field(endpoint: str, task: dict[str, Any]) -> str | None:
    if not isinstance(task.get("location_code"), int):
        return "location_code"
    if not isinstance(task.get("language_code"), str):
        return "language_code"
    limit = task.get("limit", ROWS_UNSAID)
    if not isinstance(limit, int) or not 1 <= limit <= ROWS_MAX:
        return "limit"
    if endpoint == "bulk_keyword_difficulty":
        keywords = task.get("keywords")
        is_list = isinstance(keywords, list) and 1 <= len(keywords) <= ROWS_MAX
        return None if is_list and all(isinstance(keyword, str) for keyword in keywords or ()) else "keywords"
    subject = "target" if endpoint == "keywords_for_site" else "keyword"
    value = task.get(subject)
    is_bare = isinstance(value, str) and bool(value) and "//" not in value and not value.startswith("www.")
    return None if is_bare else subject


# Rows ----------------------------------------------------------------------------------------------------------------


def rows_of(endpoint: str, task: dict[str, Any], sites: Callable[[], Sequence[SiteText]]) -> list[dict[str, Any]]:
    """Items of the one result, as the endpoint forms them."""
    if endpoint == "bulk_keyword_difficulty":
        return [{"se_type": "google", "keyword": text, **_difficulty(text)} for text in task["keywords"]]
    limit, served = task.get("limit", ROWS_UNSAID), sites()
    written = " ".join(site.text for site in served).lower()
    if endpoint == "keywords_for_site":
        return [_keyword_data(text, written) for text in _keywords_of_site(task["target"], served)[:limit]]
    if endpoint == "keyword_suggestions":
        return [_keyword_data(text, written) for text in _around(task["keyword"])[:limit]]
    related = [*_around(task["keyword"])[::2], *_reworded(task["keyword"])][:limit]
    return [{"se_type": "google", "keyword_data": _keyword_data(text, written), "depth": 1} for text in related]


def _keywords_of_site(domain: str, sites: Sequence[SiteText]) -> list[str]:
    site = next((site for site in sites if site.url.partition("//")[2] == domain), None)
    label = domain.partition(".")[0].replace("-", " ")
    branded = [f"{label} {word}" for word in _GENERIC]
    if site is None:
        return branded
    page = Page(url=site.url, title=site.title, headings=(), passages=(site.text,), content_text=site.text)
    read = SiteRead(site=site.url, pages=(page,))
    phrases = [phrase.text for phrase in extract_keyphrases([read], brands=(label,), phrases_max=PHRASES_MAX)]
    longer = [text for phrase in phrases[:LONGER_MAX] for text in _around(phrase)[:: 2 + len(phrase) % 3]]
    return [*phrases, *longer, *branded]


def _around(phrase: str) -> list[str]:
    after = [f"{phrase} {word}" for word in _AFTER if word not in phrase]
    return after + [f"{word} {phrase}" for word in _BEFORE if word not in phrase]


def _reworded(phrase: str) -> list[str]:
    words = phrase.split()
    return [f"{' '.join(words[1:])} {words[0]}"] if len(words) > 1 else []


def _hash(text: str, salt: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{salt}/{text}".encode()).digest()[:6], "big")


def _keyword_data(text: str, written: str) -> dict[str, Any]:
    number = _hash(text, "volume")
    unknown = number % 11 == 0
    return {
        "se_type": "google",
        "keyword": text,
        "keyword_info": {
            "se_type": "google",
            "search_volume": None if unknown else _volume(text, number, written.count(text)),
            "cpc": None if unknown else (25 + _hash(text, "cpc") % 1800) / 100,
            "competition": None if unknown else (_hash(text, "competition") % 100) / 100,
        },
        "keyword_properties": {"se_type": "google", **_difficulty(text)},
        "search_intent_info": {"se_type": "google", "main_intent": _INTENTS[_hash(text, "intent") % 3]},
    }


def _volume(text: str, number: int, mentions: int) -> int:
    """Searched for the more, the more is written of it; the longer a search, the fewer make it."""
    place = 4 * mentions.bit_length() - 2 * len(text.split()) + number % 6
    return _VOLUMES[min(max(place, 0), len(_VOLUMES) - 1)]


def _difficulty(text: str) -> dict[str, Any]:
    number = _hash(text, "difficulty")
    return {"keyword_difficulty": None if number % 13 == 0 else number % 101}


# Answers -------------------------------------------------------------------------------------------------------------


def charged_answer(origin: Origin, endpoint: str, rows: int) -> Answer:
    """What is billed for one task; its content is the envelope's business."""
    return Answer(
        request_id=_task_id(),
        client_request_id=origin.client_request_id,
        path=origin.path,
        model=f"dataforseo/{endpoint}",
        content="",
        finish_reason="",
        prompt_tokens=0,
        completion_tokens=0,
        cost_usd=round_up(USD_PER_TASK + rows * USD_PER_ROW),
    )


def with_cost_fault(answer: Answer, fault: FaultRule | None, *, request_bytes: int) -> Answer:
    match fault.kind if fault is not None else None:
        case FaultKind.COST_MISSING:
            return replace(answer, shows_cost=False)
        case FaultKind.COST_UNLIKE:
            return replace(answer, cost_usd=round_up(answer.cost_usd * 3 / 4))
        case FaultKind.OVERBILL:
            above = cost_above_any_hold(request_bytes=request_bytes, messages=0, max_tokens=100_000) + 1
            return replace(answer, cost_usd=above)
    return answer


def envelope(answer: Answer, endpoint: str, task: dict[str, Any], rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    result = {
        "se_type": "google",
        "location_code": task["location_code"],
        "language_code": task["language_code"],
        "total_count": len(rows),
        "items_count": len(rows),
        "items": list(rows) or None,
    }
    return _envelope(endpoint, task, 20000, answer, [result])


def failed_task(
    endpoint: str, task: dict[str, Any], code: int, answer: Answer | None, detail: str = ""
) -> dict[str, Any]:
    """HTTP 200 and a task that failed; ``answer`` says what it cost all the same."""
    return _envelope(endpoint, task, code, answer, None, detail)


def refused(refusal: Refusal) -> dict[str, Any]:
    """The envelope of a request that no task was made of."""
    return {
        "version": "0.1.sandbox",
        "status_code": refusal.code,
        "status_message": _message(refusal.code, refusal.detail),
        "time": "0 sec.",
        "cost": 0,
        "tasks_count": 0,
        "tasks_error": 0,
        "tasks": None,
    }


def _envelope(
    endpoint: str,
    task: dict[str, Any],
    code: int,
    answer: Answer | None,
    result: list[dict[str, Any]] | None,
    detail: str = "",
) -> dict[str, Any]:
    charged = 0.0 if answer is None else float(answer.cost_usd)
    cost: dict[str, Any] = {"cost": charged} if answer is None or answer.shows_cost else {}
    one = {
        "id": answer.request_id if answer is not None else _task_id(),
        "status_code": code,
        "status_message": _message(code, detail),
        "time": "0.01 sec.",
        **cost,
        "result_count": len(result or ()),
        "path": ["v3", "dataforseo_labs", "google", endpoint, "live"],
        "data": {"api": "dataforseo_labs", "function": endpoint, "se_type": "google", **task},
        "result": result,
    }
    return {
        "version": "0.1.sandbox",
        "status_code": 20000,
        "status_message": "Ok.",
        "time": "0.01 sec.",
        **cost,
        "tasks_count": 1,
        "tasks_error": int(code >= 40000),
        "tasks": [one],
    }


def _message(code: int, detail: str = "") -> str:
    message = "Ok." if code == 20000 else _MESSAGES.get(code, "An error of the sandbox.")
    return f"{message[:-1]}: '{detail}'." if detail else message


def _task_id() -> str:
    return f"{datetime.now(UTC):%m%d%H%M}-sandbox-{uuid4().hex[:12]}"
