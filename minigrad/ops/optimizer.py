"""Optimisers: each is one formula, from which its kernels for all parameters at once are made.

A formula takes one element of the parameter w, of its gradient g and of its state, and then numbers; it returns the new
w and the new state.  On NumPy arrays it is the reference implementation, too.  `d` is the gradient with weight decay;
`sign` is -1 to maximise.  Numbers that differ little from 1 come with their difference from 1, as beta and
gain = 1 - beta, because float32 would lose half the digits of 1 - 0.999.

Sources: B. Polyak, 1964 (momentum); I. Sutskever et al., 2013 (Nesterov's form of it); D. Kingma & J. Ba, 2015,
algorithm 1 (Adam); S. Reddi et al., 2018 (amsgrad); I. Loshchilov & F. Hutter, 2019 (decoupled weight decay);
J. Duchi et al., 2011 (Adagrad); M. Zeiler, 2012, algorithm 1 (Adadelta); G. Hinton's lecture 6e, 2012 (RMSprop), and
A. Graves, 2013, equations 38-45 (its centred form).
"""

import inspect
from functools import cache

import numpy as np

from ..runtime import math
from ..runtime.kernel import Array1, ArrayList, Ints, Kernel, get_array, helper
from ..runtime.math import larger
from ..runtime.source import define_function
from .op import Dispatch

ELEMENTS_PER_TASK = 2048  # so that threads share a single large parameter, too


@cache
def build_task_table(sizes: tuple[int, ...]) -> np.ndarray:
    """One row (parameter, start, stop) for each task."""
    step = ELEMENTS_PER_TASK
    rows = [(i, start, min(start + step, size)) for i, size in enumerate(sizes) for start in range(0, size, step)]
    return np.array(rows, np.int64).reshape(-1, 3)


UPDATES: list["Update"] = []  # all there are; ops/cuda/optimizer.py adds their kernels for the GPU


class Update(Dispatch):
    """The implementations (numbers, params, grads, *states) of an optimiser's step, made from a formula.

    states      the number of state arrays of a parameter
    reference   the formula for arrays, where it differs
    """

    def __init__(self, name, states, formula, reference=None):
        self.step, self.states = formula, states
        self.numbers = len(inspect.signature(formula).parameters) - 2 - states
        text = self.fill_in(KERNEL, "get_array({}, i)", ": ArrayList")
        kinds = {"Ints": Ints, "Array1": Array1, "ArrayList": ArrayList}
        function = define_function(text, step=helper(formula), get_array=get_array, **kinds)
        self.kernel = Kernel(function, f"{name}_kernel", __name__)
        super().__init__(name, self._loop_over_lists(reference or formula), cpu=self._run_tasks)
        UPDATES.append(self)

    def fill_in(self, template: str, array: str, annotation: str = "") -> str:
        """A kernel's text; `array` reads an array of parameter i from a list."""
        states, numbers = range(self.states), range(self.numbers)
        return template.format(
            lists="".join(f", states{k}{annotation}" for k in states),
            w=array.format("params"),
            g=array.format("grads"),
            states="; ".join(f"s{k} = {array.format(f'states{k}')}" for k in states) or "pass",
            numbers="; ".join(f"n{k} = numbers[{k}]" for k in numbers),
            results=", ".join(["w[j]", *[f"s{k}[j]" for k in states]]),
            values=", ".join(["w[j]", "g[j]", *[f"s{k}[j]" for k in states], *[f"n{k}" for k in numbers]]),
        )

    def _loop_over_lists(self, reference):
        def run(numbers, params, grads, *states):
            for w, g, *arrays in zip(params.arrays, grads.arrays, *[each.arrays for each in states], strict=True):
                results = reference(w, g, *arrays, *numbers[: self.numbers])
                for array, result in zip((w, *arrays), results, strict=True):
                    array[...] = result

        return run

    def _run_tasks(self, numbers, params, *lists):
        table = build_task_table(tuple([w.size for w in params.arrays]))
        self.kernel(len(table), table, numbers, params, *lists)


KERNEL = """
def kernel(task, table: Ints, numbers: Array1, params: ArrayList, grads: ArrayList{lists}):
    i, start, stop = table[3 * task], table[3 * task + 1], table[3 * task + 2]
    w, g = {w}, {g}
    {states}
    {numbers}
    for j in range(start, stop):
        {results}, = step({values})
"""


