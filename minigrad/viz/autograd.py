"""A picture of the autograd graph behind a tensor, in rows from the leaves at the top to the tensor at the bottom."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path

from minigrad.checks import whole_number
from minigrad.errors import DtypeError, GraphError, ValidationError
from minigrad.nn import Module
from minigrad.tape import Node, expanded, reachable
from minigrad.tensors import Tensor
from minigrad.viz import style
from minigrad.viz.formatting import format_count, format_shape
from minigrad.viz.inputs import check_module

MOST_OPERATIONS, MOST_INCHES = 40, 24  # operations drawn by default; width of a picture
LETTER, BOX_HEIGHT, ROW_HEIGHT = 0.082, 0.42, 0.72  # inches; LETTER is the width of a small letter
GAP = 0.18  # inches between boxes
SWEEPS = 60  # iterations of the layout; more do not move a box
COLOURS = {"operation": style.PALE, "leaf": "#FBE3B0", "constant": "#EEEEEE", "earlier": "white"}  # behind black text
EDGES = {"operation": style.BLUE, "leaf": style.ORANGE, "constant": style.GREY, "earlier": style.GREY}
KEY = "blue: operations; orange: leaves, which get a gradient; grey: inputs without a gradient"


class _Vertex:
    """A box, or a bend: the point where an arrow crosses a row.

    kind     key of COLOURS, or "bend"
    lines    of text
    sources  vertices that it reads, in the order of the operation's inputs
    rank     row, 0 at the top
    x        inches, of its centre
    """

    def __init__(self, kind: str, *lines: str):
        self.kind, self.lines = kind, lines
        self.sources: list[_Vertex] = []
        self.rank, self.x = 0, 0.0

    @property
    def width(self) -> float:
        """Width in inches."""
        return LETTER * max(map(len, self.lines)) + 0.16 if self.lines else 0.0

    @property
    def weight(self) -> float:
        """Weight in the layout: arrows between operations are kept straighter than arrows from leaves."""
        return 60.0 if self.kind in ("operation", "bend") else 1.0


def autograd_graph(
    tensor: Any, *, names: Mapping[str, Any] | None = None, model: Any = None, most: int = MOST_OPERATIONS
) -> Figure:
    """Draw the operations behind a tensor, from the leaves at the top to the tensor at the bottom.

    tensor   the result of recorded operations, before backward has freed them
    names    name -> tensor, for leaves and results
    model    a Module; its parameters are named by their paths
    most     the number of operations to draw, counted from the tensor; what they read is drawn as "earlier"
    returns  Figure

    A box holds the name of an operation and the shape of its result, or the name and the shape of a leaf.

    Raises   GraphError        nothing was recorded for the tensor, or backward has freed it
             DtypeError        tensor is no Tensor
             ValidationError   model is no Module, most is not 1 or more, or the graph is too wide for a picture

    >>> import minigrad as mg
    >>> w = mg.tensor([1.0, 2.0], requires_grad=True)
    >>> autograd_graph((w * w).sum(), names={"w": w}).get_suptitle()
    'Autograd graph: 2 operations, 1 leaf'
    """
    _check_arguments(tensor, model, most)
    root = expanded(tensor.node)
    nodes = reachable(root, expand=True)
    shown = nodes[:most]
    vertices = _make_vertices(shown, root, tensor.shape, _name_by_id(names, model))
    rows = _arrange_rows(vertices)
    _set_positions(rows)
    title = f"Autograd graph: {format_count(len(nodes), 'operation', form=',')}"
    title += f", the last {len(shown)} shown" if len(shown) < len(nodes) else ""
    leaves = sum(vertex.kind == "leaf" for vertex in vertices)
    return _draw(title + f", {format_count(leaves, 'leaf', 'leaves', form=',')}", rows)


def _check_arguments(tensor: Any, model: Any, most: int) -> None:
    where = "autograd_graph"
    if not isinstance(tensor, Tensor):
        raise DtypeError(f"{where}: expected a Tensor, got {type(tensor).__name__}; pass the loss, before backward")
    if tensor.node is None:
        raise GraphError(
            f"{where}: nothing was recorded for this tensor of shape {tensor.shape}; make it from tensors that require "
            "grad, outside no_grad"
        )
    if tensor.node.freed:
        raise GraphError(f"{where}: backward has freed the graph; draw it before, or call backward(retain_graph=True)")
    if model is not None:
        check_module(where, model)
    whole_number(where, "most", most, 1)


def _name_by_id(names: Mapping[str, Any] | None, model: Module | None) -> dict[int, str]:
    """Return names by the id of a leaf, or of the node of a result."""
    named = [] if model is None else list(model.named_parameters())
    named += [] if names is None else names.items()
    return {
        id(tensor if getattr(tensor, "node", None) is None else expanded(tensor.node)): name for name, tensor in named
    }


# ---- vertices


def _make_vertices(nodes: list[Node], root: Node, shape: tuple[int, ...], names: dict[int, str]) -> list[_Vertex]:
    """Return a vertex for each operation, newest first, then one for everything else that these read."""
    shapes = {id(edge): shape for node in nodes for edge, shape in _inputs(node) if edge is not None}
    shapes[id(root)] = shape
    vertices = {id(node): _operation_vertex(node, shapes[id(node)], names.get(id(node))) for node in nodes}
    constants = []
    for node in nodes:
        for i, (edge, shape) in enumerate(_inputs(node)):
            if edge is None and shape:
                constants.append(_Vertex("constant", node.op.input_name(i), format_shape(shape)))
                vertices[id(node)].sources.append(constants[-1])
            elif edge is not None:
                vertices.setdefault(id(edge), _outer_vertex(edge, names.get(id(edge))))
                vertices[id(node)].sources.append(vertices[id(edge)])
    return [*vertices.values(), *constants]


def _inputs(node: Node) -> list[tuple[Any, tuple[int, ...]]]:
    """Return edge and shape of each input."""
    return list(zip(node.edges or (), node.shapes, strict=False))


def _operation_vertex(node: Node, shape: tuple[int, ...], name: str | None) -> _Vertex:
    return _Vertex("operation", node.op.name + (f": {name}" if name else ""), format_shape(shape) or "one number")


def _outer_vertex(edge: Any, name: str | None) -> _Vertex:
    """Return a vertex for a leaf, or for an operation that is not drawn."""
    if isinstance(edge, Node):
        return _Vertex("earlier", "earlier", edge.op.name)
    return _Vertex("leaf", name or "leaf", format_shape(edge.shape) or "one number")


# ---- rows


def _arrange_rows(vertices: list[_Vertex]) -> list[list[_Vertex]]:
    """Return the vertices by row, each below everything that it reads, in an order in which few arrows cross."""
    _set_ranks(vertices)
    rows: list[list[_Vertex]] = [[] for _ in range(1 + max(vertex.rank for vertex in vertices))]
    for vertex in vertices:
        rows[vertex.rank].append(vertex)
    for vertex in vertices:
        vertex.sources = [_add_bends(source, vertex.rank, rows) for source in vertex.sources]
    for above, below in pairwise(reversed(rows)):
        _sort_row(below, above)
    return rows


def _set_ranks(vertices: list[_Vertex]) -> None:
    """Place operations as high as possible, and other vertices just above the first operation that reads them."""
    operations = [vertex for vertex in vertices if vertex.kind == "operation"]
    for vertex in reversed(operations):  # oldest first
        vertex.rank = 1 + max((source.rank for source in vertex.sources if source.kind == "operation"), default=0)
    for vertex in operations:
        for source in vertex.sources:
            if source.kind != "operation":
                source.rank = min(source.rank or vertex.rank, vertex.rank - 1)


def _add_bends(source: _Vertex, rank: int, rows: list[list[_Vertex]]) -> _Vertex:
    """Add bends for the rows between a source and the row `rank`; return the last bend, or the source if none."""
    for row in range(source.rank + 1, rank):
        bend = _Vertex("bend")
        bend.sources, bend.rank = [source], row
        rows[row].append(bend)
        source = bend
    return source


def _sort_row(row: list[_Vertex], readers: list[_Vertex]) -> None:
    """Sort a row by the mean position of the vertices that read it."""
    positions: dict[int, list[float]] = {id(vertex): [] for vertex in row}
    for position, reader in enumerate(readers):
        for i, source in enumerate(reader.sources):
            positions[id(source)].append(position + i / len(reader.sources))
    row.sort(key=lambda vertex: float(np.mean(positions[id(vertex)])))


# ---- positions


def _set_positions(rows: list[list[_Vertex]]) -> None:
    """Move every vertex near its neighbours in other rows, without overlap in its own."""
    neighbours: dict[int, list[_Vertex]] = {id(vertex): list(vertex.sources) for row in rows for vertex in row}
    for row in rows:
        for vertex in row:
            for source in vertex.sources:
                neighbours[id(source)].append(vertex)
    for sweep in range(SWEEPS):
        for row in rows if sweep % 2 else reversed(rows):
            desired = [_mean_x(vertex, neighbours[id(vertex)]) for vertex in row]
            for vertex, x in zip(row, _separate(row, desired), strict=True):
                vertex.x = x


def _mean_x(vertex: _Vertex, neighbours: list[_Vertex]) -> float:
    """Return the weighted mean position of the neighbours."""
    if not neighbours:
        return vertex.x
    return float(np.average([other.x for other in neighbours], weights=[other.weight for other in neighbours]))


def _separate(row: list[_Vertex], desired: list[float]) -> list[float]:
    """Return the positions closest to the desired ones, by weighted squares, at which vertices do not overlap.

    Source   the pool-adjacent-violators algorithm: Barlow et al. 1972, "Statistical inference under order restrictions"
    """
    steps = [(left.width + right.width) / 2 + GAP for left, right in pairwise(row)]
    offsets = np.cumsum([0.0, *steps])
    pools: list[tuple[float, float, int]] = []  # position, weight and number of vertices that touch
    for vertex, x in zip(row, np.subtract(desired, offsets), strict=True):
        position, weight, count = float(x), vertex.weight, 1
        while pools and pools[-1][0] > position:
            other, other_weight, others = pools.pop()
            position = (position * weight + other * other_weight) / (weight + other_weight)
            weight, count = weight + other_weight, count + others
        pools.append((position, weight, count))
    return list(offsets + np.repeat([pool[0] for pool in pools], [pool[2] for pool in pools]))


# ---- drawing


def _draw(title: str, rows: list[list[_Vertex]]) -> Figure:
    vertices = [vertex for row in rows for vertex in row]
    left = min(vertex.x - vertex.width / 2 for vertex in vertices) - 0.1
    right = max(vertex.x + vertex.width / 2 for vertex in vertices) + 0.1
    if right - left > MOST_INCHES:
        raise ValidationError(
            f"autograd_graph: the picture would be {right - left:.0f} inches wide, more than {MOST_INCHES}; "
            "pass a smaller most to draw fewer operations"
        )
    figure = style.figure(max(right - left + 0.2, 6.4), ROW_HEIGHT * len(rows) + 1.0, title)
    axes = figure.subplots()
    bottom = -ROW_HEIGHT * (len(rows) - 1) - BOX_HEIGHT / 2 - 0.05
    axes.set(xlim=(left, right), ylim=(bottom, BOX_HEIGHT / 2 + 0.05), aspect="equal", autoscale_on=False)
    axes.set_axis_off()
    for vertex in vertices:
        if vertex.kind != "bend":
            _draw_box(axes, vertex)
            for source in vertex.sources:
                _draw_arrow(axes, source, vertex)
    figure.supxlabel(KEY, fontsize=style.SMALL)
    return figure


def _draw_box(axes: Axes, vertex: _Vertex) -> None:
    y = -ROW_HEIGHT * vertex.rank
    corner = vertex.x - vertex.width / 2, y - BOX_HEIGHT / 2
    shape = f"round,pad=0,rounding_size={0.07 if vertex.kind == 'operation' else 0.2}"
    box = FancyBboxPatch(corner, vertex.width, BOX_HEIGHT, shape)
    box.set(facecolor=COLOURS[vertex.kind], edgecolor=EDGES[vertex.kind])
    box.set_linestyle("--" if vertex.kind == "earlier" else "-")
    axes.add_patch(box)
    axes.text(vertex.x, y, "\n".join(vertex.lines), ha="center", va="center", fontsize=style.SMALL)


def _draw_arrow(axes: Axes, source: _Vertex, vertex: _Vertex) -> None:
    """Draw a curve from a source, straight through its bends, to the upper side of a box."""
    points = [(vertex.x, -ROW_HEIGHT * vertex.rank + BOX_HEIGHT / 2)]
    while source.kind == "bend":
        points += [(source.x, -ROW_HEIGHT * source.rank + sign * BOX_HEIGHT / 2) for sign in (-1, 1)]
        source = source.sources[0]
    points.append((source.x, -ROW_HEIGHT * source.rank - BOX_HEIGHT / 2))
    path, codes = [points[-1]], [Path.MOVETO]
    for (x0, y0), (x1, y1) in pairwise(reversed(points)):
        path += [(x0, (y0 + y1) / 2), (x1, (y0 + y1) / 2), (x1, y1)]
        codes += [Path.CURVE4] * 3
    axes.add_patch(
        FancyArrowPatch(path=Path(path, codes), arrowstyle="-|>", mutation_scale=9, color="#555555", linewidth=0.9)
    )
