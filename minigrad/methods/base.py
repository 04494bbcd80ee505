"""What a group of methods may use of the Tensor that it becomes a part of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..ops.op import Op
    from ..tensors import Tensor


class Methods:
    """Base of the groups of methods."""

    __slots__ = ()

    if TYPE_CHECKING:
        array: Any

        def __getattr__(self, name: str) -> Any: ...
        def __add__(self, other: Any) -> Any: ...
        def __sub__(self, other: Any) -> Any: ...
        def __mul__(self, other: Any) -> Any: ...
        def __truediv__(self, other: Any) -> Any: ...
        def __pow__(self, exponent: Any) -> Any: ...
        def __neg__(self) -> Any: ...
        def __getitem__(self, key: Any) -> Any: ...

    def _run(self, operation: Op, *others: Any, **settings: Any) -> Tensor:
        """operation(self, *others), recorded if one of them requires grad."""
        raise NotImplementedError

    def _run_after(self, operation: Op, other: Any) -> Tensor:
        """operation(other, self)."""
        raise NotImplementedError

    def _change(self, operation: Op, *others: Any, **settings: Any) -> Tensor:
        """self becomes operation(self, *others), in its own memory."""
        raise NotImplementedError
