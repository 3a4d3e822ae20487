"""A provider's requests and answers as OpenAI's and OpenRouter's HTTP has them."""

import base64
import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

from sandbox.answers.embedding import DEFAULT_DIMENSIONS, embed
from sandbox.bill import (
    BillLine,
    Price,
    cost_above_any_hold,
    cost_of,
    count_prompt_tokens,
    count_tokens,
    cut_to_tokens,
    price_of,
    round_up,
)
from sandbox.faults import FaultKind, FaultRule

_STREAM_CHUNKS_MAX = 24
_TOKENS_MAX_UNSAID = 4096


@dataclass(frozen=True)
class Origin:
    """Where a request came in, and the name its sender gave it."""

    path: str
    client_request_id: str | None


class RefusedRequestError(Exception):
    """A request that is answered with an HTTP error in OpenAI's form; nothing is charged."""

    def __init__(self, status: int, message: str, code: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(frozen=True)
class Answer:
    """One charged answer on its way out: the model's text and what the provider says about it."""

    request_id: str
    client_request_id: str | None
    path: str
    model: str
    content: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    cost_usd: Decimal
    shows_usage: bool = True
    shows_cost: bool = True
    citations: tuple[str, ...] = ()

    def bill_line(self) -> BillLine:
        return BillLine(
            request_id=self.request_id,
            client_request_id=self.client_request_id,
            path=self.path,
            model=self.model,
            cost_usd=f"{self.cost_usd:f}",
            at=datetime.now(UTC).isoformat(),
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
        )

    def usage(self) -> dict[str, Any] | None:
        """In OpenRouter's form: the cost is a JSON number that reads back as the same decimal."""
        if not self.shows_usage:
            return None
        usage: dict[str, Any] = {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
        }
        return {**usage, "cost": float(self.cost_usd)} if self.shows_cost else usage


# -- what is asked for --------------------------------------------------------------------------------------------


def schema_of(body: dict[str, Any]) -> tuple[str | None, str]:
    """Name of the JSON schema that is asked for, and the schema as text."""
    wanted = body.get("response_format")
    if not isinstance(wanted, dict) or wanted.get("type") != "json_schema":
        return None, ""
    schema = wanted.get("json_schema") or {}
    return str(schema.get("name")), json.dumps(schema.get("schema") or {}, ensure_ascii=False)


def messages_of(body: dict[str, Any]) -> list[dict[str, Any]]:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(message, dict) for message in messages):
        raise RefusedRequestError(400, "'messages' must be a list with at least one message", "invalid_request_error")
    return messages


