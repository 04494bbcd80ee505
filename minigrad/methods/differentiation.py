"""Hooks on gradients, and the graph as PyTorch's scripts see it."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

from ..dependency import changed
from ..errors import DtypeError, GraphError
from ..storage import FOLLOWS
from ..tape import RETAIN, HookHandle, Node, function_of, gradient_hooks
from .base import Methods

if TYPE_CHECKING:
    from ..tensors import Tensor


class Differentiation(Methods):
    """Hooks on gradients, and the graph as PyTorch's scripts see it."""

    __slots__ = ()

    @property
    def grad_fn(self) -> Any:
        """The recorded operation that made this tensor, with name() and next_functions; None for a leaf."""
        return function_of(self._expand())[0]

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> HookHandle:
        """Call hook(gradient) whenever the gradient of this tensor is computed; a result other than None replaces it.

        Example
        >>> import minigrad as mg
        >>> x = mg.tensor([1.0, 2.0], requires_grad=True)
        >>> handle = x.register_hook(lambda gradient: gradient * 10)
        >>> (x * x).sum().backward()
        >>> x.grad
        tensor([20., 40.])
        >>> handle.remove()
        """
        self._expect_gradient("register_hook", hook)
        return HookHandle(gradient_hooks(self), hook)

    def register_post_accumulate_grad_hook(self, hook: Callable[[Tensor], object]) -> HookHandle:
        """Call hook(tensor) after each change of this leaf's .grad by a backward; GraphError if it is no such leaf."""
        self._expect_gradient("register_post_accumulate_grad_hook", hook)
        if self.node is not None:
            raise GraphError("register_post_accumulate_grad_hook: the tensor is the result of an operation; use a leaf")
        return HookHandle(gradient_hooks(self, "after"), hook)

    def _expect_gradient(self, where: str, hook: Any = print) -> None:
        if not callable(hook):
            raise DtypeError(f"{where}: expected a function, got {type(hook).__name__}")
        if not self.requires_grad:
            raise GraphError(f"{where}: the tensor does not require grad, so it gets no gradient; use requires_grad_()")

    def retain_grad(self) -> None:
        """Keep the gradient of this result in `.grad`, as for a leaf; GraphError if it does not require grad."""
        self._expect_gradient("retain_grad")
        reference = weakref.ref(self)

        def keep(gradient: Any) -> None:
            tensor: Any = reference()
            if tensor is not None:
                tensor.grad = gradient.clone() if tensor.grad is None else tensor.grad + gradient

        if self.node is not None:
            gradient_hooks(self)[RETAIN] = keep

    @property
    def retains_grad(self) -> bool:
        """Whether retain_grad() keeps the gradient of this result."""
        return self.node is not None and RETAIN in (self.node.hooks or ())

    def _still_retained(self, before: Node | None) -> None:
        """Go on to keep the gradient after a change in place, of the new value."""
        if before is not None and before.hooks and before.hooks.pop(RETAIN, None) is not None:
            self.retain_grad()

    def detach_(self) -> Self:
        """Take this tensor itself out of the graph; GraphError if it is a view of a result."""
        if self._alias is not None and self._alias.history is FOLLOWS and self.node is not None:
            raise GraphError("detach_: the tensor is a view of another one, which stays in the graph; use x.detach()")
        tensor: Any = self
        tensor._node, tensor._leaf = None, False
        changed()
        return self
