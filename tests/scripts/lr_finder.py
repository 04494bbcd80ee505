"""A search for the learning rate: a schedule of one's own, and model and optimiser put back as they were."""

import copy

import torch
import torch.nn as nn
from torch.optim.lr_scheduler import LRScheduler


class ExponentialRange(LRScheduler):
    """The rate grows geometrically to end_lr in num_iter steps."""

    def __init__(self, optimizer, end_lr, num_iter, last_epoch=-1):
        self.end_lr, self.num_iter = end_lr, num_iter
        super().__init__(optimizer, last_epoch)

    def get_lr(self):
        r = self.last_epoch / self.num_iter
        return [base_lr * (self.end_lr / base_lr) ** r for base_lr in self.base_lrs]


class LRFinder:
    def __init__(self, model, optimizer, criterion):
        self.model, self.optimizer, self.criterion = model, optimizer, criterion
        self.saved = copy.deepcopy(model.state_dict()), copy.deepcopy(optimizer.state_dict())
        self.history = {"lr": [], "loss": []}

    def range_test(self, batches, end_lr=1.0, smooth_f=0.05, diverge_th=5):
        schedule, best = ExponentialRange(self.optimizer, end_lr, len(batches)), None
        self.model.train()
        for iteration, (inputs, labels) in enumerate(batches):
            self.optimizer.zero_grad()
            loss = self.criterion(self.model(inputs), labels)
            loss.backward()
            self.optimizer.step()
            self.history["lr"].append(schedule.get_last_lr()[0])
            schedule.step()
            loss = loss.item()
            if iteration > 0:
                loss = smooth_f * loss + (1 - smooth_f) * self.history["loss"][-1]
            best = loss if best is None else min(best, loss)
            self.history["loss"].append(loss)
            if loss > diverge_th * best:
                break

    def reset(self):
        self.model.load_state_dict(self.saved[0])
        self.optimizer.load_state_dict(self.saved[1])


def main(given):
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU6(), nn.Flatten(), nn.LazyLinear(5))
    images = given.images(12, 1, 8, 8)
    model.eval()(images[:1].float())  # gives the lazy layer its size
    model = given.fill(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    batches = list(zip(images.split(3), given.labels(5, 12).split(3), strict=True))
    finder = LRFinder(model, optimizer, nn.CrossEntropyLoss())
    before = [p.detach().clone() for p in model.parameters()]
    finder.range_test(batches)
    moved = [not torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True)]
    finder.reset()
    back = all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))
    given.record(loss=finder.history["loss"], lr=finder.history["lr"], moved=sum(moved), back=back)
    for i, group in enumerate(optimizer.param_groups):
        given.record(**{f"group {i}": [group["lr"], group["momentum"], len(group["params"])]})
    given.finish(model, images[:2])
