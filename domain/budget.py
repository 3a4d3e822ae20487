"""The slice of the plan that the cap does not cover: what waits for money, what it would cost, which cap would do."""

from collections.abc import Sequence
from decimal import ROUND_CEILING, Decimal

from domain.money import Frozen, Usd, format_usd

CENT = Decimal("0.01")
TENTH = Decimal("0.1")
SHOWN = Decimal("0.0001")
# Room for answers that are asked again, beyond what is expected.
MARGIN = Decimal("1.25")


class Unfinished(Frozen):
    """An article that the cap kept from being finished; ``paid_usd`` is what its stored parts have cost."""

    paid_usd: Usd = Decimal(0)


class BudgetSlice(Frozen):
    """``expected_usd`` is what ``articles`` would cost together, ``cap_usd`` a cap that lets all of them be written."""

    articles: int
    expected_usd: Usd
    cap_usd: Usd

    @property
    def words(self) -> str:
        """ "2 articles, about $0.0310 more"."""
        about = format_usd(self.expected_usd.quantize(SHOWN, rounding=ROUND_CEILING))
        return f"{self.articles} article{'' if self.articles == 1 else 's'}, about ${about} more"


def budget_slice(
    unfinished: Sequence[Unfinished],
    *,
    expected_usd: Decimal,
    hold_usd: Decimal,
    taken_usd: Decimal,
    cap_usd: Decimal,
) -> BudgetSlice | None:
    """``expected_usd`` and ``hold_usd`` are for one article, ``taken_usd`` is spent and held, ``cap_usd`` today's cap.
    None when nothing is unfinished.

    The last article can only begin while its whole hold fits below the cap, so that the cap named is more than what
    is expected to be spent; it is rounded up to the cent and above today's.
    """
    if not unfinished:
        return None
    missing = [max(expected_usd - one.paid_usd, expected_usd * TENTH) for one in unfinished]
    total = sum(missing, Decimal(0))
    needed = taken_usd + (total - min(missing)) * MARGIN + max(hold_usd, min(missing))
    cap = max(needed, cap_usd + CENT).quantize(CENT, rounding=ROUND_CEILING)
    return BudgetSlice(articles=len(unfinished), expected_usd=total, cap_usd=cap)
