"""The graph against the design's table, written out here a second time, and the view that is derived from it."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.states import (
    DERIVED_VIEW,
    LEGAL_TRANSITIONS,
    STEPS,
    TERMINAL_STATES,
    WORKING_STEPS,
    State,
    Status,
    Step,
    can_access_step,
    completed_state,
    failed_state,
    is_legal,
    is_terminal,
    lint_graph,
    mermaid,
    next_step,
    pending_state,
    processing_state,
    status_of,
    step_number,
    step_of,
)

WORKING = ("ICP", "COMPETITOR", "CLUSTERING", "VALIDATION", "ARTICLE", "PUBLISH")

# The design's table, row by row; X stands for each of the six.
TABLE = """
CREATED > ICP_PENDING
X_PENDING > X_PROCESSING
X_PROCESSING > X_COMPLETED
X_PROCESSING > X_FAILED
X_FAILED > X_PROCESSING
ICP_COMPLETED > COMPETITOR_PENDING
COMPETITOR_COMPLETED > SEED_REVIEW_PENDING
SEED_REVIEW_PENDING > SEED_REVIEW_COMPLETED
SEED_REVIEW_PENDING > COMPETITOR_PENDING
SEED_REVIEW_COMPLETED > CLUSTERING_PENDING
CLUSTERING_COMPLETED > VALIDATION_PENDING
VALIDATION_COMPLETED > ARTICLE_PENDING
CLUSTERING_FAILED > SEED_REVIEW_PENDING
VALIDATION_FAILED > SEED_REVIEW_PENDING
ARTICLE_COMPLETED > PUBLISH_PENDING
PUBLISH_PENDING > ARTICLE_PENDING
PUBLISH_COMPLETED > COMPLETED
CREATED > CANCELLED
X_PENDING > CANCELLED
X_PROCESSING > CANCELLED
X_COMPLETED > CANCELLED
X_FAILED > CANCELLED
SEED_REVIEW_PENDING > CANCELLED
SEED_REVIEW_COMPLETED > CANCELLED
"""

STEP_STATES = {
    "icp": "CREATED ICP_PENDING ICP_PROCESSING ICP_FAILED",
    "competitor": "ICP_COMPLETED COMPETITOR_PENDING COMPETITOR_PROCESSING COMPETITOR_FAILED",
    "seed_review": "COMPETITOR_COMPLETED SEED_REVIEW_PENDING",
    "clustering": "SEED_REVIEW_COMPLETED CLUSTERING_PENDING CLUSTERING_PROCESSING CLUSTERING_FAILED",
    "validation": "CLUSTERING_COMPLETED VALIDATION_PENDING VALIDATION_PROCESSING VALIDATION_FAILED",
    "article": "VALIDATION_COMPLETED ARTICLE_PENDING ARTICLE_PROCESSING ARTICLE_FAILED",
    "publish": "ARTICLE_COMPLETED PUBLISH_PENDING PUBLISH_PROCESSING PUBLISH_COMPLETED PUBLISH_FAILED COMPLETED",
    None: "CANCELLED",
}

WAYS_BACK = {
    ("SEED_REVIEW_PENDING", "COMPETITOR_PENDING"),
    ("CLUSTERING_FAILED", "SEED_REVIEW_PENDING"),
    ("VALIDATION_FAILED", "SEED_REVIEW_PENDING"),
    ("PUBLISH_PENDING", "ARTICLE_PENDING"),
}


def table_edges() -> list[tuple[str, str]]:
    lines = [tuple(line.split(" > ")) for line in TABLE.split("\n") if line]
    edges: list[tuple[str, str]] = []
    for origin, target in lines:
        names = WORKING if "X_" in origin else ("",)
        edges += [(origin.replace("X_", f"{name}_"), target.replace("X_", f"{name}_")) for name in names]
    return edges


def test_the_graph_is_the_designs_table() -> None:
    edges = table_edges()
    assert len(edges) == len(set(edges)) == 64
    assert {(str(origin), str(target)) for origin, target in LEGAL_TRANSITIONS} == set(edges)


def test_there_are_29_states_and_2_ends() -> None:
    assert len(State) == 29
    assert {State.COMPLETED, State.CANCELLED} == TERMINAL_STATES
    assert {state for state in State if is_terminal(state)} == TERMINAL_STATES


def test_the_graph_is_sound() -> None:
    assert lint_graph() == []


@pytest.mark.parametrize(
    ("removed", "added", "fault"),
    [
        (("CREATED", "ICP_PENDING"), None, "ICP_PENDING is unreachable"),
        (None, ("CANCELLED", "ICP_PENDING"), "CANCELLED is terminal and has a way out"),
        (None, ("ICP_PENDING", "CREATED"), "the only start must be CREATED, found none"),
        (("ICP_PROCESSING", "ICP_FAILED"), None, "ICP_PROCESSING lacks the exit ICP_FAILED"),
        (("ICP_PROCESSING", "CANCELLED"), None, "ICP_PROCESSING lacks the exit CANCELLED"),
    ],
)
def test_lint_names_the_fault(removed: tuple[str, str] | None, added: tuple[str, str] | None, fault: str) -> None:
    edges = set(LEGAL_TRANSITIONS)
    if removed:
        edges.remove((State(removed[0]), State(removed[1])))
    if added:
        edges.add((State(added[0]), State(added[1])))
    assert fault in lint_graph(frozenset(edges))


def test_lint_finds_a_dead_end() -> None:
    edges = frozenset(edge for edge in LEGAL_TRANSITIONS if edge[0] is not State.ARTICLE_FAILED)
    assert "ARTICLE_FAILED has no way to an end" in lint_graph(edges)


def test_each_state_has_the_designs_step() -> None:
    wanted = {state: step for step, states in STEP_STATES.items() for state in states.split()}
    assert {str(state): step_of(state) for state in State} == wanted


def test_the_view_is_total_and_its_labels_tell_states_apart() -> None:
    assert set(DERIVED_VIEW) == set(State)
    labels = [view.label for view in DERIVED_VIEW.values()]
    assert len(set(labels)) == len(labels)


@given(st.sampled_from(sorted(LEGAL_TRANSITIONS)))
def test_a_legal_edge_keeps_or_raises_the_step_but_for_the_named_ways_back(edge: tuple[State, State]) -> None:
    origin, target = step_of(edge[0]), step_of(edge[1])
    if edge[1] is State.CANCELLED:
        assert target is None
        return
    assert origin is not None
    assert target is not None
    went_back = step_number(target) < step_number(origin)
    assert went_back == ((str(edge[0]), str(edge[1])) in WAYS_BACK)
    assert went_back or step_number(target) - step_number(origin) in (0, 1)


@given(st.sampled_from(State))
def test_status_never_says_more_than_is_true(state: State) -> None:
    status = status_of(state)
    assert (status is Status.PROCESSING) == state.endswith("_PROCESSING")
    assert (status is Status.FAILED) == state.endswith("_FAILED")
    assert (status is Status.WAITING) == (state in {State.SEED_REVIEW_PENDING, State.PUBLISH_PENDING})
    assert (status is Status.COMPLETED) == (state is State.COMPLETED)
    assert (status is Status.CANCELLED) == (state is State.CANCELLED)


@given(st.sampled_from(State), st.sampled_from(Step))
def test_access_reaches_up_to_the_current_step(state: State, step: Step) -> None:
    current = step_of(state)
    if state is State.CANCELLED:
        assert not can_access_step(state, step)
    elif state is State.COMPLETED:
        assert can_access_step(state, step)
    else:
        assert current is not None
        assert can_access_step(state, step) == (step_number(step) <= step_number(current))


@given(st.sampled_from(State))
def test_the_next_step_is_one_further(state: State) -> None:
    step, following = step_of(state), next_step(state)
    if step in (None, Step.PUBLISH):
        assert following is None
    else:
        assert step is not None
        assert following is not None
        assert step_number(following) == step_number(step) + 1


@given(st.text().filter(lambda text: text not in set(State)))
def test_unknown_text_is_an_error_and_not_step_one(text: str) -> None:
    for function in (step_of, status_of, next_step):
        with pytest.raises(ValueError, match="is not a valid State"):
            function(text)
    with pytest.raises(ValueError, match="is not a valid State"):
        can_access_step(text, Step.ICP)


@given(st.sampled_from(State), st.sampled_from(State))
def test_is_legal_agrees_with_the_table(origin: State, target: State) -> None:
    assert is_legal(origin, target) == ((str(origin), str(target)) in set(table_edges()))


def test_steps_have_their_states() -> None:
    assert [str(step) for step in STEPS] == [key for key in STEP_STATES if key]
    for step in WORKING_STEPS:
        states = {pending_state(step), processing_state(step), completed_state(step), failed_state(step)}
        assert len(states) == 4
    with pytest.raises(ValueError, match="SEED_REVIEW_PROCESSING"):
        processing_state(Step.SEED_REVIEW)


def diagram_edges(diagram: str) -> set[tuple[str, str]]:
    """The edges a reader takes from the diagram: those out of the frame OPEN hold for every state in it."""
    arrows = re.findall(r"^ *(\S+) --> (\S+)$", diagram, re.MULTILINE)
    frame = diagram.partition("state OPEN {")[2].partition("}")[0]
    framed = set(re.findall(r"[A-Z_]{4,}", frame))
    edges = {(origin, target) for origin, target in arrows if "[*]" not in (origin, target) and origin != "OPEN"}
    return edges | {(state, target) for origin, target in arrows if origin == "OPEN" for state in framed}


def test_the_diagram_shows_the_graph() -> None:
    assert diagram_edges(mermaid()) == set(table_edges())


def test_the_page_shows_the_generated_diagram() -> None:
    page = Path(__file__).parents[2] / "docs" / "state-machine.md"
    drawn = page.read_text(encoding="utf-8").partition("```mermaid\n")[2].partition("\n```")[0]
    assert drawn == mermaid(), "write the output of domain.states.mermaid() into docs/state-machine.md"
