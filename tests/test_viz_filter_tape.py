"""viz.FilterTape: recording, files, distances, contact sheet and GIF."""

import contextlib
import json
from itertools import pairwise

import numpy as np
import pytest
from figures import check_readable, drawn_strings, image_arrays
from PIL import Image

import minigrad as mg
import minigrad.nn.functional as F
from minigrad import nn, optim
from minigrad.errors import DataError, GraphError, StateError, ValidationError
from minigrad.viz import style
from minigrad.viz.animation import MOST_FRAMES_PER_SECOND
from minigrad.viz.filter_tape import MOST_MOMENTS, FilterTape, _Film, _make_cells, _make_palette, _plan_gif_sheet


class Net(nn.Module):
    """Convolutions of 1 or more, 4 and 3 channels."""

    def __init__(self, channels=1, filters=4):
        super().__init__()
        self.first = nn.Conv2d(channels, filters, 3)
        self.second = nn.Conv2d(filters, 3, 3)
        self.third = nn.Conv2d(3, 2, 1)

    def forward(self, x):
        return self.third(F.relu(self.second(F.relu(self.first(x))))).mean((2, 3))


def make_step(model, graph):
    """Return a function that trains one step on random images and returns the loss."""
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    C = model.first.weight.shape[1]

    def step(x, y):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    step = mg.graph(step) if graph else step
    return lambda: step(mg.randn(8, C, 8, 8), mg.tensor([0, 1] * 4))


def weights_of(model):
    return {name: getattr(model, name).weight.detach().numpy().copy() for name in ("first", "second", "third")}


def recorded_tape(channels=1, steps=12, every=2, filters=4, **settings):
    model = Net(channels, filters)
    tape, step = FilterTape(model, every, **settings), make_step(model, graph=True)
    for _ in range(steps):
        tape.step(step())
    return tape


def change_frames(tape, change):
    """Replace every frame of weights by a function of its number and its weights."""
    for frames in tape._weights.values():
        frames[:] = [change(t, w) for t, w in enumerate(frames)]
    return tape


def break_from_fifth_frame(tape):
    """Set the weights to NaN from the fifth frame on."""
    return change_frames(tape, lambda t, w: w if t < 4 else w * np.nan)


# --- recording


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_filter_tape_records_weights_and_losses_of_its_steps(graph, channels):
    model = Net(channels)
    step, tape = make_step(model, graph), FilterTape(model, every=3)
    weights, losses = [weights_of(model)], []
    for _ in range(10):
        losses.append(step())
        tape.step(losses[-1])
        weights.append(weights_of(model))
    assert tape.layers == ["first", "second", "third"]
    assert tape.steps.tolist() == [0, 3, 6, 9]
    np.testing.assert_array_equal(tape.losses, [losses[0].item(), *(losses[s - 1].item() for s in (3, 6, 9))])
    for name, frames in tape.weights.items():
        np.testing.assert_array_equal(frames, [weights[s][name] for s in tape.steps])
    assert not np.array_equal(tape.weights["first"][0], tape.weights["first"][1])


@pytest.mark.parametrize("limit", [2, 3, 8])
def test_filter_tape_respects_its_limit_and_keeps_frames_evenly_spaced(limit):
    model = nn.Conv2d(1, 1, 1)
    tape = FilterTape(model, every=2, limit=limit)
    for step in range(1, 301):
        with mg.no_grad():
            model.weight.fill_(step)
        tape.step(float(step))
        assert len(tape) == len(tape.losses) == len(tape.weights[""]) <= limit
    assert set(np.diff(tape.steps)) == {tape.every}
    assert tape.steps[0] == 0 and 300 - tape.steps[-1] < 2 * tape.every
    assert tape.weights[""].ravel()[1:].tolist() == tape.steps[1:].tolist() == tape.losses[1:].tolist()


def test_filter_tape_reads_the_loss_for_frames_only():
    class Loss:
        reads = 0

        def __float__(self):
            Loss.reads += 1
            return 1.0

    tape = FilterTape(Net(), every=10)
    for _ in range(25):
        tape.step(Loss())
    assert Loss.reads == 3, "at steps 1, 10 and 20"


def test_filter_tape_records_the_given_layers():
    assert FilterTape(Net(), layers="second").layers == ["second"]
    assert FilterTape(Net(), layers=["third", "first"]).layers == ["third", "first"]


def test_filter_tape_repr():
    assert repr(FilterTape(Net(), every=5)) == "FilterTape(1 frame, every 5 steps, of first, second, third)"


