"""Words of the HTML standard, as tables: elements, their attributes, what may stand in what, which values there are."""

import re


def names(text: str) -> frozenset[str]:
    return frozenset(text.split())


PHRASING = names(
    "a abbr area audio b bdi bdo br button canvas cite code data datalist del dfn em embed i iframe img input ins "
    "kbd label link map mark math meta meter noscript object output picture progress q ruby s samp script select "
    "slot small span strong sub sup svg template textarea time u var video wbr"
)
PARTS = names(
    "base body caption col colgroup dd dt figcaption head html legend li optgroup option param rp rt source style "
    "summary tbody td tfoot th thead title tr track"
)
FLOW = names(
    "address article aside blockquote details dialog div dl fieldset figure footer form h1 h2 h3 h4 h5 h6 header "
    "hgroup hr main menu nav ol p pre search section table ul"
)
ELEMENTS = PHRASING | PARTS | FLOW
OBSOLETE = names(
    "acronym applet basefont big blink center dir font frame frameset isindex keygen listing marquee menuitem "
    "multicol nobr noembed noframes plaintext rb rtc spacer strike tt xmp"
)
PHRASING_ONLY = names(
    "abbr b bdi bdo button cite code data dfn em h1 h2 h3 h4 h5 h6 i kbd label mark meter output p pre progress q "
    "rt s samp small span strong sub sup time u var"
)
TRANSPARENT = names("a ins del map object video audio noscript canvas slot")
HEADINGS = names("h1 h2 h3 h4 h5 h6 hgroup")
INTERACTIVE = names("button details embed iframe label select textarea")
PARENTS: dict[str, frozenset[str]] = {
    "li": names("ul ol menu template"),
    "dt": names("dl div template"),
    "dd": names("dl div template"),
    "figcaption": names("figure template"),
    "legend": names("fieldset optgroup template"),
    "summary": names("details template"),
    "option": names("select optgroup datalist template"),
    "optgroup": names("select template"),
    "source": names("picture audio video template"),
    "track": names("audio video template"),
    "rt": names("ruby template"),
    "rp": names("ruby template"),
    "style": names("head noscript template"),
    "title": names("head template"),
    "base": names("head template"),
}
CHILDREN: dict[str, frozenset[str]] = {
    "ul": names("li script template"),
    "ol": names("li script template"),
    "menu": names("li script template"),
    "dl": names("dt dd div script template"),
    "tr": names("td th script template"),
    "thead": names("tr script template"),
    "tbody": names("tr script template"),
    "tfoot": names("tr script template"),
    "table": names("caption colgroup thead tbody tfoot tr script template"),
    "picture": names("source img script template"),
    "select": names("option optgroup hr script template button"),
    "hgroup": names("p h1 h2 h3 h4 h5 h6 script template"),
}
NOT_INSIDE: dict[str, frozenset[str]] = {
    "header": names("header footer address dt th"),
    "footer": names("header footer address dt th"),
    "main": names("article aside nav header footer address"),
    "label": names("label"),
    "dfn": names("dfn"),
    "form": names("form"),
    "table": names("caption"),
    "meter": names("meter"),
    "progress": names("progress"),
}

