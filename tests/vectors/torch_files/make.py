"""Writes the files of this folder, which test_torch_files.py reads.  Run with PyTorch 2.13: `python make.py`."""

from collections import OrderedDict
from pathlib import Path

import torch

FOLDER = Path(__file__).parent


def main():
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        OrderedDict(conv=torch.nn.Conv2d(1, 2, 3), norm=torch.nn.BatchNorm2d(2), fc=torch.nn.Linear(8, 3))
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    x = torch.rand(4, 1, 4, 4)
    model.fc(model.norm(model.conv(x)).flatten(1)).square().mean().backward()
    optimizer.step()
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 4])
    torch.save(model.state_dict(), FOLDER / "state_dict.pt")
    torch.save(
        {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "schedule": schedule.state_dict(),
            "epoch": 3,
            "best": 0.5,
            "name": "run é",
            "flags": (True, False, None),
            "history": [1, 2.5, [3]],
            "classes": {"a", "b"},
            "size": x.shape,
            "big": 2**80,
        },
        FOLDER / "checkpoint.pth",
    )
    base = torch.arange(12.0).reshape(3, 4)
    every = {
        "base": base,
        "transposed": base.t(),
        "column": base[:, 1],
        "steps": base[::2, 1::2],
        "expanded": base[0, :1].expand(5),
        "same": base,
        "scalar": torch.tensor(7),
        "empty": torch.zeros(0, 3),
        "grad": torch.ones(2, requires_grad=True),
        "parameter": torch.nn.Parameter(torch.ones(3)),
        "frozen": torch.nn.Parameter(torch.ones(3), requires_grad=False),
        **{str(dtype)[6:]: torch.tensor([0, 1, 100]).to(dtype) for dtype in DTYPES},
        "fractions": torch.tensor([0.1, -2.5, float("inf"), float("nan")], dtype=torch.bfloat16),
    }
    torch.save(every, FOLDER / "tensors.pt")
    torch.save(every, FOLDER / "tensors_protocol4.pt", pickle_protocol=4)
    torch.save(torch.ones(2), FOLDER / "legacy.pt", _use_new_zipfile_serialization=False)
    torch.save(torch.nn.Linear(2, 2), FOLDER / "module.pt")
    torch.save(torch.ones(2, dtype=torch.complex64), FOLDER / "complex.pt")
    scripted = torch.jit.script(torch.nn.Linear(2, 2))
    scripted.save(FOLDER / "script.pt")


DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int8, torch.int16, torch.int32]
DTYPES += [torch.int64, torch.uint8, torch.bool]

if __name__ == "__main__":
    main()