def test_filter_tape_step_refuses_to_run_inside_mg_graph():
    tape = FilterTape(Net())

    @mg.graph
    def step(x):
        tape.step(x.sum())
        return x

    with pytest.raises(GraphError, match="FilterTape.step .* cannot be replayed; call it outside"):
        step(mg.ones(3))


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"every": 0}, "every is 0; use a whole number of 1 or more"),
        ({"every": 2.5}, "every is 2.5; use a whole number of 1 or more"),
        ({"limit": 1}, "limit is 1; use a whole number of 2 or more"),
        ({"layers": "conv9"}, "there is no convolution 'conv9'; choose from first, second, third"),
        ({"layers": []}, "layers names 0 of 3 convolutions; name one or more, or give None"),
    ],
)
def test_filter_tape_refuses_settings_out_of_range(settings, message):
    with pytest.raises(ValidationError, match="FilterTape: " + message):
        FilterTape(Net(), **settings)


def test_filter_tape_refuses_a_model_without_convolutions():
    with pytest.raises(ValidationError, match="FilterTape: the model has no Conv2d, only Linear; pass a CNN"):
        FilterTape(nn.Sequential(nn.Linear(2, 2)))
    with pytest.raises(ValidationError, match=r"FilterTape: model is a list; pass an nn.Module"):
        FilterTape([])


@pytest.mark.parametrize("ask", ["contact_sheet", "distance", "distances", "gif"])
def test_filter_tape_refuses_pictures_of_a_single_frame(ask, tmp_path):
    tape = FilterTape(Net(), every=50)
    for _ in range(12):
        tape.step(1.0)
    arguments = [tmp_path / "film.gif"] if ask == "gif" else []
    with pytest.raises(
        StateError, match=f"FilterTape.{ask}: the tape has only its first frame, after 12 steps of 50; call step"
    ):
        getattr(tape, ask)(*arguments)
    assert not list(tmp_path.iterdir())


def test_filter_tape_refuses_pictures_of_a_layer_that_it_does_not_record(tmp_path):
    tape = recorded_tape(layers=["first", "third"])
    message = "there is no layer 'second' on the tape; choose one of first, third"
    for ask in tape.contact_sheet, tape.distance, lambda layer: tape.gif(tmp_path / "film.gif", layer):
        with pytest.raises(ValidationError, match=message):
            ask("second")


# --- files


def check_equal(one, other):
    assert (one.layers, one.every, one.limit) == (other.layers, other.every, other.limit)
    np.testing.assert_array_equal(one.steps, other.steps)
    np.testing.assert_array_equal(one.losses, other.losses)
    for name, frames in one.weights.items():
        np.testing.assert_array_equal(frames, other.weights[name])


def test_filter_tape_saves_to_its_path_after_every_frame(tmp_path):
    path = tmp_path / "new" / "tape.npz"
    model = Net()
    tape, step = FilterTape(model, every=2, path=path, limit=4), make_step(model, graph=True)
    for _ in range(20):
        check_equal(FilterTape.load(path), tape)
        tape.step(step())
    assert [file.name for file in path.parent.iterdir()] == ["tape.npz"]


@pytest.mark.parametrize("graph", [False, True])
def test_filter_tape_records_gradients(tmp_path, graph):
    model = Net()
    step, tape = make_step(model, graph), FilterTape(model, every=2, limit=3, gradients=True)
    found = {}
    for count in range(1, 9):
        tape.step(step())
        found[count] = model.second.weight.grad.numpy().copy()
    assert tape.steps.tolist() == [0, 4, 8]
    assert np.isnan(tape.gradients["second"][0]).all()
    np.testing.assert_array_equal(tape.gradients["second"][1:], [found[4], found[8]])
    loaded = FilterTape.load(tape.save(tmp_path / "tape.npz"))
    check_equal(loaded, tape)
    np.testing.assert_array_equal(loaded.gradients["second"], tape.gradients["second"])
    assert recorded_tape().gradients == {}


def test_filter_tape_loads_files_of_older_versions(tmp_path):
    """Without gradients and kinds; what depends on unknown groups is said to."""
    tape = FilterTape(nn.Sequential(nn.Conv2d(4, 6, 3, groups=2), nn.ReLU()), every=1)
    tape.step(1.0)
    path = tape.save(tmp_path / "tape.npz")
    arrays = dict(np.load(path))
    about = json.loads(arrays["about"].item())
    del about["kinds"], about["gradients"]
    np.savez(path, **arrays | {"about": np.array(json.dumps(about))})
    loaded = FilterTape.load(path)
    check_equal(loaded, tape)
    assert loaded.gradients == {} and loaded.distance("0").shape == (2, 6)
    for again in loaded, FilterTape.load(loaded.save(tmp_path / "again.npz")):
        assert "the file does not say the groups" in again._finite_film("gif", "0").note
    assert tape._finite_film("gif", "0").note == ""


