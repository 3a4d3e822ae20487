"""Reading what a chat provider sent: numbers kept exact, usage in the dialects met, a stream put together.

Dialects: OpenAI (tokens only), OpenRouter (``usage.cost`` in US dollars, ``is_byok``), Perplexity (``usage.cost`` an
object with ``total_cost``, ``num_search_queries``).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from domain.money import Usage, usd

COUNT_MAX = 2_000_000_000
COST_USD_MAX = Decimal(1_000_000)
CHOICES_MAX = 16  # one is asked for; a chunk with thousands is no answer


def parse_json(text: str) -> Any:
    """JSON with decimals as ``Decimal``, never through a float. Raises ValueError."""
    try:
        return json.loads(text, parse_float=Decimal, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    except ArithmeticError as error:  # an exponent that no decimal has
        raise ValueError("a number that is none") from error


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


class _Mark(str):
    """What stands between values, written as it is."""

    __slots__ = ()


def json_text(value: Any) -> str:
    """The inverse of ``parse_json``: a ``Decimal`` is written with the digits it has. What can be read can be written,
    however deep it is nested."""
    written: list[str] = []
    pending: list[Any] = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, Mapping):
            pending.extend(reversed(_marked_fields(item)))
        elif isinstance(item, list):
            pending.extend(reversed(_marked_items(item)))
        else:
            written.append(str(item) if isinstance(item, _Mark | Decimal) else json.dumps(item, ensure_ascii=False))
    return "".join(written)


def _marked_fields(fields: Mapping[Any, Any]) -> list[Any]:
    marked: list[Any] = [_Mark("{")]
    for place, (key, value) in enumerate(fields.items()):
        marked += [_Mark(f"{', ' if place else ''}{json.dumps(str(key), ensure_ascii=False)}: "), value]
    return [*marked, _Mark("}")]


def _marked_items(items: list[Any]) -> list[Any]:
    marked: list[Any] = [_Mark("[")]
    for place, value in enumerate(items):
        marked += [_Mark(", "), value] if place else [value]
    return [*marked, _Mark("]")]


def plain_text(value: Any) -> str:
    """A text as it is, anything else as JSON writes it: Python's own way fails on what is nested deep."""
    return value if isinstance(value, str) else json_text(value)


def usage_of(answer: Mapping[str, Any]) -> Usage | None:
    """What the answer says was used; None when it gives neither a cost nor a count that can be read."""
    usage = answer.get("usage")
    if not isinstance(usage, Mapping):
        return None
    return _usage(
        prompt=_count(usage.get("prompt_tokens")),
        completion=_first(_count(usage.get("completion_tokens")), 0 if _is_list_of_embeddings(answer) else None),
        cached=_count(_inner(usage, "prompt_tokens_details", "cached_tokens")),
        searches=_first(_count(usage.get("num_search_queries")), _searches_of_tools(usage)),
        cost_usd=_cost(usage),
    )


def _is_list_of_embeddings(answer: Mapping[str, Any]) -> bool:
    """They complete nothing, and their usage says nothing of it."""
    return answer.get("object") == "list" and isinstance(answer.get("data"), list)


def looked_up_usage(generation: Mapping[str, Any]) -> Usage | None:
    """Usage from the ``data`` of ``GET …/generation``; None without a cost, which may be not accounted yet."""
    cost_usd = _whole_cost(generation, generation.get("total_cost"), generation.get("upstream_inference_cost"))
    if cost_usd is None:
        return None
    return _usage(
        prompt=_first(_count(generation.get("native_tokens_prompt")), _count(generation.get("tokens_prompt"))),
        completion=_first(
            _count(generation.get("native_tokens_completion")), _count(generation.get("tokens_completion"))
        ),
        cached=_count(generation.get("native_tokens_cached")),
        searches=None,
        cost_usd=cost_usd,
    )


def _usage(
    *, prompt: int | None, completion: int | None, cached: int | None, searches: int | None, cost_usd: Decimal | None
) -> Usage | None:
    if cost_usd is None and (prompt is None or completion is None):
        return None
    return Usage(
        prompt_tokens=prompt or 0,
        completion_tokens=completion or 0,
        cached_tokens=cached or 0,
        searches=searches or 0,
        cost_usd=cost_usd,
    )


def _cost(usage: Mapping[str, Any]) -> Decimal | None:
    stated = usage.get("cost")
    total = stated.get("total_cost") if isinstance(stated, Mapping) else stated
    return _whole_cost(usage, total, _inner(usage, "cost_details", "upstream_inference_cost"))


def _whole_cost(facts: Mapping[str, Any], stated: Any, upstream: Any) -> Decimal | None:
    """With the account's own key (``is_byok``) the stated cost is the intermediary's fee alone: without what the
    upstream charged, which may be left out, that is no figure."""
    cost_usd = _amount(stated)
    if cost_usd is None or not facts.get("is_byok"):
        return cost_usd
    upstream_usd = _amount(upstream)
    return None if upstream_usd is None else cost_usd + upstream_usd


def _amount(value: Any) -> Decimal | None:
    """An amount that can be booked, else None: a figure that makes no sense is no figure."""
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        return None
    try:
        amount = Decimal(value)
        return usd(amount) if amount.is_finite() and 0 <= amount <= COST_USD_MAX else None
    except ArithmeticError:
        return None


