"""Taking out of a page what a reader would not see: by its elements, attributes, inline styles and own style sheets.

Style sheets in files of their own are not fetched; what they hide counts as visible here.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from selectolax.lexbor import LexborHTMLParser, LexborNode, SelectolaxError

SHEET_CHARACTERS_MAX = 400_000
RULES_MAX = 1_500
MATCHES_MAX = 200_000
ELEMENTS_MAX = 150_000
OPACITY_SEEN_MIN = 0.05
FONT_PIXELS_SEEN_MIN = 2.0
OFF_SCREEN_PIXELS = 400.0
CONTRAST_SEEN_MIN = 30

_NOT_TEXT = (
    "script, style, noscript, template, svg, iframe, object, select, textarea, button, dialog, noembed, noframes, "
    "audio, video, canvas, datalist, annotation, annotation-xml, rp, applet, map, progress, meter"
)
_HIDDEN = "[hidden], [aria-hidden='true' i], input, [popover]"
_PIXELS = {"px": 1.0, "pt": 1.33, "pc": 16.0, "em": 16.0, "rem": 16.0, "ex": 8.0, "ch": 8.0, "%": 0.16, "": 1.0}
_PIXELS |= {"vw": 12.0, "vh": 8.0, "cm": 37.8, "mm": 3.78, "in": 96.0, "vmin": 8.0, "vmax": 12.0}
_LENGTH = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*([a-z%]*)", re.IGNORECASE)
_COMMENT = re.compile(r"/\*.*?(?:\*/|$)", re.DOTALL)
_ESCAPE = re.compile(r"\\([0-9a-fA-F]{1,6})\s?|\\(.)")
_CLIPPED = re.compile(
    r"rect\(\s*(?:0|1)(?:px)?[\s,]+(?:0|1)(?:px)?[\s,]+(?:0|1)(?:px)?[\s,]+(?:0|1)(?:px)?\s*\)"
    r"|inset\(\s*(?:[5-9]\d|100)%|circle\(\s*0|ellipse\(\s*0|polygon\(\s*0(?:px|%)?(?:\s+0(?:px|%)?)?\s*(?:,\s*0[^1-9]*)*\)"
)
_SHRUNK = re.compile(r"scale[xy3d]*\(\s*0(?:\.0\d*)?\s*[,)]")
_MOVED = re.compile(r"translate[xy3d]*\(([^)]*)\)")
_OPACITY_FILTER = re.compile(r"opacity\(\s*0(?:\.0\d*)?%?\s*\)")
_HEX = re.compile(r"#([0-9a-f]{3,8})$")
_FUNCTION = re.compile(r"(rgba?|hsla?)\(([^)]*)\)$")
_COLORS = {
    "white": (255, 255, 255), "black": (0, 0, 0), "red": (255, 0, 0), "green": (0, 128, 0), "blue": (0, 0, 255),
    "yellow": (255, 255, 0), "gray": (128, 128, 128), "grey": (128, 128, 128), "silver": (192, 192, 192),
    "whitesmoke": (245, 245, 245), "snow": (255, 250, 250), "ivory": (255, 255, 240), "ghostwhite": (248, 248, 255),
    "floralwhite": (255, 250, 240), "seashell": (255, 245, 238), "azure": (240, 255, 255), "mintcream": (245, 255, 250),
    "aliceblue": (240, 248, 255), "lavenderblush": (255, 240, 245), "navy": (0, 0, 128),
    "lightgray": (211, 211, 211), "lightgrey": (211, 211, 211), "gainsboro": (220, 220, 220),
}  # fmt: skip
_WHITE = (255, 255, 255)
# Media a reader at a desk does not have.
_OTHER_MEDIA = re.compile(r"print|speech|max-width|max-height|width\s*<|prefers-|orientation|hover\s*:|scripting")
_STATES = re.compile(
    r":(?:hover|focus|active|visited|target|checked|disabled|before|after|first-l|placeholder|selection)"
)
_INTERESTING = re.compile(
    r"display|visibility|opacity|font|height|width|text-indent|left|top|right|bottom|margin|transform|translate|scale|clip"
    r"|colou?r|background|filter|\bmask"
)

Declarations = dict[str, str]
Rgb = tuple[int, int, int]


def remove(document: LexborHTMLParser, selector: str) -> None:
    """Elements that match go, with all that is in them; ``html`` and ``body`` stay."""
    _decompose([node for node in document.css(selector) if node.tag not in ("html", "body")])


def remove_invisible(document: LexborHTMLParser) -> None:
    """Comments have no text of their own; elements that are no text or not seen go with all that is in them."""
    styles = _styles_of(document)
    remove(document, f"{_NOT_TEXT}, {_HIDDEN}")
    hidden = [node for node in document.css("*")[:ELEMENTS_MAX] if styles.hides(node)]
    _decompose([node for node in hidden if node.tag not in ("html", "body")])


def _decompose(nodes: list[LexborNode]) -> None:
    """The outermost of them only: what is inside goes with it."""
    chosen = {node.mem_id for node in nodes}
    for node in [node for node in nodes if not _is_inside(node, chosen)]:
        node.decompose()


def _is_inside(node: LexborNode, chosen: set[int]) -> bool:
    parent = node.parent
    while parent is not None:
        if parent.mem_id in chosen:
            return True
        parent = parent.parent
    return False


@dataclass
class _Styles:
    """What the page's own style sheets say of its elements, by element, and whether there are sheets we don't have."""

    declarations: dict[int, Declarations] = field(default_factory=dict)
    has_other_sheets: bool = False

    def of(self, node: LexborNode) -> Mapping[str, str]:
        attributes = node.attributes
        style = attributes.get("style")
        own = dict(self.declarations.get(node.mem_id, {}))
        if style:
            _merge(own, _declarations(style))
        for attribute, name in (("bgcolor", "background-color"), ("color", "color")):
            value = attributes.get(attribute)
            if value and (attribute == "bgcolor" or node.tag == "font"):
                own.setdefault(name, value.strip().lower())
        return own

    def hides(self, node: LexborNode) -> bool:
        style = self.of(node)
        if not style:
            return False
        return _is_gone(style) or _is_too_small(style) or _is_elsewhere(style) or self._is_without_contrast(node, style)

    def _is_without_contrast(self, node: LexborNode, style: Mapping[str, str]) -> bool:
        if "color" not in style or "text" in _plain(style.get("background-clip", style.get("-webkit-background-clip"))):
            return False
        color = _color(style.get("-webkit-text-fill-color", style["color"]))
        if color is None:
            return _is_transparent(style.get("-webkit-text-fill-color", style["color"]))
        background = self._background(node)
        return background is not None and _distance(color, background) < CONTRAST_SEEN_MIN

    def _background(self, node: LexborNode) -> Rgb | None:
        """What an element stands on; None where a sheet that we don't have, or a picture, may say."""
        current: LexborNode | None = node
        may_be_styled = False
        while current is not None and current.is_element_node:
            style = self.of(current)
            stated = style.get("background-color") or style.get("background") or ""
            if "url(" in stated or "gradient(" in stated or style.get("background-image", "none") != "none":
                return None
            color = next((found for part in (stated, *stated.split()) if (found := _color(part))), None)
            if color is not None:
                return color
            may_be_styled |= bool({"class", "id"} & current.attributes.keys()) or "var(" in stated
            current = current.parent
        return None if may_be_styled and self.has_other_sheets else _WHITE


