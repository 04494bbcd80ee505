"""Backward hooks of modules: what passes the boundary of a module on the way back."""

from collections.abc import Callable
from typing import Any

from ..autograd.function import CallNode
from ..errors import DtypeError
from ..tape import in_order
from ..tensors import Tensor

__all__ = ["BackwardHooks"]

Values = tuple[Any, ...]


class BackwardHooks:
    """The full backward hooks of a module in one call."""

    grad_output: Values | None = None  # from the way back through the result to that through the arguments

    def __init__(self, module: Any, args: Values):
        self.module, self.count = module, len(args)
        self.hooks, self.pre_hooks = in_order(module._backward_hooks), in_order(module._backward_pre_hooks)
        self.inputs = self._behind(args, self._leave)  # the arguments, behind the boundary that their gradients pass

    def around_output(self, out: Any) -> Any:
        """The result of forward, a tensor or a tuple, before the boundary through which its gradients come."""
        if isinstance(out, Tensor):
            return self._behind((out,), self._enter)[0]
        if not isinstance(out, tuple):
            kind, name = type(out).__name__, type(self.module).__name__
            raise DtypeError(f"{name}: backward hooks need a tensor or a tuple, but forward returns a {kind}")
        parts = self._behind(out, self._enter)
        return type(out)(*parts) if hasattr(out, "_fields") else parts

    def _behind(self, values: Values, passed: Callable[[Values], Values]) -> Values:
        """The values; the gradients of those that require one pass through a function, with None for the others."""
        if not any(isinstance(x, Tensor) and x.requires_grad for x in values):
            return values
        name, count = f"{type(self.module).__name__} hooks", range(len(values))
        node = CallNode.of(name, values, lambda _, gradients: passed(tuple(gradients.get(i) for i in count)))
        return tuple(x if node.edges[i] is None else node.give(i, x) for i, x in enumerate(values))

    def _enter(self, gradients: Values) -> Values:
        for hook in self.pre_hooks:
            gradients = _replaced(hook(self.module, gradients), gradients)
        self.grad_output = gradients
        if not any(isinstance(x, Tensor) and x.requires_grad for x in self.inputs):
            self._leave((None,) * self.count)
        return gradients

    def _leave(self, gradients: Values) -> Values:
        for hook in self.hooks if self.grad_output is not None else ():  # None in a second derivative by an argument
            gradients = _replaced(hook(self.module, gradients, self.grad_output), gradients)
        self.grad_output = None
        return gradients


def _replaced(result: Any, before: Values) -> Values:
    return before if result is None else result if isinstance(result, tuple) else (result,)
