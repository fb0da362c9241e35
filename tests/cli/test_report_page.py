"""The page of a report, read as HTML: whole, self-contained, and text where the model's text is."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import re
from html.parser import HTMLParser

import made_reports
import pytest
from jsonschema import Draft202012Validator
from made_models import ROOT, folder
from referencing import Registry, Resource

from hub.page import markup, page
from hub.page.axis import linear, logarithmic
from hub.page.names import place
from hub.page.words import figure, percent

CASES = {
    "verified": made_reports.report(),
    "rejected": made_reports.rejected(),
    "equal": made_reports.equal(),
    "hostile": made_reports.hostile(),
    "weights only": made_reports.report(run=False),
    "not run": {**made_reports.report(run=False), "logits": made_reports.not_run("no graph for this architecture")},
    "difference": made_reports.difference(),
    "hostile difference": made_reports.difference(hostile=True),
}
TAGS = {
    "html", "head", "meta", "title", "style", "body", "header", "main", "footer", "script", "section", "article", "div",
    "h1", "h2", "h3", "p", "b", "strong", "small", "span", "ul", "li", "dl", "dt", "dd", "figure", "figcaption", "details",
    "summary", "table", "caption", "thead", "tbody", "tr", "th", "td", "wbr", "svg", "desc", "rect", "line", "text", "circle",
    "path",
}  # fmt: skip
VOID = {"meta", "wbr"}


class Tree(HTMLParser):
    """Elements and text of a page; complains of what is not closed in its order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs), f"twice the same attribute: {attrs}"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    def handle_comment(self, data):
        raise AssertionError(f"a comment: {data}")

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def kind(self, tag: str, word: str) -> list[dict[str, str | None]]:
        return [a for a in self.of(tag) if word in (a.get("class") or "").split()]

    @property
    def text(self) -> str:
        return "".join(data for tag, data in self.texts if tag not in ("style", "script")).replace("\xa0", " ")


@pytest.fixture(scope="module")
def schemas():
    loaded = {path.name: json.loads(path.read_text()) for path in (ROOT / "schemas").glob("*.schema.json")}
    registry = Registry().with_resources([(name, Resource.from_contents(data)) for name, data in loaded.items()])
    return lambda name: Draft202012Validator({"$ref": f"{name}.schema.json"}, registry=registry)


@pytest.mark.parametrize("name", CASES)
def test_the_made_reports_are_what_the_schemas_say(schemas, name):
    schema = "diff" if "difference" in name else "report"
    assert [error.message for error in schemas(schema).iter_errors(CASES[name])] == []


def test_a_verification_is_a_report_whose_plan_may_lack_the_routes(schemas):
    data = made_reports.report()
    assert list(schemas("verify").iter_errors(data)) == []
    for tensor in data["plan"]["tensors"]:
        for key in ("route", "fidelity", "quantizer", "why", "fallback", "steps"):
            del tensor[key]
    for key in ("fidelity", "files", "metadata", "dropped", "notes"):
        del data["plan"][key]
    assert list(schemas("verify").iter_errors(data)) == []
    assert list(schemas("report").iter_errors(data))
    assert "Verified: weights and logits" in Tree(page(data)).text
    del data["logits"]
    assert list(schemas("verify").iter_errors(data))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("logits", "surprise"), 1), (("logits", "kl", "p75"), 1.0), (("logits", "kl", "mean"), "NaN"),
        (("logits", "top1_agreement"), 94.3), (("logits", "mode"), "slow"), (("logits", "layers"), [{"name": "x"}]),
        (("diagnoses",), [{"mistake": "x"}]), (("diagnoses",), None), (("logits", "perplexity"), 12.5),
    ],
)  # fmt: skip
def test_wrong_figures_are_refused(schemas, path, value):
    data = made_reports.report()
    node = data
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    assert list(schemas("report").iter_errors(data))


# ------------------------------------------------------------------------------------------------ a page


