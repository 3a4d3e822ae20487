"""The brief: what a company tells about itself, checked whole before anything is started."""

import hashlib
import json
import re
import unicodedata
from collections.abc import Hashable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from enum import StrEnum
from typing import Any, NoReturn, get_args
from urllib.parse import urlsplit, urlunsplit

import yaml
from pydantic import BaseModel, Field, ValidationError
from pydantic_core import ErrorDetails

from domain.errors import BadInputError
from domain.identifiers import bare_domain
from domain.money import Frozen, Usd, format_usd

DESCRIPTION_WORDS_MIN = 20
DESCRIPTION_WORDS_WANTED = 40
COMPETITORS_MAX = 10
CAP_DECIMALS_MAX = 9
CAP_USD_DEFAULT = Decimal("1.00")  # where neither brief nor plan says
CAP_USD_MAX = Decimal(1_000_000)
BRIEF_CHARACTERS_MAX = 200_000
VALUE_CHARACTERS_SHOWN = 60

_TEXT_CHARACTERS_MAX = {
    "organization.name": 100,
    "organization.description": 5_000,
    "voice.tone": 200,
}
_ITEM_CHARACTERS_MAX = {"audiences": 200, "voice.banned_phrases": 100, "existing_pages": 200}
_ITEMS_MAX = {"audiences": 10, "voice.banned_phrases": 100, "existing_pages": 1_000}
_URL_CHARACTERS_MAX = 2_000
_LOCALE = re.compile(r"^[a-z]{2,3}(-[A-Z][a-z]{3})?(-[A-Z]{2})?$")
_COUNTRY = re.compile(r"^[A-Z]{2}$")
_HOST = re.compile(r"^(?!-)[^\s/\\?#@:%<>\"'`{}|^\[\]]+$")


class Organization(Frozen):
    name: str
    url: str
    description: str


class Voice(Frozen):
    tone: str = "plain"
    banned_phrases: tuple[str, ...] = ()


class ExistingPage(Frozen):
    url: str
    keyword: str


class ArticleLimits(Frozen):
    max: int = Field(default=3, ge=1, le=50, strict=True)
    min: int = Field(default=1, ge=1, strict=True)
    words: int = Field(default=1200, ge=300, le=5000, strict=True)


class PublishTarget(StrEnum):
    FILES = "files"
    WORDPRESS = "wordpress"


class PublishMode(StrEnum):
    DRAFT = "draft"
    PUBLISH = "publish"


class Approval(StrEnum):
    PERSON = "person"
    AUTO = "auto"


class PublishPlan(Frozen):
    target: PublishTarget = PublishTarget.FILES
    mode: PublishMode = PublishMode.PUBLISH
    approval: Approval = Approval.PERSON


class Brief(Frozen):
    """``cap_usd`` is None where the brief names none: the workflow gets that of its organization's plan."""

    organization: Organization
    audiences: tuple[str, ...] = ()
    competitors: tuple[str, ...] = ()
    locale: str = "en-US"
    country: str = "US"
    voice: Voice = Voice()
    existing_pages: tuple[ExistingPage, ...] = ()
    articles: ArticleLimits = ArticleLimits()
    publish: PublishPlan = PublishPlan()
    cap_usd: Usd | None = None


def parse_brief(text: str, *, source: str) -> Brief:
    """The brief in a YAML or JSON text; ``source`` is the name of the file, for messages.

    Raises BadInputError with one line that names the field, the value and the rule (or the line of broken YAML).
    """
    try:
        return brief_from_mapping(_mapping(text))
    except BadInputError as error:
        raise BadInputError(f"{source}: {error}", error.field) from error


def brief_from_mapping(data: Mapping[str, Any]) -> Brief:
    """The brief in a mapping as a YAML file or flags give it; URLs and spaces come back normalized.

    Raises BadInputError as `parse_brief` does.
    """
    _refuse_control_characters(data)
    given = {**data, "cap_usd": parse_cap(data["cap_usd"])} if "cap_usd" in data else dict(data)
    try:
        brief = Brief.model_validate(given)
    except ValidationError as error:
        _refuse_first(error)
    return _checked(_tidied(brief))


def parse_cap(value: object, field: str = "cap_usd") -> Decimal:
    """Most US dollars a workflow may spend, exactly as written. Raises BadInputError naming ``field``."""
    amount = _decimal(value, field)
    if not amount.is_finite():
        _refuse(field, value, "must be an amount of US dollars such as 1.00")
    if amount <= 0:
        _refuse(field, value, "must be above 0; nothing can run on a cap of 0")
    if amount > CAP_USD_MAX:
        _refuse(field, value, f"must be at most {CAP_USD_MAX:f} US dollars")
    if amount != round(amount, CAP_DECIMALS_MAX):
        _refuse(field, value, f"must have at most {CAP_DECIMALS_MAX} decimals")
    return amount


