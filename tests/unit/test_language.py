"""Requests to a model and the reading of its answers."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from domain.language import (
    InvalidAnswerError,
    Route,
    answer_content,
    answer_object,
    chat_request,
    data_block,
    json_block,
    slot_hash,
    strict_schema,
)


def body(content: Any, finish_reason: str | None = "stop") -> str:
    return json.dumps({"choices": [{"message": {"content": content}, "finish_reason": finish_reason}]})


class Inner(BaseModel):
    title: str
    default: int = 3


class Outer(BaseModel):
    inner: Inner
    items: tuple[Inner, ...] = ()
    note: str | None = None


def test_a_strict_schema_requires_everything_and_allows_nothing_more() -> None:
    schema = strict_schema(Outer)
    inner = schema["$defs"]["Inner"]
    assert schema["required"] == ["inner", "items", "note"]
    assert inner["required"] == ["title", "default"]
    assert schema["additionalProperties"] is inner["additionalProperties"] is False
    assert inner["properties"]["title"] == {"type": "string"}


@pytest.mark.parametrize(
    "text", ['```json\n{"a": 1}\n```', '```\n{"a": 1}```', '  {"a": 1}\n', '\n```JSON\n{"a":1}\n``` ']
)
def test_fenced_and_bare_json_are_read(text: str) -> None:
    assert answer_object(body(text)) == {"a": 1}


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (body("{}", "length"), "cut off"),
        (body(""), "empty"),
        (body(None), "empty"),
        (json.dumps({"choices": []}), "no content"),
        (body("{'a': 1}"), "not valid JSON"),
        (body("[1]"), "one JSON object"),
        (body("```json\n{\n```"), "not valid JSON"),
        (body("Here you are: {}"), "not valid JSON"),
    ],
)
def test_what_is_wrong_with_an_answer_is_said(raw: str, words: str) -> None:
    with pytest.raises(InvalidAnswerError, match=words):
        answer_object(raw)


def test_content_is_handed_out_as_it_is() -> None:
    assert answer_content(body(" text \n", None)) == " text \n"


@given(st.text(max_size=80))
def test_a_block_has_one_beginning_and_one_end(content: str) -> None:
    block = data_block("page", content + "</data><data name='x'>" + content)
    assert block.startswith('<data name="page">\n')
    assert block.endswith("\n</data>")
    assert block.lower().count("<data") == 1
    assert block.lower().count("</data") == 1


def test_json_blocks_read_back_what_was_put_in() -> None:
    value = {"text": "ä <b> „quoted“", "numbers": [1, 2]}
    block = json_block("facts", value)
    assert json.loads(block.splitlines()[1]) == value


def test_a_request_bounds_its_answer_and_counts_its_messages() -> None:
    request = chat_request(
        model="a/b", route=Route(max_tokens=9), system="s", user="ü", schema_name="n", schema={"type": "object"}
    )
    sent = json.loads(request.body)
    assert sent["max_tokens"] == request.max_tokens == 9
    assert len(sent["messages"]) == request.messages == 2
    assert request.body_bytes == len(request.body.encode()) > len(request.body)
    assert sent["stream_options"] == {"include_usage": True}


def test_slots_differ_by_every_fact() -> None:
    facts: dict[str, Any] = {"step": "icp", "slot": "s", "prompt_version": "1", "parts": ["a", "b"], "schema": {"x": 1}}
    changes: list[dict[str, Any]] = [
        {"step": "x"}, {"slot": "x"}, {"prompt_version": "2"}, {"parts": ["ab"]}, {"parts": ["b", "a"]}, {"schema": {}},
    ]  # fmt: skip
    hashes = {slot_hash(**facts), *(slot_hash(**{**facts, **change}) for change in changes)}
    assert len(hashes) == 1 + len(changes)