@pytest.mark.parametrize("name", CASES)
def test_it_is_well_formed_and_holds_only_what_a_report_needs(name):
    text = page(CASES[name])
    assert text.startswith("<!DOCTYPE html>")
    text.encode("utf-8")
    tree = Tree(text)
    assert {tag for tag, _ in tree.elements} <= TAGS
    ids = [a["id"] for _, a in tree.elements if "id" in a]
    assert len(ids) == len(set(ids))
    assert {"lang": "en"} in tree.of("html")
    assert [a for a in tree.of("meta") if a.get("name") == "viewport"]
    for svg in tree.of("svg"):
        assert svg.get("width")
        assert svg.get("height")


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_loaded_and_nothing_of_the_model_runs(name):
    text = page(CASES[name])
    tree = Tree(text)
    for tag, attributes in tree.elements:
        assert not {"src", "href", "srcset", "style", "action", "xlink:href", "data", "poster"} & set(attributes), tag
        assert not [key for key in attributes if key.startswith("on")], tag
    contents = {tag: [data for where, data in tree.texts if where == tag] for tag in ("style", "script")}
    assert len(contents["style"]) == len(contents["script"]) == 1
    assert "url(" not in contents["style"][0]
    assert "@import" not in contents["style"][0]
    (policy,) = [a["content"] for a in tree.of("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for tag, (content,) in contents.items():
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert len([a for a in tree.of("meta") if "http-equiv" in a]) == 1
    # The policy comes before whatever it governs.
    assert text.index("Content-Security-Policy") < min(text.index("<style"), text.index("<title"))


def test_style_and_script_are_the_same_on_every_page():
    parts = {
        tuple(data for where, data in Tree(page(data)).texts if where in ("style", "script")) for data in CASES.values()
    }
    assert len(parts) == 1


def test_hostile_names_are_shown_as_they_are_but_for_unseen_characters():
    tree = Tree(page(CASES["hostile"]))
    for name in made_reports.HOSTILE:
        if name.isprintable() and name.isascii() and 0 < len(name) < 100:
            assert name in tree.text
    assert "\\u202egnp.exe\\u2066 \\x00\\x1b[31m\\n]]>&lt;&#60;script&#62;" in tree.text
    assert "ünïcödé 模型 🤖 \\udcff" in tree.text
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00-\x08\x0b-\x1f\ud800-\udfff]", tree.text)
    assert "a" * 1001 not in tree.text


@pytest.mark.parametrize("name", CASES)
def test_it_is_a_pure_function(name):
    data = copy.deepcopy(CASES[name])
    assert page(data) == page(data)
    assert data == CASES[name]


def _lesser(data, depth=0):
    """Copies of `data` in which one member is missing, or null."""
    for key in data:
        yield {other: value for other, value in data.items() if other != key}
        yield {**data, key: None}
        if isinstance(data[key], dict) and depth < 2:
            yield from ({**data, key: less} for less in _lesser(data[key], depth + 1))


@pytest.mark.parametrize(
    "data", [made_reports.report(layers=2), made_reports.difference(layers=1)], ids=["report", "diff"]
)
def test_whatever_is_missing_the_rest_is_shown(data):
    for less in _lesser(data):
        Tree(page(less))
    for entry in ({}, {"name": "x"}, {"name": "x", "error": {}}, {"name": "x", "error": {"equal": False}}):
        Tree(page({"plan": {"tensors": [entry]}}))
    Tree(page({}))


# ------------------------------------------------------------------------------------------------ what it says


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("verified", "good", ["Verified: weights and logits", "25 of 111 tensors bit-equal", "2,048 tokens", "94.3 %"]),
        ("rejected", "bad", ["Rejected", "mean KL divergence 3.1 nats", "blk.0.attn_q.weight: SQNR -2.9 dB", "and 1 more",
                             "kept as models/tiny-llama-Q4_K_M.gguf.rejected"]),
        ("equal", "good", ["111 of 111 tensors bit-equal", "every logit has the same bits"]),
        ("weights only", "good", ["Verified: weights", "The model was not run."]),
        ("not run", "good", ["The model was not run: no graph for this architecture"]),
        ("difference", "open", ["They differ", "25 of 111 tensors", "1 tensor only in A", "2 settings differ"]),
    ],
)  # fmt: skip
def test_the_verdict(name, kind, words):
    text = page(CASES[name])
    (found,) = re.findall(rf'<section class="banner {kind}" id="verdict">.*?</section>', text)
    said = Tree(found).text
    for word in words:
        assert word in said


