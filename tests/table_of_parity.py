"""The table of the API reference: which public names are compared with PyTorch, on which backends, and how they differ.

    python tests/table_of_parity.py     writes docs/parity.md

A name has a backend if every kernel that its expressions run has an implementation for it.
"""

import os
from contextlib import contextmanager

os.environ["NUMBA_ENABLE_CUDASIM"] = "1"  # so that the kernels of device cuda can be imported on any machine

import numpy as np
import parity

import minigrad as mg
from minigrad.ops.op import Dispatch

PAGE = parity.HERE.parent / "docs" / "parity.md"
HEAD = """## Names that are compared with PyTorch

Every name computes PyTorch's values, first and second derivatives to 1e-9 in float64, apart from what the last column
says.  Second derivative: *yes*; *0*, where the function is linear in pieces; *-*, where results are whole numbers, bool
or not differentiable.

| name or family | backends | second derivative | differences from PyTorch |
|---|---|---|---|
"""
DIFFERENCES = {
    "adaptive_max_pool": "a size of 0 is refused",
    "adaptive_avg_pool": "a size of 0 is refused",
    "binary_cross_entropy_with_logits": "second derivatives by pos_weight and targets, too",
    "celu": "1/alpha is not rounded to float32",
    "checkpoint": "results other than tensors and flat lists of them save no memory",
    "embedding": "scale_grad_by_freq and sparse are refused",
    "gather": "no tensors without axes",
    "group_norm": "groups of a single value are accepted",
    "MultiheadAttention": "a query whose keys are all masked gets zeros, not nan",
    "hardsigmoid": "1/6 is not rounded to float32",
    "index_select": "no tensors without axes",
    "interpolate": "images and lines only; no antialias",
    "kthvalue": "of equal values any index",
    "max_unpool": "of equal indices the last value counts",
    "mse_loss": "shapes that differ are refused, not broadcast",
    "multi_margin_loss": "has second derivatives",
    "nonzero": "refused in a recording: its shape depends on values",
    "masked_select": "refused in a recording: its shape depends on values",
    "pad": "negative margins of modes other than constant only where something is left",
    "scaled_dot_product_attention": "second derivatives in every form",
    "scatter": "no tensors without axes",
    "soft_margin_loss": "does not overflow",
    "square": "of bool stays bool",
    "unique": "refused in a recording: its shape depends on values",
}


@contextmanager
def watched():
    """Yield a list to which every kernel that is looked up inside the block is added."""
    used = []

    def get(dispatch, backend):
        used.append(dispatch)
        return dict.__getitem__(dispatch, backend) if backend in dispatch else dispatch.__missing__(backend)

    Dispatch.__getitem__ = get
    try:
        yield used
    finally:
        del Dispatch.__getitem__


def backends(expressions):
    """Return the backends on which all expressions run."""
    with watched() as used:
        for expression in expressions:
            inputs = any(made in expression for made in ("x(", "positive(", "unit("))
            parity.evaluate(mg, expression, device="numpy" if inputs else "cpu")
    on_gpu = all("cuda" in dispatch or dispatch.formula is not None for dispatch in used)
    return "numpy, cpu, cuda" if on_gpu else "numpy, cpu"


def second_derivative(expressions, vectors):
    """Return what the stored results tell about second derivatives."""
    numbers = [array for e in expressions for name, array in vectors[e].items() if name.startswith("second derivative")]
    if not numbers:
        return "-"
    return "yes" if any(np.any(array != 0) for array in numbers) else "0"


def rows():
    """Yield a row for each name, in alphabetical order."""
    table = {}
    for theme in parity.THEMES:
        vectors = parity.load_vectors(theme)
        for name, expressions in parity.load_expressions(theme).items():
            table.setdefault(name, []).append((expressions, vectors))
    assert not DIFFERENCES.keys() - table.keys()
    for name in sorted(table, key=str.lower):
        found = {second_derivative(*part) for part in table[name]}
        second = next(word for word in ("yes", "0", "-") if word in found)
        every = sorted({backends(expressions) for expressions, _ in table[name]})
        yield f"| `{name}` | {every[0]} | {second} | {DIFFERENCES.get(name, '')} |"


def main():
    import minigrad.ops.cuda  # noqa: F401

    PAGE.write_text(HEAD + "\n".join(rows()) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
