"""torch.nn.parallel's names; one is imported at its first use, because minigrad.distributed imports minigrad.nn."""

from typing import TYPE_CHECKING, Any

from ..names import unknown_name
from .container import DataParallel

if TYPE_CHECKING:
    from ..distributed import DistributedDataParallel as DistributedDataParallel

__all__ = ["DataParallel"]  # the other one is documented in minigrad.distributed
NAMES = [*__all__, "DistributedDataParallel"]
__dir__ = NAMES.copy


def __getattr__(name: str) -> Any:
    if name != "DistributedDataParallel":
        raise unknown_name("mg.nn.parallel", name, NAMES)
    from ..distributed import DistributedDataParallel

    return DistributedDataParallel
