"""Expressions that PyTorch and minigrad must evaluate to the same numbers, and how they are evaluated.

An expression is Python, in which `torch`, `nn` and `F` stand for one of the two libraries.  These functions make its
inputs, with the same numbers in both:

    x(2, 3)             floats between -2 and 2, all different, none a whole number; they require gradients
    positive(2, 3)      floats between 0.3 and 2, likewise
    unit(2, 3)          floats between -0.9 and 0.9, likewise
    ints(5, 2, 3)       whole numbers from 0 to 4
    bools(2, 3)         bool
    const([0, 1])       these numbers, as torch.tensor makes them
    layer(nn.Conv2d(1, 2, 3))   the layer in float64, with weights that depend only on their names and shapes

The files parity_*.py hold the expressions: EXPRESSIONS maps a public name to a list of them.  `evaluate` returns the
values, the first and second derivatives by all inputs and parameters, and the state of the layers.

    python tests/parity.py        in an environment with PyTorch, writes its results to vectors/
"""

import importlib
import sys
import zlib
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
THEMES = sorted(path.stem.removeprefix("parity_") for path in HERE.glob("parity_*.py"))


def load_expressions(theme):
    """Return EXPRESSIONS of a theme: lists of expressions by public name."""
    return importlib.import_module(f"parity_{theme}").EXPRESSIONS


class Evaluation:
    """One expression, evaluated by one library.

    library   the module torch or minigrad
    seed      other seeds give other inputs
    dtype     "float64" or "float32"
    device    where inputs and layers are
    """

    def __init__(self, library, expression, seed=0, dtype="float64", device="cpu"):
        self.library, self.expression, self.dtype, self.device = library, expression, dtype, device
        self.seed, self.inputs, self.layers = seed, [], {}
        name = library.__name__
        nn = importlib.import_module(f"{name}.nn")
        scope = {"torch": library, "nn": nn, "F": importlib.import_module(f"{name}.nn.functional")}
        scope |= {"x": self.x, "positive": self.positive, "unit": self.unit, "layer": self.layer}
        scope |= {"ints": self.ints, "bools": self.bools, "const": self.const}
        self.result = eval(expression, scope)

    def _random(self, key):
        return np.random.default_rng([self.seed, zlib.crc32(f"{self.expression} {key}".encode())])

    def _floats(self, low, high, shape):
        """Numbers in a random order, evenly spaced, so that none is equal to another or to a whole number."""
        count = int(np.prod(shape))
        order = self._random(len(self.inputs)).permutation(count)
        values = low + (high - low) * (order + 0.37) / max(count, 1)
        tensor = self._tensor(values.reshape(shape).astype(self.dtype)).requires_grad_()
        self.inputs.append(tensor)
        return tensor

    def _tensor(self, array):
        made = self.library.from_numpy(array)
        return made if self.device == "cpu" else made.to(self.device).detach()

    def x(self, *shape):
        return self._floats(-1.97, 1.97, shape)

    def positive(self, *shape):
        return self._floats(0.3, 1.97, shape)

    def unit(self, *shape):
        return self._floats(-0.9, 0.9, shape)

    def ints(self, high, *shape):
        return self._tensor(self._random(f"ints {len(self.inputs)}").integers(0, high, shape))

    def bools(self, *shape):
        return self._tensor(self._random(f"bools {len(self.inputs)}").integers(0, 2, shape).astype(bool))

    def const(self, numbers, **settings):
        made = self.library.tensor(numbers, **settings)
        return made if self.device == "cpu" else made.to(self.device)

    def layer(self, module):
        module = module.to(getattr(self.library, self.dtype))
        module = module if self.device == "cpu" else module.to(self.device)
        prefix = f"layer{len(self.layers)}"
        with self.library.no_grad():
            for name, parameter in module.named_parameters():
                values = self._random(f"{prefix} {name}").uniform(-0.5, 0.5, tuple(parameter.shape))
                parameter.copy_(self._tensor(values.astype(self.dtype)))
        self.layers[prefix] = module
        return module

    def collect(self):
        """Return all numbers by name: values, derivatives, state."""
        found = {}
        outputs = list(_leaves(self.result))
        loss = 0
        for i, output in enumerate(outputs):
            found[f"out{i}"] = _numbers(output)
            if getattr(output, "requires_grad", False):
                loss = loss + (output * self._weights(f"out{i}", output)).sum()
        variables = {f"input{i}": tensor for i, tensor in enumerate(self.inputs)}
        for prefix, module in self.layers.items():
            for name, tensor in module.state_dict().items():
                found[f"{prefix}.{name}"] = _numbers(tensor)
            variables |= {f"{prefix}.{name}": tensor for name, tensor in module.named_parameters()}
        if not isinstance(loss, int):
            self._differentiate(loss, variables, found)
        return found

    def _weights(self, key, tensor):
        values = self._random(f"weights {key}").uniform(0.2, 1, tuple(tensor.shape)).astype(self.dtype)
        return self._tensor(np.asarray(values))

    def _differentiate(self, loss, variables, found):
        loss.backward(create_graph=True)
        first = {name: tensor.grad for name, tensor in variables.items() if tensor.grad is not None}
        found |= {f"gradient of {name}": _numbers(gradient) for name, gradient in first.items()}
        total = 0
        for name, gradient in first.items():
            if gradient.requires_grad:
                total = total + (gradient * self._weights(f"second {name}", gradient)).sum()
        for tensor in variables.values():
            tensor.grad = None
        if not isinstance(total, int) and total.requires_grad:
            total.backward()
        for name, gradient in first.items():
            second = variables[name].grad
            found[f"second derivative of {name}"] = _numbers(gradient) * 0 if second is None else _numbers(second)


def _leaves(result):
    """Yield the tensors and numbers of a result, from tuples, lists and dicts."""
    if isinstance(result, dict):
        result = list(result.values())
    if isinstance(result, list | tuple):
        for part in result:
            yield from _leaves(part)
    else:
        yield result


def _numbers(value):
    """Return a tensor, number or bool as a NumPy array of its own dtype."""
    return np.asarray(value.detach().clone().cpu().numpy() if hasattr(value, "detach") else value)


def evaluate(library, expression, **options):
    """Return all numbers of an expression by name."""
    return Evaluation(library, expression, **options).collect()


def load_vectors(theme):
    """Return PyTorch's stored results of a theme: {expression: {name: array}}."""
    found = {}
    with np.load(HERE / "vectors" / f"{theme}.npz") as stored:
        for key in stored.files:
            expression, _, name = key.rpartition(" -> ")
            found.setdefault(expression, {})[name] = stored[key]
    return found


def write_vectors(theme, torch):
    """Evaluate the expressions of a theme with PyTorch, and store the results."""
    torch.backends.cuda.enable_flash_sdp(False)  # it has no second derivatives, on the CPU either
    arrays = {}
    for expressions in load_expressions(theme).values():
        for expression in expressions:
            for name, array in evaluate(torch, expression).items():
                arrays[f"{expression} -> {name}"] = array
    np.savez_compressed(HERE / "vectors" / f"{theme}.npz", **arrays)


if __name__ == "__main__":
    import torch

    for name in sys.argv[1:] or THEMES:
        write_vectors(name, torch)
