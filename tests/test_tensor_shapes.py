"""Views, selection, creation and random numbers: what parity with PyTorch's numbers does not show."""

import numpy as np
import pytest

import minigrad as mg
from minigrad.errors import GraphError
from minigrad.nn import functional as F

VIEWS = {
    "split": lambda x: x.split(1)[0],
    "chunk": lambda x: x.chunk(2, 1)[0],
    "tensor_split": lambda x: x.tensor_split(2)[0],
    "unbind": lambda x: x.unbind(1)[0],
    "narrow": lambda x: x.narrow(0, 0, 1),
    "select": lambda x: x.select(0, 0),
    "movedim": lambda x: x.movedim(0, 1),
    "swapaxes": lambda x: x.swapaxes(0, 1),
    "unflatten": lambda x: x.unflatten(1, (3, 1)),
    "unfold": lambda x: x.unfold(1, 1, 2),
    "broadcast_tensors": lambda x: mg.broadcast_tensors(x, mg.zeros(1))[0],
    "atleast_3d": lambda x: mg.atleast_3d(x),
}
COPIES = {
    "repeat": lambda x: x.repeat(1, 1),
    "repeat_interleave": lambda x: x.repeat_interleave(1, 0),
    "tile": lambda x: x.tile(1),
    "flip": lambda x: x.flip(()),
    "roll": lambda x: x.roll(0, 0),
    "rot90": lambda x: x.rot90(0),
    "take": lambda x: x.take(mg.tensor(0)),
    "index_select": lambda x: x.index_select(0, mg.tensor(0)),
    "masked_fill": lambda x: x.masked_fill(x != x, 1),
    "scatter": lambda x: x.scatter(0, mg.tensor([], dtype=mg.int64), 1.0),
    "functional.unfold": lambda x: F.unfold(x.reshape(1, 1, 2, 3), 1),
}


@pytest.mark.parametrize("name", VIEWS)
def test_views_share_memory(name):
    x = mg.zeros(2, 3)
    VIEWS[name](x).fill_(1)
    assert x.sum() > 0


@pytest.mark.parametrize("name", COPIES)
def test_copies_do_not_share_memory(name):
    x = mg.zeros(2, 3)
    COPIES[name](x).fill_(1)
    assert x.sum() == 0


def test_the_last_of_equal_positions_counts_in_scatter():
    x = mg.zeros(2, device="cpu")
    for device in ("cpu", "numpy"):
        index, source = mg.tensor([0, 0, 0], device=device), mg.tensor([1.0, 2.0, 3.0], device=device)
        assert x.to(device).scatter(0, index, source).tolist() == [3, 0]


@pytest.mark.parametrize("shape, stride, windows", [((4,), 2, 2), ((4,), 1, 3)])
def test_windows_that_overlap_cannot_be_changed_in_place(shape, stride, windows):
    x = mg.zeros(shape).unfold(0, 2, stride)
    assert x.shape == (windows, 2)
    if windows == 2:
        assert x.add_(1).sum() == 4
    else:
        with pytest.raises(GraphError, match="made of overlapping windows"):
            x.add_(1)


def test_a_tensor_with_a_new_shape_keeps_its_history_and_its_memory():
    x = mg.ones(2, 3, requires_grad=True)
    y = x * 2
    assert y.transpose_(0, 1) is y
    assert y.shape == (3, 2)
    (y * mg.arange(6.0).reshape(3, 2)).sum().backward()
    assert x.grad.tolist() == [[0, 4, 8], [2, 6, 10]]
    base = mg.zeros(2, 3)
    base[0].unsqueeze_(0).fill_(1)
    assert base.sum() == 3


def test_a_shape_is_a_tuple_with_numel():
    shape = mg.zeros(2, 3).shape
    assert shape == (2, 3)
    assert shape.numel() == 6
    assert isinstance(mg.zeros(2).size(), mg.Size)


@pytest.mark.parametrize("find", [lambda x: x.nonzero(), lambda x: mg.argwhere(x), lambda x: mg.where(x)])
def test_results_whose_shape_depends_on_values_are_refused_in_a_recording(find):
    with pytest.raises(GraphError, match="finding nonzero elements"):
        mg.graph(lambda x: find(x))(mg.tensor([1, 0]))


# ---- random numbers

FILLS = {
    "normal_": lambda x, **g: x.normal_(1, 2, **g),
    "uniform_": lambda x, **g: x.uniform_(-1, 1, **g),
    "exponential_": lambda x, **g: x.exponential_(2, **g),
    "random_": lambda x, **g: x.random_(5, **g),
    "bernoulli_": lambda x, **g: x.bernoulli_(0.5, **g),
    "bernoulli": lambda x, **g: (x * 0 + 0.5).bernoulli(**g),
}


@pytest.mark.parametrize("name", FILLS)
def test_filled_numbers_follow_from_the_seed_and_are_the_same_on_every_device_and_in_replays(name):
    fill = FILLS[name]

    def draw(x, **settings):
        return fill(x.clone(), **settings)

    recorded = mg.graph(draw)
    x = mg.zeros(50)
    recorded(x)  # the first call records
    runs = []
    for run in (draw, recorded, lambda x: draw(x.to("numpy"))):
        mg.manual_seed(3)
        runs.append([run(x).tolist(), run(x).tolist()])
    assert runs[0] == runs[1] == runs[2]
    assert runs[0][0] != runs[0][1]
    mg.manual_seed(3)
    own = mg.Generator().manual_seed(3)
    assert draw(x, generator=own).tolist() == runs[0][0]
    assert draw(x).tolist() == runs[0][0]  # the program's numbers did not move


def test_filled_numbers_have_their_distribution():
    mg.manual_seed(0)
    x = mg.empty(20_000)
    assert abs(x.normal_(3, 2).mean() - 3) < 0.1
    assert abs(x.std() - 2) < 0.1
    assert -1 <= x.uniform_(-1, 3).min() < -0.9 < 2.9 < x.max() < 3
    assert abs(x.exponential_(4).mean() - 0.25) < 0.02
    assert abs(x.bernoulli_(0.3).mean() - 0.3) < 0.02
    assert set(x.random_(2, 5).tolist()) == {2, 3, 4}
    counts = np.bincount(mg.tensor([1.0, 0.0, 3.0]).multinomial(8000, replacement=True).tolist(), minlength=3)
    assert counts[1] == 0
    assert abs(counts[0] - 2000) < 200
    assert sorted(mg.tensor([[1.0, 0.5, 3.0]]).multinomial(3).tolist()[0]) == [0, 1, 2]


def test_random_numbers_below_the_end_do_not_reach_it_in_float32():
    x = mg.empty(100_000).uniform_(1, 1 + 2**-23)
    assert (x == 1).all()


def test_a_generator_has_its_own_numbers_and_state():
    own = mg.Generator()
    assert own.initial_seed() == 67280421310721
    state = own.manual_seed(5).get_state()
    first = mg.randn(3, generator=own).tolist()
    assert mg.randn(3, generator=own).tolist() != first
    assert mg.randn(3, generator=own.set_state(state)).tolist() == first
    assert own.seed() == own.initial_seed()


def test_manual_seed_returns_the_generator_of_the_program():
    first = mg.randn(3, generator=mg.manual_seed(5)).tolist()
    assert mg.manual_seed(5) is mg.default_generator
    assert mg.randn(3).tolist() == first
    assert mg.seed() == mg.initial_seed() == mg.default_generator.initial_seed()
