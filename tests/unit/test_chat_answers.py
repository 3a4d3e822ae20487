"""Figures and texts out of providers' answers, in every dialect met."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.money import Usage
from providers.chat_answers import ChatStream, json_text, looked_up_usage, parse_json, usage_of

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.text()
    | st.decimals(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(JSON_VALUES)
def test_json_is_written_and_read_without_loss(value: Any) -> None:
    assert _same(parse_json(json_text(value)), value)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    return bool(one == other)


@given(JSON_VALUES)
def test_what_is_written_is_json_to_others(value: Any) -> None:
    json.loads(json_text(value), parse_float=Decimal)


@pytest.mark.parametrize("depth", [400, 900])
def test_what_can_be_read_can_be_written_however_deep(depth: int) -> None:
    for opened, closed in (("[", "]"), ('{"a": ', "}")):
        text = (
            f'{opened * depth}"é", 1.10{closed * depth}' if opened == "[" else f"{opened * depth}1.10{closed * depth}"
        )

        assert json_text(parse_json(text)) == text


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "{", "", "[" * 200_000])
def test_what_is_no_json_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_json(text)


def test_openai_gives_tokens_only() -> None:
    usage = {"prompt_tokens": 12, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}}

    assert usage_of({"usage": usage}) == Usage(prompt_tokens=12, completion_tokens=3, cached_tokens=4)


def test_openrouter_gives_a_cost_and_searches() -> None:
    answer = parse_json(
        '{"usage": {"prompt_tokens": 12, "completion_tokens": 3, "cost": 0.0000001005, "is_byok": false, '
        '"cost_details": {"upstream_inference_cost": 9}, "server_tool_use": {"web_search_requests": 2}}}'
    )

    assert usage_of(answer) == Usage(prompt_tokens=12, completion_tokens=3, searches=2, cost_usd=Decimal("0.000000101"))


def test_with_the_accounts_own_key_the_upstream_cost_is_added() -> None:
    answer = parse_json(
        '{"usage": {"prompt_tokens": 1, "completion_tokens": 1, "cost": 0.001, "is_byok": true, '
        '"cost_details": {"upstream_inference_cost": 0.02}}}'
    )

    usage = usage_of(answer)

    assert usage is not None
    assert usage.cost_usd == Decimal("0.021")


@pytest.mark.parametrize(
    "upstream", ["", ', "cost_details": null', ', "cost_details": {"upstream_inference_cost": null}',
                 ', "cost_details": {"upstream_inference_cost": -1}'],
)  # fmt: skip
@pytest.mark.parametrize("cost", ["0", "0.001", '{"total_cost": 0}'])
@pytest.mark.parametrize("is_byok", ["true", "1", '"true"'])
def test_with_the_accounts_own_key_a_fee_alone_is_no_cost(is_byok: str, cost: str, upstream: str) -> None:
    facts = f'"cost": {cost}, "is_byok": {is_byok}{upstream}'

    counted = usage_of(parse_json(f'{{"usage": {{"prompt_tokens": 31, "completion_tokens": 17, {facts}}}}}'))

    assert counted == Usage(prompt_tokens=31, completion_tokens=17)
    assert usage_of(parse_json(f'{{"usage": {{{facts}}}}}')) is None


@pytest.mark.parametrize("is_byok", ["false", "null", "0"])
def test_without_a_key_of_its_own_the_cost_is_the_cost(is_byok: str) -> None:
    assert usage_of(parse_json(f'{{"usage": {{"cost": 0, "is_byok": {is_byok}}}}}')) == Usage(
        prompt_tokens=0, completion_tokens=0, cost_usd=Decimal(0)
    )


def test_a_look_up_of_the_accounts_own_key_needs_the_upstreams_charge() -> None:
    fee = {"total_cost": Decimal(0), "is_byok": True, "native_tokens_prompt": 31, "native_tokens_completion": 500}

    assert looked_up_usage(fee) is None
    assert looked_up_usage({**fee, "upstream_inference_cost": None}) is None
    charged = looked_up_usage({**fee, "upstream_inference_cost": Decimal("0.02")})
    assert charged is not None
    assert charged.cost_usd == Decimal("0.02")


def test_perplexity_gives_its_cost_in_parts() -> None:
    answer = parse_json(
        '{"usage": {"prompt_tokens": 1, "completion_tokens": 2, "num_search_queries": 1, '
        '"cost": {"input_tokens_cost": 0.001, "request_cost": 0.005, "total_cost": 0.00612}}}'
    )

    assert usage_of(answer) == Usage(prompt_tokens=1, completion_tokens=2, searches=1, cost_usd=Decimal("0.00612"))


@pytest.mark.parametrize(
    "usage",
    [None, 3, [], {}, {"prompt_tokens": 3}, {"prompt_tokens": "3", "completion_tokens": "4"}, {"prompt_tokens": -1}],
)
def test_usage_that_says_nothing_is_none(usage: Any) -> None:
    assert usage_of({"usage": usage}) is None


@pytest.mark.parametrize("cost", ["-1", "1e30", '"x"', "true", "[]", "null", '"NaN"', '"Infinity"', "1e999999999"])
def test_a_cost_that_makes_no_sense_is_no_cost(cost: str) -> None:
    usage = usage_of(parse_json(f'{{"usage": {{"prompt_tokens": 5, "completion_tokens": 2.0, "cost": {cost}}}}}'))

    assert usage == Usage(prompt_tokens=5, completion_tokens=2)


@given(JSON_VALUES)
def test_no_usage_whatever_it_is_raises(value: Any) -> None:
    usage_of({"usage": value})
    usage_of({"usage": {"prompt_tokens": value, "completion_tokens": value, "cost": value, "cost_details": value}})
    if isinstance(value, dict):
        looked_up_usage(value)
    looked_up_usage({"total_cost": value, "native_tokens_prompt": value, "native_tokens_cached": value})


@given(st.decimals(min_value=0, max_value=1000, places=9))
def test_nine_decimals_are_booked_as_they_are(cost: Decimal) -> None:
    usage = usage_of(parse_json(f'{{"usage": {{"cost": {cost:f}}}}}'))

    assert usage is not None
    assert usage.cost_usd == cost


def test_a_look_up_without_a_cost_has_no_figure_yet() -> None:
    assert looked_up_usage({"native_tokens_prompt": 3, "native_tokens_completion": 4}) is None


@given(st.lists(st.dictionaries(st.sampled_from(["id", "model", "choices", "usage", "error"]), JSON_VALUES)))
def test_no_chunk_whatever_it_is_raises(chunks: list[dict[str, Any]]) -> None:
    stream = ChatStream()
    for chunk in chunks:
        stream.add(json_text(chunk))

    completion = parse_json(json_text(stream.completion()))

    assert isinstance(completion["choices"], list)


@given(st.lists(st.text(), max_size=8))
def test_content_is_put_together_in_order(pieces: list[str]) -> None:
    stream = ChatStream()
    for piece in pieces:
        stream.add(json_text({"id": "g", "choices": [{"index": 0, "delta": {"content": piece}}]}))
    stream.add('{"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}')

    (choice,) = stream.completion()["choices"]
    assert choice["message"]["content"] == "".join(pieces)
    assert stream.is_finished


RUNNING, FINAL = {"completion_tokens": 1}, {"completion_tokens": 9}
END = {"choices": [{"delta": {}, "finish_reason": "stop"}]}


@pytest.mark.parametrize(
    ("chunks", "final"),
    [
        ([{"usage": RUNNING}], None),
        ([{"usage": RUNNING}, END], None),
        ([{"usage": RUNNING}, {"error": "x"}], None),
        ([{"usage": RUNNING}, {"choices": [{"error": "x"}]}], None),
        ([{"usage": RUNNING}, END, {"usage": None}, "[DONE]"], None),
        ([{"usage": RUNNING}, {}, "[DONE]"], None),
        ([{"usage": RUNNING}, "{broken", "[DONE]"], None),
        ([{"usage": RUNNING}, {"choices": [{"finish_reason": ["stop"]}], "usage": FINAL}], None),
        ([{"usage": RUNNING}, {**END, "usage": FINAL}], FINAL),
        ([{"usage": RUNNING}, END, {"usage": FINAL}], FINAL),
        ([{"usage": RUNNING}, END, {"usage": FINAL}, {"choices": []}], FINAL),
        ([{"usage": RUNNING}, {"error": "x", "usage": FINAL}], FINAL),
        ([{"usage": RUNNING}, {"error": None, "usage": FINAL}], None),
        ([{"usage": RUNNING}, {"usage": FINAL}, "[DONE]"], FINAL),
    ],
)
def test_the_final_usage_is_that_at_the_end(chunks: list[Any], final: Any) -> None:
    stream = ChatStream()
    for chunk in chunks:
        stream.add(chunk if isinstance(chunk, str) else json_text(chunk))

    completion = stream.completion()

    assert completion.get("usage") == final
    assert ("running_usage" in completion) is (final is None)


def test_refusals_annotations_and_parts_are_kept() -> None:
    stream = ChatStream()
    for delta in (
        {"content": [{"type": "text", "text": "a"}], "annotations": [{"type": "url_citation"}]},
        {"refusal": "I can"},
        {"refusal": "'t"},
    ):
        stream.add(json_text({"choices": [{"delta": delta}]}))

    assert stream.completion()["choices"][0]["message"] == {
        "role": "assistant",
        "content": "a",
        "annotations": [{"type": "url_citation"}],
        "refusal": "I can't",
    }
    assert not stream.is_finished
