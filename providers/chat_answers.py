"""Reading what a chat provider sent: numbers kept exact, usage in the dialects met, a stream put together.

Dialects: OpenAI (tokens only), OpenRouter (``usage.cost`` in US dollars, ``is_byok``), Perplexity (``usage.cost`` an
object with ``total_cost``, ``num_search_queries``).
"""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from domain.money import Usage, usd

COUNT_MAX = 2_000_000_000
COST_USD_MAX = Decimal(1_000_000)


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


def json_text(value: Any) -> str:
    """The inverse of ``parse_json``: a ``Decimal`` is written with the digits it has."""
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json_text(str(key))}: {json_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(json_text(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)


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
    cost_usd = _amount(generation.get("total_cost"))
    if cost_usd is None:
        return None
    if generation.get("is_byok") is True:
        cost_usd += _amount(generation.get("upstream_inference_cost")) or Decimal(0)
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
    if isinstance(stated, Mapping):
        return _amount(stated.get("total_cost"))
    cost_usd = _amount(stated)
    if cost_usd is not None and usage.get("is_byok") is True:
        # With the account's own key the stated cost is the intermediary's fee alone.
        cost_usd += _amount(_inner(usage, "cost_details", "upstream_inference_cost")) or Decimal(0)
    return cost_usd


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
        return str(error)
    code, message = error.get("code"), error.get("message")
    return f"{message or 'no message'} (code {code})" if code is not None else str(message or "no message")


def error_codes(answer: Any) -> set[str]:
    """``code`` and ``type`` of the error in a body."""
    error = answer.get("error") if isinstance(answer, Mapping) else None
    if not isinstance(error, Mapping):
        return set()
    return {str(error[key]) for key in ("code", "type") if error.get(key) is not None}


def _choices(answer: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    choices = answer.get("choices")
    return [choice for choice in choices if isinstance(choice, Mapping)] if isinstance(choices, list) else []


def finish_reason_of(answer: Mapping[str, Any]) -> str | None:
    reason = next((choice.get("finish_reason") for choice in _choices(answer)), None)
    return str(reason) if reason else None


def readable_completion(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The answer as it is, but for ``choices`` that a reader would stumble over: those go."""
    choices = answer.get("choices", [])
    whole = isinstance(choices, list) and all(
        isinstance(choice, Mapping) and isinstance(choice.get("message") or {}, Mapping) for choice in choices
    )
    return dict(answer) if whole else {**answer, "choices": []}


class ChatStream:
    """A streamed chat completion put together chunk by chunk into one completion object."""

    def __init__(self) -> None:
        self.is_done = False
        self.chunks = 0
        self._facts: dict[str, Any] = {}
        self._messages: dict[int, dict[str, Any]] = {}
        self._finish_reasons: dict[int, str] = {}
        self._unreadable: str | None = None

    @property
    def id(self) -> str | None:
        identifier = self._facts.get("id")
        return identifier if isinstance(identifier, str) and identifier else None

    @property
    def is_finished(self) -> bool:
        """Whether what came is the whole of it, so that its usage is the final one."""
        return self.is_done or bool(self._finish_reasons) or "error" in self._facts

    def add(self, data: str) -> None:
        """One event's data. An unreadable one spoils the content, which would have a hole, but not the usage."""
        self.chunks += 1
        if data.strip() == "[DONE]":
            self.is_done = True
            return
        try:
            chunk = parse_json(data)
        except ValueError as error:
            self._unreadable = str(error)
            return
        if isinstance(chunk, Mapping):
            self._add_chunk(chunk)

    def _add_chunk(self, chunk: Mapping[str, Any]) -> None:
        for key, value in chunk.items():
            if key not in ("choices", "object") and value is not None:
                self._facts[key] = value
        for choice in _choices(chunk):
            self._add_choice(choice)

    def _add_choice(self, choice: Mapping[str, Any]) -> None:
        index = _count(choice.get("index")) or 0
        message = self._messages.setdefault(index, {"role": "assistant", "content": ""})
        delta = choice.get("delta")
        if isinstance(delta, Mapping):
            message["content"] += _content_text(delta.get("content"))
            if isinstance(delta.get("refusal"), str):
                message["refusal"] = message.get("refusal", "") + delta["refusal"]
            if isinstance(delta.get("annotations"), list):
                message.setdefault("annotations", []).extend(delta["annotations"])
        if choice.get("finish_reason"):
            self._finish_reasons[index] = str(choice["finish_reason"])
        if choice.get("error"):
            self._facts.setdefault("error", choice["error"])

    def completion(self) -> dict[str, Any]:
        """The completion object: ids, model, choices, usage, citations and whatever else stood beside them."""
        choices = [
            {"index": index, "message": message, "finish_reason": self._finish_reasons.get(index)}
            for index, message in sorted(self._messages.items())
        ]
        if self._unreadable is None:
            return {**self._facts, "object": "chat.completion", "choices": choices}
        return {**self._facts, "object": "chat.completion", "choices": [], "unreadable": self._unreadable}


def _content_text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") for part in content if isinstance(part, Mapping))
    return content if isinstance(content, str) else ""
