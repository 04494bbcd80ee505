"""Models as ONNX files, for other programs: `mg.onnx.export` writes one, `mg.onnx.load` reads one as a Module.

They need the package onnx: pip install 'minigrad[onnx]'.
"""

from .exporting import export
from .loading import load

__all__ = ["export", "load"]
__dir__ = __all__.copy
