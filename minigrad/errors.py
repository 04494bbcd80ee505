"""The error family.  Each is also the builtin error that a Python programmer would expect.

Messages read `where: what is wrong, with both numbers; what to do`.
"""


class MinigradError(Exception):
    """Everything that minigrad raises on purpose."""


class ShapeError(MinigradError, ValueError):
    """Shapes that do not fit together."""


class OutOfRangeError(ShapeError, IndexError):
    """An index beyond the elements there are: also Python's IndexError, so that loops over tensors end."""


class ValidationError(MinigradError, ValueError):
    """A setting or value out of its range."""


class DtypeError(MinigradError, TypeError):
    """A value of the wrong kind."""


class DeviceError(MinigradError, RuntimeError):
    """A device that is missing, unknown, or mixed with another."""


class GraphError(MinigradError, RuntimeError):
    """A backward pass that cannot give the right answer."""


class StateError(MinigradError, RuntimeError):
    """A state_dict that does not fit its model or optimiser."""


class LoaderError(MinigradError, RuntimeError):
    """A batch that its data set does not give."""


class DataError(MinigradError, ValueError):
    """A data file that is missing, damaged, or not what it should be."""


class FileError(DataError, OSError):
    """A file that cannot be written."""
