"""Model files: a whole model, and what one must know to use it: names of classes, size of images, normalisation.

The file is a safetensors file as save() writes for modules; other programs find the weights under the keys of
state_dict.  What one must know is the attribute `model_info` of the model, a dict.
"""

import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .checks import brief, whole_number
from .errors import DataError, DtypeError, ShapeError, ValidationError
from .runtime.files import printable_path
from .serialization import FilePath, Place, load, save


def save_model(
    model: Any, f: FilePath, *, class_names: Iterable[Any] | None = None, input_size: Sequence[int] | None = None,
    normalize: tuple[Any, Any] | None = None, pad: int | None = None,
) -> None:  # fmt: skip
    """Write a model to a file, with what train.predict and viz need to know.

    model        a Module; the numbers given here become its attribute `model_info`
    f            file to write, as model.safetensors
    class_names  a name for each class that the model scores
    input_size   (C, H, W) of the images; C is 1 for grey and 3 for RGB
    normalize    (mean, std) of pixels from 0 to 1, as given to DataLoader or Normalize
    pad          pixels of black margin on each side, as given to DataLoader, added to input_size

    What is None is kept as the model has it, from an earlier save_model or load_model.

    Raises   DtypeError        model is no Module, or has an attribute that a file cannot hold
             ShapeError        input_size is not (C, H, W)
             ValidationError   normalize or pad is out of range
    Example
    >>> import minigrad as mg
    >>> from tempfile import mkdtemp
    >>> path = mkdtemp() + "/digits.safetensors"
    >>> save_model(mg.models.LeNet5(), path, class_names=range(10), input_size=(1, 28, 28), normalize=(0.13, 0.31))
    >>> model = load_model(path)
    >>> model.model_info["class_names"][:3], model.model_info["normalize"]
    (['0', '1', '2'], [[0.13], [0.31]])
    """
    if not hasattr(model, "state_dict"):
        raise DtypeError(
            f"save_model: model is a {type(model).__name__}, expected a Module; save other values with save"
        )
    if isinstance(class_names, str):
        raise DtypeError(f"save_model: class_names is {brief(class_names)}; give a list of names")
    info = {
        "class_names": None if class_names is None else [str(name) for name in class_names],
        "input_size": None if input_size is None else _image_size(input_size),
        "normalize": None if normalize is None else _mean_and_std(normalize),
        "pad": None if pad is None else whole_number("save_model", "pad", pad, least=0),
    }
    model.model_info = getattr(model, "model_info", {}) | {
        name: value for name, value in info.items() if value is not None
    }
    save(model, f)


def load_model(f: FilePath, classes: Iterable[Any] = (), device: Place = None) -> Any:
    """Read a model that save_model wrote; it is in eval() mode, ready to predict.

    f         the file
    classes   classes and functions of your own that the model uses; those of minigrad need no entry
    device    'cpu' (default), 'cuda' or 'numpy'
    returns   the Module, with what the file says in `model_info`

    Raises   DataError   the file is missing or damaged, holds no model, or uses a class that is not in `classes`
    """
    model = load(f, device=device, classes=classes)
    if not hasattr(model, "state_dict"):
        raise DataError(
            f"load_model: {printable_path(os.fsdecode(f))} holds a {type(model).__name__}, no model; load weights by "
            "model.load_state_dict(mg.load(file))"
        )
    return model.eval()


def _image_size(size: Sequence[int]) -> list[int]:
    sizes = list(size)
    if len(sizes) != 3:
        raise ShapeError(f"save_model: input_size is {tuple(sizes)}, expected (C, H, W)")
    if sizes[2] in (1, 3, 4) and min(sizes[:2]) > 4:
        raise ShapeError(f"save_model: input_size {tuple(sizes)} looks like (H, W, C), expected (C, H, W)")
    return [whole_number("save_model", "input_size", part, least=1) for part in sizes]


def _mean_and_std(normalize: tuple[Any, Any]) -> list[list[float]]:
    try:
        mean, std = (np.atleast_1d(np.asarray(part, np.float64)).tolist() for part in normalize)
    except (TypeError, ValueError):
        raise ValidationError(f"save_model: normalize is {brief(normalize)}; give (mean, std)") from None
    if not (np.isfinite([*mean, *std]).all() and min(std) > 0):
        raise ValidationError(f"save_model: normalize is {brief(normalize)}; use a finite mean and a std above 0")
    return [mean, std]
