"""Requests for embeddings and the vectors in answers of any shape."""

import base64
import json
import struct
from typing import Any

import pytest

from domain.embedding_requests import (
    BATCH_TEXTS_MAX,
    batches_of,
    build_request,
    read_vectors,
    request_slot_hash,
    texts_of,
)
from domain.language import InvalidAnswerError
from domain.money import prompt_token_bound
from domain.reconciliation import is_whole_answer
from domain.spend import check_bounds
from providers.chat_answers import usage_of

TEXTS = ("invoice approval", "早期払い")


def packed(*numbers: float) -> str:
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


def answer(*embeddings: Any, **more: Any) -> str:
    data = [{"object": "embedding", "index": place, "embedding": one} for place, one in enumerate(embeddings)]
    return json.dumps({"object": "list", "data": data, **more})


def test_batches_depend_on_the_texts_alone() -> None:
    texts = [f"keyword {number}" for number in range(150)]
    batches = batches_of([*reversed(texts), *texts, " "])
    assert [len(batch) for batch in batches] == [BATCH_TEXTS_MAX, BATCH_TEXTS_MAX, 150 - 2 * BATCH_TEXTS_MAX]
    assert sorted(text for batch in batches for text in batch) == sorted(texts)
    assert batches == batches_of(texts)
    assert batches_of([]) == ()


def test_a_request_is_bounded_and_its_texts_are_read_back() -> None:
    request = build_request("openai/text-embedding-3-small", TEXTS)
    check_bounds(request)
    assert texts_of(request.body) == TEXTS
    assert prompt_token_bound(request.body_bytes, request.messages) > sum(len(text.encode()) for text in TEXTS)
    assert request_slot_hash("s", request) != request_slot_hash("s", build_request("another", TEXTS))


def test_vectors_come_in_base64_or_in_numbers_in_any_order() -> None:
    first, second = read_vectors(answer(packed(1, 0.5), packed(-2, 3)), TEXTS).values()
    assert (first, second) == ([1.0, 0.5], [-2.0, 3.0])
    turned = json.loads(answer([0.5, 1], [2, 3]))
    turned["data"].reverse()
    assert read_vectors(json.dumps(turned), TEXTS) == {TEXTS[0]: [0.5, 1.0], TEXTS[1]: [2.0, 3.0]}


@pytest.mark.parametrize(
    "body",
    ["", "null", "[]", "{}", '{"data": null}', '{"data": [{}]}', '{"data": {"a": 1}}', '{"data": [1, 2]}',
     answer(), answer(packed(1, 2)), answer(packed(1, 2), packed(1, 2), packed(1, 2)),
     answer(packed(1, 2), packed(1, 2, 3)), answer(packed(), packed()), answer(packed(0, 0), packed(1, 1)),
     answer(packed(float("nan"), 1), packed(1, 1)), answer(packed(float("inf"), 1), packed(1, 1)),
     answer("not base64!", packed(1, 2)), answer("AAA=", packed(1)), answer([1, "x"], [1, 2]),
     answer([1, None], [1, 2]),
     answer({"a": 1}, [1, 2]), answer([[1]], [[2]]), answer([1] * 9000, [1] * 9000),
     answer(packed(1, 2), packed(3, 4)).replace('"index": 1', '"index": 0'),
     answer(packed(1, 2), packed(3, 4)).replace('"index": 1', '"index": 7'),
     answer(packed(1, 2), packed(3, 4)).replace('"index": 1', '"index": "x"'),
     answer(packed(1, 2), packed(3, 4)).replace('"index": 1', '"index": 1e999'),
     answer([10**400, 1], [1, 2])],
)  # fmt: skip
def test_what_is_not_one_vector_for_each_text_is_refused(body: str) -> None:
    with pytest.raises(InvalidAnswerError) as refused:
        read_vectors(body, TEXTS)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("body", "is_whole"),
    [
        (answer(packed(1, 2), packed(3, 4)), True),
        (answer([0.5, 1], [2, 3], model="m", usage={"prompt_tokens": 4}), True),
        (json.dumps({"data": [{"index": 1, "embedding": [1]}, {"index": 0, "embedding": [2]}]}), True),
        (answer(packed(1, 2)), False),
        (answer(packed(1, 2), packed(3, 4), packed(5, 6)), False),
        (answer(packed(1, 2), ""), False),
        (answer(packed(1, 2), None), False),
        (answer(packed(1, 2), packed(3, 4)).replace('"index": 1', '"index": 0'), False),
        (answer(packed(1, 2), packed(3, 4)).replace('"index": 1', '"index": []'), False),
        (answer(packed(1, 2), packed(3, 4))[:-9], False),
        (answer(), False),
        ('{"data": [1, 2]}', False),
        ('{"data": {}}', False),
        ('{"error": {"message": "x"}}', False),
        ('{"data": ' + "[" * 100_000, False),
    ],
)
def test_an_answer_is_whole_that_has_an_embedding_of_every_text(body: str, is_whole: bool) -> None:
    assert is_whole_answer(body, build_request("m", TEXTS).body) is is_whole


def test_where_the_texts_are_not_known_it_is_whole_by_its_own_count() -> None:
    assert is_whole_answer(answer(packed(1, 2)))
    assert not is_whole_answer(answer(packed(1, 2), packed(3, 4)).replace('"index": 0', '"index": 5'))
    assert not is_whole_answer(answer())


def test_a_usage_of_prompt_tokens_alone_is_one_where_nothing_is_completed() -> None:
    usage = {"prompt_tokens": 9, "total_tokens": 9}
    found = usage_of({"object": "list", "data": [], "usage": usage})
    assert found is not None
    assert (found.prompt_tokens, found.completion_tokens, found.cost_usd) == (9, 0, None)
    assert usage_of({"object": "chat.completion", "choices": [], "usage": usage}) is None