def brief_warnings(brief: Brief) -> tuple[str, ...]:
    """What is allowed and will make the result worse: one line each."""
    warnings = []
    words = len(brief.organization.description.split())
    if words < DESCRIPTION_WORDS_WANTED:
        warnings.append(
            f"organization.description has {words} words; "
            f"with {DESCRIPTION_WORDS_WANTED} or more the customer profile gets better"
        )
    if not brief.competitors:
        warnings.append("competitors is empty; a model will look for them")
    own = bare_domain(brief.organization.url)
    for page in brief.existing_pages:
        if not _is_same_company(own, page.url):
            warnings.append(f"existing_pages has {page.url}, which is not on {own}")
    return tuple(warnings)


def normalized(brief: Brief) -> dict[str, Any]:
    """The brief as plain JSON values with every default written out; equal briefs give equal dictionaries."""
    plain = _tidied(brief).model_dump(mode="json", exclude={"cap_usd"})
    return plain if brief.cap_usd is None else {**plain, "cap_usd": format_usd(brief.cap_usd.normalize())}


def brief_for_models(brief: Brief) -> dict[str, Any]:
    """What a model needs to know of a brief about the market; cap, limits and the list of own pages stay here."""
    return brief.model_dump(mode="json", include={"organization", "audiences", "competitors", "locale", "country"})