GLOBAL = names(
    "accesskey autocapitalize autocorrect autofocus class contenteditable dir draggable enterkeyhint exportparts "
    "hidden id inert inputmode is itemid itemprop itemref itemscope itemtype lang nonce part popover role slot "
    "spellcheck style tabindex title translate writingsuggestions xml:lang about content datatype inlist prefix "
    "property rel resource rev typeof vocab xmlns"
)
MEDIA = "autoplay controls controlslist crossorigin disablepictureinpicture loop muted playsinline preload src"
ATTRIBUTES: dict[str, frozenset[str]] = {
    "a": names("download href hreflang ping referrerpolicy rel target type"),
    "area": names("alt coords download href ping referrerpolicy rel shape target"),
    "audio": names(MEDIA),
    "base": names("href target"),
    "blockquote": names("cite"),
    "body": names(""),
    "button": names(
        "command commandfor disabled form formaction formenctype formmethod formnovalidate formtarget name "
        "popovertarget popovertargetaction type value"
    ),
    "canvas": names("height width"),
    "col": names("span"),
    "colgroup": names("span"),
    "data": names("value"),
    "del": names("cite datetime"),
    "details": names("name open"),
    "dialog": names("closedby open"),
    "embed": names("height src type width"),
    "fieldset": names("disabled form name"),
    "form": names("accept-charset action autocomplete enctype method name novalidate rel target"),
    "iframe": names("allow allowfullscreen height loading name referrerpolicy sandbox src srcdoc width credentialless"),
    "img": names(
        "alt crossorigin decoding fetchpriority height ismap loading referrerpolicy sizes src srcset usemap width"
    ),
    "input": names(
        "accept alpha alt autocomplete capture checked colorspace dirname disabled form formaction formenctype "
        "formmethod formnovalidate formtarget height list max maxlength min minlength multiple name pattern "
        "placeholder popovertarget popovertargetaction readonly required size src step type value width"
    ),
    "ins": names("cite datetime"),
    "label": names("for"),
    "li": names("value"),
    "link": names(
        "as blocking color crossorigin disabled fetchpriority href hreflang imagesizes imagesrcset integrity "
        "media referrerpolicy rel sizes type"
    ),
    "map": names("name"),
    "meta": names("charset content http-equiv media name"),
    "meter": names("high low max min optimum value"),
    "object": names("data form height name type width"),
    "ol": names("reversed start type"),
    "optgroup": names("disabled label"),
    "option": names("disabled label selected value"),
    "output": names("for form name"),
    "progress": names("max value"),
    "q": names("cite"),
    "script": names(
        "async blocking crossorigin defer fetchpriority integrity nomodule referrerpolicy src type language"
    ),
    "select": names("autocomplete disabled form multiple name required size"),
    "slot": names("name"),
    "source": names("height media sizes src srcset type width"),
    "style": names("blocking media type"),
    "td": names("colspan headers rowspan"),
    "template": names(
        "shadowrootclonable shadowrootdelegatesfocus shadowrootmode shadowrootserializable "
        "shadowrootcustomelementregistry"
    ),
    "textarea": names(
        "autocomplete cols dirname disabled form maxlength minlength name placeholder readonly required rows wrap"
    ),
    "th": names("abbr colspan headers rowspan scope"),
    "time": names("datetime"),
    "track": names("default kind label src srclang"),
    "video": names(f"{MEDIA} height poster width"),
}
ARIA = names(
    "activedescendant atomic autocomplete braillelabel brailleroledescription busy checked colcount colindex "
    "colindextext colspan controls current describedby description details disabled dropeffect errormessage "
    "expanded flowto grabbed haspopup hidden invalid keyshortcuts label labelledby level live modal multiline "
    "multiselectable orientation owns placeholder posinset pressed readonly relevant required roledescription "
    "rowcount rowindex rowindextext rowspan selected setsize sort valuemax valuemin valuenow valuetext"
)
REQUIRED: dict[str, tuple[str, ...]] = {
    "img": ("src",),
    "track": ("src",),
    "bdo": ("dir",),
    "optgroup": ("label",),
    "meter": ("value",),
    "object": ("data",),
    "data": ("value",),
    "map": ("name",),
}
URLS = names("href src cite action poster data formaction")
NOT_EMPTY_URLS = names("src action poster data formaction")
WHOLE_NUMBERS: dict[str, tuple[frozenset[str], int]] = {
    "width": (names("img iframe video canvas embed object source input"), 0),
    "height": (names("img iframe video canvas embed object source input"), 0),
    "colspan": (names("td th"), 1),
    "rowspan": (names("td th"), 0),
    "span": (names("col colgroup"), 1),
    "rows": (names("textarea"), 1),
    "cols": (names("textarea"), 1),
}
FLOATS = names("value min max low high optimum")
INTEGERS: dict[str, frozenset[str]] = {"start": names("ol"), "value": names("li"), "tabindex": ELEMENTS}
INPUT_TYPES = names(
    "hidden text search tel url email password date month week time datetime-local number range color checkbox radio "
    "file submit image reset button"
)
HTTP_EQUIVS = names(
    "content-language content-type default-style refresh x-ua-compatible content-security-policy set-cookie"
)
CHOICES: dict[tuple[str, str], frozenset[str]] = {
    ("*", "dir"): names("ltr rtl auto"),
    ("*", "hidden"): frozenset({"", "hidden", "until-found"}),
    ("*", "contenteditable"): frozenset({"", "true", "false", "plaintext-only"}),
    ("*", "spellcheck"): frozenset({"", "true", "false"}),
    ("*", "translate"): frozenset({"", "yes", "no"}),
    ("input", "type"): INPUT_TYPES,
    ("meta", "http-equiv"): HTTP_EQUIVS,
    ("meta", "charset"): names("utf-8"),
    ("*", "draggable"): names("true false"),
    ("*", "aria-hidden"): names("true false"),
    ("*", "aria-expanded"): names("true false"),
    ("*", "aria-current"): names("page step location date time true false"),
    ("*", "aria-live"): names("off polite assertive"),
    ("img", "loading"): names("lazy eager"),
    ("iframe", "loading"): names("lazy eager"),
    ("img", "decoding"): names("sync async auto"),
    ("th", "scope"): names("row col rowgroup colgroup"),
    ("ol", "type"): names("1 a A i I"),
    ("form", "method"): names("get post dialog"),
    ("button", "type"): names("button submit reset"),
    ("video", "preload"): names("none metadata auto"),
    ("audio", "preload"): names("none metadata auto"),
    ("track", "kind"): names("subtitles captions descriptions chapters metadata"),
}
CASE_MATTERS = {("ol", "type")}
OBSOLETE_ATTRIBUTES = names(
    "align alink background bgcolor border cellpadding cellspacing char charoff clear color compact face frame "
    "frameborder hspace link longdesc marginheight marginwidth noshade nowrap rules scrolling size summary text type "
    "valign vlink vspace width height axis scope abbr"
)
BOOLEANS = names(
    "allowfullscreen async autofocus autoplay checked controls default defer disabled formnovalidate inert ismap "
    "itemscope loop multiple muted nomodule novalidate open playsinline readonly required reversed selected"
)
REFERENCES = names(
    "aria-labelledby aria-describedby aria-controls aria-owns aria-details aria-errormessage aria-flowto headers for"
)
# Elements that have no role of their own, which a label could name.
NAMELESS = names("b bdi bdo caption code data del dfn div em i ins kbd mark p pre q s samp small span strong sub sup u")
ROLES = names(
    "alert alertdialog application article banner blockquote button caption cell checkbox code columnheader "
    "combobox comment complementary contentinfo definition deletion dialog directory document emphasis feed "
    "figure form generic graphics-document graphics-object graphics-symbol grid gridcell group heading img image "
    "insertion link list listbox listitem log main mark marquee math menu menubar menuitem menuitemcheckbox "
    "menuitemradio meter navigation none note option paragraph presentation progressbar radio radiogroup region "
    "row rowgroup rowheader scrollbar search searchbox separator slider spinbutton status strong subscript "
    "suggestion superscript switch tab table tablist tabpanel term textbox time timer toolbar tooltip tree "
    "treegrid treeitem doc-abstract doc-acknowledgments doc-afterword doc-appendix doc-backlink doc-biblioentry "
    "doc-bibliography doc-biblioref doc-chapter doc-colophon doc-conclusion doc-cover doc-credit doc-credits "
    "doc-dedication doc-endnote doc-endnotes doc-epigraph doc-epilogue doc-errata doc-example doc-footnote "
    "doc-foreword doc-glossary doc-glossref doc-index doc-introduction doc-noteref doc-notice doc-pagebreak "
    "doc-pagefooter doc-pageheader doc-pagelist doc-part doc-preface doc-prologue doc-pullquote doc-qna "
    "doc-subtitle doc-tip doc-toc"
)
LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z]{4})?(-(?:[A-Za-z]{2}|\d{3}))?(-(?:[A-Za-z0-9]{5,8}|\d[A-Za-z0-9]{3}))*")
URL_REFUSED = re.compile(r"[\s<>\"{}|\\^`]|%(?![0-9A-Fa-f]{2})")
PATH_REFUSED = re.compile(r"[\[\]]")
DATE_TIME = re.compile(
    r"\d{4,}(-\d{2}(-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,3})?)?(Z|[+-]\d{2}:?\d{2})?)?)?|-W\d{2})?"
    r"|\d{2}:\d{2}(:\d{2}(\.\d{1,3})?)?|--?\d{2}-\d{2}|Z|[+-]\d{2}:?\d{2}"
    r"|P(?=[\dT])(\d+D)?(T(\d+H)?(\d+M)?(\d+(\.\d+)?S)?)?|(\s*\d+(\.\d+)?\s*[wdhmsWDHMS])+\s*"
)
SRCSET_PART = re.compile(r"\s*\S+(?:\s+\d+w|\s+\d+(?:\.\d+)?x)?\s*")
