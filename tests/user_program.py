"""A program of a user: test_package.py checks it with mypy --strict and pyright, and runs it with the wheel."""

import sys
from collections.abc import Iterator
from pathlib import Path

import minigrad as mg
import minigrad.nn.functional as F
from minigrad import data, nn, optim, viz


class SmallCNN(nn.Module):
    def __init__(self, classes: int = 10, dtype: mg.dtype = mg.float32) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, kernel_size=3, padding="same", dtype=dtype)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(4 * 4 * 4, 16, dtype=dtype), nn.Tanh(), nn.Dropout(0.1))
        self.out = nn.Linear(16, classes, dtype=dtype)

    def forward(self, x: mg.Tensor) -> mg.Tensor:
        features = F.max_pool2d(F.relu(self.conv(x)), 2)
        return self.out(self.head(features))


class Squares(data.Dataset):
    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> tuple[mg.Tensor, int]:
        return mg.full((1, 8, 8), index / 64), index % 10


def batches(device: mg.device) -> Iterator[tuple[mg.Tensor, mg.Tensor]]:
    for images, labels in data.DataLoader(Squares(), batch_size=16, shuffle=True, seed=0):
        yield images.to(device), labels.to(device)


def print_shape(module: nn.Module, args: tuple[mg.Tensor, ...], output: mg.Tensor) -> None:
    print(type(module).__name__, args[0].shape, output.shape)


@mg.no_grad()
def accuracy(model: nn.Module, device: mg.device) -> float:
    right: list[float] = [(model(images).argmax(dim=1) == labels).sum().item() for images, labels in batches(device)]
    return sum(right) / 64


def train(model: SmallCNN, device: mg.device, epochs: int) -> list[float]:
    optimizer = optim.AdamW(model.parameters(), lr=1e-2, weight_decay=1e-4)
    scheduler = optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    losses: list[float] = []

    @mg.graph
    def step(images: mg.Tensor, labels: mg.Tensor) -> mg.Tensor:
        loss = F.cross_entropy(model(images), labels, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    for _ in range(epochs):
        losses += [step(images, labels).detach().item() for images, labels in batches(device)]
        scheduler.step()
    return losses


def main(folder: Path) -> None:
    device = mg.device("cpu")
    mg.manual_seed(0)
    model = SmallCNN().to(device)
    first: nn.Module = model.head[0]
    head: nn.Sequential = model.head[1:]
    hidden: mg.Tensor = head(first(mg.zeros(2, 4, 4, 4)))
    with model.conv.register_forward_hook(print_shape):
        losses = train(model, device, epochs=2)
    path = folder / "small_cnn.safetensors"
    mg.save(model.state_dict(), path)
    copy = SmallCNN()
    copy.load_state_dict(mg.load(path, device=device))
    weight: mg.Tensor = copy.conv.weight.detach().reshape(4, 9)
    largest, place = weight.clone().abs_().max(dim=1)
    spread = mg.std(weight, dim=1).mean() + mg.sum(mg.where(weight > 0, weight, 0.0)) / weight.numel()
    print(viz.summary(model, (1, 8, 8)))
    print(largest.tolist(), place.tolist(), f"{spread.item():.3f}", hidden.shape, weight.dtype)
    print([f"{name} {tuple(parameter.shape)}" for name, parameter in model.named_parameters()])
    print(f"loss {losses[0]:.3f} -> {losses[-1]:.3f}, accuracy {accuracy(copy.eval(), device):.2f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
