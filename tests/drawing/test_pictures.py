"""Mermaid, ASCII, SVG and PNG."""

import sys
from itertools import combinations
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.drawing.kit import idle, loop, nodes, sketch, wide
from tests.graph.kit import build
from twinstep.drawing import Edge, Graph, Node
from twinstep.drawing.layers import open_cycles, rank
from twinstep.drawing.layout import Link, Style, arrange
from twinstep.drawing.picture import picture_of
from twinstep.graph import START

MERMAID = """\
---
config:
  flowchart:
    curve: linear
---
graph TD;
	__start__([<p>__start__</p>]):::first
	agent(agent)
	tools(tools<hr/><small><em>__interrupt = before</em></small>)
	__end__([<p>__end__</p>]):::last
	__start__ --> agent;
	agent -. &nbsp;answer&nbsp; .-> __end__;
	agent -. &nbsp;call&nbsp; .-> tools;
	tools --> agent;
	classDef default fill:#f2f0ff,line-height:1.2
	classDef first fill-opacity:0
	classDef last fill:#bfb6fc
"""

NESTED = """\
graph TD;
	__start__(<p>__start__</p>)
	a(a)
	__end__(<p>__end__</p>)
	__start__ --> a;
	a --> b\\3a__start__;
	b\\3a__end__ --> __end__;
	subgraph b
	b\\3a__start__(<p>__start__</p>)
	b\\3as1(s1)
	b\\3as2(s2)
	b\\3a__end__(<p>__end__</p>)
	b\\3a__start__ --> b\\3as1;
	b\\3a__start__ --> b\\3as2;
	b\\3as1 --> b\\3a__end__;
	b\\3as2 --> b\\3a__end__;
	end
"""


def test_mermaid():
    assert loop().compile(interrupt_before=["tools"]).get_graph().draw_mermaid() == MERMAID


def test_mermaid_draws_nested_graphs_as_subgraphs():
    graph = build({"a": idle, "b": wide().compile()}, [(START, "a"), ("a", "b")]).compile()
    assert graph.get_graph(xray=True).draw_mermaid(with_styles=False) == NESTED


def test_mermaid_names_are_safe():
    graph = sketch("", "")
    for name in ("a b", "end", "é|(x)"):
        graph.nodes[name] = Node(name, name)
    graph.edges = [Edge("a b", "end", 'say "no"', False)]
    text = graph.draw_mermaid(with_styles=False)
    assert text.splitlines()[1:] == [
        "\ta\\20b(a b)",
        "\t\\65nd(end)",
        "\t\\e9\\7c\\28x\\29(é#124;#40;x#41;)",
        "\ta\\20b -- &nbsp;say #34;no#34;&nbsp; --> \\65nd;",
    ]


def test_mermaid_takes_settings():
    text = sketch("a", "").draw_mermaid(curve_style="basis", frontmatter_config={"theme": "neutral"})
    assert text.startswith("---\nconfig:\n  theme: neutral\n  flowchart:\n    curve: basis\n---\n")


def test_ascii(capsys):
    graph = sketch("__start__ agent tools __end__", "__start__>agent agent?tools agent?__end__ tools>agent tools?tools")
    graph.print_ascii()
    assert capsys.readouterr().out == LOOP


LOOP = """\
    +-----------+
    | __start__ |
    +-----------+
          |
          v
      +-------+
      | agent |
      +-------+
        : ^ :
        : | :
   ...... | :
   : +----+ ...........
   v |                v
+-------+...     +---------+
| tools |  :     | __end__ |
+-------+<..     +---------+
"""


def test_ascii_of_a_nested_graph_is_a_box():
    text = sketch("a b:x b:y", "a>b:x b:x>b:y=on").draw_ascii()
    assert text.splitlines() == BOX


BOX = """\
  +---+
  | a |
  +---+
    |
    v
+- b ---+
| +---+ |
| | x | |
| +---+ |
|   |   |
|  on   |
|   v   |
| +---+ |
| | y | |
| +---+ |
+-------+""".splitlines()


def test_wide_characters_take_two_columns():
    text = sketch("茶 b", "茶>b").draw_ascii().splitlines()
    assert text[:2] == ["+-----+", "| 茶  |"] or text[:2] == ["+-----+", "|  茶 |"]


@pytest.mark.parametrize("name", ["draw_ascii", "draw_svg", "draw_mermaid", "draw_png"])
def test_a_drawing_of_nothing(name):
    assert getattr(Graph(), name)() is not None


graphs = st.integers(2, 9).flatmap(
    lambda n: st.tuples(
        st.just(n),
        st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1), st.sampled_from(["", "go on"])), max_size=16),
    )
)