def text_of(message: dict[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return str(content or "")


def inputs_of(body: dict[str, Any]) -> list[str]:
    given = body.get("input")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text for text in texts):
        raise RefusedRequestError(400, "'input' must be a text or a list of texts, none empty", "invalid_request_error")
    return texts


def _priced(body: dict[str, Any], *, is_embedding: bool) -> tuple[str, Price]:
    """The model asked for and its price; nothing is done for a model that has none."""
    model = str(body.get("model"))
    price = price_of(model)
    if price is None or ("embedding" in model) != is_embedding:
        raise RefusedRequestError(404, f"the model {model!r} does not exist here", "model_not_found")
    return model, price


def _tokens_max(body: dict[str, Any]) -> int:
    limit = body.get("max_completion_tokens", body.get("max_tokens", _TOKENS_MAX_UNSAID))
    if not isinstance(limit, int) or limit < 1:
        raise RefusedRequestError(400, f"'max_tokens' must be at least 1, got {limit!r}", "invalid_request_error")
    return limit


# -- what is answered ---------------------------------------------------------------------------------------------


def chat_answer(
    origin: Origin, body: dict[str, Any], *, messages: Sequence[dict[str, Any]], schema: str, content: str
) -> Answer:
    model, price = _priced(body, is_embedding=False)
    content, was_cut = cut_to_tokens(content, _tokens_max(body))
    prompt_tokens = count_prompt_tokens((text_of(message) for message in messages), schema)
    completion_tokens = count_tokens(content)
    return Answer(
        request_id=f"gen-{uuid4().hex}",
        client_request_id=origin.client_request_id,
        path=origin.path,
        model=model,
        content=content,
        finish_reason="length" if was_cut else "stop",
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        cost_usd=cost_of(price, prompt_tokens=prompt_tokens, completion_tokens=completion_tokens),
    )


def embedding_answer(origin: Origin, body: dict[str, Any], texts: Sequence[str]) -> Answer:
    model, price = _priced(body, is_embedding=True)
    prompt_tokens = sum(count_tokens(text) for text in texts)
    return Answer(
        request_id=f"gen-{uuid4().hex}",
        client_request_id=origin.client_request_id,
        path=origin.path,
        model=model,
        content="",
        finish_reason="stop",
        prompt_tokens=prompt_tokens,
        completion_tokens=0,
        cost_usd=cost_of(price, prompt_tokens=prompt_tokens, completion_tokens=0),
    )


def embedding(place: int, text: str, body: dict[str, Any]) -> dict[str, Any]:
    vector = embed(text, int(body.get("dimensions") or DEFAULT_DIMENSIONS))
    encoded: Any = vector
    if body.get("encoding_format") == "base64":
        encoded = base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
    return {"object": "embedding", "index": place, "embedding": encoded}


def with_fault(answer: Answer, fault: FaultRule | None, *, request_bytes: int, messages: int) -> Answer:
    """The answer as the fault leaves it: what is shown here is also what is charged."""
    if fault is None:
        return answer
    spoiled = _SPOILED_CONTENT.get(fault.kind)
    if spoiled is not None:
        return replace(answer, content=spoiled(answer.content))
    match fault.kind:
        case FaultKind.TRUNCATED_JSON:
            return replace(answer, content=answer.content[: len(answer.content) // 2], finish_reason="length")
        case FaultKind.OTHER_MODEL:
            return replace(answer, model=fault.answer_model)
        case FaultKind.ADDED_CLAIM:
            return replace(answer, content=_with_sentence(answer.content, fault.text), citations=fault.cites)
        case FaultKind.USAGE_MISSING:
            return replace(answer, shows_usage=False)
        case FaultKind.COST_MISSING:
            return replace(answer, shows_cost=False)
        case FaultKind.COST_UNLIKE:
            return replace(answer, cost_usd=round_up(answer.cost_usd * 3 / 4))
        case FaultKind.OVERBILL:
            above = cost_above_any_hold(request_bytes=request_bytes, messages=messages, max_tokens=100_000)
            return replace(answer, cost_usd=above)
    return answer


def _without_first_key(content: str) -> str:
    try:
        value = json.loads(content)
    except ValueError:
        return "{}"
    return json.dumps({"unexpected": True, **dict(list(value.items())[1:])}, ensure_ascii=False)


def _with_sentence(content: str, sentence: str) -> str:
    """The sentence at the end of the first paragraph of an article's section; other answers stay as they are."""
    try:
        value = json.loads(content)
    except ValueError:
        return content
    blocks = value.get("blocks") if isinstance(value, dict) else None
    paragraph = next((one for one in blocks or [] if one.get("kind") == "paragraph"), None)
    if paragraph is None:
        return content
    paragraph["text"] = f"{paragraph['text']} {sentence}"
    return json.dumps(value, ensure_ascii=False)


_SPOILED_CONTENT: dict[FaultKind, Callable[[str], str]] = {
    FaultKind.EMPTY_CONTENT: lambda _content: "",
    FaultKind.FENCED_JSON: lambda content: f"```json\n{content}\n```",
    FaultKind.INVALID_JSON: lambda content: f"{content.rstrip('}')},, unfinished",
    FaultKind.SCHEMA_VIOLATION: _without_first_key,
}


def completion_object(answer: Answer) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": answer.content}
    if answer.citations:
        message["annotations"] = _annotations(answer)
    choice: dict[str, Any] = {"index": 0, "message": message, "finish_reason": answer.finish_reason}
    value: dict[str, Any] = {**_envelope(answer, "chat.completion"), "choices": [choice]}
    usage = answer.usage()
    return value if usage is None else {**value, "usage": usage}


def stream_parts(answer: Answer, wants_usage: bool) -> list[bytes]:
    """Server-sent events: the role, the text in pieces, the finish reason, the usage, [DONE]."""
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": piece} for piece in _pieces(answer.content)]
    if answer.citations:
        deltas.append({"content": "", "annotations": _annotations(answer)})
    choices: list[dict[str, Any]] = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": answer.finish_reason})
    envelope = _envelope(answer, "chat.completion.chunk")
    chunks: list[dict[str, Any]] = [{**envelope, "choices": [choice]} for choice in choices]
    usage = answer.usage()
    if wants_usage and usage is not None:
        chunks.append({**envelope, "choices": [], "usage": usage})
    return [*(as_event(chunk) for chunk in chunks), b"data: [DONE]\n\n"]


def _annotations(answer: Answer) -> list[dict[str, Any]]:
    """Pages cited, as OpenRouter and OpenAI name them."""
    return [
        {"type": "url_citation", "url_citation": {"url": url, "title": "", "start_index": 0, "end_index": 0}}
        for url in answer.citations
    ]


def _pieces(content: str) -> list[str]:
    size = max(24, -(-len(content) // _STREAM_CHUNKS_MAX))
    return [content[start : start + size] for start in range(0, len(content), size)]


def _envelope(answer: Answer, kind: str) -> dict[str, Any]:
    created = int(datetime.now(UTC).timestamp())
    return {"id": answer.request_id, "object": kind, "created": created, "model": answer.model}


def as_json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def as_event(value: Any) -> bytes:
    return b"data: " + as_json(value) + b"\n\n"


def model_facts(name: str, price: Price) -> dict[str, Any]:
    pricing = {
        "prompt": f"{price.input_usd_per_million / 1_000_000:f}",
        "completion": f"{price.output_usd_per_million / 1_000_000:f}",
        "request": f"{price.usd_per_request:f}",
    }
    return {"id": name, "object": "model", "created": 0, "owned_by": name.partition("/")[0], "pricing": pricing}
