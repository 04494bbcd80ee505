"""LeNet in the manner of a textbook: lazy layers, a dry run for the shapes, then initial values."""

import torch
from torch import nn


def init_cnn(module):
    if type(module) in (nn.Linear, nn.Conv2d):
        nn.init.xavier_uniform_(module.weight)


class Accumulator:
    def __init__(self, n):
        self.data = [0.0] * n

    def add(self, *args):
        self.data = [a + float(b) for a, b in zip(self.data, args, strict=True)]

    def __getitem__(self, idx):
        return self.data[idx]


class LeNet(nn.Module):
    def __init__(self, lr=0.1, num_classes=10):
        super().__init__()
        self.lr = lr
        self.net = nn.Sequential(
            nn.LazyConv2d(4, kernel_size=5, padding=2),
            nn.LazyBatchNorm2d(),
            nn.Sigmoid(),
            nn.AvgPool2d(kernel_size=2, stride=2),
            nn.LazyConv2d(6, kernel_size=5, bias=False),
            nn.Sigmoid(),
            nn.AvgPool2d(kernel_size=2, stride=2),
            nn.Flatten(),
            nn.LazyLinear(12),
            nn.Sigmoid(),
            nn.LazyLinear(num_classes),
        )

    def forward(self, X):
        return self.net(X)

    def layer_summary(self, X_shape):
        X, shapes = torch.randn(*X_shape), []
        for layer in self.net:
            X = layer(X)
            shapes.append((layer.__class__.__name__, tuple(X.shape)))
        return shapes

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr)


def main(given):
    model = LeNet()
    shapes = model.layer_summary((1, 1, 16, 16))
    given.record(sizes=[shape[-1] for name, shape in shapes], lazy=sum("Lazy" in name for name, shape in shapes))
    model.apply(init_cnn)
    given.record(weights=[m.weight.numel() for m in model.net if hasattr(m, "weight")])
    model.net[1].reset_running_stats()
    model = given.fill(model)
    trainer, loss_fn = model.configure_optimizers(), nn.CrossEntropyLoss(reduction="none")
    metric = Accumulator(3)
    for X, y in [(given.images(4, 1, 16, 16), given.labels(10, 4)) for _ in range(3)]:
        y_hat = model(X)
        l = loss_fn(y_hat, y)  # noqa: E741
        trainer.zero_grad()
        l.mean().backward()
        trainer.step()
        metric.add(l.detach().sum(), (y_hat.argmax(dim=1) == y).sum(), y.numel())
        given.record(loss=metric[0] / metric[2], accuracy=metric[1] / metric[2])
    given.finish(model, given.images(2, 1, 16, 16))