def _styles_of(document: LexborHTMLParser) -> _Styles:
    styles = _Styles(has_other_sheets=bool(document.css("link[rel~='stylesheet' i]")))
    matches_left = MATCHES_MAX
    for selector, declarations in _rules(document):
        for node in _matching(document, selector):
            matches_left -= 1
            if matches_left < 0:
                return styles
            _merge(styles.declarations.setdefault(node.mem_id, {}), declarations)
    return styles


def _merge(into: Declarations, declarations: Mapping[str, str]) -> None:
    """Later ones win, but for what was said to be important."""
    for name, value in declarations.items():
        if "!important" in value or "!important" not in into.get(name, ""):
            into[name] = value


def _rules(document: LexborHTMLParser) -> Iterator[tuple[str, Declarations]]:
    count = 0
    for sheet in document.css("style"):
        media = _plain(sheet.attributes.get("media"))
        if media and _OTHER_MEDIA.search(media):
            continue
        for selector, block in _blocks(_COMMENT.sub("", sheet.text(deep=True)[:SHEET_CHARACTERS_MAX])):
            if _INTERESTING.search(_unescaped(block).lower()):
                count += 1
                if count > RULES_MAX:
                    return
                yield selector, _declarations(block)


def _blocks(css: str) -> Iterator[tuple[str, str]]:
    """Selector and declarations of each rule, those inside of at-rules for a reader's screen too."""
    start, skipping, depth = 0, 0, 0
    opened: list[str] = []
    for found in re.finditer(r"[{};]", css):
        mark, prelude = found[0], css[start : found.start()].strip()
        if mark == "{":
            depth += 1
            opened.append(prelude)
            if prelude.startswith("@") and not skipping and _is_for_others(prelude.lower()):
                skipping = depth
            start = found.end()
        elif mark == "}" and opened:
            selector = opened.pop()
            if not selector.startswith("@") and not skipping and selector:
                yield selector, css[start : found.start()]
            skipping = 0 if skipping == depth else skipping
            depth -= 1
            start = found.end()
        elif mark == ";" and (not opened or opened[-1].startswith("@")):
            start = found.end()  # @import, @charset, or a declaration of an at-rule itself


