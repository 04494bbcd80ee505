"""Cases of elements written by position, and of windows; see cases.py."""

import numpy as np
from cases import draw_axis, draw_call, draw_values, on_device, register_case, shapes, shapes_with_axes, sizes
from hypothesis import strategies as st


def _register_scatter(name, write):
    @register_case(name)
    def strategy(draw):
        shape = draw(shapes_with_axes)
        axis = draw_axis(draw, shape) % len(shape)
        covered = [draw(st.integers(1, size)) for size in shape]
        covered[axis] = draw(st.integers(1, shape[axis] if name == "scatter" else 5))
        x, src = draw_values(draw, shape, [size + draw(st.integers(0, 1)) for size in covered])
        random = np.random.default_rng(draw(st.integers(0, 99)))
        index = random.integers(0, shape[axis], covered)
        if name == "scatter":  # positions that differ
            index = random.random(shape).argsort(axis)[tuple([slice(size) for size in covered])]

        def reference(x, src):
            out, key = x.copy(), list(np.indices(index.shape, sparse=True))
            key[axis] = index
            write(out, tuple(key), src[tuple([slice(size) for size in index.shape])])
            return out

        return draw_call(
            draw,
            lambda x, src: getattr(x, name)(axis, on_device(index, x.device), src),
            reference,
            x,
            src,
            dim=axis,
            index=index.tolist(),
        )


_register_scatter("scatter", lambda out, key, src: out.__setitem__(key, src))
_register_scatter("scatter_add", np.add.at)


@register_case("windows")
def _windows(draw):
    (x,) = draw_values(draw, draw(shapes_with_axes))
    axis = draw_axis(draw, x.shape)
    size, step = draw(st.integers(1, x.shape[axis])), draw(sizes)

    def reference(x):
        return np.lib.stride_tricks.sliding_window_view(x, size, axis)[
            (slice(None),) * (axis % x.ndim) + (slice(None, None, step),)
        ]

    return draw_call(draw, lambda x: x.unfold(axis, size, step), reference, x, dim=axis, size=size, step=step)


@register_case("draw")
def _draw(draw):
    (x,) = draw_values(draw, draw(shapes))
    return draw_call(draw, lambda x: x * x.clone().normal_(2, 0), lambda x: 2 * x, x)
