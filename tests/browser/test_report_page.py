"""The page of a report in a real browser: laid out, drawn, quiet, and deaf to what a model file would have it do."""

from __future__ import annotations

import http.server
import threading

import made_reports
import pytest
from made_models import folder

import hub
from hub.page import page

pytestmark = pytest.mark.browser

PHONE, DESK = (390, 844), (1280, 900)
PAGES = {
    "verified": made_reports.report,
    "rejected": made_reports.rejected,
    "equal": made_reports.equal,
    "hostile": made_reports.hostile,
    "deep": lambda: made_reports.report(layers=126, positions=2048),
    "experts": lambda: made_reports.report(layers=8, experts=64),
    "one": lambda: made_reports.report(layers=0, positions=1),
    "weights": lambda: made_reports.report(run=False),
    "difference": lambda: made_reports.difference(hostile=True),
    "nothing": dict,
}

UNDRAWN = """
return [...document.querySelectorAll('svg')].filter(svg => {
  const box = svg.getBoundingClientRect();
  return svg.closest('details:not([open])') === null && !(box.width > 0 && box.height > 0);
}).length
"""
# What stands out of the window; inside a table that scrolls by itself it may.
OUTSIDE = """
const wide = document.documentElement.clientWidth;
return [...document.querySelectorAll('body *')].filter(e => {
  if (e.closest('.scroll') && !e.matches('.scroll')) return false;
  if (e.matches('.unseen, script, title, desc')) return false;
  const box = e.getBoundingClientRect();
  return box.width > 0 && (box.right > wide + 0.5 || box.left < -0.5);
}).map(e => e.tagName + '.' + e.getAttribute('class') + ': ' + e.textContent.slice(0, 60))
"""
# Labels of one plot that lie over one another.
OVERLAPS = """
const found = [];
for (const svg of document.querySelectorAll('figure svg')) {
  const boxes = [...svg.querySelectorAll('text')].map(t => [t.lastChild.textContent, t.getBoundingClientRect()]);
  boxes.forEach(([a, p], i) => boxes.slice(i + 1).forEach(([b, q]) => {
    const x = Math.min(p.right, q.right) - Math.max(p.left, q.left);
    const y = Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top);
    if (x > 1 && y > 4) found.push(a + ' | ' + b);
  }));
}
return found
"""


@pytest.fixture(params=[(PHONE, False), (DESK, True)], ids=["phone", "desk at night"])
def look(request):
    return request.param


@pytest.mark.parametrize("name", PAGES)
def test_it_fits_and_is_drawn(chromium, tmp_path, name, look):
    (width, height), dark = look
    path = tmp_path / "r.html"
    path.write_text(page(PAGES[name]()), "utf-8")
    chromium.show(path, width, height, dark=dark)
    chromium.run("document.querySelectorAll('details').forEach(d => { d.open = true })")
    assert chromium.run("return document.documentElement.scrollWidth") == width
    assert chromium.run(OUTSIDE) == []
    assert chromium.run(UNDRAWN) == 0
    assert chromium.run(OVERLAPS) == []
    assert chromium.run("return document.title").endswith(("hub report", "hub diff"))
    assert chromium.complaints() == []
    picture = tmp_path / "r.png"
    chromium.picture(picture)
    assert picture.read_bytes()[:4] == b"\x89PNG"


def test_day_and_night(chromium, tmp_path):
    """Text stands out from what it is on by 4.5 to 1, as WCAG 2 asks, in both."""
    path = tmp_path / "r.html"
    path.write_text(page(made_reports.rejected()), "utf-8")
    script = """
    const light = rgb => rgb.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255)
      .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
      .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const ground = e => { for (; e; e = e.parentElement) {
      const c = getComputedStyle(e).backgroundColor; if (!c.startsWith('rgba(0, 0, 0, 0')) return c; } };
    return [...document.querySelectorAll('h1,h2,h3,p,li,dt,dd,td,th,span,small,strong,b,text,summary')].map(e => {
      const style = getComputedStyle(e);
      const [a, b] = [light(e.tagName == 'text' ? style.fill : style.color), light(ground(e))];
      return [e.textContent.slice(0, 40), (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
    }).filter(([, ratio]) => ratio < 4.5)
    """
    grounds = []
    for dark in (False, True):
        chromium.show(path, *DESK, dark=dark)
        assert chromium.run(script) == []
        grounds.append(chromium.run("return getComputedStyle(document.body).backgroundColor"))
    assert grounds[0] != grounds[1]


def test_a_mark_tells_its_value(chromium, tmp_path):
    path = tmp_path / "r.html"
    path.write_text(page(made_reports.report()), "utf-8")
    chromium.show(path, *PHONE)
    told = chromium.run(
        "const mark = document.querySelector('#by-layer .cell');"
        "mark.dispatchEvent(new MouseEvent('click', {bubbles: true}));"
        "return [mark.querySelector('title').textContent, document.querySelector('#by-layer .readout').textContent]"
    )
    assert told[0] == told[1]
    assert told[0].startswith("layer 0, attn_q: ")


def test_the_policy_stops_what_would_get_past_the_escaping(chromium, tmp_path):
    """Markup put into the page by hand, as if escaping had failed: it is not run, and nothing is asked for."""
    asked = []

    class Ear(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Ear)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        there = f"http://127.0.0.1:{server.server_port}"
        bad = (
            f"<script>document.title='owned'</script><img src='{there}/i' onerror=\"document.title='owned'\">"
            f"<style>body{{background:url({there}/s)}}</style><script src='{there}/j'></script>"
        )
        path = tmp_path / "r.html"
        path.write_text(page(made_reports.report()).replace("</main>", f"{bad}</main>"), "utf-8")
        chromium.show(path, *DESK)
        assert chromium.run("return document.title") != "owned"
        assert len(chromium.complaints()) >= 4
        assert asked == []
        # The ear does hear: the same without the policy.
        path.write_text(f"<title>x</title>{bad}", "utf-8")
        chromium.show(path, *DESK)
        assert chromium.run("return document.title") == "owned"
        assert asked
        chromium.complaints()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_page_of_a_real_conversion(chromium, tmp_path):
    source = folder(tmp_path / "m", dtype="bf16")
    hub.convert(source, tmp_path / "x.gguf", to="gguf:q4_k_m", report_to=tmp_path / "r.html")
    chromium.show(tmp_path / "r.html", *PHONE)
    assert chromium.run("return document.querySelectorAll('#by-layer .cell').length") > 0
    assert chromium.run("return document.querySelector('#verdict h2').textContent").startswith("✓ Verified")
    assert chromium.run(OUTSIDE) == []
    assert chromium.complaints() == []
