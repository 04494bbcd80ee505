"""Classic image filters, from Sobel edges to Gabor waves, and how similar a learned filter is to them."""

from collections.abc import Iterator
from functools import cache

import numpy as np

from minigrad.viz.filter_grid import strongest_indices

RANDOM_FILTERS = 2000  # random filters whose scores give the chance score
HALF = 0.5**0.5  # score at which the pattern has half of the filter's sum of squares: score**2 is its share
ANGLES = (
    "angles: 0° right, 90° up; the direction in which brightness rises (Sobel, Gabor, corner), or of a line; "
    "− is the opposite"
)


def match_classic_filters(weight: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Return the name of the classic filter most similar to each filter (F, C, KH, KW), and the scores (F,), 0 to 1.

    The name is "none" and the score NaN where the window is smaller than 3 x 3.  A filter of several channels may
    contain the pattern with another sign in each, so its name has none: it applies the pattern to a mix of channels.
    """
    names, bank = _make_bank(weight.shape[2], weight.shape[3])
    if not names:
        return ["none"] * len(weight), np.full(len(weight), np.nan)
    matches = [_best_match(w, bank) for w in weight]
    if weight.shape[1] > 1:
        names = [name.removeprefix("−") for name in names]
    return [names[i] if score > 0 else "none" for i, score in matches], np.array([score for _, score in matches])


def best_pattern(w: np.ndarray) -> np.ndarray | None:
    """Return the classic filter (KH, KW) most similar to a filter (C, KH, KW), at its best position, or None."""
    names, bank = _make_bank(*w.shape[1:])
    if not names:
        return None
    i, score = _best_match(w, bank)
    return bank[i].reshape(w.shape[1:]) if score > 0 else None


@cache
def chance_score(shape: tuple[int, int, int]) -> float:
    """Return the score that 1 % of filters (C, KH, KW) with random weights from a normal distribution reach."""
    random = np.random.default_rng(0)
    scores = [match_classic_filters(random.normal(size=(1, *shape)))[1] for _ in range(RANDOM_FILTERS)]
    return float(np.quantile(scores, 0.99))


def least_score(shape: tuple[int, int, int]) -> float:
    """Return the score above which a filter (C, KH, KW) resembles a classic one: above chance, and above a half."""
    chance = chance_score(shape)
    return chance if np.isnan(chance) else max(chance, HALF)


def _best_match(w: np.ndarray, bank: np.ndarray) -> tuple[int, float]:
    """Return the row of a bank (B, KH*KW) with the largest cosine to a filter (C, KH, KW), and the cosine.

    Each channel may contain the pattern with its own factor; the strongest channel decides its sign.
    """
    flat = w.reshape(len(w), -1).astype(np.float64)
    factors = flat @ bank.T  # (C, B)
    scores = np.linalg.norm(factors, axis=0) * (factors[strongest_indices(flat, 0, 1)[0]] >= 0)
    i, norm = int(scores.argmax()), np.linalg.norm(flat)
    return i, float(min(1.0, scores[i] / norm)) if norm > 0 else 0.0


@cache
def _make_bank(KH: int, KW: int) -> tuple[list[str], np.ndarray]:
    """Return classic filters of every odd size from 3 at every position in a window: names and unit rows (B, KH*KW)."""
    names, rows = [], []
    for size in range(3, min(KH, KW) + 1, 2):
        for name, pattern in _make_patterns(size):
            for top, left in np.ndindex(KH - size + 1, KW - size + 1):
                window = np.zeros((KH, KW))
                window[top : top + size, left : left + size] = pattern
                names.append(name)
                rows.append(window.ravel() / np.linalg.norm(window))
    return names, np.array(rows)


def _make_patterns(size: int) -> list[tuple[str, np.ndarray]]:
    """Return names and classic filters (size, size); the name of an opposite starts with a minus."""
    x, y = np.meshgrid(*[np.arange(size) - size // 2] * 2)  # x to the right, y downwards
    smooth = _binomial(size)
    signed = [("blur", np.outer(smooth, smooth)), *_make_laplacians(size, smooth)]
    signed += [(f"line {angle}°", _make_line(x, y, angle)) for angle in range(0, 180, 45)]
    signed += [(f"corner {angle}°", _make_corner(x, y, angle)) for angle in range(45, 360, 90)]
    if size >= 5:
        signed += [pair for angle in range(0, 180, 30) for pair in _make_gabors(x, y, angle, size)]
    return _make_sobels(size, smooth) + signed + [(f"−{name}", -pattern) for name, pattern in signed]


def _make_sobels(size: int, smooth: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Return edges at 8 angles; for 3 x 3, also the diagonal edges of textbooks."""
    step = np.convolve(_binomial(size - 2), [-1, 0, 1])
    found = []
    for angle in range(0, 360, 45):
        radians = np.deg2rad(angle)
        edge = np.cos(radians) * np.outer(smooth, step) - np.sin(radians) * np.outer(step, smooth)
        found.append((f"Sobel {angle}°", edge))
    if size == 3:
        diagonal = np.array([[0.0, 1, 2], [-1, 0, 1], [-2, -1, 0]])
        found += [(f"Sobel {45 + 90 * turns}°", np.rot90(diagonal, turns)) for turns in range(4)]
    return found


def _binomial(size: int) -> np.ndarray:
    """Return the smoothing of Sobel's filter: 1 2 1, 1 4 6 4 1 and so on."""
    row = np.ones(1)
    for _ in range(size - 1):
        row = np.convolve(row, [1, 1])
    return row


def _make_laplacians(size: int, smooth: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Return second derivatives, bright in the middle; for 3 x 3, also those of 4 and of 8 neighbours."""
    second = np.convolve(_binomial(size - 2), [-1, 2, -1])
    found = [("Laplacian", np.outer(second, smooth) + np.outer(smooth, second))]
    if size == 3:
        four, eight = np.zeros((3, 3)), np.full((3, 3), -1.0)
        four[1], four[:, 1] = -1, -1
        four[1, 1], eight[1, 1] = 4, 8
        found += [("Laplacian", four), ("Laplacian", eight)]
    return found


def _make_line(x: np.ndarray, y: np.ndarray, angle: int) -> np.ndarray:
    """Return a bright line at an angle, one pixel wide."""
    radians = np.deg2rad(angle)
    return _balance(np.abs(np.sin(radians) * x + np.cos(radians) * y) < 0.5)


def _make_corner(x: np.ndarray, y: np.ndarray, angle: int) -> np.ndarray:
    """Return a bright quadrant that opens towards an angle."""
    right, up = np.sign(np.cos(np.deg2rad(angle))), np.sign(np.sin(np.deg2rad(angle)))
    return _balance((x * right >= 0) & (-y * up >= 0))


def _balance(bright: np.ndarray) -> np.ndarray:
    """Return 1 at bright pixels, and at the others the negative number that makes the sum zero."""
    return np.where(bright, 1.0, -bright.sum() / (~bright).sum())


def _make_gabors(x: np.ndarray, y: np.ndarray, angle: int, size: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yield waves towards an angle under a Gaussian, of two lengths, each as a sine and as a cosine with sum zero."""
    along = np.cos(np.deg2rad(angle)) * x - np.sin(np.deg2rad(angle)) * y
    gaussian = np.exp(-(x**2 + y**2) / (2 * (0.28 * size) ** 2))
    for length in (0.6 * size, 0.9 * size):
        phase = 2 * np.pi * along / length
        even = np.cos(phase) * gaussian
        yield f"Gabor {angle}° sine", np.sin(phase) * gaussian
        yield f"Gabor {angle}° cosine", even - gaussian * even.sum() / gaussian.sum()
