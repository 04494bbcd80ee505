"""The README: its Python code runs, its commands and its links exist."""

import re
from itertools import islice
from pathlib import Path

import pytest
from PIL import Image

from minigrad import data, datasets

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def code_blocks(language):
    """Return the code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)


def save_photos(folder):
    """Save pictures of three classes in folders, of several sizes, and one more."""
    shapes = datasets.ColorShapes(60, seed=0)
    for number, (image, label) in enumerate(zip(shapes.images, shapes.labels, strict=True)):
        if label < 3:
            place = folder / "photos" / shapes.classes[label]
            place.mkdir(parents=True, exist_ok=True)
            picture = Image.fromarray(image.transpose(1, 2, 0)).resize((40 + number, 80))
            picture.save(place / f"{number}.png")
            picture.save(folder / "new.jpg")


def test_python_code_runs(tmp_path, monkeypatch):
    """The blocks run one after the other."""
    monkeypatch.chdir(tmp_path)
    save_photos(tmp_path)
    whole_epoch = data.DataLoader.__iter__
    monkeypatch.setattr(data.DataLoader, "__iter__", lambda loader: islice(whole_epoch(loader), 3))
    scope = {}
    for code in code_blocks("python"):
        exec(code, scope)
        assert scope["loss"].item() > 0
    assert (tmp_path / "small_cnn.safetensors").stat().st_size > 4 * 11_520


def test_the_first_shell_block_has_two_commands():
    install, test = code_blocks("sh")[0].splitlines()
    assert install.endswith("examples/train_mnist.py")
    assert test.endswith("-m pytest -n auto")


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\((?!https?:)([^)#]+)\)", README))))
def test_links_to_files_exist(target):
    assert (ROOT / target).exists()
