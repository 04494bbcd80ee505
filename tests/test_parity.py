"""Public names give PyTorch's numbers: values, first and second derivatives, and the state of layers.

The expressions are in parity_*.py.  PyTorch's results are stored in vectors/; where PyTorch is installed, it evaluates
other random inputs beside minigrad.
"""

import importlib.util
import re

import numpy as np
import parity
import pytest

import minigrad as mg

TABLE = [
    pytest.param(theme, expression, id=f"{theme}-{expression}")
    for theme in parity.THEMES
    for expressions in parity.load_expressions(theme).values()
    for expression in expressions
]
VECTORS = {theme: parity.load_vectors(theme) for theme in parity.THEMES}
INPUTS = ("x(", "positive(", "unit(")  # an expression without these makes its tensors on the CPU
SINGLE = 1e-6  # the error of float32 numbers, relative to the largest


def assert_equal_results(ours, theirs, relative):
    assert list(ours) == list(theirs)
    for name, expected in theirs.items():
        assert (ours[name].shape, ours[name].dtype) == (expected.shape, expected.dtype), name
        if expected.dtype.kind == "f":
            share = max(relative, SINGLE if expected.dtype == np.float32 else 0)
            scale = share * max(np.abs(expected[np.isfinite(expected)]).max(initial=0), 1)
            np.testing.assert_allclose(ours[name], expected, share, scale, err_msg=name)
        else:
            np.testing.assert_array_equal(ours[name], expected, name)


@pytest.mark.parametrize("theme, expression", TABLE)
def test_values_and_derivatives_equal_pytorchs(theme, expression):
    expected = VECTORS[theme][expression]
    assert_equal_results(parity.evaluate(mg, expression), expected, 1e-9)
    if any(made in expression for made in INPUTS):
        assert_equal_results(parity.evaluate(mg, expression, device="numpy"), expected, 1e-9)


@pytest.mark.filterwarnings("ignore::UserWarning")  # PyTorch's
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="compares with PyTorch")
@pytest.mark.parametrize("theme, expression", TABLE)
def test_other_inputs_give_pytorchs_numbers(theme, expression):
    import torch

    for seed in (1, 2):
        ours, theirs = (parity.evaluate(library, expression, seed=seed) for library in (mg, torch))
        assert_equal_results(ours, theirs, 1e-9)
    single = parity.evaluate(mg, expression, dtype="float32")
    assert_equal_results(single, parity.evaluate(torch, expression, dtype="float32"), 1e-5)


# ---- which names are compared

NOT_COMPARED = {
    "ours alone, or settings": """
        Tensor accelerator amp autocast backends bfloat16 compile compiler cuda data datasets device channels_last
        contiguous_format distributed parallel SyncBatchNorm errors float16 from_dlpack functional get_default_dtype
        get_float32_matmul_precision get_num_threads get_rng_state graph init jit load models modules onnx optim
        preserve_format profile save save_model load_model train set_default_dtype set_float32_matmul_precision
        set_flush_denormal set_num_threads set_printoptions set_rng_state testing torch_version transforms
        use_deterministic_algorithms utils version viz warmup array bfloat16 char half short data node DataParallel
        Module UninitializedBuffer UninitializedParameter
    """,
    "tested in test_autograd_api.py": """enable_grad inference_mode is_grad_enabled no_grad set_grad_enabled detach_
        grad_fn retains_grad register_post_accumulate_grad_hook""",
    "random": "exponential_",
}


def test_every_public_name_is_compared():
    """An expression has each public function, layer and method, apart from those listed above."""
    known = {word for words in NOT_COMPARED.values() for word in words.split()}
    for theme in parity.THEMES:
        for name, expressions in parity.load_expressions(theme).items():
            known |= {name, *re.findall(r"\w+", " ".join(expressions))}
    public = [*mg.__all__, *mg.nn.__all__, *mg.nn.functional.__all__, *dir(mg.Tensor)]
    assert not {name for name in public if not name.startswith("_")} - known


def test_table_in_the_reference_has_every_name():
    """docs/parity.md is made by table_of_parity.py."""
    page = (parity.HERE.parent / "docs" / "parity.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([^`]+)` \| .* \| (yes|0|-) \| .*\|$", page, flags=re.MULTILINE))
    derivatives = {"-": 0, "0": 1, "yes": 2}
    found = {}
    for theme in parity.THEMES:
        for name, expressions in parity.load_expressions(theme).items():
            for expression in expressions:
                for key, array in VECTORS[theme][expression].items():
                    if key.startswith("second derivative"):
                        found[name] = max(found.get(name, 0), 2 if np.any(array != 0) else 1)
            found.setdefault(name, 0)
    assert {name: derivatives[word] for name, word in rows.items()} == found
