"""Data sets, and the loader that makes batches of them."""

import sys

from ..names import explain_unknown_names
from .collate import default_collate, default_convert
from .dataset import (
    ConcatDataset,
    Dataset,
    ImageDataset,
    IterableDataset,
    Subset,
    TensorDataset,
    mean_and_std,
    random_split,
)
from .loader import DataLoader, get_worker_info
from .sampler import (
    BatchSampler,
    DistributedSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

__all__ = ["BatchSampler", "ConcatDataset", "DataLoader", "Dataset", "DistributedSampler", "ImageDataset"]
__all__ += ["IterableDataset"]
__all__ += ["RandomSampler", "Sampler", "SequentialSampler", "Subset", "SubsetRandomSampler", "TensorDataset"]
__all__ += ["WeightedRandomSampler", "default_collate", "default_convert", "get_worker_info", "mean_and_std"]
__all__ += ["random_split"]
__dir__ = __all__.copy
explain_unknown_names(sys.modules[__name__])