def brief_hash(brief: Brief) -> str:
    """SHA-256 (hex) of the normalized brief's canonical JSON."""
    canonical = json.dumps(normalized(brief), ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def default_name(brief: Brief) -> str:
    """Name of a workflow that was given none."""
    return f"brief-{brief_hash(brief)[:8]}"


# Reading


class _BriefLoader(yaml.SafeLoader):
    """YAML without its traps: ``NO`` is a country, not false; 0.1 is exact; a key stands once; no aliases."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 -- PyYAML's own form

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            mark = self.get_mark()
            raise yaml.composer.ComposerError(None, None, "aliases (*name) are not supported", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                problem = "the name of a field must be a word"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            if key.value in seen:
                problem = f"the field {key.value!r} is given twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def _construct_decimal(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Decimal:
    return Decimal(loader.construct_scalar(node))


_BriefLoader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(~|null|Null|NULL|)$"), ["~", "n", "N", ""])
_BriefLoader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^([Tt]rue|[Ff]alse)$"), list("tTfF"))
_BriefLoader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"^[-+]?(0|[1-9][0-9]{0,17})$"), list("-+0123456789")
)
_BriefLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]{1,2})?$"),
    list("-+.0123456789"),
)
_BriefLoader.add_constructor("tag:yaml.org,2002:float", _construct_decimal)


def _mapping(text: str) -> Mapping[str, Any]:
    if len(text) > BRIEF_CHARACTERS_MAX:
        raise BadInputError(f"the brief has {len(text)} characters; at most {BRIEF_CHARACTERS_MAX} are read")
    try:
        value = _json(text) if text.lstrip().startswith("{") else _yaml(text)
    except RecursionError as error:
        raise BadInputError("the brief is nested too deeply to be read") from error
    if value is None:
        raise BadInputError("the brief is empty; see briefs/ for an example to copy")
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise BadInputError("the brief must be a list of fields with values, such as `organization:`, `competitors:`")
    return value


def _json(text: str) -> Any:
    try:
        return json.loads(text, parse_float=Decimal, object_pairs_hook=_unique_pairs)
    except json.JSONDecodeError as error:
        # A YAML flow mapping starts with a brace as well.
        try:
            return _yaml(text)
        except BadInputError:
            where = f"line {error.lineno}, column {error.colno}"
            raise BadInputError(f"{where}: this is not valid JSON: {error.msg}") from error
    except (ValueError, ArithmeticError) as error:
        raise BadInputError(f"this is not valid JSON: {error}") from error


def _unique_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise BadInputError(f"the field {twice!r} is given twice", twice)
    return unique


def _yaml(text: str) -> Any:
    try:
        return yaml.load(text, Loader=_BriefLoader)  # noqa: S506 -- a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise BadInputError(f"{where}this is not valid YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise BadInputError(f"this is not valid YAML: {' '.join(str(error).split())}") from error


# Refusing


def _refuse(field: str, value: object, rule: str) -> NoReturn:
    raise BadInputError(f"{field} is {_shown(value)}: it {rule}", field)


def _shown(value: object) -> str:
    if value is None:
        return "empty"
    text = str(value) if isinstance(value, Decimal) else repr(value)
    return text if len(text) <= VALUE_CHARACTERS_SHOWN else f"{text[:VALUE_CHARACTERS_SHOWN]}…"


def _refuse_first(error: ValidationError) -> NoReturn:
    detail = min(error.errors(), key=_refusal_rank)
    field = _field_name(detail["loc"])
    match detail["type"]:
        case "extra_forbidden":
            raise BadInputError(_unknown_field(detail["loc"]), field) from error
        case "missing":
            raise BadInputError(f"{field} is missing: it is required", field) from error
        case _:
            _refuse(field, detail["input"], _rule(detail))


def _refusal_rank(detail: ErrorDetails) -> int:
    """A misspelt field also makes one that is missing: the misspelling is what helps."""
    return 0 if detail["type"] == "extra_forbidden" else 1


def _rule(detail: ErrorDetails) -> str:
    context = detail.get("ctx", {})
    rules = {
        "string_type": "must be text" if detail["input"] is None else "must be text (put it in quotes)",
        "int_type": "must be a whole number",
        "tuple_type": "must be a list",
        "model_type": "must be a group of fields",
        "greater_than_equal": f"must be at least {context.get('ge')}",
        "less_than_equal": f"must be at most {context.get('le')}",
        "enum": f"must be {context.get('expected', '')}".replace("'", ""),
    }
    return rules.get(detail["type"], f"is refused ({detail['msg']})")


def _field_name(location: tuple[int | str, ...]) -> str:
    name = ""
    for part in location:
        name += f"[{part}]" if isinstance(part, int) else f".{part}" if name else part
    return name


def _unknown_field(location: tuple[int | str, ...]) -> str:
    *parents, name = location
    known = list(_model_at(tuple(parents)).model_fields)
    nearest = get_close_matches(str(name), known, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]!r}?" if nearest else f"known are {', '.join(known)}"
    return f"{_field_name(location)} is not a field of the brief: {hint}"


def _model_at(location: tuple[int | str, ...]) -> type[BaseModel]:
    model: type[BaseModel] = Brief
    for part in location:
        if isinstance(part, str):
            annotation = model.model_fields[part].annotation
            candidates = [annotation, *get_args(annotation)]
            model = next(one for one in candidates if isinstance(one, type) and issubclass(one, BaseModel))
    return model


def _decimal(value: object, field: str) -> Decimal:
    if isinstance(value, bool | float) or not isinstance(value, str | int | Decimal):
        _refuse(field, value, "must be an amount of US dollars such as 1.00")
    try:
        return Decimal(value.strip() if isinstance(value, str) else value)
    except InvalidOperation:
        _refuse(field, value, "must be an amount of US dollars such as 1.00")


def _refuse_control_characters(data: Any, field: str = "") -> None:
    for name, text in _texts(data, field):
        for character in text:
            if _is_control(character):
                rule = f"must not contain the control character U+{ord(character):04X}"
                _refuse(name or "the brief", text, rule)


def _texts(value: Any, field: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield field, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield field, str(key)
            yield from _texts(inner, f"{field}.{key}" if field else str(key))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _texts(inner, f"{field}[{index}]")


def _is_control(character: str) -> bool:
    """Control, format (zero-width, bidirectional, tag), private and unpaired characters; not line breaks and tabs."""
    return unicodedata.category(character) in ("Cc", "Cf", "Co", "Cs") and character not in "\n\r\t\u00ad\u200c\u200d"


# Rules over the whole


def _tidied(brief: Brief) -> Brief:
    """Spaces folded and URLs in one spelling, so that the same brief has the same hash."""
    organization = Organization(
        name=_spaced(brief.organization.name),
        url=_tidy_url(brief.organization.url),
        description=_spaced(brief.organization.description),
    )
    return brief.model_copy(
        update={
            "organization": organization,
            "audiences": tuple(map(_spaced, brief.audiences)),
            "competitors": tuple(map(_tidy_url, brief.competitors)),
            "locale": brief.locale.strip(),
            "country": brief.country.strip().upper(),
            "voice": Voice(
                tone=_spaced(brief.voice.tone), banned_phrases=tuple(map(_spaced, brief.voice.banned_phrases))
            ),
            "existing_pages": tuple(
                ExistingPage(url=_tidy_url(page.url), keyword=_spaced(page.keyword)) for page in brief.existing_pages
            ),
        }
    )


def _spaced(text: str) -> str:
    return unicodedata.normalize("NFC", " ".join(text.split()))


def _tidy_url(url: str) -> str:
    """Scheme and host in lower case, no default port, fragment or lone slash; as it is when it can't be split."""
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError:
        return url.strip()
    if not parts.scheme or not parts.hostname or parts.username is not None:
        return url.strip()
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname.rstrip(".")
    is_default = port is None or (parts.scheme, port) in (("http", 80), ("https", 443))
    path = "" if parts.path == "/" and not parts.query else parts.path
    return urlunsplit((parts.scheme, host if is_default else f"{host}:{port}", path, parts.query, ""))


def _checked(brief: Brief) -> Brief:
    _check_texts(brief)
    _check_urls(brief)
    _check_description(brief)
    _check_competitors(brief)
    _check_place(brief)
    if brief.articles.min > brief.articles.max:
        _refuse("articles.min", brief.articles.min, f"must be at most articles.max, which is {brief.articles.max}")
    return brief


def _check_texts(brief: Brief) -> None:
    for field, characters_max in _TEXT_CHARACTERS_MAX.items():
        group, name = field.split(".")
        _check_text(field, getattr(getattr(brief, group), name), characters_max)
    items = {
        "audiences": brief.audiences,
        "voice.banned_phrases": brief.voice.banned_phrases,
        "existing_pages": tuple(page.keyword for page in brief.existing_pages),
    }
    for field, texts in items.items():
        if len(texts) > _ITEMS_MAX[field]:
            raise BadInputError(f"{field} has {len(texts)} entries: at most {_ITEMS_MAX[field]} are allowed", field)
        suffix = ".keyword" if field == "existing_pages" else ""
        for index, text in enumerate(texts):
            _check_text(f"{field}[{index}]{suffix}", text, _ITEM_CHARACTERS_MAX[field])


def _check_text(field: str, text: str, characters_max: int) -> None:
    if not text:
        _refuse(field, text, "must not be empty")
    if len(text) > characters_max:
        rule = f"must have at most {characters_max} characters, it has {len(text)}"
        _refuse(field, text, rule)


def _check_urls(brief: Brief) -> None:
    _check_url("organization.url", brief.organization.url)
    for index, url in enumerate(brief.competitors):
        _check_url(f"competitors[{index}]", url)
    for index, page in enumerate(brief.existing_pages):
        _check_url(f"existing_pages[{index}].url", page.url)


def _check_url(field: str, url: str) -> None:
    problem = url_problem(url)
    if problem:
        _refuse(field, url, problem)


def url_problem(url: str) -> str | None:
    """Why a text is no http(s) URL that may be read, None when it is one."""
    if len(url) > _URL_CHARACTERS_MAX:
        return f"must have at most {_URL_CHARACTERS_MAX} characters"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
        is_number = bool(host) and host.replace(".", "").isdigit() and host.count(".") != 3
    except ValueError:
        return "must be a URL with a valid host and port, such as https://acme.example"
    if parts.scheme not in ("http", "https"):
        return "must start with https:// or http://"
    if not host or is_number or not (_HOST.match(host) or ":" in host) or ".." in host:
        return "must have a host, such as https://acme.example"
    if parts.username is not None:
        return "must not carry a user name or password"
    if any(character.isspace() or ord(character) < 32 for character in url):
        return "must not contain spaces"
    return None


def _check_description(brief: Brief) -> None:
    text = brief.organization.description
    words = len(text.split())
    if words < DESCRIPTION_WORDS_MIN:
        rule = f"must have at least {DESCRIPTION_WORDS_MIN} words on what you sell and to whom, it has {words}"
        _refuse("organization.description", text, rule)


def _check_competitors(brief: Brief) -> None:
    if len(brief.competitors) > COMPETITORS_MAX:
        message = f"competitors has {len(brief.competitors)} URLs: at most {COMPETITORS_MAX} are allowed"
        raise BadInputError(message, "competitors")
    own = bare_domain(brief.organization.url)
    seen: dict[str, int] = {}
    for index, url in enumerate(brief.competitors):
        field = f"competitors[{index}]"
        if _is_same_company(own, url):
            _refuse(field, url, f"must not be your own site ({own})")
        domain = comparable_domain(url)
        if domain in seen:
            _refuse(field, url, f"must not repeat competitors[{seen[domain]}]")
        seen[domain] = index


def comparable_domain(url: str) -> str:
    """The bare domain in ASCII, so that two spellings of an international domain are one."""
    domain = bare_domain(url)
    try:
        return domain.encode("idna").decode()
    except UnicodeError:
        return domain


def is_own_site(brief: Brief, url: str) -> bool:
    """Whether a URL is on the organization's domain, on one below it or on the one above it."""
    return _is_same_company(bare_domain(brief.organization.url), url)


def _is_same_company(own: str, url: str) -> bool:
    mine, theirs = comparable_domain(own), comparable_domain(url)
    is_below = theirs.endswith(f".{mine}")
    # blog.acme.com and acme.com are one company; acme.com and com are not.
    is_above = mine.endswith(f".{theirs}") and "." in theirs
    return mine == theirs or is_below or is_above


def _check_place(brief: Brief) -> None:
    if not _LOCALE.match(brief.locale):
        _refuse("locale", brief.locale, "must be a language and a country such as en-US")
    if not _COUNTRY.match(brief.country):
        _refuse("country", brief.country, "must be a country code of two letters such as US")
