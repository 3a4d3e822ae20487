"""The look of published pages: one style sheet, written into each page, so that a page needs no other file.

Colours keep a contrast of at least 4.5 to 1 for text, in light and in dark (tests/unit/test_publishing.py measures).
"""

LIGHT = {
    "paper": "#fcfbf9",
    "panel": "#f4f1eb",
    "ink": "#1f1d1a",
    "soft": "#625d55",
    "line": "#e2dcd1",
    "accent": "#1d5b86",
    "mark": "#7d5109",
}
DARK = {
    "paper": "#16181b",
    "panel": "#1e2125",
    "ink": "#e7e3dc",
    "soft": "#a8a297",
    "line": "#31353b",
    "accent": "#8fc2e6",
    "mark": "#e0b15c",
}


def _variables(colours: dict[str, str]) -> str:
    return ";".join(f"--{name}:{value}" for name, value in colours.items())


_TEXT = """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;text-size-adjust:100%;scroll-behavior:smooth}
@media (prefers-reduced-motion:reduce){html{scroll-behavior:auto}}
body{margin:0;background:var(--paper);color:var(--ink);font:1.0625rem/1.65 var(--serif);overflow-wrap:anywhere}
a{color:var(--accent);text-underline-offset:.18em;text-decoration-thickness:1px}
a:hover{text-decoration-thickness:2px}
:focus-visible{outline:2px solid var(--accent);outline-offset:3px;border-radius:2px}
.skip{position:absolute;left:-999px}
.skip:focus{left:1rem;top:.5rem;z-index:1;background:var(--paper);padding:.4rem .8rem}
h1,h2,h3,h4{line-height:1.22;text-wrap:balance;font-weight:600}
h1{font-size:clamp(1.85rem,1.35rem + 2.4vw,2.75rem);letter-spacing:-.012em;margin:.6rem 0 .9rem}
.standfirst{margin:0 0 1rem;font-size:1.1875rem;line-height:1.5;color:var(--soft)}
.byline,.kicker{margin:0;font:.8125rem/1.5 var(--sans);color:var(--soft)}
.kicker a{color:inherit}
.label{font:600 .6875rem/1 var(--sans);color:var(--mark);border:1px solid currentColor;border-radius:3px;
padding:.15em .4em;vertical-align:.15em;white-space:nowrap}
"""

_FRAME = """
.notice{margin:0;padding:.6rem 1.25rem;background:var(--panel);border-bottom:1px solid var(--line);color:var(--mark);
font:.8125rem/1.45 var(--sans);text-align:center}
.masthead{padding:1rem 1.25rem;border-bottom:1px solid var(--line);font:600 .9375rem/1.3 var(--sans)}
.masthead a{display:block;max-width:39.5rem;margin:0 auto;color:var(--ink);text-decoration:none}
.masthead a:hover{color:var(--accent)}
.article-layout,.index-layout{max-width:42rem;margin:0 auto;padding:2rem 1.25rem 3rem}
.article-header{padding-bottom:1.5rem;border-bottom:1px solid var(--line)}
.breadcrumb ol{display:flex;flex-wrap:wrap;margin:0;padding:0;list-style:none;font:.8125rem/1.5 var(--sans);
color:var(--soft)}
.breadcrumb li+li::before{content:"/";margin:0 .5em;color:var(--soft)}
.breadcrumb a{color:var(--soft)}
.footer{border-top:1px solid var(--line);padding:1.5rem 1.25rem 2.5rem;font:.875rem/1.5 var(--sans)}
.footer p{display:flex;flex-wrap:wrap;gap:.5rem 1.5rem;max-width:39.5rem;margin:0 auto}
.footer a{color:var(--soft)}
"""