def test_nothing_checked_is_not_called_verified():
    data = made_reports.report(run=False)
    data["verified"] = "none"
    for tensor in data["plan"]["tensors"]:
        tensor["error"] = None
    tree = Tree(page(data))
    assert "Not verified" in tree.text
    assert not tree.kind("rect", "cell")
    assert tree.kind("rect", "bar"), "sizes are known all the same"


def test_a_verification_is_not_called_a_conversion():
    data = made_reports.report()
    for key in ("fidelity", "files", "metadata", "dropped"):
        del data["plan"][key]
    data |= {"verified": "rejected", "output": "y/other.gguf"}
    said = Tree(page(data)).text
    assert "tiny-llama → other.gguf" in said
    assert "against y/other.gguf" in said
    assert "written to" not in said
    assert "kept as" not in said
    assert "What is wrong is told below." in said


def test_a_fault_of_the_logits_alone_rejects():
    data = made_reports.report()
    data["logits"]["fault"] = "logits are not finite"
    said = Tree(page(data)).text
    assert "Rejected" in said
    assert "Logits: logits are not finite" in said
    assert "✓" not in said


def test_faulty_tensors_are_the_worst_whatever_their_figures():
    data = made_reports.report()
    best = max((t for t in data["plan"]["tensors"] if not t["error"]["equal"]), key=lambda t: t["error"]["sqnr_db"])
    missing = data["plan"]["tensors"][1]
    best["error"]["fault"], missing["error"] = "shape", None
    text = page(data)
    start = text.index('id="worst"')
    first = text[text.index("<tbody>", start) : text.index("</tr>", text.index("<tbody>", start))]
    assert best["name"] in Tree(first + "</tr></tbody>").text


def test_diagnoses_come_with_tensor_evidence_and_remedy():
    said = Tree(page(CASES["rejected"])).text
    for item in CASES["rejected"]["diagnoses"]:
        assert all(value in said for value in item.values() if value)
    assert "Likely cause" not in Tree(page(CASES["verified"])).text


def test_a_cell_for_every_layer_and_kind_that_lost_something():
    data = CASES["verified"]
    text = page(data)
    cells = re.findall(r"<rect([^>]*)><title>([^<]*)</title></rect>", text)
    cells = [(attributes, tip.replace("\xa0", " ")) for attributes, tip in cells if 'class="cell' in attributes]
    lossy = [t for t in data["plan"]["tensors"] if not t["error"]["equal"]]
    assert len(cells) == len(lossy)
    tips = [tip for _, tip in cells]
    shades = {}
    for tensor in lossy:
        where = place(tensor["name"])
        name = where.kind if where.layer is None else f"layer {where.layer}, {where.kind}"
        (at,) = [i for i, tip in enumerate(tips) if tip.startswith(f"{name}: {tensor['error']['sqnr_db']:.1f} dB")]
        shades[tensor["error"]["sqnr_db"]] = int(re.search(r'class="cell s(\d)"', cells[at][0])[1])
    ordered = [shades[level] for level in sorted(shades)]
    assert ordered == sorted(ordered, reverse=True), "the lower the SQNR, the stronger the colour"
    assert len(set(ordered)) > 3


def test_faults_are_outlined_in_the_plot():
    tree = Tree(page(CASES["rejected"]))
    assert len(tree.kind("rect", "faulty")) == len(CASES["rejected"]["faults"]) + 1  # and the legend's
    assert not Tree(page(CASES["verified"])).kind("rect", "faulty")


