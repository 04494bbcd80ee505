"""Small programs written for PyTorch, and how they are run with either library.

Each file of scripts/ is what somebody would write for PyTorch: its import lines say `torch`.  `load` runs it as it is,
or with these lines changed to minigrad and nothing else, which is what the README tells a user to do.

A script has a function main(given), where `given` brings what must be equal in both libraries:

    given.images(8, 1, 28, 28)   numbers of about normal distribution
    given.unit(8, 4)             numbers between 0 and 1
    given.labels(10, 8)          8 whole numbers from 0 to 9
    given.fill(model)            the model with weights that depend only on names and shapes, in the dtype of the run
    given.record(loss=loss)      numbers to compare
    given.finish(model, *inputs) records gradients, state and the output in eval mode; saves, loads, and compares

    python tests/pytorch_scripts.py [name ...]   in an environment with PyTorch, writes vectors/scripts.npz
"""

import importlib
import io
import json
import math
import re
import sys
import types
import zlib
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
NAMES = sorted(path.stem for path in (HERE / "scripts").glob("*.py"))
VECTORS = HERE / "vectors" / "scripts.npz"


def load(name, library):
    """Return a script as a module that uses the library called `library`."""
    source = (HERE / "scripts" / f"{name}.py").read_text(encoding="utf-8")
    if library != "torch":
        source = re.sub(r"^(\s*)import torch$", rf"\1import {library} as torch", source, flags=re.MULTILINE)
        source = re.sub(r"^(\s*)(import|from) torch\b", rf"\1\2 {library}", source, flags=re.MULTILINE)
    module = types.ModuleType(f"{library}_{name}")
    sys.modules[module.__name__] = module
    exec(compile(source, f"{name}.py", "exec"), module.__dict__)
    return module


class Given:
    """What a script gets, and what it records."""

    def __init__(self, library, dtype="float64"):
        self.torch, self.dtype = importlib.import_module(library), dtype
        self.found, self.drawn, self.filled = {}, 0, 0

    def _random(self):
        self.drawn += 1
        return np.random.default_rng([13, self.drawn])

    def images(self, *shape):
        return self.torch.from_numpy(self._random().standard_normal(shape).astype(self.dtype))

    def unit(self, *shape):
        return self.torch.from_numpy(self._random().uniform(size=shape).astype(self.dtype))

    def labels(self, high, *shape):
        return self.torch.from_numpy(self._random().integers(0, high, shape))

    def fill(self, model):
        """Weights of the size that keeps signals alive, factors near 1, small biases."""
        model = model.to(getattr(self.torch, self.dtype))
        self.filled += 1
        with self.torch.no_grad():
            for name, parameter in model.named_parameters():
                shape = tuple(parameter.shape)
                random = np.random.default_rng([self.filled, zlib.crc32(name.encode())])
                values = random.standard_normal(shape)
                if len(shape) > 1:
                    values /= np.sqrt(np.prod(shape[1:]))
                elif name.endswith("weight"):
                    values = 1 + 0.2 * values
                else:
                    values *= 0.1
                parameter.copy_(self.torch.from_numpy(values.astype(self.dtype)))
        return model

    def record(self, **numbers):
        for name, value in numbers.items():
            key, n = name, 1
            while key in self.found:
                key, n = f"{name} {n + 1}", n + 1
            self.found[key] = value.detach().cpu().numpy().copy() if hasattr(value, "detach") else np.asarray(value)

    def finish(self, model, *inputs, prefix="model"):
        """Record gradients, state, the output in eval mode; the output must be the same after saving and loading."""
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                self.record(**{f"{prefix} gradient {name}": _sample(parameter.grad)})
        for name, tensor in model.state_dict().items():
            self.record(**{f"{prefix} state {name}": _sample(tensor)})
        model.eval()
        with self.torch.no_grad():
            before = _first(model(*inputs))
        self.record(**{f"{prefix} output": before})
        file = io.BytesIO()
        self.torch.save(model.state_dict(), file)
        file.seek(0)
        state = self.torch.load(file)
        with self.torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
        model.load_state_dict(state)
        with self.torch.no_grad():
            after = _first(model(*inputs))
        np.testing.assert_array_equal(before.numpy(), after.numpy())


def _first(output):
    return output[0] if isinstance(output, tuple | list) else output


def _sample(tensor):
    """A few elements of a tensor, and the sums of all and of their squares."""
    values = tensor.detach().cpu().numpy().reshape(-1)
    picked = values[:: max(len(values) // 5, 1)][:6].astype(float)
    return np.concatenate([picked, [values.sum(dtype=float), np.square(values, dtype=float).sum()]])


def run(name, library, dtype="float64"):
    """Return all numbers that a script records, by name, in order."""
    given = Given(library, dtype)
    load(name, library).main(given)
    return given.found


def load_vectors():
    """Return PyTorch's stored numbers: {script: {name: array}}."""
    found = {}
    with np.load(VECTORS) as stored:
        for script in stored.files:
            if not script.endswith(" names"):
                shapes = json.loads(str(stored[f"{script} names"]))
                arrays = np.split(stored[script], np.cumsum([math.prod(shape) for shape in shapes.values()])[:-1])
                pairs = zip(shapes.items(), arrays, strict=True)
                found[script] = {name: array.reshape(shape) for (name, shape), array in pairs}
    return found


def write_vectors(names):
    """Store all numbers of a script as one array, beside their names and shapes: an array for each would be large."""
    import torch

    torch.set_num_threads(1)
    kept = load_vectors() if VECTORS.exists() else {}
    kept = {name: numbers for name, numbers in kept.items() if name in NAMES}
    for name in names:
        kept[name] = run(name, "torch")
    arrays = {}
    for script in sorted(kept):
        flat = np.concatenate([np.asarray(array, dtype=float).reshape(-1) for array in kept[script].values()])
        assert np.isfinite(flat).all(), script
        arrays[script] = flat
        arrays[f"{script} names"] = json.dumps({name: np.shape(array) for name, array in kept[script].items()})
    np.savez_compressed(VECTORS, **arrays)


if __name__ == "__main__":
    write_vectors(sys.argv[1:] or NAMES)
