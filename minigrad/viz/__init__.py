"""Pictures: each function takes arrays or models and returns a matplotlib Figure."""

from minigrad.viz.filters import filters
from minigrad.viz.style import save
from minigrad.viz.training import confusion_counts, confusion_matrix, training_curves

__all__ = ["confusion_counts", "confusion_matrix", "filters", "save", "training_curves"]