def test_many_experts_are_one_cell_and_long_tables_are_cut():
    data = made_reports.report(layers=48, experts=128, positions=4096)
    assert len(data["plan"]["tensors"]) > 18000
    text = page(data)
    tree = Tree(text)
    assert len(text) < 600_000
    assert len(tree.kind("rect", "cell")) < 48 * 9 + 4
    assert "(lowest of 128)" in tree.text
    left = len(data["plan"]["tensors"]) - 500
    assert f"{left:,} more not shown here; the JSON report has them." in tree.text
    worst = min(t["error"]["sqnr_db"] for t in data["plan"]["tensors"] if t["error"]["sqnr_db"] is not None)
    assert f"{worst:.1f} dB" in tree.text


def test_more_layers_and_kinds_than_fit():
    data = made_reports.report(layers=1000)
    for i, tensor in enumerate(made_reports.report(layers=6, seed=9)["plan"]["tensors"]):
        data["plan"]["tensors"].append({**tensor, "name": f"odd_{i}.weight"})
    tree = Tree(page(data))
    assert "1,000 layers in 250 columns: up to 4 share one." in tree.text
    assert re.search(r"\d+ kinds with a higher SQNR not drawn", tree.text)


def test_the_histogram_counts_every_tensor_that_has_a_figure():
    data = CASES["verified"]
    text = page(data)
    start = text.index('<title id="histogram-title">')
    card = text[start : text.index("</figure>", start)].replace("\xa0", " ")
    bars = re.findall(r"<title>([\d.-]+) to ([\d.-]+) dB: ([\d,]+) tensors?</title>", card)
    levels = [t["error"]["sqnr_db"] for t in data["plan"]["tensors"] if t["error"]["sqnr_db"] is not None]
    assert sum(int(amount) for _, _, amount in bars) == len(levels)
    for low, high, amount in bars:
        assert sum(float(low) <= level < float(high) for level in levels) == int(amount)


def test_sizes_are_drawn_to_scale():
    text = page(CASES["verified"])
    start = text.index('<title id="size-title">')
    card = text[start : text.index("</figure>", start)]
    widths = [float(w) for w in re.findall(r'width="([\d.]+)%"[^>]* class="bar"', card)]
    totals = {}
    for tensor in CASES["verified"]["plan"]["tensors"]:
        totals[tensor["to"]] = totals.get(tensor["to"], 0) + tensor["bytes"]
    sizes = sorted(totals.values(), reverse=True)
    assert widths == pytest.approx([100 * nbytes / sizes[0] for nbytes in sizes], abs=0.01)


def test_kl_by_position_is_drawn_from_zero_and_to_scale():
    data = made_reports.report(positions=100)
    values = data["logits"]["kl_by_position"] = [value + 0.3 for value in data["logits"]["kl_by_position"]]
    text = page(data)
    start = text.index('<title id="kl-title">')
    card = text[start : text.index("</figure>", start)]
    way = re.search(r'<path d="M([^"]*)" class="curve"', card)[1].split(" L")
    points = [tuple(map(float, point.split())) for point in way]
    assert [x for x, _ in points] == pytest.approx([1000 * i / 99 for i in range(100)], abs=0.1)
    top = linear(0, max(values)).hi
    assert [y for _, y in points] == pytest.approx([200 * (1 - value / top) for value in values], abs=0.06)


def test_divergence_breaks_where_there_is_no_figure_and_tells_equal_layers():
    data = made_reports.report(layers=6)
    layers = data["logits"]["layers"]
    layers[0] |= {"nmse": 0.0, "max_abs": 0.0}
    layers[4] |= {"nmse": None, "max_abs": None}
    text = page(data)
    start = text.index('<title id="divergence-title">')
    card = text[start : text.index("</figure>", start)]
    assert card.count('class="curve"') == 2
    assert "embedding: bit-equal" in card
    assert ">equal</text>" in card
    assert "1 layer without a finite figure." in card


# ------------------------------------------------------------------------------------------------ its parts


