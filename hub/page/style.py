"""The page's only style and script. Their hashes stand in its content security policy, so nothing else can run.

No state is told by colour alone: every status has a sign and a word, a fault has an outline. The ramp is one hue, so
that it reads the same for all kinds of colour vision; it darkens with the error by day and brightens with it by night.
"""

from __future__ import annotations

import base64
import hashlib

from hub.page.frame import BELOW, MARGINS

_DAY = (
    "#e3eefa", "#c9dff5", "#aecff0", "#92bdea", "#75aae2", "#5895d8", "#3d7fca", "#2868b3", "#1b5193", "#123b6d",
)  # fmt: skip
_NIGHT = (
    "#1d3550", "#20456d", "#24558a", "#2a66a8", "#3a79c0", "#5590d2", "#74a8e0", "#90bbe9", "#abcdf1", "#c8dff8",
)  # fmt: skip

_TOKENS = """
:root{color-scheme:light dark;
--page:#f4f3ef;--card:#fff;--ink:#1b1b19;--soft:#5c5b56;--line:#dedcd5;--accent:#2267bf;--band:#c9dff5;
--equal:#cfcdc5;--good:#0b6b3a;--good-bg:#e4f4ea;--bad:#a61b1b;--bad-bg:#fbe9e7;--warn:#7a4d00;--warn-bg:#fdf1d8;
--reference:#a8480c}
@media(prefers-color-scheme:dark){:root{
--page:#121211;--card:#1d1d1b;--ink:#f1f0eb;--soft:#b3b1a8;--line:#3a3935;--accent:#7ab0ec;--band:#24476d;
--equal:#4a4944;--good:#7fd6a3;--good-bg:#12301f;--bad:#ff9d94;--bad-bg:#3d1715;--warn:#f0c267;--warn-bg:#352709;
--reference:#f0a06a}}
"""