def _count(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    if isinstance(value, Decimal) and not (value.is_finite() and abs(value) <= COUNT_MAX and value == int(value)):
        return None
    return int(value) if 0 <= value <= COUNT_MAX else None


def _searches_of_tools(usage: Mapping[str, Any]) -> int | None:
    return _count(_inner(usage, "server_tool_use", "web_search_requests"))


def _inner(value: Mapping[str, Any], *keys: str) -> Any:
    found: Any = value
    for key in keys:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def _first(*counts: int | None) -> int | None:
    return next((count for count in counts if count is not None), None)


def error_message(answer: Any) -> str | None:
    """The error that stands in an answer's body, whatever its HTTP status; None where there is none."""
    error = answer.get("error") if isinstance(answer, Mapping) else None
    if error is None and isinstance(answer, Mapping):
        error = next((choice["error"] for choice in _choices(answer) if choice.get("error")), None)
    if not error:
        return None
    if not isinstance(error, Mapping):
        return plain_text(error)
    code, message = error.get("code"), plain_text(error.get("message") or "no message")
    return message if code is None else f"{message} (code {plain_text(code)})"


def error_codes(answer: Any) -> set[str]:
    """``code`` and ``type`` of the error in a body."""
    error = answer.get("error") if isinstance(answer, Mapping) else None
    if not isinstance(error, Mapping):
        return set()
    return {plain_text(error[key]) for key in ("code", "type") if error.get(key) is not None}


def _choices(answer: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    choices = answer.get("choices")
    if not isinstance(choices, list):
        return []
    return [choice for choice in choices[:CHOICES_MAX] if isinstance(choice, Mapping)]


def finish_reason_of(answer: Mapping[str, Any]) -> str | None:
    return next((_finish_reason(choice) for choice in _choices(answer)), None)


def _finish_reason(choice: Mapping[str, Any]) -> str | None:
    reason = choice.get("finish_reason")
    return reason if isinstance(reason, str) and reason else None


def readable_completion(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The answer as it is, but for ``choices`` that a reader would stumble over: those go."""
    choices = answer.get("choices", [])
    whole = isinstance(choices, list) and all(
        isinstance(choice, Mapping) and isinstance(choice.get("message") or {}, Mapping) for choice in choices
    )
    return dict(answer) if whole else {**answer, "choices": []}


@dataclass
class _Choice:
    """Parts as they came: texts are joined once, for a stream may come a letter at a time."""

    content: list[str] = field(default_factory=list)
    refusal: list[str] = field(default_factory=list)
    annotations: list[Any] = field(default_factory=list)
    finish_reason: str | None = None

    def add(self, choice: Mapping[str, Any]) -> None:
        delta = choice.get("delta")
        if isinstance(delta, Mapping):
            self.content.append(_content_text(delta.get("content")))
            if isinstance(delta.get("refusal"), str):
                self.refusal.append(delta["refusal"])
            if isinstance(delta.get("annotations"), list):
                self.annotations.extend(delta["annotations"])
        self.finish_reason = _finish_reason(choice) or self.finish_reason

    def message(self) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": "".join(self.content)}
        if self.annotations:
            message["annotations"] = self.annotations
        if self.refusal:
            message["refusal"] = "".join(self.refusal)
        return message


class ChatStream:
    """A streamed chat completion put together chunk by chunk into one completion object."""

    def __init__(self) -> None:
        self.is_done = False
        self.chunks = 0
        self.characters = 0
        self._facts: dict[str, Any] = {}
        self._has_ended = False
        self._usage: Any = None
        self._is_usage_final = False
        self._is_usage_latest = False
        self._choices: dict[int, _Choice] = {}
        self._unreadable: str | None = None

    @property
    def id(self) -> str | None:
        identifier = self._facts.get("id")
        return identifier if isinstance(identifier, str) and identifier else None

    @property
    def is_finished(self) -> bool:
        """Whether what came is the whole of it."""
        return self.is_done or self._has_ended

    def add(self, data: str) -> None:
        """One event's data. An unreadable one spoils the content, which would have a hole, but not the usage."""
        self.chunks += 1
        self.characters += len(data)
        if data.strip() == "[DONE]":
            self.is_done = True
            self._is_usage_final = self._is_usage_final or self._is_usage_latest
            return
        try:
            chunk = parse_json(data)
        except ValueError as error:
            self._unreadable = str(error)
            self._is_usage_latest = False
            return
        if isinstance(chunk, Mapping):
            self._add_chunk(chunk)

    def _add_chunk(self, chunk: Mapping[str, Any]) -> None:
        for key, value in chunk.items():
            if key not in ("choices", "object", "usage") and value is not None:
                self._facts[key] = value
        for choice in _choices(chunk):
            self._choices.setdefault(_count(choice.get("index")) or 0, _Choice()).add(choice)
            self._has_ended = self._has_ended or _finish_reason(choice) is not None
            if choice.get("error"):
                self._facts.setdefault("error", choice["error"])
        self._has_ended = self._has_ended or bool(self._facts.get("error"))
        self._add_usage(chunk.get("usage"))

    def _add_usage(self, usage: Any) -> None:
        """Some providers repeat a running usage in each chunk. It is the final one in the chunk that ends the answer,
        after that, and in the last before ``[DONE]``."""
        self._is_usage_latest = usage is not None
        if usage is not None:
            self._usage, self._is_usage_final = usage, self._has_ended

    def completion(self) -> dict[str, Any]:
        """The completion object: ids, model, choices, usage, citations and whatever else stood beside them. A usage
        that is not the final one is kept as ``running_usage``."""
        whole = {**self._facts, "object": "chat.completion", "choices": self._completed_choices()}
        if self._usage is not None:
            whole["usage" if self._is_usage_final else "running_usage"] = self._usage
        return whole if self._unreadable is None else {**whole, "choices": [], "unreadable": self._unreadable}

    def _completed_choices(self) -> list[dict[str, Any]]:
        return [
            {"index": index, "message": choice.message(), "finish_reason": choice.finish_reason}
            for index, choice in sorted(self._choices.items())
        ]


def _content_text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(plain_text(part.get("text") or "") for part in content if isinstance(part, Mapping))
    return content if isinstance(content, str) else ""
