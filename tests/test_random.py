"""get_rng_state, set_rng_state, and seeds inside recorded functions."""

import pytest

import minigrad as mg
from minigrad.errors import DtypeError, GraphError
from minigrad.nn import functional as F


def draw_all_kinds():
    """Return random values, integers, a dropout mask and the order of a shuffling loader."""
    loader = mg.data.DataLoader(list(range(20)), batch_size=20, shuffle=True)
    return [mg.rand(3).tolist(), mg.randint(0, 9, (5,)).tolist(), F.dropout(mg.ones(40)).tolist(), next(iter(loader))]


@pytest.mark.parametrize("seed", [0, 2**64 - 1])
def test_set_rng_state_repeats_the_numbers_after_get_rng_state(seed):
    mg.manual_seed(seed)
    draw_all_kinds()
    state = mg.get_rng_state()
    assert (state.dtype, state.shape) == (mg.uint8, (128,))
    first = draw_all_kinds()
    assert str(draw_all_kinds()) != str(first)
    mg.set_rng_state(state)
    assert mg.initial_seed() == seed
    assert str(draw_all_kinds()) == str(first)


def test_rng_state_can_be_saved_and_loaded(tmp_path):
    mg.save({"random": mg.get_rng_state()}, tmp_path / "state")
    first = mg.randn(4).tolist()
    mg.set_rng_state(mg.load(tmp_path / "state")["random"])
    assert mg.randn(4).tolist() == first


@pytest.mark.parametrize("state", [mg.zeros(128), mg.zeros(5, dtype=mg.uint8), [1, 2]], ids=["dtype", "shape", "type"])
def test_set_rng_state_refuses_other_values(state):
    with pytest.raises(
        DtypeError, match=r"set_rng_state: expected uint8 \(128,\), got .*; give the result of get_rng_state"
    ):
        mg.set_rng_state(state)


def test_manual_seed_inside_a_recorded_function_acts_at_each_replay():
    @mg.graph
    def drop(x):
        mg.manual_seed(3)
        return F.dropout(x)

    found = [drop(mg.ones(64)).tolist() for _ in range(3)]
    mg.manual_seed(3)
    assert found == [F.dropout(mg.ones(64)).tolist()] * 3
    assert drop._record_count == 1


def test_rng_state_inside_a_recorded_function_is_refused():
    state = mg.get_rng_state()
    for what in (lambda x: mg.get_rng_state(), lambda x: mg.set_rng_state(state)):
        with pytest.raises(GraphError, match="the state of random numbers inside a recorded function"):
            mg.graph(what)(mg.ones(1))