_RULES = """
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;
-webkit-text-size-adjust:100%;overflow-wrap:anywhere}
main,header,footer{max-width:1140px;margin:0 auto;padding:0 16px}
header{padding-top:24px}
h1{font-size:1.5rem;line-height:1.25;margin:0 0 4px}
h2{font-size:1.15rem;margin:36px 0 12px}
h3{font-size:1rem;margin:0 0 2px}
p{margin:0 0 8px}
.sub,.note,figcaption p,.legend,.readout,.unit,footer,.plain p{color:var(--soft);font-size:.875rem}
small{color:var(--soft);font-size:inherit}
.unseen{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
.banner{border-left:6px solid;border-radius:6px;padding:14px 16px;margin:16px 0}
.banner h2{margin:0 0 2px;font-size:1.15rem}
.banner p,.banner ul{margin:4px 0 0;color:var(--ink)}
.banner ul{padding-left:20px}
.banner.good{color:var(--good);background:var(--good-bg)}
.banner.bad{color:var(--bad);background:var(--bad-bg)}
.banner.open{color:var(--warn);background:var(--warn-bg)}
.bad{color:var(--bad)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(155px,1fr));gap:12px;margin:16px 0}
.tile,.card{background:var(--card);border:1px solid var(--line);border-radius:8px}
.tile{padding:12px 14px}
.tile b{display:block;font-size:1.35rem;line-height:1.3;font-weight:600}
.tile span{display:block;font-size:.875rem;color:var(--soft)}
.cards{display:grid;grid-template-columns:minmax(0,1fr);gap:16px}
@media(min-width:860px){.cards{grid-template-columns:repeat(2,minmax(0,1fr))}.wide,.wide:first-child~.card:last-child:nth-child(even){grid-column:1/-1}}
.card{margin:0;padding:16px;min-width:0}
.plot{padding-top:14px;overflow-x:clip}
.unit{margin:6px 0 -6px}
svg{display:block;overflow:visible}
.stretched{overflow:visible}
text{font-size:12px;fill:var(--soft)}
.strong,.name{fill:var(--ink)}
.name{font:11px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
.on-phone{display:none}
.strong{font-weight:600}
.value{font-variant-numeric:tabular-nums;fill:var(--ink)}
.halo{paint-order:stroke;stroke:var(--card);stroke-width:4px;stroke-linejoin:round;fill:var(--ink)}
.grid{stroke:var(--line)}
.base{stroke:var(--soft)}
.reference{stroke:var(--reference);stroke-width:1.5;stroke-dasharray:5 4}
.limit{stroke:var(--bad);stroke-dasharray:2 3}
.curve{fill:none;stroke:var(--accent);stroke-width:2;stroke-linejoin:round}
.band{fill:var(--band)}
.dot{fill:var(--accent);stroke:var(--card);stroke-width:1.5}
.ring{fill:none;stroke:var(--reference);stroke-width:2}
.bar{fill:var(--accent)}
.track{fill:var(--line);opacity:.5}
.hit{fill:var(--ink);fill-opacity:0}
.hit:hover{fill-opacity:.07}
.equal{fill:var(--equal)}
.none{fill:var(--card);stroke:var(--soft)}
.faulty{stroke:var(--bad);stroke-width:2.5}
.cell:hover,.bar:hover,.dot:hover{stroke:var(--ink);stroke-width:2}
.legend{display:flex;flex-wrap:wrap;gap:6px 10px;align-items:center;margin:6px 0}
.legend span{display:inline-flex;gap:6px;align-items:center;margin-left:8px}
.readout{min-height:1.5em;margin:4px 0 0}
.note{margin:8px 0 0}
.scroll{overflow-x:auto;background:var(--card);border:1px solid var(--line);border-radius:8px;position:relative}
table{border-collapse:collapse;width:100%;font-size:.875rem}
th,td{text-align:left;padding:6px 10px;border-bottom:1px solid var(--line);vertical-align:top;min-width:4em}
tbody tr:last-child>*{border-bottom:0}
thead th{color:var(--soft);font-weight:600;white-space:nowrap}
tbody th{font-weight:500;min-width:10em;max-width:24em;position:sticky;left:0;background:var(--card)}
td{white-space:nowrap}
td:last-child{white-space:normal;min-width:9em}
.n{text-align:right;font-variant-numeric:tabular-nums}
td.n,td.n:last-child{white-space:nowrap;min-width:4em}
details{margin:12px 0;border-top:1px solid var(--line)}
summary{cursor:pointer;padding:10px 0}
summary h2{display:inline;margin:0;font-size:1.05rem}
section>h3{margin-top:16px}
dl{margin:0;display:grid;
grid-template-columns:repeat(auto-fill,minmax(min(100%,300px),1fr));gap:4px 24px;font-size:.875rem}
dl div{display:flex;gap:12px;justify-content:space-between;border-bottom:1px solid var(--line);padding:4px 0}
dt{color:var(--soft)}
dd{margin:0;text-align:right;font-variant-numeric:tabular-nums}
ul{margin:0;padding-left:20px}
footer{padding-top:32px;padding-bottom:32px}
:focus-visible{outline:3px solid var(--accent);outline-offset:2px}
@media(max-width:480px){.card{padding:14px 12px}.l120,.l150{padding-left:104px}
.on-phone{display:inline}.on-desk{display:none}}
@media print{.card,.tile{break-inside:avoid}}
"""


def _ramp() -> str:
    day = "".join(f".s{i}{{fill:{colour}}}" for i, colour in enumerate(_DAY))
    night = "".join(f".s{i}{{fill:{colour}}}" for i, colour in enumerate(_NIGHT))
    return f"{day}@media(prefers-color-scheme:dark){{{night}}}"


def _paddings() -> str:
    left = "".join(f".l{m}{{padding-left:{m}px}}" for m in MARGINS)
    right = "".join(f".r{m}{{padding-right:{m}px}}" for m in MARGINS)
    return left + right + "".join(f".b{b}{{padding-bottom:{b}px}}" for b in BELOW)


CSS = (_TOKENS + _paddings() + _ramp() + _RULES).strip()

SCRIPT = """
// Tells the mark under the pointer or finger below its plot; without it the marks have tooltips.
function tell(event) {
  const mark = event.target.closest && event.target.closest("figure svg rect, figure svg circle, figure svg text");
  const title = mark && mark.querySelector("title");
  const figure = mark && mark.closest("figure");
  const place = figure && figure.querySelector(".readout");
  if (title && place) place.textContent = title.textContent;
}
const first = document.querySelector(".readout");
if (first) first.textContent = "Point at a mark, or tap it, for its value; in the other plots too.";
document.addEventListener("pointerover", tell);
document.addEventListener("click", tell);
""".strip()


def _digest(content: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(content.encode("utf-8")).digest()).decode("ascii") + "'"


POLICY = (
    f"default-src 'none'; style-src {_digest(CSS)}; script-src {_digest(SCRIPT)}; base-uri 'none'; form-action 'none'"
)
"""Nothing from anywhere, and of what stands in the page only the style and the script above."""
