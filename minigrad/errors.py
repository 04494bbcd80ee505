"""The errors of minigrad.  Each is also the builtin error that a Python programmer expects.

Messages read `where: what is wrong, with both numbers; what to do`.
"""


class MinigradError(Exception):
    """The base of all errors that minigrad raises on purpose."""


class ShapeError(MinigradError, ValueError):
    """Shapes do not fit together."""


class OutOfRangeError(ShapeError, IndexError):
    """An index is out of range.  It is also an IndexError, so that a loop over a tensor ends."""


class ValidationError(MinigradError, ValueError):
    """A setting or a value is out of its range."""


class DtypeError(MinigradError, TypeError):
    """A value has the wrong type or dtype."""


class DeviceError(MinigradError, RuntimeError):
    """A device is missing or unknown, or tensors are on different devices."""


class GraphError(MinigradError, RuntimeError):
    """A backward pass or a recording cannot give the right result."""


class StateError(MinigradError, RuntimeError):
    """A state_dict does not fit its model or optimiser."""


class LoaderError(MinigradError, RuntimeError):
    """A DataLoader cannot make a batch."""


class DivergenceError(MinigradError, ArithmeticError):
    """The loss of a training run is nan or infinite."""


class RankError(MinigradError, RuntimeError):
    """The ranks of a distributed job differ, or one of them does not arrive."""


class DataError(MinigradError, ValueError):
    """A data file is missing, damaged or of another format."""


class FileError(DataError, OSError):
    """A file cannot be written."""