_ARTICLE = """
.contents{margin:1.75rem 0 0;padding:1rem 1.25rem;background:var(--panel);border-radius:6px;
font:.9rem/1.45 var(--sans)}
.contents h2,.related h2{margin:0 0 .6rem;font:600 .8125rem/1.4 var(--sans);color:var(--soft)}
.contents ol{margin:0;padding:0;list-style:none}
.contents li+li{margin-top:.4rem}
.contents a{color:var(--ink);text-decoration:none}
.contents a:hover{color:var(--accent);text-decoration:underline}
.prose>p:first-child{margin-top:1.75rem}
.prose blockquote>:last-child{margin-bottom:0}
.prose h2{margin:2.6rem 0 .8rem;font-size:1.5rem;scroll-margin-top:1rem}
.prose h3{margin:2rem 0 .6rem;font-size:1.2rem;scroll-margin-top:1rem}
.prose p{margin:0 0 1.1rem}
.prose ul,.prose ol{margin:0 0 1.2rem;padding-left:1.35rem}
.prose li{margin:.35rem 0;padding-left:.15rem}
.prose li::marker{color:var(--soft)}
.prose blockquote{margin:1.4rem 0;padding:.1rem 0 .1rem 1.1rem;border-left:3px solid var(--line);color:var(--soft)}
.prose table{display:block;max-width:100%;overflow-x:auto;border-collapse:collapse;margin:0 0 1.2rem;
font:.875rem/1.5 var(--sans)}
.prose th,.prose td{padding:.45rem .7rem;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}
.prose pre{max-width:100%;overflow-x:auto;padding:.8rem 1rem;background:var(--panel);border-radius:6px}
.prose code{font-size:.9em}
.prose img{max-width:100%;height:auto}
.citation{font:.72em/0 var(--sans);vertical-align:super;text-decoration:none;white-space:nowrap;margin-left:-.05em}
.citation:hover{text-decoration:underline}
.sources{margin-top:3rem;padding-top:1.25rem;border-top:1px solid var(--line);
font:.875rem/1.5 var(--sans);color:var(--soft)}
.prose .sources h2{margin:0 0 .6rem;font:600 .9375rem/1.4 var(--sans);color:var(--ink)}
.prose .sources ol{margin:0;padding-left:1.75rem}
.sources li{scroll-margin-top:1rem}
.sources li:target{background:var(--panel);outline:.35rem solid var(--panel);color:var(--ink)}
.related{margin-top:2.5rem}
.related ul{display:grid;gap:.75rem;margin:0;padding:0;list-style:none}
.related a{display:block;height:100%;padding:.85rem 1rem;border:1px solid var(--line);border-radius:6px;
color:var(--ink);text-decoration:none;line-height:1.35}
.related a:hover{border-color:var(--accent);color:var(--accent)}
"""

_LISTS = """
.topic{padding:1.6rem 0;border-bottom:1px solid var(--line)}
.topic:last-child{border-bottom:0}
.topic h2{margin:0 0 .4rem;font-size:1.375rem}
.topic h2 a,.topic li a{color:var(--ink);text-decoration:none}
.topic h2 a:hover,.topic li a:hover{color:var(--accent);text-decoration:underline}
.topic p{margin:0;color:var(--soft);font-size:1rem;line-height:1.5}
.topic p.byline{margin-top:.35rem;font-size:.8125rem}
.topic ul{margin:1.1rem 0 0;padding:0 0 0 1.1rem;list-style:none;border-left:2px solid var(--line)}
.topic li+li{margin-top:.9rem}
.topic li p{font-size:.9375rem}
"""

_SIZES = """
@media (min-width:40rem){body{font-size:1.125rem}.related ul{grid-template-columns:1fr 1fr}}
@media (min-width:64rem){.article-layout{display:grid;max-width:66rem;grid-template-columns:minmax(0,42rem) 16rem;
column-gap:5rem;padding-top:3rem}
.article-layout>*{grid-column:1;min-width:0}
.article-layout>.contents{grid-column:2;grid-row:2/span 3;align-self:start;position:sticky;top:1.5rem;margin-top:2.6rem;
max-height:calc(100vh - 3rem);overflow:auto}
.index-layout{display:grid;max-width:66rem;grid-template-columns:16rem minmax(0,42rem);column-gap:5rem;padding-top:3rem}
.index-layout>*{grid-column:2;min-width:0}
.index-layout>.article-header{grid-column:1;grid-row:1/span 99;align-self:start;border-bottom:0;padding-bottom:0}
.index-layout>.topic:nth-child(2){padding-top:.5rem}
.masthead a,.footer p{max-width:63.5rem}}
"""

_PRINT = f"""
@media print{{:root{{{_variables(LIGHT)}}}
body{{background:#fff;color:#000;font-size:11pt}}
.masthead,.contents,.related,.footer,.skip{{display:none}}
.article-layout,.index-layout{{display:block;max-width:none;padding:0}}
.notice{{background:none;text-align:left;padding:0 0 .5rem}}
h2,h3{{break-after:avoid}}p,li{{orphans:3;widows:3}}
a{{color:inherit}}
.sources a::after{{content:" (" attr(href) ")"}}}}
"""

STYLE = "".join(
    (
        ":root{color-scheme:light dark;",
        _variables(LIGHT),
        ';--serif:"Iowan Old Style","Palatino Linotype",Palatino,"Book Antiqua",Georgia,serif',
        ';--sans:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}',
        f"\n@media (prefers-color-scheme:dark){{:root{{{_variables(DARK)}}}}}",
        _TEXT,
        _FRAME,
        _ARTICLE,
        _LISTS,
        _SIZES,
        _PRINT,
    )
)