def _is_for_others(prelude: str) -> bool:
    if prelude.startswith(("@media", "@container")):
        return bool(_OTHER_MEDIA.search(prelude))
    return not prelude.startswith(("@supports", "@layer", "@scope", "@document", "@-moz-document"))


def _matching(document: LexborHTMLParser, selector: str) -> list[LexborNode]:
    try:
        return [] if _STATES.search(selector) else document.css(selector)
    except SelectolaxError:
        parts = [part.strip() for part in selector.split(",")]
    found: list[LexborNode] = []
    for part in parts if len(parts) > 1 else []:
        found += _matching(document, part)
    return found


def _declarations(block: str) -> Declarations:
    found: Declarations = {}
    for part in _COMMENT.sub("", block).split(";"):
        name, colon, value = _unescaped(part).partition(":")
        if colon:
            _merge(found, {name.strip().lower(): " ".join(value.lower().split())})
    return found


def _unescaped(css: str) -> str:
    return _ESCAPE.sub(_unescape, css) if "\\" in css else css


def _unescape(found: re.Match[str]) -> str:
    if found[1] is None:
        return str(found[2])
    number = int(found[1], 16)
    return chr(number) if 0 < number < 0x110000 else ""


def _plain(value: str | None) -> str:
    return (value or "").replace("!important", "").strip().lower()


def _is_gone(style: Mapping[str, str]) -> bool:
    opacity = _number(style.get("opacity"))
    return (
        _plain(style.get("display")) == "none"
        or _plain(style.get("visibility")) in ("hidden", "collapse")
        or _plain(style.get("content-visibility")) == "hidden"
        or (opacity is not None and opacity < OPACITY_SEEN_MIN)
        or bool(_OPACITY_FILTER.search(_plain(style.get("filter"))))
        or bool(_CLIPPED.search(_plain(style.get("clip-path")) or _plain(style.get("clip"))))
    )


