"""Words that numbers come with (currencies, magnitudes, units, months), and words that turn a sentence round."""

MAGNITUDES = {
    "hundred": 2, "k": 3, "thousand": 3, "m": 6, "mn": 6, "mio": 6, "million": 6, "bn": 9, "b": 9, "billion": 9,
    "trillion": 12, "lakh": 5, "crore": 7,
}  # fmt: skip

CURRENCIES = {
    "$": "$", "usd": "$", "us$": "$", "dollar": "$", "dollars": "$", "€": "€", "eur": "€", "euro": "€", "euros": "€",
    "£": "£", "gbp": "£", "pound": "£", "pounds": "£", "¥": "¥", "yen": "¥", "jpy": "¥", "₹": "₹", "inr": "₹",
    "rupee": "₹", "rupees": "₹", "chf": "₣", "a$": "a$", "aud": "a$", "c$": "c$", "cad": "c$",
}  # fmt: skip

# Unit as written: (unit it is counted in, how many of those).
UNITS: dict[str, tuple[str, int]] = {
    **dict.fromkeys(("second", "seconds", "sec", "secs"), ("second", 1)),
    **dict.fromkeys(("minute", "minutes", "min", "mins"), ("second", 60)),
    **dict.fromkeys(("hour", "hours", "hr", "hrs"), ("second", 3_600)),
    **dict.fromkeys(("day", "days"), ("second", 86_400)),
    **dict.fromkeys(("week", "weeks"), ("second", 604_800)),
    **dict.fromkeys(("fortnight", "fortnights"), ("second", 1_209_600)),
    **dict.fromkeys(("month", "months"), ("month", 1)),
    **dict.fromkeys(("year", "years", "yr", "yrs"), ("month", 12)),
    **dict.fromkeys(("decade", "decades"), ("month", 120)),
    **dict.fromkeys(("century", "centuries"), ("month", 1_200)),
    **dict.fromkeys(("mm", "millimetre", "millimetres", "millimeter", "millimeters"), ("mm", 1)),
    **dict.fromkeys(("cm", "centimetre", "centimetres", "centimeter", "centimeters"), ("mm", 10)),
    **dict.fromkeys(("metre", "metres", "meter", "meters"), ("mm", 1_000)),
    **dict.fromkeys(("km", "kilometre", "kilometres", "kilometer", "kilometers"), ("mm", 1_000_000)),
    **dict.fromkeys(("inch", "inches"), ("inch", 1)),
    **dict.fromkeys(("foot", "feet", "ft"), ("inch", 12)),
    **dict.fromkeys(("yard", "yards"), ("inch", 36)),
    **dict.fromkeys(("mile", "miles"), ("inch", 63_360)),
    **dict.fromkeys(("gram", "grams"), ("gram", 1)),
    **dict.fromkeys(("kg", "kilogram", "kilograms"), ("gram", 1_000)),
    **dict.fromkeys(("lb", "lbs"), ("lb", 1)),
    **dict.fromkeys(("kb", "kilobyte", "kilobytes"), ("kb", 1)),
    **dict.fromkeys(("mb", "megabyte", "megabytes"), ("mb", 1)),
    **dict.fromkeys(("gb", "gigabyte", "gigabytes"), ("gb", 1)),
    **dict.fromkeys(("tb", "terabyte", "terabytes"), ("tb", 1)),
}

MONTHS: dict[str, int] = {
    name: number
    for number, names in enumerate(
        (
            "january jan", "february feb", "march mar", "april apr", "may", "june jun", "july jul", "august aug",
            "september sept sep", "october oct", "november nov", "december dec",
        ),
        start=1,
    )
    for name in names.split()
}  # fmt: skip

# Words that a number only labels: "step 3", "figure 2".
LABELS = (
    "step", "tip", "part", "option", "figure", "fig", "table", "example", "reason", "mistake", "question", "method",
    "way", "idea", "lesson", "section", "chapter",
)  # fmt: skip
LABEL_MAX = 20

_NEGATIONS_TEXT = """
    not no never none nobody nothing neither nor without cannot can't won't don't doesn't didn't isn't aren't wasn't
    weren't hasn't haven't hadn't shouldn't couldn't wouldn't hardly rarely fails failed unable lacks lack refused
    refuses denied denies
"""
NEGATIONS = frozenset(_NEGATIONS_TEXT.split())

_OPPOSITES_TEXT = """
    increase/decrease rise/fall rose/fell grow/shrink grew/shrank more/less more/fewer higher/lower above/below
    before/after first/last win/lose won/lost accept/reject approve/reject allow/forbid gain/loss profit/loss
    buy/sell bought/sold open/close start/end begin/end cheaper/dearer faster/slower best/worst better/worse
    largest/smallest most/least maximum/minimum north/south east/west northern/southern eastern/western male/female
    succeed/fail success/failure support/oppose include/exclude improve/worsen early/late earlier/later hot/cold
    same/different safe/dangerous legal/illegal manual/automatic manually/automatically optional/mandatory free/paid
    public/private married/divorced born/died import/export
"""
OPPOSITES = tuple((one, other) for one, _, other in (pair.partition("/") for pair in _OPPOSITES_TEXT.split()))

# First words of sentences that advise and state nothing.
_ADVICE_VERBS_TEXT = """
    add agree aim align allow ask assign avoid begin bring build bundle call check choose collect compare confirm
    consider count cut decide define describe document draw drop estimate expect explain find fix focus follow
    give go group hand hold identify imagine include invite involve keep learn leave let list look make map mark
    measure meet mind move name note notice pair pick plan prefer prepare publish pull put read record reduce
    remember remove repeat replace request require review run save schedule see select send set share show sort
    split start state stay stop take talk tell test think track train treat try turn use verify wait walk watch
    weigh work write
"""
ADVICE_VERBS = tuple(_ADVICE_VERBS_TEXT.split())
