"""mg.profile counts calls, operations and bytes, and changes no result."""

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, optim
from minigrad.errors import GraphError
from minigrad.nn import functional as F
from minigrad.runtime import cache, threads
from minigrad.runtime.elementwise import Elementwise


def training_step():
    mg.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(100, 3))
    optimizer = optim.Adam(model.parameters())
    x, y = mg.randn(6, 2, 5, 5), mg.tensor([0, 1, 2, 0, 1, 2])

    def step():
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def test_profile_counts_calls_flops_and_bytes():
    step = training_step()
    with mg.profile(quiet=True) as p:
        for _ in range(3):
            step()
    calls = {name: row.calls for name, row in p.rows.items()}
    assert calls["conv2d"] == calls["conv2d_weight"] == calls["linear"] == calls["relu_backward"] == 3
    assert calls["optimizer.adam_kernel"] == 3
    assert "conv2d_input" not in calls, "no gradient is asked for the images"
    maps = 6 * 4 * 5 * 5
    assert p.rows["conv2d"].flops == p.rows["conv2d_weight"].flops == 3 * 2 * maps * (2 * 3 * 3)
    assert p.rows["linear"].flops == 3 * 2 * 6 * 100 * 3
    assert p.rows["relu"].bytes == 3 * 2 * 4 * maps
    assert 0 < sum(row.seconds for row in p.rows.values()) < p.seconds


def test_profile_changes_no_result_and_counts_the_operations_of_a_recorded_function():
    plain, seen = training_step(), mg.graph(training_step())
    with mg.profile(quiet=True) as p:
        losses = [seen() for _ in range(3)]
    assert losses == [plain() for _ in range(3)]
    assert p.rows["conv2d"].calls == 3
    assert not seen._replays


def test_profile_prints_a_table_of_times(capsys):
    matrix = mg.ones(300, 300)
    matrix @ matrix  # compiled now, if it was not
    with mg.profile():
        matrix @ matrix
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["operation", "calls", "ms", "share", "GFLOP/s", "GB/s", "compile", "s"]
    assert lines[0].startswith("matmul ") and len(lines[0].split()) >= 6
    assert lines[-2].startswith("between operations") and lines[-1].endswith(" ms")


def test_profile_counts_compile_time_separately(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "folder", lambda: tmp_path)
    x, out = np.ones(4, "f4"), np.empty(4, "f4")

    def fresh(a):
        return a * a - a

    with mg.profile(quiet=True) as p:
        Elementwise(fresh)(x, out)
    row = p.rows["test_profile.fresh"]
    assert row.compile > 10 * row.seconds > 0
    assert row.calls == 1
    assert "of compiling" in str(p)


def test_profile_continues_after_warmup_inside():
    with mg.profile(quiet=True) as p:
        mg.warmup(lambda: mg.ones(4) + 1)
        mg.ones(4) * 2
    assert p.rows["mul"].calls == 1
    assert "add" not in p.rows


def test_profile_counts_operations_on_device_numpy():
    with mg.profile(quiet=True) as p:
        F.conv2d(mg.ones(1, 1, 4, 4, device="numpy"), mg.ones(1, 1, 2, 2, device="numpy"))
    assert p.rows["conv2d"].calls == 1


def test_a_profile_inside_another_is_refused():
    with mg.profile(quiet=True), pytest.raises(GraphError, match="profile: .*already"), mg.profile():
        pass
    assert threads.local.observer is threads.IDLE
    np.testing.assert_array_equal((mg.ones(2) + 1).numpy(), [2, 2])
