"""What an article costs at the default routes' shipped prices: ``.venv/bin/python -m bench.article_cost``.

Requests are built by the same functions as the real ones (domain/forecast.py). Expected: every answer accepted at
once. First asks: the most that outline and sections can be billed, each request and answer as large as allowed.
With every repair: each part refused as often as repairs are allowed, the last time by the dearer model.
"""

import re
import sys
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from uuid import UUID

from domain.brief import brief_from_mapping
from domain.forecast import Forecast, forecast, models_of
from domain.money import ModelPrice
from domain.settings import StepSettings

SEED = Path(__file__).parents[1] / "db" / "migrations" / "0006_seed_prices.sql"
WORDS = (600, 900, 1200, 1800, 2400)
LIMIT_USD = Decimal("0.05")
_ROW = re.compile(r"\('([0-9a-f-]{36})', '([^']+)', ([\d.]+), ([\d.]+), ([\d.]+), ([\d.]+), ([\d.]+),")


def shipped_prices() -> Mapping[str, ModelPrice]:
    found = {}
    for price_id, model, *figures in _ROW.findall(SEED.read_text(encoding="utf-8")):
        fresh, cached, output, request, search = map(Decimal, figures)
        found[model] = ModelPrice(
            price_id=UUID(price_id),
            model=model,
            input_usd_per_million=fresh,
            cached_input_usd_per_million=cached,
            output_usd_per_million=output,
            usd_per_request=request,
            usd_per_search=search,
        )
    return found


def forecast_for(words: int) -> Forecast:
    description = " ".join(["sells accounts payable automation to mid-size distributors in the country"] * 4)
    organization = {"name": "Harborline", "url": "https://harborline.example", "description": description}
    brief = brief_from_mapping({"organization": organization, "articles": {"max": 3, "words": words}})
    return forecast(brief, StepSettings(), shipped_prices())


def main() -> int:
    print(f"models: {', '.join(models_of(StepSettings()))}")
    print(f"{'words':>6} {'expected':>10} {'first asks':>11} {'with every repair':>18}")
    for words in WORDS:
        found = forecast_for(words)
        repaired = sum(line.worst_with_repairs_usd for line in found.lines if line.step == "article") / found.articles
        print(f"{words:>6} {found.article_expected_usd:>10.4f} {found.article_worst_usd:>11.4f} {repaired:>18.4f}")
    return int(forecast_for(1200).article_expected_usd >= LIMIT_USD)


if __name__ == "__main__":
    sys.exit(main())
