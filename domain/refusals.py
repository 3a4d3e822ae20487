"""Why a run came to rest for money, scope by scope, and whether each still stands."""

from decimal import Decimal
from enum import StrEnum

from domain.money import Frozen, Usd


class RefusalScope(StrEnum):
    """What refused an authorization; PLAN is a plan's cap for one workflow."""

    WORKFLOW = "workflow"
    PLAN = "plan"
    MONTH = "month"
    FROZEN = "frozen"
    PRICE = "price"


class RefusedAsk(Frozen):
    """Asks that were refused for one reason; ``hold_usd`` is the largest. ``cap_usd`` is that of the scope then, None
    where it had none; ``is_this_month``: it was the present month's; ``has_price``: its model has a price by now."""

    scope: RefusalScope
    cap_usd: Usd | None
    hold_usd: Usd
    is_this_month: bool
    has_price: bool


class Standing(Frozen):
    """The scopes of a workflow as they are now, and the asks that were refused when it came to rest.

    ``month_used_usd`` is what is spent and held in the present month; a cap of 0 or None lets nothing be spent.
    """

    plan_key: str
    plan_workflow_cap_usd: Usd | None
    plan_month_cap_usd: Usd | None
    month_used_usd: Usd
    is_frozen: bool
    asks: tuple[RefusedAsk, ...] = ()

    @property
    def hold_usd(self) -> Decimal:
        """The most that one of the refused asks would hold."""
        return max((ask.hold_usd for ask in self.asks), default=Decimal(0))

    @property
    def lacks_a_price(self) -> bool:
        return any(ask.scope is RefusalScope.PRICE and not ask.has_price for ask in self.asks)

    @property
    def was_frozen(self) -> bool:
        return any(ask.scope is RefusalScope.FROZEN for ask in self.asks)

    @property
    def plan_allows_no_workflow(self) -> bool:
        """Its cap refuses as it is: 0, none, or the one that has refused."""
        return not self.plan_workflow_cap_usd or self._stands(RefusalScope.PLAN, self.plan_workflow_cap_usd)

    @property
    def month_is_used_up(self) -> bool:
        cap = self.plan_month_cap_usd
        if not cap or self.month_used_usd + self.hold_usd > cap:
            return True
        return self._stands(RefusalScope.MONTH, cap, this_month=True)

    def workflow_is_used_up(self, cap_usd: Decimal, used_usd: Decimal) -> bool:
        """By its own cap. Without a refused ask the plan of the articles found that there is too little left."""
        if not self.asks or used_usd + self.hold_usd > cap_usd:
            return True
        return self._stands(RefusalScope.WORKFLOW, cap_usd)

    def _stands(self, scope: RefusalScope, cap_usd: Decimal, *, this_month: bool = False) -> bool:
        """The scope has refused and its cap was not raised since."""
        return any(
            ask.scope is scope and (ask.cap_usd or 0) >= cap_usd and (ask.is_this_month or not this_month)
            for ask in self.asks
        )