def _is_too_small(style: Mapping[str, str]) -> bool:
    font = _pixels(style.get("font-size"))
    if font is None and "font" in style:
        font = next((_pixels(part) for part in style["font"].replace("/", " ").split() if part[:1] in "0.123"), None)
    if font is not None and font < FONT_PIXELS_SEEN_MIN:
        return True
    is_cut = any(_plain(style.get(name)) in ("hidden", "clip") for name in ("overflow", "overflow-x", "overflow-y"))
    sides = [_pixels(style.get(name)) for name in ("height", "width", "max-height", "max-width")]
    return (is_cut and any(side is not None and side <= 1 for side in sides)) or (
        _pixels(style.get("max-height")) == 0 or _plain(style.get("scale")) in ("0", "0 0")
    )


def _is_elsewhere(style: Mapping[str, str]) -> bool:
    indent = _pixels(style.get("text-indent"))
    if indent is not None and abs(indent) > OFF_SCREEN_PIXELS:
        return True
    transform = _plain(style.get("transform"))
    if _SHRUNK.search(transform):
        return True
    moves = [part for found in _MOVED.findall(transform) for part in found.split(",")]
    moves += _plain(style.get("translate")).split()
    moves += [style.get(name, "") for name in ("margin-left", "margin-top", "margin-right")]
    if _plain(style.get("position")) in ("absolute", "fixed", "relative"):
        moves += [style.get(name, "") for name in ("left", "top", "right", "bottom")]
    return any(pixels is not None and pixels < -OFF_SCREEN_PIXELS for pixels in map(_pixels, moves)) or any(
        pixels is not None and pixels > 5 * OFF_SCREEN_PIXELS for pixels in map(_pixels, moves)
    )


def _pixels(value: str | None) -> float | None:
    found = _LENGTH.match(_plain(value))
    if found is None or found[2] not in _PIXELS:
        return None
    return float(found[1]) * _PIXELS[found[2]]


def _number(value: str | None) -> float | None:
    found = _LENGTH.match(_plain(value))
    if found is None:
        return None
    return float(found[1]) / (100 if found[2] == "%" else 1)


def _is_transparent(value: str) -> bool:
    plain = _plain(value)
    if plain == "transparent":
        return True
    found = _FUNCTION.match(plain)
    parts = re.split(r"[\s,/]+", found[2].strip()) if found else []
    if len(parts) == 4:
        alpha = _number(parts[3])
        return alpha is not None and alpha < OPACITY_SEEN_MIN
    hex_digits = _HEX.match(plain)
    digits = hex_digits[1] if hex_digits else ""
    return len(digits) in (4, 8) and set(digits[len(digits) * 3 // 4 :]) == {"0"}


def _color(value: str) -> Rgb | None:
    """None for what is no color, or one that is (nearly) transparent."""
    plain = _plain(value)
    if _is_transparent(plain):
        return None
    if plain in _COLORS:
        return _COLORS[plain]
    digits = _HEX.match(plain)
    if digits and len(digits[1]) in (3, 4, 6, 8):
        return _hex_color(digits[1])
    found = _FUNCTION.match(plain)
    return _function_color(found[1], re.split(r"[\s,/]+", found[2].strip())) if found else None


def _hex_color(digits: str) -> Rgb:
    if len(digits) < 6:
        digits = "".join(2 * digit for digit in digits)
    return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:6], 16)


def _function_color(kind: str, parts: list[str]) -> Rgb | None:
    values = [_number(part) for part in parts[:3]]
    if len(values) < 3 or any(value is None for value in values):
        return None
    first, second, third = (value or 0.0 for value in values)
    if kind.startswith("hsl"):
        # Enough for what matters here: nearly white, nearly black, or gray.
        light = round(255 * third)
        return (light, light, light) if second < 0.1 or not 0.05 < third < 0.95 else None
    scale = [255.0 if part.endswith("%") else 1.0 for part in parts[:3]]
    red, green, blue = (
        min(255, max(0, round(one * by))) for one, by in zip((first, second, third), scale, strict=True)
    )
    return red, green, blue


def _distance(first: Rgb, second: Rgb) -> int:
    return sum(abs(one - other) for one, other in zip(first, second, strict=True))
