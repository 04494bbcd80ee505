"""The graph that autograd has recorded behind a tensor, drawn in layers: what backward will walk, upwards."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path

from minigrad.errors import DtypeError, GraphError, ValidationError
from minigrad.nn import Module
from minigrad.tape import Node, reachable
from minigrad.tensors import Tensor
from minigrad.viz import style
from minigrad.viz.formatting import counted, times
from minigrad.viz.tracing import expect_module

MOST, WIDEST = 40, 24  # operations drawn; inches
LETTER, HIGH, ROW = 0.082, 0.42, 0.72  # inches: width of a small letter, height of a box, distance of rows
GAP = 0.18  # inches between boxes
SWEEPS = 60  # of the search for places, after which nothing moves any more
COLOURS = {"operation": style.PALE, "leaf": "#FBE3B0", "constant": "#EEEEEE", "earlier": "white"}  # with black letters
EDGES = {"operation": style.BLUE, "leaf": style.ORANGE, "constant": style.GREY, "earlier": style.GREY}
KEY = "blue: operations; orange: leaves, which backward gives a gradient; grey: inputs without one"


class _Vertex:
    """A box, or the place where an arrow passes a row.

    kind     key of COLOURS; "bend" for a passing arrow
    lines    of text
    sources  vertices that it is made from, in the order of the operation's inputs
    rank     row, 0 at the top
    x        inches, of its middle
    """

    def __init__(self, kind: str, *lines: str):
        self.kind, self.lines = kind, lines
        self.sources: list[_Vertex] = []
        self.rank, self.x = 0, 0.0

    @property
    def width(self) -> float:
        """Inches."""
        return LETTER * max(map(len, self.lines)) + 0.16 if self.lines else 0.0

    @property
    def firm(self) -> float:
        """How much straightness it asks for: the way through operations is straight before that from a leaf."""
        return 60.0 if self.kind in ("operation", "bend") else 1.0


def graph(tensor: Any, *, names: Mapping[str, Any] | None = None, model: Any = None, most: int = MOST) -> Figure:
    """Draw the operations behind a tensor, from the leaves at the top to the tensor at the bottom.

    tensor   the result of recorded operations, before backward has freed them
    names    name -> tensor, for leaves and for results
    model    a Module whose parameters are called by their paths
    most     how many operations to draw, the last ones; others stand as "earlier"
    returns  Figure

    A box has the name of an operation and the shape of its result, or the name and shape of a leaf.

    Raises   GraphError        nothing was recorded for the tensor, or backward has freed it
             DtypeError        not a Tensor
             ValidationError   model is no Module, most is not 1 or more, or the graph is too wide for a picture

    >>> import minigrad as mg
    >>> w = mg.tensor([1.0, 2.0], requires_grad=True)
    >>> graph((w * w).sum(), names={"w": w}).get_suptitle()
    'Autograd graph: 2 operations, 1 leaf'
    """
    _check(tensor, model, most)
    nodes = reachable(tensor.node)
    shown = nodes[:most]
    vertices = _vertices(shown, tensor, _names(names, model))
    rows = _rows(vertices)
    _place(rows)
    title = f"Autograd graph: {counted(len(nodes), 'operation', form=',')}"
    title += f", the last {len(shown)} shown" if len(shown) < len(nodes) else ""
    leaves = sum(vertex.kind == "leaf" for vertex in vertices)
    return _picture(title + f", {counted(leaves, 'leaf', 'leaves', form=',')}", rows)


def _check(tensor: Any, model: Any, most: int) -> None:
    if not isinstance(tensor, Tensor):
        raise DtypeError(f"graph: expected a Tensor, got {type(tensor).__name__}; pass the loss, before backward")
    if tensor.node is None:
        raise GraphError(
            f"graph: nothing was recorded for this tensor of shape {tensor.shape}; make it from tensors that require "
            "grad, outside no_grad"
        )
    if tensor.node.freed:
        raise GraphError("graph: backward has freed the graph; draw it before, or call backward(retain_graph=True)")
    if model is not None:
        expect_module("graph", model)
    if isinstance(most, bool) or not isinstance(most, int | np.integer) or most < 1:
        raise ValidationError(f"graph: most is {most!r}; use a whole number of 1 or more")


def _names(names: Mapping[str, Any] | None, model: Module | None) -> dict[int, str]:
    """Names by the id of a leaf, or of the node that made a result."""
    found = [] if model is None else list(model.named_parameters())
    found += [] if names is None else names.items()
    return {id(tensor if getattr(tensor, "node", None) is None else tensor.node): name for name, tensor in found}


# ---- boxes


def _vertices(nodes: list[Node], tensor: Tensor, names: dict[int, str]) -> list[_Vertex]:
    """A box for each operation, newest first, then one for everything that these read."""
    shapes = {id(edge): shape for node in nodes for edge, shape in _inputs(node) if edge is not None}
    shapes[id(tensor.node)] = tensor.shape
    known = {id(node): _operation(node, shapes[id(node)], names.get(id(node))) for node in nodes}
    constants = []
    for node in nodes:
        for i, (edge, shape) in enumerate(_inputs(node)):
            if edge is None and shape:
                constants.append(_Vertex("constant", _input_name(node, i), times(shape)))
                known[id(node)].sources.append(constants[-1])
            elif edge is not None:
                known.setdefault(id(edge), _outer(edge, names.get(id(edge))))
                known[id(node)].sources.append(known[id(edge)])
    return [*known.values(), *constants]


def _inputs(node: Node) -> list[tuple[Any, tuple[int, ...]]]:
    return list(zip(node.edges or (), node.shapes, strict=False))


def _operation(node: Node, shape: tuple[int, ...], name: str | None) -> _Vertex:
    return _Vertex("operation", node.op.name + (f": {name}" if name else ""), times(shape) or "one number")


def _input_name(node: Node, i: int) -> str:
    """What the operation calls its input; operations on a list have one name for all."""
    return node.op.inputs[min(i, len(node.op.inputs) - 1)]


def _outer(edge: Any, name: str | None) -> _Vertex:
    """A leaf, or the end of what is drawn."""
    if isinstance(edge, Node):
        return _Vertex("earlier", "earlier", edge.op.name)
    return _Vertex("leaf", name or "leaf", times(edge.shape) or "one number")


# ---- rows


def _rows(vertices: list[_Vertex]) -> list[list[_Vertex]]:
    """Vertices by row, each below all that it is made from, in an order in which few arrows cross."""
    _rank(vertices)
    rows: list[list[_Vertex]] = [[] for _ in range(1 + max(vertex.rank for vertex in vertices))]
    for vertex in vertices:
        rows[vertex.rank].append(vertex)
    for vertex in vertices:
        vertex.sources = [_bent(source, vertex.rank, rows) for source in vertex.sources]
    for above, below in pairwise(reversed(rows)):
        _order(below, above)
    return rows


def _rank(vertices: list[_Vertex]) -> None:
    """Operations as high as possible, what is no operation just above the first that reads it."""
    operations = [vertex for vertex in vertices if vertex.kind == "operation"]
    for vertex in reversed(operations):  # oldest first
        vertex.rank = 1 + max((source.rank for source in vertex.sources if source.kind == "operation"), default=0)
    for vertex in operations:
        for source in vertex.sources:
            if source.kind != "operation":
                source.rank = min(source.rank or vertex.rank, vertex.rank - 1)


def _bent(source: _Vertex, rank: int, rows: list[list[_Vertex]]) -> _Vertex:
    """The last of the bends by which an arrow from `source` reaches the row above `rank`; the source if it is there."""
    for row in range(source.rank + 1, rank):
        bend = _Vertex("bend")
        bend.sources, bend.rank = [source], row
        rows[row].append(bend)
        source = bend
    return source


def _order(row: list[_Vertex], readers: list[_Vertex]) -> None:
    """Sort a row by the mean place of those that read from it."""
    places: dict[int, list[float]] = {id(vertex): [] for vertex in row}
    for place, reader in enumerate(readers):
        for i, source in enumerate(reader.sources):
            places[id(source)].append(place + i / len(reader.sources))
    row.sort(key=lambda vertex: float(np.mean(places[id(vertex)])))


# ---- places


def _place(rows: list[list[_Vertex]]) -> None:
    """Put every vertex near those that it is joined to, without overlap."""
    joined: dict[int, list[_Vertex]] = {id(vertex): list(vertex.sources) for row in rows for vertex in row}
    for row in rows:
        for vertex in row:
            for source in vertex.sources:
                joined[id(source)].append(vertex)
    for sweep in range(SWEEPS):
        for row in rows if sweep % 2 else reversed(rows):
            wanted = [_middle(vertex, joined[id(vertex)]) for vertex in row]
            for vertex, x in zip(row, _apart(row, wanted), strict=True):
                vertex.x = x


def _middle(vertex: _Vertex, others: list[_Vertex]) -> float:
    """The mean place of the others, firm ones first."""
    weights = [other.firm for other in others]
    return float(np.average([other.x for other in others], weights=weights)) if others else vertex.x


def _apart(row: list[_Vertex], wanted: list[float]) -> list[float]:
    """The places nearest to those wanted, by weighted squares, at which neighbours do not overlap.

    Source   the pool-adjacent-violators algorithm: Barlow et al. 1972, "Statistical inference under order restrictions"
    """
    steps = [(left.width + right.width) / 2 + GAP for left, right in pairwise(row)]
    offsets = np.cumsum([0.0, *steps])
    pools: list[tuple[float, float, int]] = []  # place, weight and number of vertices that stand together
    for vertex, x in zip(row, np.subtract(wanted, offsets), strict=True):
        place, weight, count = float(x), vertex.firm, 1
        while pools and pools[-1][0] > place:
            other, other_weight, others = pools.pop()
            place = (place * weight + other * other_weight) / (weight + other_weight)
            weight, count = weight + other_weight, count + others
        pools.append((place, weight, count))
    return list(offsets + np.repeat([pool[0] for pool in pools], [pool[2] for pool in pools]))


# ---- the picture


def _picture(title: str, rows: list[list[_Vertex]]) -> Figure:
    vertices = [vertex for row in rows for vertex in row]
    left = min(vertex.x - vertex.width / 2 for vertex in vertices) - 0.1
    right = max(vertex.x + vertex.width / 2 for vertex in vertices) + 0.1
    if right - left > WIDEST:
        raise ValidationError(
            f"graph: the picture would be {right - left:.0f} inches wide, more than {WIDEST}; "
            "draw fewer operations, by most"
        )
    figure = style.figure(max(right - left + 0.2, 6.4), ROW * len(rows) + 1.0, title)
    axes = figure.subplots()
    bottom = -ROW * (len(rows) - 1) - HIGH / 2 - 0.05
    axes.set(xlim=(left, right), ylim=(bottom, HIGH / 2 + 0.05), aspect="equal", autoscale_on=False)
    axes.set_axis_off()
    for vertex in vertices:
        if vertex.kind != "bend":
            _draw_box(axes, vertex)
            for source in vertex.sources:
                _draw_arrow(axes, source, vertex)
    figure.supxlabel(KEY, fontsize=style.SMALL)
    return figure


def _draw_box(axes: Axes, vertex: _Vertex) -> None:
    y = -ROW * vertex.rank
    corner, colours = (vertex.x - vertex.width / 2, y - HIGH / 2), (COLOURS[vertex.kind], EDGES[vertex.kind])
    line = "--" if vertex.kind == "earlier" else "-"
    look = f"round,pad=0,rounding_size={0.07 if vertex.kind == 'operation' else 0.2}"
    axes.add_patch(
        FancyBboxPatch(corner, vertex.width, HIGH, look, facecolor=colours[0], edgecolor=colours[1], linestyle=line)
    )
    axes.text(vertex.x, y, "\n".join(vertex.lines), ha="center", va="center", fontsize=style.SMALL)


def _draw_arrow(axes: Axes, source: _Vertex, vertex: _Vertex) -> None:
    """A curve from a source, straight through its bends, to the upper side of a box."""
    corners = [(vertex.x, -ROW * vertex.rank + HIGH / 2)]
    while source.kind == "bend":
        corners += [(source.x, -ROW * source.rank + sign * HIGH / 2) for sign in (-1, 1)]
        source = source.sources[0]
    corners.append((source.x, -ROW * source.rank - HIGH / 2))
    path, codes = [corners[-1]], [Path.MOVETO]
    for (x0, y0), (x1, y1) in pairwise(reversed(corners)):
        path += [(x0, (y0 + y1) / 2), (x1, (y0 + y1) / 2), (x1, y1)]
        codes += [Path.CURVE4] * 3
    axes.add_patch(
        FancyArrowPatch(path=Path(path, codes), arrowstyle="-|>", mutation_scale=9, color="#555555", linewidth=0.9)
    )
