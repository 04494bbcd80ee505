"""The lesson that shows what filters learn: it leaves its pictures, and its filters did move."""

import re
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minigrad import data

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
import see_filters

PICTURES = ["early_filters.png", "deep_filters.png", "contact_sheet.png", "feature_maps.png", "one_pixel.png"]


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["see_filters.py", *map(str, arguments)])
    see_filters.main()


def test_it_leaves_its_pictures(tmp_path, monkeypatch, capsys):
    """Of 60 steps in place of 468."""
    whole_epoch = data.DataLoader.__iter__
    monkeypatch.setattr(data.DataLoader, "__iter__", lambda loader: islice(whole_epoch(loader), 60))
    monkeypatch.setattr(see_filters, "REPORT_DIGITS", 200)
    run(monkeypatch, "--epochs", 1, "--out", tmp_path / "new")
    for name in PICTURES:
        with Image.open(tmp_path / "new" / name) as image:
            assert len(np.unique(np.asarray(image.convert("L")))) > 10
    with Image.open(tmp_path / "new" / "evolution.gif") as film:
        assert film.n_frames == 4  # step 0, 20, 40, 60
    assert "</html>" in (tmp_path / "new" / "report.html").read_text()
    moved = [float(number) for number in re.findall(r"moved by (\d\.\d\d)", capsys.readouterr().out)]
    assert len(moved) == 2
    assert min(moved) > 0.05


@pytest.mark.parametrize(
    "arguments, message", [(("--epochs", 0), "--epochs is 0"), (("--out", "/dev/null/pictures"), "cannot be written")]
)
def test_a_setting_that_cannot_be_is_refused_at_once(monkeypatch, capsys, arguments, message):
    with pytest.raises(SystemExit):
        run(monkeypatch, *arguments)
    assert message in capsys.readouterr().err