# ---- the formulas


def _sgd(w, g, lr, decay, sign):
    return (w - lr * (sign * g + decay * w),)


def _momentum(w, g, m, lr, decay, sign, beta, gain):
    m = beta * m + gain * (sign * g + decay * w)
    return w - lr * m, m


def _nesterov(w, g, m, lr, decay, sign, beta, gain):
    d = sign * g + decay * w
    m = beta * m + gain * d
    return w - lr * (d + beta * m), m


def _adam(w, g, m, v, rate, decay, sign, beta1, gain1, beta2, gain2, root, eps, shrink):
    """m and v are running means of d and d*d; rate and root correct their bias towards 0, where they start."""
    d = sign * g + decay * w
    m = beta1 * m + gain1 * d
    v = beta2 * v + gain2 * d * d
    return shrink * w - rate * m / (root * math.sqrt(v) + eps), m, v


def _amsgrad(w, g, m, v, top, rate, decay, sign, beta1, gain1, beta2, gain2, root, eps, shrink):
    """Adam with the largest v so far in place of v."""
    d = sign * g + decay * w
    m = beta1 * m + gain1 * d
    v = beta2 * v + gain2 * d * d
    top = larger(top, v)
    return shrink * w - rate * m / (root * math.sqrt(top) + eps), m, v, top


def _adagrad(w, g, total, rate, decay, sign, eps):
    d = sign * g + decay * w
    total = total + d * d
    return w - rate * d / (math.sqrt(total) + eps), total


def _adadelta(w, g, v, u, lr, decay, sign, rho, gain, eps):
    """v and u are running means of the squares of d and of the steps."""
    d = sign * g + decay * w
    v = rho * v + gain * d * d
    step = math.sqrt(u + eps) / math.sqrt(v + eps) * d
    return w - lr * step, v, rho * u + gain * step * step


def _rmsprop(w, g, v, lr, decay, sign, alpha, gain, eps, beta):
    """v is a running mean of d*d."""
    d = sign * g + decay * w
    v = alpha * v + gain * d * d
    return w - lr * d / (math.sqrt(v) + eps), v


def _rmsprop_momentum(w, g, v, m, lr, decay, sign, alpha, gain, eps, beta):
    d = sign * g + decay * w
    v = alpha * v + gain * d * d
    m = beta * m + d / (math.sqrt(v) + eps)
    return w - lr * m, v, m


def _rmsprop_centered(w, g, v, a, lr, decay, sign, alpha, gain, eps, beta):
    """v - a*a is the variance of d."""
    d = sign * g + decay * w
    v, a = alpha * v + gain * d * d, alpha * a + gain * d
    return w - lr * d / (math.sqrt(v - a * a) + eps), v, a


def _rmsprop_centered_momentum(w, g, v, a, m, lr, decay, sign, alpha, gain, eps, beta):
    d = sign * g + decay * w
    v, a = alpha * v + gain * d * d, alpha * a + gain * d
    m = beta * m + d / (math.sqrt(v - a * a) + eps)
    return w - lr * m, v, a, m


def _amsgrad_numpy(w, g, m, v, top, *numbers):
    _, m, v = _adam(w, g, m, v, *numbers)
    top = np.maximum(top, v)
    rate, root, eps, shrink = numbers[0], *numbers[7:]
    return shrink * w - rate * m / (root * np.sqrt(top) + eps), m, v, top


sgd = Update("sgd", 0, _sgd)
momentum = Update("momentum", 1, _momentum)
nesterov = Update("nesterov", 1, _nesterov)
adam = Update("adam", 2, _adam)
amsgrad = Update("amsgrad", 3, _amsgrad, _amsgrad_numpy)
adagrad = Update("adagrad", 1, _adagrad)
adadelta = Update("adadelta", 2, _adadelta)
rmsprop = {  # by whether the steps have momentum, and whether d is centred
    (False, False): Update("rmsprop", 1, _rmsprop),
    (True, False): Update("rmsprop_momentum", 2, _rmsprop_momentum),
    (False, True): Update("rmsprop_centered", 2, _rmsprop_centered),
    (True, True): Update("rmsprop_centered_momentum", 3, _rmsprop_centered_momentum),
}