def drawn(shape):
    n, edges = shape
    names = [f"n{i}" for i in range(n)]
    return Graph(
        {name: Node(name, name) for name in names},
        [Edge(names[a], names[b], label or None, not label) for a, b, label in edges],
    )


@settings(deadline=None, max_examples=40)
@given(graphs)
def test_boxes_and_labels_do_not_overlap(shape):
    picture = picture_of(drawn(shape))
    areas = [(b.x, b.y, b.x + b.width, b.y + b.height) for b in picture.boxes]
    loops = {f"n{a}" for a, b, _ in shape[1] if a == b}
    assert len(picture.lines) == len(shape[1])
    if not loops:  # several loops at one node share their place
        areas += [(a.x - 18, a.y - 6, a.x + 18, a.y + 6) for a in picture.labels]
    for (left, top, right, bottom), (x0, y0, x1, y1) in combinations(areas, 2):
        assert right <= x0 or x1 <= left or bottom <= y0 or y1 <= top
    for left, top, right, bottom in areas:
        assert 0 <= left < right <= picture.width
        assert 0 <= top < bottom <= picture.height


@settings(deadline=None, max_examples=40)
@given(graphs)
def test_every_box_stands_whole_in_ascii(shape):
    graph = drawn(shape)
    text = graph.draw_ascii()
    for name in graph.nodes:
        assert f" {name} " in text
    assert sum(text.count(tip) for tip in "v^<") >= len(set(shape[1]) and {edge[:2] for edge in shape[1]})


@settings(deadline=None, max_examples=60)
@given(graphs)
def test_layers_have_no_cycle_left(shape):
    names = [f"n{i}" for i in range(shape[0])]
    pairs = [(names[a], names[b]) for a, b, _ in shape[1] if a != b]
    turned = open_cycles(names, pairs)
    down = [(b, a) if back else (a, b) for (a, b), back in zip(pairs, turned, strict=True)]
    ranks = rank(names, down, ())
    assert all(ranks[a] < ranks[b] for a, b in down)


def test_a_graph_without_cycles_is_not_turned():
    assert open_cycles(["a", "b", "c"], [("c", "b"), ("b", "a"), ("c", "a")]) == [False] * 3


def test_long_edges_run_straight():
    style = Style(gap=4, lane=2, channel=lambda jumps, arrives: 2)
    links = [Link("a", "b"), Link("b", "c"), Link("c", "d"), Link("a", "d")]
    route = arrange(dict.fromkeys("abcd", (5, 3)), links, (), style).routes[3]
    assert route is not None
    assert len({leg.x for leg in route.legs[2:-1]}) == 1


def test_svg_is_well_formed_and_shows_everything(tmp_path):
    graph = loop().compile(interrupt_before=["tools"]).get_graph()
    text = graph.draw_svg(tmp_path / "loop.svg")
    assert (tmp_path / "loop.svg").read_text() == text == graph._repr_svg_()
    root = ElementTree.fromstring(text)
    svg = "{http://www.w3.org/2000/svg}"
    words = {element.text for element in root.iter(f"{svg}text")}
    assert words == {"__start__", "agent", "tools", "__end__", "call", "answer", "__interrupt = before"}
    lines = root.findall(f"{svg}path")
    assert len(lines) == 4
    assert sum("stroke-dasharray" in line.attrib for line in lines) == 2


def test_svg_escapes_names():
    text = Graph({"<&>": Node("<&>", "<&>")}).draw_svg()
    assert [e.text for e in ElementTree.fromstring(text).iter("{http://www.w3.org/2000/svg}text")] == ["<&>"]


def test_png_is_a_picture_of_that_size(tmp_path):
    from PIL import Image

    graph = build({"a": idle, "b": loop().compile()}, [(START, "a"), ("a", "b")]).compile().get_graph(xray=True)
    data = graph.draw_mermaid_png(output_file_path=tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes() == data == graph.draw_png()
    picture = picture_of(graph)
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (round(2 * picture.width), round(2 * picture.height))
        assert len(image.getcolors(100_000) or ()) > 10
        box = next(box for box in picture.boxes if box.title == "a")
        assert image.getpixel((round(2 * box.x + 20), round(2 * box.y + 10))) == (0xEE, 0xF1, 0xFF)


def test_png_without_pillow_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r"twinstep\[drawing\]"):
        sketch("a", "").draw_png()


def test_notebooks_get_a_picture():
    graph = build(nodes("a"), [(START, "a")]).compile()
    bundle = graph._repr_mimebundle_()
    assert bundle["image/svg+xml"] == graph.get_graph().draw_svg()
    assert bundle["text/vnd.mermaid"] == graph.get_graph().draw_mermaid()
