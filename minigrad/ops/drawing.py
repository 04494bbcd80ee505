"""Random numbers in place of the elements of an array, drawn on the host, so that they are the same on every device."""

from ..runtime import memory
from .op import Dispatch, op


def draw_numpy(sample, out):
    out[...] = sample(out.shape)


draw_dispatch = Dispatch("draw", draw_numpy)


@op
def draw(device, x, *, sample):
    """sample(shape), in the dtype and layout of x; each replay of a recording draws again."""
    out = memory.empty_like(x)
    draw_dispatch[device.type](sample, out)
    return out


@draw.gradient
def draw_gradient(do, g):
    """The numbers do not depend on x."""
    return (lambda: do.assign(g, 0.0),)
