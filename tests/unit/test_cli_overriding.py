"""Naming clusters on the command line, and where overriding one is refused."""

from typing import Any
from uuid import UUID

import pytest

from activities.validation import OVERRIDE_GOES_TO, check_overridable
from commands.exits import CommandError, ExitCode
from commands.overriding import check_state, find_cluster
from db.clusters import ClusterRow
from domain.errors import BadInputError
from domain.states import State, is_legal
from domain.verdict import Level, Reason

FALLEN = Reason(code="CANNIBALIZES_WORKFLOW", message="falls", subject="spring: a")
SMALL = Reason(code="CLUSTER_SIZE", message='"supplier portal" falls, has 1 spoke (2 to 12 are needed)')


def row(hub: str, number: int, *, is_valid: bool | None = False, reasons: tuple[Reason, ...] = (FALLEN,)) -> ClusterRow:
    cluster_id = UUID(int=number << 100)
    return ClusterRow(
        cluster_id=cluster_id,
        position=number,
        hub=hub,
        intent="commercial",
        spokes=[],
        is_valid=is_valid,
        reasons=reasons,
    )


ROWS = [row("invoice approval", 1), row("Supplier Portal", 2), row("2", 3)]


@pytest.mark.parametrize(
    ("name", "position"),
    [("1", 1), ("2", 2), ("invoice  APPROVAL", 1), ("supplier portal", 2), (str(ROWS[2].cluster_id), 3)],
)
def test_a_cluster_is_found_by_number_hub_or_id(name: str, position: int) -> None:
    assert find_cluster(ROWS, name).position == position


@pytest.mark.parametrize("name", ["0", "4", "invoice", "", "²", "0000", "no such hub"])
def test_a_name_that_fits_none_is_told_which_there_are(name: str) -> None:
    with pytest.raises(BadInputError, match="there are: 1 invoice approval, 2 Supplier Portal"):
        find_cluster(ROWS, name)


@pytest.mark.parametrize(
    ("cluster", "words"),
    [
        (row("a", 1, is_valid=True), "is valid: there is nothing to override"),
        (row("a", 1, is_valid=None), "was not validated yet"),
        (row("a", 1, reasons=(FALLEN, SMALL)), "can't be overridden; add keywords"),
    ],
)
def test_what_can_not_be_overridden_says_why(cluster: ClusterRow, words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        check_overridable(cluster)


def test_a_warning_beside_what_fell_is_no_obstacle() -> None:
    check_overridable(row("a", 1, reasons=(FALLEN, SMALL.model_copy(update={"level": Level.WARN}))))


@pytest.mark.parametrize("state", [state for state in State if state not in OVERRIDE_GOES_TO])
def test_elsewhere_it_is_a_conflict_with_the_places_where_it_is_none(state: State) -> None:
    class Record:
        name = "spring"

    record: Any = Record()
    record.state = state
    with pytest.raises(CommandError) as refused:
        check_state(record)
    assert refused.value.exit_code is ExitCode.CONFLICT
    assert "VALIDATION_FAILED, ARTICLE_FAILED, PUBLISH_PENDING" in str(refused.value)
    assert state in str(refused.value)


def test_every_way_an_override_goes_is_legal() -> None:
    assert all(is_legal(state, following) for state, following in OVERRIDE_GOES_TO.items())
