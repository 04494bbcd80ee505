"""Freeze single filters of a model in training, and put other weights into them."""

import base64
import binascii
from typing import Any, NamedTuple

import numpy as np

from minigrad.checks import brief
from minigrad.tape import no_grad
from minigrad.tensors import tensor
from minigrad.viz.formatting import format_count
from minigrad.viz.inputs import as_array, is_whole

MOMENTUM = ("momentum_buffer", "exp_avg")  # running sums of gradients in the states of optimisers


class Convolution(NamedTuple):
    """Layer, weight and bias of a convolution that the page shows.

    layer    name of the layer
    weight   Parameter (F, C, KH, KW)
    bias     Parameter (F,) or None
    """

    layer: str
    weight: Any
    bias: Any


class Filters:
    """The filters of a model in training.

    convolutions   by the name of the weight, in the order in which they run
    frozen         (name of the weight, number of the filter) -> [(parameter, the value that it keeps)]

    A frozen filter keeps its weights and its bias: after each step of the optimiser they are put back, and the momentum
    of the filter becomes 0.  So it does not jump when it is released; it starts from rest.  What an optimiser knows of
    the size of the gradients, such as Adam's exp_avg_sq, goes on.
    """

    def __init__(self, convolutions: dict[str, Convolution], optimizer: Any):
        self.convolutions, self._optimizer = convolutions, optimizer
        self.frozen: dict[tuple[str, int], list[tuple[Any, Any]]] = {}

    @property
    def longest(self) -> int:
        """The number of weights of the largest filter."""
        return max((c.weight[0].numel() for c in self.convolutions.values()), default=0)

    @property
    def frozen_numbers(self) -> dict[str, list[int]]:
        """The numbers of the frozen filters, by the name of the weight."""
        return {name: sorted(f for known, f in self.frozen if known == name) for name in self.convolutions}

    def find_fault(self, name: Any, number: Any) -> str | None:
        """Return what is wrong with the name of a weight and the number of a filter, or None."""
        if not isinstance(name, str) or name not in self.convolutions:
            return f"there is no convolution {brief(name)}; use one of {', '.join(self.convolutions) or 'none'}"
        count = len(self.convolutions[name].weight)
        if not is_whole(number) or not 0 <= number < count:
            return f"{name} has {format_count(count, 'filter')}, not number {brief(number)}; use 0 to {count - 1}"
        return None

    def read_weights(self, name: str, text: Any) -> np.ndarray | str:
        """Return the weights (C, KH, KW) of a filter from float32 numbers in base64; or what is wrong with them."""
        shape = self.convolutions[name].weight.shape[1:]
        try:
            numbers = np.frombuffer(base64.b64decode(text, validate=True), "<f4")
        except (binascii.Error, TypeError, ValueError):
            return "the weights of a filter are float32 numbers in base64"
        if numbers.size != np.prod(shape):
            return f"a filter of {name} has {np.prod(shape)} weights {shape}, but {numbers.size} came"
        if not np.isfinite(numbers).all():
            return f"{numbers.size - np.isfinite(numbers).sum()} of {numbers.size} weights are NaN or infinite"
        return numbers.reshape(shape)

    def freeze(self, name: str, number: int) -> None:
        """Keep a filter as it is now."""
        _, weight, bias = self.convolutions[name]
        parameters = [weight] if bias is None else [weight, bias]
        self.frozen[name, number] = [(p, p[number].detach().clone()) for p in parameters]

    def release(self, name: str, number: int) -> None:
        """Let a filter be trained again."""
        self.frozen.pop((name, number), None)

    def put(self, name: str, number: int, weights: np.ndarray) -> None:
        """Replace the weights of a filter; its momentum becomes 0, its bias stays."""
        weight = self.convolutions[name].weight
        value = tensor(weights.astype(weight.dtype), device=weight.device)
        self._write(weight, number, value)
        if (name, number) in self.frozen:
            self.frozen[name, number][0] = (weight, value)

    def restore(self) -> None:
        """Give the frozen filters their values back, after a step of the optimiser."""
        for (_, number), parts in self.frozen.items():
            for parameter, value in parts:
                self._write(parameter, number, value)

    def _write(self, parameter: Any, number: int, value: Any) -> None:
        state = {} if self._optimizer is None else self._optimizer.state.get(parameter, {})
        with no_grad():
            parameter[number] = value
            for name in MOMENTUM:
                if state.get(name) is not None:
                    state[name][number] = 0.0


def describe_gradient(parameter: Any, count: int) -> tuple[np.ndarray | None, str]:
    """Return the gradient of a parameter, or None and why there is none after `count` steps."""
    if parameter.grad is not None:
        return as_array(parameter.grad), ""
    if not parameter.requires_grad:
        return None, "this layer is not trained, because its requires_grad is False"
    if count == 0:
        return None, "there was no training step yet"
    return None, "the training clears it after its step; call zero_grad() before the forward pass, not after step()"