@pytest.mark.parametrize(
    ("name", "layer", "kind"),
    [
        ("blk.3.attn_q.weight", 3, "attn_q"), ("blk.12.attn_q.bias", 12, "attn_q.bias"),
        ("model.layers.0.self_attn.q_proj.weight", 0, "self_attn.q_proj"),
        ("model.layers.7.mlp.experts.31.down_proj.weight", 7, "mlp.experts.*.down_proj"),
        ("transformer.h.11.attn.c_attn.weight", 11, "attn.c_attn"), ("token_embd.weight", None, "token_embd"),
        ("lm_head.weight", None, "lm_head"), ("weight", None, "weight"), ("", None, ""), ("5", 5, "5"),
        ("a.123456.b", None, "a.123456.b"), ("a.²._", None, "a.²._"),
    ],
)  # fmt: skip
def test_layer_and_kind(name, layer, kind):
    assert place(name) == (layer, kind)


@pytest.mark.parametrize(
    ("lo", "hi"), [(0, 1), (0, 0), (-3, -3), (18.3, 36.9), (0, 1e-9), (0, 1e300), (1e15, 1e15 + 4), (-2.9, 35)]
)
def test_axes_cover_their_values_with_few_round_ticks(lo, hi):
    axis = linear(lo, hi)
    assert axis.lo <= lo <= hi <= axis.hi
    assert 2 <= len(axis.ticks) <= 13
    assert axis.at(axis.lo) == 0
    assert axis.at(axis.hi) == 1


@pytest.mark.parametrize(("lo", "hi"), [(1e-3, 1e-2), (5e-8, 3), (1, 1), (1e-300, 1e300)])
def test_decades(lo, hi):
    axis = logarithmic(lo, hi)
    assert axis.lo <= lo <= hi <= axis.hi
    assert 2 <= len(axis.ticks) <= 8
    assert axis.at((axis.lo * axis.hi) ** 0.5 if 0 < axis.lo * axis.hi < 1e308 else 1.0) == pytest.approx(0.5, abs=0.01)


def test_attributes_are_escaped_as_text_is():
    made = markup.tag(
        "p", '<&>"', "'", markup.Markup("<b></b>"), [1, None, ("x",)], title="'\"<&>\u202e", hidden=True, lang=None
    )
    assert made == (
        "<p title=\"&#x27;&quot;&lt;&amp;&gt;\\u202e\" hidden>&lt;&amp;&gt;&quot;&#x27;<b></b>1x</p>"
    )  # fmt: skip
    assert Tree(made).elements[0] == ("p", {"title": "'\"<&>\\u202e", "hidden": None})


def test_numbers_for_people():
    assert [figure(x) for x in (None, 0, 0.012345, 4.6e-7, 12345.6, 1e9, float("nan"), True)] == [
        "–", "0", "0.0123", "4.60e-7", "12,346", "1.00e9", "–", "–",
    ]  # fmt: skip
    assert [percent(x).replace("\xa0", " ") for x in (1, 0.99999, 0.5, 0)] == ["100 %", "99.9 %", "50.0 %", "0 %"]


# ------------------------------------------------------------------------------------------------ the option


def test_convert_writes_a_page(hub, tmp_path):
    source = folder(tmp_path / "m", dtype="bf16")
    hub(
        "convert",
        "--to",
        "gguf:q4_0",
        source,
        tmp_path / "x.gguf",
        "--report",
        tmp_path / "r.html",
        "--verify",
        "weights",
    )
    hub(
        "convert",
        "--to",
        "gguf:q4_0",
        source,
        tmp_path / "y.gguf",
        "--report",
        tmp_path / "r.json",
        "--verify",
        "weights",
    )
    tree = Tree((tmp_path / "r.html").read_text("utf-8"))
    report = json.loads((tmp_path / "r.json").read_text())
    assert "Verified: weights" in tree.text
    assert f"{report['plan']['bits_per_weight']:.2f} bits per weight" in tree.text
    assert report["input"][0]["sha256"] in tree.text
    levels = [t["error"]["sqnr_db"] for t in report["plan"]["tensors"] if t["error"]["sqnr_db"] is not None]
    assert f"{min(levels):.1f} dB" in tree.text


@pytest.mark.parametrize("name", ["r.txt", "r", "r.html.gz", "html"])
def test_other_names_are_refused_before_anything_is_done(hub, tmp_path, name):
    done = hub("convert", "--to", "gguf", tmp_path / "absent", "--report", tmp_path / name, status=2)
    assert "must end in .json or .html" in done.err
