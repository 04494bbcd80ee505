"""Learning rate schedules follow PyTorch's formulas step by step, and resume."""

import copy
import math
import re

import numpy as np
import pytest
from helpers import parameter

import minigrad as mg
from minigrad.errors import DtypeError, GraphError, StateError, ValidationError
from minigrad.optim import SGD, Adam, Optimizer, lr_scheduler
from minigrad.serialization import load, save


def rates(make, steps, lr=0.5, **options):
    """Return the learning rates of two groups at t = 0 ... steps; the second group starts with a tenth of lr."""
    optimizer = SGD([{"params": [parameter(1.0)]}, {"params": [parameter(1.0)], "lr": lr / 10}], lr=lr, **options)
    scheduler, seen = make(optimizer), []
    for _ in range(steps + 1):
        seen.append([group["lr"] for group in optimizer.param_groups])
        assert scheduler.get_last_lr() == seen[-1]
        if len(seen) <= steps:
            scheduler.step()
    return np.array(seen)


def cosine(start, end, share):
    """Return the value at a share of the way from start to end on half a cosine wave."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


@pytest.mark.parametrize(
    ("make", "closed"),
    [
        (lambda o: lr_scheduler.StepLR(o, 3), lambda base, t: base * 0.1 ** (t // 3)),
        (lambda o: lr_scheduler.StepLR(o, 1, gamma=2.0), lambda base, t: base * 2.0**t),
        (
            lambda o: lr_scheduler.MultiStepLR(o, [7, 2, 2], 0.3),
            lambda base, t: base * 0.3 ** (2 * (t >= 2) + (t >= 7)),
        ),
        (lambda o: lr_scheduler.ExponentialLR(o, 0.9), lambda base, t: base * 0.9**t),
        (lambda o: lr_scheduler.CosineAnnealingLR(o, 7, 0.01), lambda base, t: cosine(base, 0.01, t / 7)),
        (lambda o: lr_scheduler.LinearLR(o), lambda base, t: base * (1 / 3 + 2 / 3 * min(t, 5) / 5)),
        (lambda o: lr_scheduler.LinearLR(o, 1.0, 0.1, 9), lambda base, t: base * (1 - 0.9 * min(t, 9) / 9)),
        (lambda o: lr_scheduler.ConstantLR(o, 0.25, 4), lambda base, t: base * (0.25 if t < 4 else 1)),
        (lambda o: lr_scheduler.PolynomialLR(o, 20, 2.0), lambda base, t: base * (1 - t / 20) ** 2),
        (lambda o: lr_scheduler.LambdaLR(o, lambda t: 1 / (1 + t)), lambda base, t: base / (1 + t)),
        (
            lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 3, 2, 0.01),
            lambda base, t: cosine(base, 0.01, t / 3 if t < 3 else (t - 3) / 6 if t < 9 else (t - 9) / 12),
        ),
        (
            lambda o: lr_scheduler.CyclicLR(o, [0.5, 0.05], [1.0, 0.1], 4, 2, cycle_momentum=False),
            lambda base, t: base + base * (t % 6 / 4 if t % 6 <= 4 else (6 - t % 6) / 2),
        ),
    ],
)
def test_schedules_equal_their_closed_formulas(make, closed):
    expected = [[closed(0.5, t), closed(0.05, t)] for t in range(13)]
    np.testing.assert_allclose(rates(make, 12), expected, rtol=1e-12)
    optimizer = SGD([{"params": [parameter(1.0)]}, {"params": [parameter(1.0)], "lr": 0.05}], lr=0.5)
    scheduler = make(optimizer)
    for t in (12, 3, 0, 7):  # step(epoch) goes there at once
        scheduler.step(t)
        assert scheduler.last_epoch == t
        np.testing.assert_allclose(scheduler.get_last_lr(), expected[t], rtol=1e-12)


def test_cosine_annealing_stays_accurate_over_many_steps():
    """Each of 600 steps is computed from the one before; the wave passes eta_min five times."""
    seen = rates(lambda o: lr_scheduler.CosineAnnealingLR(o, 67, 0.01), 600)[:, 0]
    np.testing.assert_allclose(seen, [cosine(0.5, 0.01, t / 67) for t in range(601)], rtol=1e-9)


def settings_over_time(steps, *makes, by_hand=None, setting="lr"):
    """Return a setting at t = 0 ... steps under one or more schedules; lr is set to `by_hand` before the third step."""
    optimizer = SGD([parameter(1.0)], lr=1.0, momentum=0.9)
    schedulers = [make(optimizer) for make in makes]
    seen = [optimizer.param_groups[0][setting]]
    for t in range(steps):
        if t == 2 and by_hand is not None:
            optimizer.param_groups[0]["lr"] = by_hand
        for scheduler in schedulers:
            scheduler.step()
        assert schedulers[-1].get_last_lr() == [optimizer.param_groups[0]["lr"]]
        seen.append(optimizer.param_groups[0][setting])
    return pytest.approx(seen, rel=1e-12)


def step_lr(optimizer):
    return lr_scheduler.StepLR(optimizer, 2, 0.5)


def multi_step(optimizer):
    return lr_scheduler.MultiStepLR(optimizer, [1, 3, 3, 5], 0.1)


def exponential(optimizer):
    return lr_scheduler.ExponentialLR(optimizer, 0.5)


def annealing(optimizer):
    return lr_scheduler.CosineAnnealingLR(optimizer, 3, 0.01)


def linear(optimizer):
    return lr_scheduler.LinearLR(optimizer, 0.1, total_iters=3)


def one_cycle(optimizer):
    return lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=6)


@pytest.mark.parametrize(
    ("makes", "pytorch"),
    [
        ((exponential, linear), [0.1, 0.2, 0.175, 0.125, 0.0625, 0.03125]),
        ((linear, annealing), [0.1, 0.3025, 0.183125, 0.01, 0.2575, 0.7525, 1.0, 0.7525]),
        ((step_lr, multi_step), [1.0, 0.1, 0.05, 0.0005, 0.00025, 2.5e-5, 1.25e-5]),
        ((one_cycle, exponential), [0.04, 0.49720771772545586, 0.4058728269748815, 0.23131855133348753]),
        ((exponential, one_cycle), [0.04, 0.9944154354509117, 0.811745653949763, 0.46263710266697505]),
    ],
)
def test_two_schedules_together_equal_pytorchs(makes, pytorch):
    assert settings_over_time(len(pytorch) - 1, *makes) == pytorch


@pytest.mark.parametrize(
    ("make", "pytorch"),
    [
        (step_lr, [1.0, 1.0, 0.5, 0.2, 0.1, 0.1, 0.05]),
        (lambda o: lr_scheduler.MultiStepLR(o, [3, 4], 0.5), [1.0, 1.0, 1.0, 0.1, 0.05, 0.05, 0.05]),
        (exponential, [1.0, 0.5, 0.25, 0.1, 0.05, 0.025, 0.0125]),
        (
            lambda o: lr_scheduler.CosineAnnealingLR(o, 4, 0.1),
            [1.0, 0.8681980515339464, 0.55, 0.12928932188134526, 0.1, 0.2318019484660536, 0.55],
        ),
        (
            lambda o: lr_scheduler.LinearLR(o, 0.5, total_iters=4),
            [0.5, 0.625, 0.75, 0.7 / 3, 0.8 / 3, 0.8 / 3, 0.8 / 3],
        ),
        (one_cycle, [0.04, 0.9944154354509117, 0.811745653949763, 0.46263710266697505, 0.1334775301888306, 4e-6]),
    ],
)
def test_a_schedule_continues_from_a_rate_set_by_hand(make, pytorch):
    assert settings_over_time(len(pytorch) - 1, make, by_hand=0.2) == pytorch


@pytest.mark.parametrize("make", [step_lr, exponential, linear])
def test_a_schedule_includes_a_parameter_group_added_later(make):
    optimizer = SGD([parameter(1.0)], lr=1.0)
    scheduler = make(optimizer)
    scheduler.step()
    optimizer.add_param_group({"params": [parameter(1.0)], "lr": optimizer.param_groups[0]["lr"] / 2})
    for _ in range(3):
        scheduler.step()
        first, second = scheduler.get_last_lr()
        assert first == pytest.approx(2 * second, rel=1e-12)
    assert scheduler.base_lrs == [1.0]


def test_a_schedule_refuses_a_parameter_group_added_later_if_it_needs_its_base_rate():
    for make, steps, epoch in ((annealing, 3, None), (exponential, 3, 5), (one_cycle, 1, None)):
        optimizer = SGD([parameter(1.0)], lr=1.0, momentum=0.9)
        scheduler = make(optimizer)
        optimizer.add_param_group({"params": [parameter(1.0)], "lr": 0.5})
        for _ in range(steps if make is not one_cycle else 0):
            scheduler.step()
        before = copy.deepcopy((scheduler.state_dict(), [group["lr"] for group in optimizer.param_groups]))
        with pytest.raises(StateError, match=f"^{type(scheduler).__name__}: .* added after the schedule was made"):
            scheduler.step(epoch)
        assert (scheduler.state_dict(), [group["lr"] for group in optimizer.param_groups]) == before


def test_get_lr_outside_step_warns():
    scheduler = exponential(SGD([parameter(1.0)], lr=1.0))
    with pytest.warns(UserWarning, match=r"^ExponentialLR: get_lr\(\) outside step\(\) .*; use get_last_lr\(\)$"):
        assert scheduler.get_lr() == [0.5]
    assert scheduler.get_last_lr() == [1.0]


def test_a_schedule_refuses_to_step_in_a_recorded_function():
    optimizer = SGD([parameter(1.0)], lr=1.0)
    scheduler = exponential(optimizer)
    with pytest.raises(GraphError, match="^graph: a step of a schedule inside .*; call it after the recorded"):
        mg.graph(scheduler.step)()
    assert (scheduler.last_epoch, scheduler.get_last_lr(), optimizer.param_groups[0]["lr"]) == (0, [1.0], 1.0)


def test_multi_step_lr_loads_milestones_as_a_counter_or_a_list():
    optimizer = SGD([parameter(1.0)], lr=1.0)
    scheduler = multi_step(optimizer)
    for milestones in ({2: 2}, [2, 2]):
        scheduler.load_state_dict({**scheduler.state_dict(), "milestones": milestones, "last_epoch": 1})
        optimizer.param_groups[0]["lr"] = 1.0
        scheduler.step()
        assert scheduler.get_last_lr() == [pytest.approx(0.01)]


@pytest.mark.parametrize(
    ("module", "options"),
    [("StepLR", {"step_size": 5}), ("ExponentialLR", {"gamma": 0.9}), ("CosineAnnealingLR", {"T_max": 7})]
    + [("LinearLR", {}), ("MultiStepLR", {"milestones": [3, 9, 9, 40]})]
    + [("OneCycleLR", {"max_lr": 1.0, "total_steps": 300, "three_phase": three}) for three in (False, True)]
    + [("ConstantLR", {"factor": 0.5}), ("PolynomialLR", {"total_iters": 50, "power": 2.0})]
    + [
        ("CyclicLR", {"base_lr": 0.1, "max_lr": 1.0, "step_size_up": 7, "mode": mode, "gamma": 0.99})
        for mode in ("triangular", "triangular2", "exp_range")
    ],
)
def test_schedules_give_the_bits_of_pytorch(module, options):
    """There is a second schedule, a rate is set by hand, and the state of PyTorch is loaded at every step."""
    torch = pytest.importorskip("torch")

    def run(library, make_parameter):
        optimizer = library.optim.SGD(
            [{"params": [make_parameter()]}, {"params": [make_parameter()], "lr": 0.03}], lr=0.7, momentum=0.9
        )
        make = getattr(library.optim.lr_scheduler, module)
        pair = make(optimizer, **options), library.optim.lr_scheduler.ExponentialLR(optimizer, 0.99)
        for t in range(300):
            if t == 100:
                optimizer.param_groups[1]["lr"] = 0.5
            optimizer.step()  # without gradients; PyTorch warns if it is left out
            for scheduler in pair:
                scheduler.step()
            yield [(group["lr"], group["momentum"]) for group in optimizer.param_groups], pair[0]

    theirs = run(torch, lambda: torch.ones(1, requires_grad=True))
    for (mine, scheduler), (expected, reference) in zip(run(mg, lambda: parameter(1.0)), theirs, strict=True):
        assert mine == expected
        if module != "CyclicLR":  # whose state has other names
            scheduler.load_state_dict(reference.state_dict())


def line(start, end, share):
    """Return the value at a share of the way from start to end on a line."""
    return start + (end - start) * share


@pytest.mark.parametrize(("strategy", "between"), [("cos", cosine), ("linear", line)])
def test_one_cycle_lr_equals_its_formula(strategy, between):
    climb = 0.3 * 20 - 1  # t of the peak
    seen = rates(
        lambda o: lr_scheduler.OneCycleLR(
            o, [1.0, 0.1], epochs=4, steps_per_epoch=5, div_factor=10, final_div_factor=100, anneal_strategy=strategy
        ),
        19,
    )
    expected = np.array(
        [
            between(0.1, 1.0, t / climb) if t <= climb else between(1.0, 0.001, (t - climb) / (19 - climb))
            for t in range(20)
        ]
    )
    np.testing.assert_allclose(seen, np.stack([expected, expected / 10], 1), rtol=1e-12)


@pytest.mark.parametrize(("share", "peak"), [(0.0, 0), (0.1, 0), (1.0, 9)])
def test_one_cycle_lr_with_its_peak_at_the_start_or_end(share, peak):
    seen = rates(lambda o: lr_scheduler.OneCycleLR(o, 1.0, total_steps=10, pct_start=share), 10)[:, 0]
    assert np.isfinite(seen).all()
    assert seen[peak] == seen.max() if share else seen[0] < 1  # with pct_start=0, PyTorch starts just after the peak


def test_one_cycle_lr_of_three_phases_equals_pytorchs():
    def make(optimizer):
        return lr_scheduler.OneCycleLR(
            optimizer, [1.0], 10, three_phase=True, base_momentum=[0.8], max_momentum=[0.9], last_epoch=-1
        )

    assert settings_over_time(10, make) == [
        *[0.04, 0.52, 1.0, 0.52, 0.04, 0.0361807218535102, 0.0261817218535102],
        *[0.013822278146489805, 0.0038232781464898036, 4e-06, 0.0038232781464897993],
    ]
    assert settings_over_time(10, make, setting="momentum") == [0.9, 0.85, 0.8, 0.85, *[0.9] * 7]


def test_one_cycle_lr_lowers_momentum_while_the_rate_rises():
    optimizer = SGD([parameter(1.0)], momentum=0.5)
    scheduler = lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=10, pct_start=0.5)
    seen = [optimizer.param_groups[0]["momentum"]]
    for _ in range(9):
        scheduler.step()
        seen.append(optimizer.param_groups[0]["momentum"])
    np.testing.assert_allclose([seen[0], seen[4], seen[9]], [0.95, 0.85, 0.95], rtol=1e-12)


def test_one_cycle_lr_cycles_the_first_beta_unless_told_not_to():
    w = parameter(1.0)
    optimizer = Adam([w])
    lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=10)
    assert optimizer.param_groups[0]["betas"] == (0.95, 0.999)
    optimizer = Adam([w])
    lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=10, cycle_momentum=False)
    assert optimizer.param_groups[0]["betas"] == (0.9, 0.999)


SCHEDULES = [
    lambda o: lr_scheduler.StepLR(o, 3),
    lambda o: lr_scheduler.MultiStepLR(o, [2, 5]),
    lambda o: lr_scheduler.ExponentialLR(o, 0.9),
    lambda o: lr_scheduler.CosineAnnealingLR(o, 9),
    lambda o: lr_scheduler.LinearLR(o),
    lambda o: lr_scheduler.OneCycleLR(o, 1.0, total_steps=12),
    lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 3, 2),
    lambda o: lr_scheduler.CyclicLR(o, 0.1, 1.0, 3),
    lambda o: lr_scheduler.LambdaLR(o, lambda t: 0.9**t),
    lambda o: lr_scheduler.MultiplicativeLR(o, lambda t: 0.9),
    lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.LinearLR(o, total_iters=3), lr_scheduler.StepLR(o, 2)], milestones=[5]
    ),
    lambda o: lr_scheduler.ChainedScheduler([lr_scheduler.ExponentialLR(o, 0.9), lr_scheduler.StepLR(o, 2)]),
]


@pytest.mark.parametrize("make", SCHEDULES)
def test_schedules_resume_from_a_file(make, tmp_path):
    w = parameter(1.0)
    optimizer = SGD([w], lr=0.5, momentum=0.9)
    scheduler = make(optimizer)
    for _ in range(4):
        scheduler.step()
    save({"optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}, tmp_path / "checkpoint")
    checkpoint = load(tmp_path / "checkpoint")
    other = SGD([w], lr=0.5, momentum=0.9)
    resumed = make(other)
    other.load_state_dict(checkpoint["optimizer"])
    resumed.load_state_dict(checkpoint["scheduler"])
    assert other.param_groups == optimizer.param_groups
    for _ in range(4):
        scheduler.step()
        resumed.step()
        assert other.param_groups == optimizer.param_groups


def test_last_epoch_continues_from_a_loaded_optimizer():
    optimizer = SGD([parameter(1.0)], lr=0.5)
    scheduler = lr_scheduler.ExponentialLR(optimizer, 0.5)
    scheduler.step()
    resumed = lr_scheduler.ExponentialLR(optimizer, 0.5, last_epoch=1)
    assert (resumed.get_last_lr(), resumed.last_epoch, resumed.base_lrs) == ([0.25], 2, [0.5])  # as in PyTorch


def test_a_schedule_built_after_load_state_dict_starts_with_the_loaded_rate():
    """As in PyTorch: the base rate is the "initial_lr" of the saved optimizer."""
    optimizer = SGD([parameter(1.0)], lr=1.0, momentum=0.9)
    scheduler = exponential(optimizer)
    for _ in range(3):
        scheduler.step()
    other = SGD([parameter(1.0)], lr=0.9, momentum=0.9)
    other.load_state_dict(optimizer.state_dict())
    late = exponential(other)
    assert (late.get_last_lr(), late.base_lrs, late.last_epoch) == ([0.125], [1.0], 0)
    late.step(3)
    assert late.get_last_lr() == [0.125]
    assert one_cycle(other).get_last_lr() == [pytest.approx(0.04)]


def test_one_cycle_lr_refuses_a_step_after_the_last_and_changes_nothing():
    optimizer = SGD([parameter(1.0)], momentum=0.9)
    scheduler = lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=2)
    scheduler.step()
    scheduler.step()
    before = scheduler.state_dict(), dict(optimizer.param_groups[0])
    with pytest.raises(ValidationError, match="OneCycleLR: step 3 of 2; build it with the total_steps of the whole"):
        scheduler.step()
    assert (scheduler.state_dict(), optimizer.param_groups[0]) == before


class NoMomentum(Optimizer):
    """An optimizer with a learning rate only."""


@pytest.mark.parametrize(
    ("kind", "message", "make"),
    [
        (
            DtypeError,
            "StepLR: optimizer is a list; give an Optimizer, as SGD(model.parameters(), lr=0.1)",
            lambda o: lr_scheduler.StepLR([], 3),
        ),
        (
            DtypeError,
            "OneCycleLR: optimizer is None; give an Optimizer",
            lambda o: lr_scheduler.OneCycleLR(None, 1.0, 5),
        ),
        (
            StateError,
            "ExponentialLR: last_epoch=3, but parameter group 0 has no 'initial_lr'; load the optimiser's",
            lambda o: lr_scheduler.ExponentialLR(o, 0.9, last_epoch=3),
        ),
        (
            ValidationError,
            "StepLR: step_size is 0; use a whole number of 1 or more",
            lambda o: lr_scheduler.StepLR(o, 0),
        ),
        (ValidationError, "StepLR: gamma is -1; use a number of 0 or more", lambda o: lr_scheduler.StepLR(o, 1, -1)),
        (ValidationError, "MultiStepLR: gamma is -1; use", lambda o: lr_scheduler.MultiStepLR(o, [1], -1)),
        (
            ValidationError,
            "MultiStepLR: a milestone is 2.5; use a whole number",
            lambda o: lr_scheduler.MultiStepLR(o, [1, 2.5]),
        ),
        (
            ValidationError,
            "OneCycleLR: base_momentum has 3 numbers, but the optimiser has 1 parameter groups; give one number",
            lambda o: lr_scheduler.OneCycleLR(o, 1.0, 5, base_momentum=[0.8] * 3),
        ),
        (ValidationError, "ExponentialLR: gamma is -1; use", lambda o: lr_scheduler.ExponentialLR(o, -1)),
        (ValidationError, "CosineAnnealingLR: T_max is 0; use", lambda o: lr_scheduler.CosineAnnealingLR(o, 0)),
        (ValidationError, "LinearLR: total_iters is 0; use", lambda o: lr_scheduler.LinearLR(o, total_iters=0)),
        (
            ValidationError,
            "LinearLR: start_factor is 0 and end_factor is 1.0; use a start_factor above 0, and at most 1 for both",
            lambda o: lr_scheduler.LinearLR(o, 0),
        ),
        (
            ValidationError,
            "OneCycleLR: total_steps is None, epochs is 3 and steps_per_epoch is None; give total_steps, or both",
            lambda o: lr_scheduler.OneCycleLR(o, 1.0, epochs=3),
        ),
        (ValidationError, "OneCycleLR: total_steps is 0; use", lambda o: lr_scheduler.OneCycleLR(o, 1.0, 0)),
        (
            ValidationError,
            "OneCycleLR: epochs is 0; use",
            lambda o: lr_scheduler.OneCycleLR(o, 1.0, epochs=0, steps_per_epoch=2),
        ),
        (
            ValidationError,
            "OneCycleLR: max_lr has 2 numbers, but the optimiser has 1 parameter groups; give one number",
            lambda o: lr_scheduler.OneCycleLR(o, [1.0, 2.0], 5),
        ),
        (
            ValidationError,
            "OneCycleLR: pct_start is 1.5; use a number from 0 to 1",
            lambda o: lr_scheduler.OneCycleLR(o, 1.0, 5, pct_start=1.5),
        ),
        (
            ValidationError,
            "OneCycleLR: anneal_strategy is 'sine'; use 'cos' or 'linear'",
            lambda o: lr_scheduler.OneCycleLR(o, 1.0, 5, anneal_strategy="sine"),
        ),
        (
            ValidationError,
            "OneCycleLR: the optimiser has neither momentum nor betas; use cycle_momentum=False",
            lambda o: lr_scheduler.OneCycleLR(NoMomentum([parameter(1.0)], {"lr": 1.0}), 1.0, 5),
        ),
        (
            ValidationError,
            "CyclicLR: the optimiser has neither momentum nor betas; use cycle_momentum=False",
            lambda o: lr_scheduler.CyclicLR(NoMomentum([parameter(1.0)], {"lr": 1.0}), 0.1, 1.0),
        ),
        (
            ValidationError,
            "CyclicLR: mode is 'sine'; use 'triangular', 'triangular2', 'exp_range', or give scale_fn",
            lambda o: lr_scheduler.CyclicLR(o, 0.1, 1.0, mode="sine"),
        ),
        (
            ValidationError,
            "CyclicLR: scale_mode is 'steps'; use 'cycle' or 'iterations'",
            lambda o: lr_scheduler.CyclicLR(o, 0.1, 1.0, scale_mode="steps"),
        ),
        (ValidationError, "ConstantLR: factor is 2; use", lambda o: lr_scheduler.ConstantLR(o, 2)),
        (ValidationError, "PolynomialLR: power is -1; use", lambda o: lr_scheduler.PolynomialLR(o, power=-1)),
        (
            ValidationError,
            "and the optimiser has 1 parameter groups; give one function of t, or a list with one for each group",
            lambda o: lr_scheduler.LambdaLR(o, [math.sin, math.cos]),
        ),
        (
            ValidationError,
            "CosineAnnealingWarmRestarts: T_mult is 1.5; use a whole number of 1 or more",
            lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 2, 1.5),
        ),
        (
            ValidationError,
            "ReduceLROnPlateau: mode is 'less'; use 'min' or 'max'",
            lambda o: lr_scheduler.ReduceLROnPlateau(o, "less"),
        ),
        (
            ValidationError,
            "ReduceLROnPlateau: factor is 1.0; use a number from 0 to below 1",
            lambda o: lr_scheduler.ReduceLROnPlateau(o, factor=1.0),
        ),
        (
            ValidationError,
            "ReduceLROnPlateau: threshold_mode is 'both'; use 'rel' or 'abs'",
            lambda o: lr_scheduler.ReduceLROnPlateau(o, threshold_mode="both"),
        ),
        (
            ValidationError,
            "ReduceLROnPlateau: min_lr has 2 numbers, but the optimiser has 1 parameter groups; give one number",
            lambda o: lr_scheduler.ReduceLROnPlateau(o, min_lr=[0, 0]),
        ),
        (
            ValidationError,
            "ChainedScheduler: there are 0 schedules; give at least one",
            lambda o: lr_scheduler.ChainedScheduler([], o),
        ),
        (
            ValidationError,
            "ChainedScheduler: schedule 0 belongs to another optimiser; make all for one",
            lambda o: lr_scheduler.ChainedScheduler([lr_scheduler.StepLR(SGD([parameter(1.0)]), 1)], o),
        ),
        (
            ValidationError,
            "ChainedScheduler: schedule 0 is ReduceLROnPlateau, whose step needs the loss; step it by itself",
            lambda o: lr_scheduler.ChainedScheduler([lr_scheduler.ReduceLROnPlateau(o)]),
        ),
    ],
)
def test_schedules_refuse_invalid_arguments(kind, message, make):
    optimizer = SGD([parameter(1.0)])
    before = copy.deepcopy(optimizer.defaults)
    with pytest.raises(kind, match=re.escape(message)):
        make(optimizer)
    assert {k: v for k, v in optimizer.param_groups[0].items() if k != "params"} == before


def test_sequential_lr_refuses_milestones_that_do_not_fit():
    optimizer = SGD([parameter(1.0)])
    parts = [lr_scheduler.StepLR(optimizer, 2), lr_scheduler.StepLR(optimizer, 3), lr_scheduler.StepLR(optimizer, 4)]
    for milestones in ([3], [5, 3]):
        with pytest.raises(ValidationError, match="SequentialLR: milestones are .* for 3 schedules; give rising steps"):
            lr_scheduler.SequentialLR(optimizer, parts, milestones)
    scheduler = lr_scheduler.SequentialLR(optimizer, parts, [2, 4])
    with pytest.raises(ValidationError, match="SequentialLR: step got epoch=3; it only goes forward"):
        scheduler.step(3)


COMBINED = [
    lambda o, s: s.SequentialLR(o, [s.LinearLR(o, 0.1, total_iters=4), s.CosineAnnealingLR(o, 20)], [4]),
    lambda o, s: s.SequentialLR(o, [s.ConstantLR(o, 0.1, 9), s.ExponentialLR(o, 0.9), s.StepLR(o, 3)], [2, 6]),
    lambda o, s: s.ChainedScheduler([s.ConstantLR(o, 0.1, 9), s.ExponentialLR(o, 0.9)]),
    lambda o, s: s.LambdaLR(o, [lambda t: 0.9**t, lambda t: 1 / (1 + t)]),
    lambda o, s: s.MultiplicativeLR(o, lambda t: 0.9 + 0.1 / t),
    lambda o, s: s.CosineAnnealingWarmRestarts(o, 5, 2, 0.001),
    lambda o, s: s.SequentialLR(o, [s.LinearLR(o), s.CosineAnnealingWarmRestarts(o, 5)], [3]),
]


@pytest.mark.parametrize("make", COMBINED)
def test_combined_schedules_equal_pytorchs(make):
    torch = pytest.importorskip("torch")

    def run(library, first):
        optimizer = library.optim.SGD([{"params": [first()]}, {"params": [first()], "lr": 0.03}], lr=0.7)
        scheduler = make(optimizer, library.optim.lr_scheduler)
        for _ in range(40):
            optimizer.step()
            scheduler.step()
            yield scheduler.get_last_lr()

    theirs = list(run(torch, lambda: torch.ones(1, requires_grad=True)))
    np.testing.assert_allclose(list(run(mg, lambda: parameter(1.0))), theirs, rtol=1e-12)


def test_cosine_annealing_warm_restarts_takes_fractions_of_an_epoch():
    optimizer = SGD([parameter(1.0)], lr=1.0)
    scheduler = lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 2, 2)
    for t, share in ((0.5, 0.25), (1.5, 0.75), (2.0, 0.0), (5.0, 0.75), (6.0, 0.0)):
        scheduler.step(t)
        assert scheduler.get_last_lr() == [pytest.approx(cosine(1.0, 0.0, share))]
    with pytest.raises(ValidationError, match="CosineAnnealingWarmRestarts: epoch is -2; use a number of 0 or more"):
        scheduler.step(-2)


def run_plateau(library, first, options, losses):
    """Return the rate and the counters after each loss."""
    optimizer = library.optim.SGD([first()], lr=1.0)
    scheduler = library.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **options)
    for loss in losses:
        scheduler.step(loss)
        yield optimizer.param_groups[0]["lr"], scheduler.best, scheduler.num_bad_epochs, scheduler.cooldown_counter


PLATEAUS = [
    {"patience": 2},
    {"mode": "max", "patience": 1, "cooldown": 3, "threshold": 0.1},
    {"threshold_mode": "abs", "threshold": 0.05, "patience": 0, "min_lr": 0.02, "factor": 0.3},
    {"mode": "max", "threshold_mode": "abs", "patience": 0, "eps": 0.05, "factor": 0.5},
]
LOSSES = [1.0, 0.9, 0.95, 0.9, 0.899, 0.5, 0.6, 0.7, 0.6, 0.6, 0.6, 0.4, -0.2, -0.1, math.nan, 0.0, 0.0, 0.0, 0.0]


def test_reduce_lr_on_plateau_waits_for_more_than_patience_steps():
    seen = list(run_plateau(mg, lambda: parameter(1.0), {"patience": 1, "factor": 0.5}, [3, 2, 2, 2, 2, 1, 1, 1]))
    assert [rate for rate, *_ in seen] == [1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25]
    scheduler = lr_scheduler.ReduceLROnPlateau(SGD([parameter(1.0)], lr=1.0), patience=0)
    scheduler.step(mg.tensor(1.0))
    state = scheduler.state_dict()
    other = lr_scheduler.ReduceLROnPlateau(SGD([parameter(1.0)], lr=1.0))
    other.load_state_dict(state)
    other.step(mg.tensor([1.0]))
    assert other.get_last_lr() == [0.1]


@pytest.mark.parametrize("options", PLATEAUS)
def test_reduce_lr_on_plateau_equals_pytorchs(options):
    torch = pytest.importorskip("torch")
    theirs = run_plateau(torch, lambda: torch.ones(1, requires_grad=True), options, LOSSES)
    assert list(run_plateau(mg, lambda: parameter(1.0), options, LOSSES)) == list(theirs)


def test_a_schedule_may_inherit_from_pytorchs_old_name_of_the_base():
    class Halving(lr_scheduler._LRScheduler):
        def get_lr(self):
            return [base / 2**self.last_epoch for base in self.base_lrs]

    scheduler = Halving(SGD([parameter(1.0)], lr=1.0))
    scheduler.step()
    assert scheduler.get_last_lr() == [0.5]


def test_lr_scheduler_base_class_names_the_method_to_define():
    with pytest.raises(NotImplementedError, match=re.escape("LRScheduler: define get_lr()")):
        lr_scheduler.LRScheduler(SGD([parameter(1.0)]))
