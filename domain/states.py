"""The graph of the 29 states, written once, and the view that is derived from it.

The same edges stand in the table ``legal_transitions``; every worker compares the two when it starts.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise


class State(StrEnum):
    CREATED = "CREATED"
    ICP_PENDING = "ICP_PENDING"
    ICP_PROCESSING = "ICP_PROCESSING"
    ICP_COMPLETED = "ICP_COMPLETED"
    ICP_FAILED = "ICP_FAILED"
    COMPETITOR_PENDING = "COMPETITOR_PENDING"
    COMPETITOR_PROCESSING = "COMPETITOR_PROCESSING"
    COMPETITOR_COMPLETED = "COMPETITOR_COMPLETED"
    COMPETITOR_FAILED = "COMPETITOR_FAILED"
    SEED_REVIEW_PENDING = "SEED_REVIEW_PENDING"
    SEED_REVIEW_COMPLETED = "SEED_REVIEW_COMPLETED"
    CLUSTERING_PENDING = "CLUSTERING_PENDING"
    CLUSTERING_PROCESSING = "CLUSTERING_PROCESSING"
    CLUSTERING_COMPLETED = "CLUSTERING_COMPLETED"
    CLUSTERING_FAILED = "CLUSTERING_FAILED"
    VALIDATION_PENDING = "VALIDATION_PENDING"
    VALIDATION_PROCESSING = "VALIDATION_PROCESSING"
    VALIDATION_COMPLETED = "VALIDATION_COMPLETED"
    VALIDATION_FAILED = "VALIDATION_FAILED"
    ARTICLE_PENDING = "ARTICLE_PENDING"
    ARTICLE_PROCESSING = "ARTICLE_PROCESSING"
    ARTICLE_COMPLETED = "ARTICLE_COMPLETED"
    ARTICLE_FAILED = "ARTICLE_FAILED"
    PUBLISH_PENDING = "PUBLISH_PENDING"
    PUBLISH_PROCESSING = "PUBLISH_PROCESSING"
    PUBLISH_COMPLETED = "PUBLISH_COMPLETED"
    PUBLISH_FAILED = "PUBLISH_FAILED"
    COMPLETED = "COMPLETED"
    CANCELLED = "CANCELLED"


class Step(StrEnum):
    ICP = "icp"
    COMPETITOR = "competitor"
    SEED_REVIEW = "seed_review"
    CLUSTERING = "clustering"
    VALIDATION = "validation"
    ARTICLE = "article"
    PUBLISH = "publish"


class Status(StrEnum):
    PENDING = "pending"
    PROCESSING = "processing"
    WAITING = "waiting"
    FAILED = "failed"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


STEPS: tuple[Step, ...] = tuple(Step)
WORKING_STEPS: tuple[Step, ...] = tuple(step for step in Step if step is not Step.SEED_REVIEW)
TERMINAL_STATES = frozenset({State.COMPLETED, State.CANCELLED})


def pending_state(step: Step) -> State:
    return State(f"{step.name}_PENDING")


def processing_state(step: Step) -> State:
    """Raises ValueError for seed review: a person decides, nothing is processed."""
    return State(f"{step.name}_PROCESSING")


def completed_state(step: Step) -> State:
    return State(f"{step.name}_COMPLETED")


def failed_state(step: Step) -> State:
    return State(f"{step.name}_FAILED")


def _step_edges(step: Step) -> Iterable[tuple[State, State]]:
    yield pending_state(step), processing_state(step)
    yield processing_state(step), completed_state(step)
    yield processing_state(step), failed_state(step)
    yield failed_state(step), processing_state(step)


def _edges() -> Iterable[tuple[State, State]]:
    yield State.CREATED, State.ICP_PENDING
    for step in WORKING_STEPS:
        yield from _step_edges(step)
    for step, following in pairwise(STEPS):
        yield completed_state(step), pending_state(following)
    yield State.SEED_REVIEW_PENDING, State.SEED_REVIEW_COMPLETED
    yield State.SEED_REVIEW_PENDING, State.COMPETITOR_PENDING
    yield State.CLUSTERING_FAILED, State.SEED_REVIEW_PENDING
    yield State.VALIDATION_FAILED, State.SEED_REVIEW_PENDING
    yield State.PUBLISH_PENDING, State.ARTICLE_PENDING
    yield State.PUBLISH_COMPLETED, State.COMPLETED
    for state in State:
        if state not in TERMINAL_STATES:
            yield state, State.CANCELLED


LEGAL_TRANSITIONS: frozenset[tuple[State, State]] = frozenset(_edges())


def is_legal(current: State, following: State) -> bool:
    return (current, following) in LEGAL_TRANSITIONS


def is_terminal(state: State) -> bool:
    return state in TERMINAL_STATES


@dataclass(frozen=True)
class StateView:
    """What people are shown of a state. ``step`` is None for CANCELLED only."""

    step: Step | None
    status: Status
    label: str


_STEP_LABELS = {
    Step.ICP: "ICP",
    Step.COMPETITOR: "competitor",
    Step.SEED_REVIEW: "seed review",
    Step.CLUSTERING: "clustering",
    Step.VALIDATION: "validation",
    Step.ARTICLE: "article",
    Step.PUBLISH: "publish",
}


def _working_view(step: Step) -> dict[State, StateView]:
    label = _STEP_LABELS[step]
    return {
        pending_state(step): StateView(step, Status.PENDING, f"{label}: about to begin"),
        processing_state(step): StateView(step, Status.PROCESSING, f"{label}: at work"),
        failed_state(step): StateView(step, Status.FAILED, f"{label}: failed"),
    }


def _derived_view() -> dict[State, StateView]:
    view = {State.CREATED: StateView(Step.ICP, Status.PENDING, "created")}
    for step in WORKING_STEPS:
        view |= _working_view(step)
    for step, following in pairwise(STEPS):
        label = f"{_STEP_LABELS[step]}: done"
        view[completed_state(step)] = StateView(following, Status.PENDING, label)
    view[State.SEED_REVIEW_PENDING] = StateView(Step.SEED_REVIEW, Status.WAITING, "seed review: waits for a person")
    view[State.PUBLISH_PENDING] = StateView(Step.PUBLISH, Status.WAITING, "publish: waits for approval")
    view[State.PUBLISH_COMPLETED] = StateView(Step.PUBLISH, Status.PENDING, "publish: done")
    view[State.COMPLETED] = StateView(Step.PUBLISH, Status.COMPLETED, "completed")
    view[State.CANCELLED] = StateView(None, Status.CANCELLED, "cancelled")
    return view


DERIVED_VIEW: Mapping[State, StateView] = _derived_view()


def step_of(state: State | str) -> Step | None:
    """The step a state belongs to, None when cancelled. Unknown text raises ValueError."""
    return DERIVED_VIEW[State(state)].step


def status_of(state: State | str) -> Status:
    return DERIVED_VIEW[State(state)].status


def step_number(step: Step) -> int:
    return STEPS.index(step) + 1


def next_step(state: State | str) -> Step | None:
    """The step after the current one, None after the last and when nothing follows."""
    step = step_of(state)
    if step is None or step is Step.PUBLISH:
        return None
    return STEPS[STEPS.index(step) + 1]


def can_access_step(state: State | str, step: Step) -> bool:
    """Steps up to the current one; none when cancelled, all when completed."""
    current = step_of(state)
    return current is not None and STEPS.index(step) <= STEPS.index(current)


def _reachable(edges: Iterable[tuple[State, State]], start: State) -> set[State]:
    edges = list(edges)
    seen, frontier = {start}, [start]
    while frontier:
        state = frontier.pop()
        for origin, target in edges:
            if origin is state and target not in seen:
                seen.add(target)
                frontier.append(target)
    return seen


def lint_graph(edges: frozenset[tuple[State, State]] = LEGAL_TRANSITIONS) -> list[str]:
    """Faults of a graph in words; empty when it is sound."""
    faults = [f"{state} is terminal and has a way out" for state, _ in edges if state in TERMINAL_STATES]
    entered = {target for _, target in edges}
    starts = [state for state in State if state not in entered]
    if starts != [State.CREATED]:
        faults.append(f"the only start must be CREATED, found {', '.join(starts) or 'none'}")
    reachable = _reachable(edges, State.CREATED)
    backwards = [(target, origin) for origin, target in edges]
    finishing = _reachable(backwards, State.COMPLETED) | _reachable(backwards, State.CANCELLED)
    faults += [f"{state} is unreachable" for state in State if state not in reachable]
    faults += [f"{state} has no way to an end" for state in State if state not in finishing]
    for step in WORKING_STEPS:
        exits = {target for origin, target in edges if origin is processing_state(step)}
        wanted = {completed_state(step), failed_state(step), State.CANCELLED}
        faults += [f"{processing_state(step)} lacks the exit {exit_}" for exit_ in sorted(wanted - exits)]
    return sorted(faults)


def mermaid() -> str:
    """The graph as a Mermaid diagram; the edges to CANCELLED are one, out of the frame around all that have it."""
    order = list(State)
    edges = sorted(LEGAL_TRANSITIONS, key=lambda edge: (order.index(edge[0]), order.index(edge[1])))
    inner = [edge for edge in edges if not TERMINAL_STATES.intersection(edge)]
    ends = [edge for edge in edges if edge[1] is State.COMPLETED]
    return "\n".join(
        [
            "stateDiagram-v2",
            f"    [*] --> {State.CREATED}",
            "    state OPEN {",
            *(f"        {origin} --> {target}" for origin, target in inner),
            "    }",
            *(f"    {origin} --> {target}" for origin, target in ends),
            f"    OPEN --> {State.CANCELLED}",
            *(f"    {state} --> [*]" for state in (State.COMPLETED, State.CANCELLED)),
        ]
    )
