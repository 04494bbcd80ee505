"""Data sets, and the loader that makes batches of them."""

from .collate import default_collate
from .dataset import Dataset, ImageDataset, Subset, TensorDataset, random_split
from .loader import DataLoader

__all__ = ["DataLoader", "Dataset", "ImageDataset", "Subset", "TensorDataset", "default_collate", "random_split"]
__dir__ = __all__.copy