def test_filter_tape_save_keeps_the_old_file_if_it_fails(tmp_path, monkeypatch):
    path = recorded_tape().save(tmp_path / "tape.npz")
    before = path.read_bytes()
    monkeypatch.setattr(type(path), "replace", lambda *_: (_ for _ in ()).throw(OSError("the disk is full")))
    with pytest.raises(OSError, match="the disk is full"):
        recorded_tape().save(path)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text", "another archive", "frames missing"])
def test_filter_tape_load_refuses_a_damaged_file(damage, tmp_path):
    path = recorded_tape().save(tmp_path / "tape.npz")
    data = bytearray(path.read_bytes())
    flipped = data.copy()
    flipped[data.index(b"steps.npy") + 200] ^= 255
    spoilt = {"cut": data[: len(data) // 2], "flipped": flipped, "empty": b"", "text": b"loss 0.3"}
    if damage in spoilt:
        path.write_bytes(spoilt[damage])
    elif damage == "another archive":
        np.savez(path, x=np.ones(3))
    else:
        arrays = dict(np.load(path))
        np.savez(path, **arrays | {"losses": arrays["losses"][:2]})
    size = path.stat().st_size
    with pytest.raises(
        DataError, match=f"tape.npz: damaged, or no filter tape: {size} bytes .*; copy it again, or rec"
    ):
        FilterTape.load(path)


def test_filter_tape_load_refuses_a_missing_file(tmp_path):
    with pytest.raises(DataError, match="tape.npz: no such file; check the folder and the name"):
        FilterTape.load(tmp_path / "tape.npz")


def test_filter_tape_step_refuses_a_loaded_tape(tmp_path):
    tape = FilterTape.load(recorded_tape().save(tmp_path / "tape.npz"))
    with pytest.raises(StateError, match=r"this tape of 7 frames was read from a file and has no model; make one with"):
        tape.step(1.0)


# --- distances


def test_filter_tape_distance_is_relative_to_the_initial_norm():
    tape = recorded_tape()
    w = tape.weights["second"].astype(np.float64)
    expected = [[np.sqrt(((w[t, f] - w[0, f]) ** 2).sum() / (w[0, f] ** 2).sum()) for f in range(3)] for t in range(7)]
    np.testing.assert_allclose(tape.distance("second"), expected)
    np.testing.assert_array_equal(tape.distance(), tape.distance("first"))


def test_filter_tape_distance_is_nan_for_a_filter_that_starts_at_zero():
    tape = recorded_tape(layers="first")
    start = tape.weights["first"][0]
    start[1] = 0
    tape._weights["first"] = [start * (1 + t) for t in range(7)]
    tape._weights["first"][6][1] = 1
    assert np.isnan(tape.distance()[:, 1]).all()
    np.testing.assert_allclose(tape.distance()[:, 0], np.arange(7), rtol=1e-6)
    assert "filter 1" not in drawn_strings(tape.distances())


def test_filter_tape_distances_draws_every_layer():
    tape = recorded_tape()
    panels = tape.distances().axes
    assert [axes.get_title() for axes in panels] == ["first: 4 filters", "second: 3 filters", "third: 2 filters"]
    for axes, layer in zip(panels, tape.layers, strict=True):
        drawn = {line.get_label(): line for line in axes.lines}
        for f, distance in enumerate(tape.distance(layer).T):
            np.testing.assert_array_equal(drawn[f"filter {f}"].get_xdata(), tape.steps)
            np.testing.assert_array_equal(drawn[f"filter {f}"].get_ydata(), distance)
        np.testing.assert_allclose(drawn["mean of all"].get_ydata(), tape.distance(layer).mean(axis=1))


def test_filter_tape_distances_names_the_filters_that_moved_most_and_least():
    tape = recorded_tape(filters=20, layers="first")
    start = tape.weights["first"][0]
    speed = np.roll(np.linspace(0.1, 2, 20), 5)[:, None, None, None]
    change_frames(tape, lambda t, w: start * (1 + t * speed))
    axes = tape.distances().axes[0]
    named = [line.get_label() for line in axes.lines if line.get_label().startswith("filter")]
    assert named == ["filter 4", "filter 3", "filter 6", "filter 5"]
    assert "in colours: the filters that moved most and least" in drawn_strings(axes.figure)
    assert len(axes.lines) == 21


# --- contact sheet


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_contact_sheet_has_a_row_for_each_filter_and_a_column_for_each_moment(channels):
    tape = recorded_tape(channels)
    w = tape.weights["first"]
    norm = np.abs(w).max()
    shown = image_arrays(tape.contact_sheet("first"))
    strongest = np.square(w[-1]).sum(axis=(2, 3)).argmax(axis=1)
    for place, (f, t) in enumerate(np.ndindex(4, 7)):
        expected = 0.5 + np.moveaxis(w[t, f], 0, -1) / (2 * norm) if channels == 3 else w[t, f, strongest[f]]
        np.testing.assert_allclose(shown[place], expected, atol=1e-6)
    figure = tape.contact_sheet("first")
    assert len(figure.axes) == (1 if channels == 3 else 2)  # the scale of blue and red is not that of colours
    assert (f"grey is 0, the brightest +{norm:.2g}" in " ".join(drawn_strings(figure))) == (channels == 3)
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "2", "4", "6", "8", "10", "12"]
    names = [label.get_text().split(",")[0] for label in axes.get_yticklabels()]
    assert names == [f"filter {f}" for f in range(4)]


def test_contact_sheet_selects_moments_and_filters():
    tape = recorded_tape(filters=20, steps=40, every=1)
    figure = tape.contact_sheet("first")
    steps = [int(label.get_text()) for label in figure.axes[0].get_xticklabels()]
    assert len(steps) == MOST_MOMENTS and steps[0] == 0 and steps[-1] == 40
    assert all(3 <= later - earlier <= 5 for earlier, later in pairwise(steps))
    strong = np.sort(np.argsort(-np.square(tape.weights["first"][-1]).sum(axis=(1, 2, 3)))[:16])
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [f"filter {f}" for f in strong]
    assert "shown: the 16 strongest of 20 filters" in drawn_strings(figure)


def test_contact_sheet_ends_before_weights_that_are_not_finite():
    tape = break_from_fifth_frame(recorded_tape())
    sheet = tape.contact_sheet()
    assert [label.get_text() for label in sheet.axes[0].get_xticklabels()] == ["0", "2", "4", "6"]
    assert "from step 8 on, weights are NaN or infinite" in drawn_strings(sheet)
    with pytest.raises(StateError, match="first has NaN or infinite weights in the first of 7 frames; initialise"):
        change_frames(tape, lambda t, w: w * np.inf).contact_sheet()


# --- GIF


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_gif_has_a_picture_for_each_frame_and_holds_the_last(channels, tmp_path):
    tape = recorded_tape(channels, steps=8)
    path = tape.gif(tmp_path / "new" / "film.gif", frames_per_second=10, hold=1.5)
    with Image.open(path) as film:
        assert film.n_frames == 5 and film.info["loop"] == 0
        sizes, durations, pictures = set(), [], []
        for frame in range(film.n_frames):
            film.seek(frame)
            sizes.add(film.size)
            durations.append(film.info["duration"])
            pictures.append(np.asarray(film.convert("RGB")))
    assert len(sizes) == 1 and durations == [100, 100, 100, 100, 1600]
    ((width, height),) = sizes
    assert 500 <= width <= 1000 and 250 <= height <= width
    for one, other in pairwise(pictures):
        assert (one != other).any(axis=-1).sum() > 100, "the marker and the weights change"
    assert all((picture[0, 0] == 255).all() for picture in pictures), "the background is white"


def test_gif_shows_weights_in_the_colours_of_their_scale(tmp_path):
    """A weight that rises from -1 over 0 to 1 changes from blue over white to red."""
    model = nn.Conv2d(1, 1, 1)
    tape = FilterTape(model, every=1)
    for value in -1.0, 0.0, 1.0:
        with mg.no_grad():
            model.weight.fill_(value)
        tape.step(1.0)
    with Image.open(tape.gif(tmp_path / "film.gif")) as film:
        middles = []
        for frame in 1, 2, 3:
            film.seek(frame)
            picture = np.asarray(film.convert("RGB")).astype(int)
            middles.append(picture[picture.shape[0] // 2, : picture.shape[1] // 4])
    blue, white, red = (stripe[len(stripe) // 2] for stripe in middles)
    assert blue[2] > blue[0] + 50 and red[0] > red[2] + 50 and white.min() > 235


@pytest.mark.parametrize("colour", [False, True])
def test_gif_has_the_colours_of_the_scale_of_weights_and_those_of_colour_filters(colour):
    cells = np.random.default_rng(0).integers(0, 240, (10, 12, 3), np.uint8)
    palette = _make_palette([Image.fromarray(cells.repeat(9, 0).repeat(9, 1))], colour).astype(int)
    assert palette.shape == (256, 3)
    wanted = style.SIGNED(np.linspace(0, 1, 256), bytes=True)[:, :3].astype(int)
    wanted = np.concatenate([wanted, cells.reshape(-1, 3)]) if colour else wanted
    assert np.abs(wanted[:, None] - palette).max(2).min(1).max() < 20


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("shape", [(6, 1, 5, 5), (6, 3, 3, 3), (4, 5, 3, 2), (80, 20, 3, 3)])
def test_gif_cells_have_the_order_in_which_they_are_drawn(shape, groups):
    weight = np.random.default_rng(0).normal(size=shape)
    draw, sheet = _plan_gif_sheet(_Film("conv", np.zeros(1), weight[None], "", groups))
    axes, norm = style.figure(4, 4).subplots(), style.zero_centred(weight)
    draw(axes, weight, sheet, norm)
    shown = [np.asarray(image.get_array()) for image in axes.images]
    cells = _make_cells(weight, sheet, norm)
    assert len(shown) == len(cells)
    for one, other in zip(shown, cells, strict=True):
        np.testing.assert_array_equal(one, other)


def test_tape_keeps_the_groups_of_a_convolution_in_its_file(tmp_path):
    tape = FilterTape(nn.Sequential(nn.Conv2d(4, 6, 3, groups=2), nn.ReLU()), every=1)
    tape.step(1.0)
    for kept in (tape, FilterTape.load(tape.save(tmp_path / "tape.npz"))):
        labels = [label.get_text() for label in kept.contact_sheet().axes[0].get_yticklabels()]
        channels = [int(label.split("channel ")[1]) for label in labels]
        assert all(channel // 2 == f // 3 for f, channel in enumerate(channels))


@pytest.mark.parametrize(
    "settings, message",
    [
        (
            {"frames_per_second": 0},
            f"frames_per_second is 0; use a number above 0 and at most {MOST_FRAMES_PER_SECOND}",
        ),
        ({"frames_per_second": 100}, "frames_per_second is 100; use a number above 0"),
        ({"hold": -1}, "hold is -1; use a number of seconds of 0 or more"),
    ],
)
def test_gif_refuses_speed_and_hold_out_of_range(settings, message, tmp_path):
    with pytest.raises(ValidationError, match="FilterTape.gif: " + message):
        recorded_tape().gif(tmp_path / "film.gif", **settings)


# --- readable text, damaged files


FIGURES = {
    "sheet, 1 channel": lambda: recorded_tape(1).contact_sheet(),
    "sheet, 3 channels": lambda: recorded_tape(3).contact_sheet(),
    "sheet, 5 channels": lambda: recorded_tape(5).contact_sheet(),
    "sheet, many": lambda: recorded_tape(1, 4000, 100, filters=20).contact_sheet(),
    "sheet, 1x1": lambda: recorded_tape(1).contact_sheet("third"),
    "sheet, broken": lambda: break_from_fifth_frame(recorded_tape(filters=20)).contact_sheet("second"),
    "distances": lambda: recorded_tape().distances(),
    "distances, many": lambda: recorded_tape(filters=20).distances(),
    "distances, one": lambda: recorded_tape(layers="first").distances(),
    "distances, broken": lambda: break_from_fifth_frame(recorded_tape()).distances(),
}


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.filterwarnings("error")
def test_filter_tape_figures_have_readable_text(name):
    check_readable(FIGURES[name]())


def test_filter_tape_load_raises_only_data_errors_for_any_changed_byte(tmp_path):
    """A file with any one byte changed gives a tape or a DataError."""
    path = FilterTape(nn.Sequential(nn.Conv2d(1, 1, 1))).save(tmp_path / "tape.npz")
    whole = path.read_bytes()
    for place in range(len(whole)):
        for other in (0x41, 0xFF):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ other]) + whole[place + 1 :])
            with contextlib.suppress(DataError):
                assert isinstance(FilterTape.load(path), FilterTape)
