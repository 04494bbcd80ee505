"""Averaged weights: AveragedModel with update_bn, a teacher by deepcopy, and a deepcopy that shares nothing."""

import copy
from itertools import chain

import torch
import torch.nn as nn
from torch.optim.lr_scheduler import LinearLR
from torch.optim.swa_utils import AveragedModel, update_bn


class EMA:
    def __init__(self, model, decay):
        self.module = copy.deepcopy(model).eval()
        self.decay = decay
        for p in self.module.parameters():
            p.requires_grad_(False)

    @torch.no_grad()
    def update(self, model):
        pairs = zip(self.module.state_dict().values(), model.state_dict().values(), strict=True)
        for ours, theirs in pairs:
            if ours.dtype.is_floating_point:
                ours.mul_(self.decay).add_(theirs.detach(), alpha=1 - self.decay)
            else:
                ours.copy_(theirs)


def main(given):
    loader = [(given.images(4, 2, 6, 6), given.labels(3, 4)) for _ in range(2)]
    model = given.fill(
        nn.Sequential(nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ELU(), nn.Flatten(), nn.Linear(64, 3))
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    ema, swa = EMA(model, decay=0.9), AveragedModel(model)
    moving = AveragedModel(model, avg_fn=lambda averaged, new, n: 0.8 * averaged + 0.2 * new)
    schedule = LinearLR(optimizer, start_factor=0.5, total_iters=2)
    for _ in range(2):
        for x, y in loader:
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            ema.update(model)
            given.record(loss=loss.item())
        swa.update_parameters(model)
        moving.update_parameters(model)
        schedule.step()
        given.record(lr=optimizer.param_groups[0]["lr"])
    update_bn([x for x, _ in loader], swa)
    given.record(averaged=swa.n_averaged.item(), swa=swa.module[4].bias, moving=moving.module[4].bias)
    for p in chain(model.parameters(), model.buffers()):
        p.data.mul_(0)
    given.record(zero=[p.abs().sum().item() for p in model.parameters()], tracked=ema.module[1].num_batches_tracked)
    given.record(means=[swa.module[1].running_mean.sum().item(), ema.module[1].running_mean.sum().item()])
    swa.eval()
    with torch.no_grad():
        given.record(averaged_output=swa(loader[0][0][:2]), names=len(swa.state_dict()))
    given.finish(ema.module, loader[0][0][:2])
