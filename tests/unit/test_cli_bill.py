"""The ledger against the sandbox's bill: equal to the last digit, or a difference that is named."""

from decimal import Decimal
from uuid import UUID, uuid4

from commands.bill import BillCheck, compare
from db.overview import BookedAttempt

FIRST, SECOND = uuid4(), uuid4()


def attempt(attempt_id: UUID, booked: str, *, state: str = "SETTLED", hold: str = "0.01") -> BookedAttempt:
    return BookedAttempt(attempt_id=attempt_id, state=state, hold_usd=Decimal(hold), booked_usd=Decimal(booked))


def check(*attempts: BookedAttempt, **bill: str) -> BillCheck:
    names = {"first": FIRST, "second": SECOND}
    return compare(attempts, {names[name]: Decimal(cost) for name, cost in bill.items()})


def test_equal_to_the_last_digit() -> None:
    found = check(attempt(FIRST, "0.000123456"), attempt(SECOND, "0.002"), first="0.000123456", second="0.002")
    assert found.is_equal
    assert (found.ledger_usd, found.bill_usd, found.charged) == (Decimal("0.002123456"), Decimal("0.002123456"), 2)
    assert found.words() == "ledger = the sandbox's bill, to the last digit"


def test_a_nano_dollar_is_a_difference() -> None:
    found = check(attempt(FIRST, "0.000123456"), first="0.000123457")
    assert not found.is_equal
    assert str(FIRST) in found.words()


def test_differences_that_cancel_out_in_the_sum_are_differences() -> None:
    assert len(check(attempt(FIRST, "1"), attempt(SECOND, "2"), first="2", second="1").differences) == 2


def test_a_charge_without_a_ledger_row_and_a_row_without_a_charge() -> None:
    assert not check(attempt(FIRST, "0", state="NOT_BILLED"), first="0.001").is_equal
    assert not check(attempt(FIRST, "0.001")).is_equal
    assert check(attempt(FIRST, "0", state="NOT_BILLED"), attempt(SECOND, "0", state="VOIDED")).is_equal


def test_an_unknown_attempt_holds_at_least_its_charge() -> None:
    unknown = attempt(FIRST, "0", state="UNKNOWN", hold="0.01")
    found = check(unknown, first="0.009")
    assert found.is_equal
    assert "1 call of unknown cost stay held" in found.words()
    assert not check(unknown, first="0.011").is_equal
