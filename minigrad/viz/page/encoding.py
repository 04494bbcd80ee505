"""Write arrays, settings and text as JSON that may stand inside an HTML file."""

import base64
import json
import math
from typing import Any

import numpy as np

from minigrad.viz.formatting import format_name

MOST_COLOURS = 256  # values that one byte can number
HIGHEST, MISSING = 32767, -32768  # of 16 bits: the largest number, and the one for NaN and infinite values


def encode_array(array: Any) -> dict[str, Any]:
    """Return an array as its shape and float32 numbers in base64, little end first.

    >>> encode_array(np.ones((1, 2)))
    {'shape': [1, 2], 'float32': 'AACAPwAAgD8='}
    """
    array = np.asarray(array)
    return {"shape": list(array.shape), "float32": to_base64(array.astype("<f4"))}


def encode_images(images: np.ndarray) -> dict[str, Any]:
    """Return images (N, C, H, W) as encode_array does, or as bytes that number the values of their channel, where no
    channel has more than 256 values; both lose nothing."""
    channels = [np.unique(channel, return_inverse=True) for channel in images.astype("<f4").swapaxes(0, 1)]
    if any(len(values) > MOST_COLOURS for values, _ in channels):
        return encode_array(images)
    N, _, H, W = images.shape
    values = np.stack([np.resize(values, MOST_COLOURS) for values, _ in channels])
    numbers = np.stack([numbers.reshape(N, H, W) for _, numbers in channels], axis=1)
    return {"shape": list(images.shape), "values": to_base64(values), "bytes": to_base64(numbers.astype(np.uint8))}


def encode_frames(frames: np.ndarray) -> dict[str, Any]:
    """Return frames (T, ...) as whole numbers of 16 bits, times a scale for each frame: a share of its largest value.

    scales   null for a frame without a finite number
    int16    value / scale; -32768 where a value is NaN or infinite

    >>> encode_frames(np.array([[0.5, -1.0], [np.nan, np.nan]]))["scales"]
    [3.051850947599719e-05, None]
    """
    finite = np.isfinite(frames)
    known = np.where(finite, frames, 0).reshape(len(frames), -1)
    scales = np.abs(known).max(1, initial=0) / HIGHEST
    numbers = np.round(known / np.where(scales > 0, scales, 1)[:, None]).reshape(frames.shape)
    return {
        "shape": list(frames.shape),
        "scales": [
            float(scale) if some else None
            for scale, some in zip(scales, finite.reshape(len(frames), -1).any(1), strict=True)
        ],
        "int16": to_base64(np.where(finite, numbers, MISSING).astype("<i2")),
    }


def to_base64(array: np.ndarray) -> str:
    """Return the bytes of an array as base64."""
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def encode_setting(value: Any) -> Any:
    """Return a setting of an operation as JSON has it; a slice becomes an object.

    Raises   TypeError   there is no form for it

    >>> encode_setting({"key": (slice(None, 6), 2), "low": -math.inf})
    {'key': [{'slice': [None, 6, None]}, 2], 'low': '-inf'}
    """
    if isinstance(value, dict):
        return {name: encode_setting(part) for name, part in value.items()}
    if isinstance(value, tuple | list):
        return [encode_setting(part) for part in value]
    if isinstance(value, slice):
        return {"slice": [encode_setting(part) for part in (value.start, value.stop, value.step)]}
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else str(float(value))
    raise TypeError(f"no form in JSON for {type(value).__name__}")


def encode_losses(losses: Any) -> list[float | None]:
    """Return losses with None for those that are not finite."""
    return [float(loss) if math.isfinite(loss) else None for loss in losses]


def to_json(data: Any) -> str:
    """Return JSON that can stand in a script element: no text in it ends the element or begins a comment.

    >>> to_json({"name": "</script><!--"})
    '{"name":"\\\\u003c/script\\\\u003e\\\\u003c!--"}'
    """
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def plain_text(name: Any) -> str:
    """Return a name as text without lone surrogates."""
    return format_name(name)
