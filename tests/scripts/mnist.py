"""LeNet-like network for digits, in the manner of the first example that everybody runs."""

import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 3, 1)
        self.conv2 = nn.Conv2d(6, 8, 3, 1)
        self.dropout = nn.Dropout2d(0.0)
        self.fc1 = nn.Linear(200, 16)
        self.fc2 = nn.Linear(16, 10)

    def forward(self, x):
        x = F.relu(self.conv1(x))
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = torch.flatten(self.dropout(x), 1)
        x = F.dropout(F.relu(self.fc1(x)), p=0.5, training=False)
        return F.log_softmax(self.fc2(x), dim=1)


def train(model, device, loader, optimizer, given):
    model.train()
    for data, target in loader:
        data, target = data.to(device), target.to(device)
        optimizer.zero_grad()
        loss = F.nll_loss(model(data), target)
        loss.backward()
        optimizer.step()
        given.record(loss=loss.item())


def test(model, device, loader, given):
    model.eval()
    total, correct = 0, 0
    with torch.no_grad():
        for data, target in loader:
            data, target = data.to(device), target.to(device)
            output = model(data)
            total += F.nll_loss(output, target, reduction="sum").item()
            pred = output.argmax(dim=1, keepdim=True)
            correct += pred.eq(target.view_as(pred)).sum().item()
    given.record(test=total / len(loader.dataset), correct=correct)


def main(given):
    torch.manual_seed(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dataset = TensorDataset(given.images(12, 1, 14, 14), given.labels(10, 12))
    kwargs = {"num_workers": 0, "pin_memory": False}
    loader = DataLoader(dataset, batch_size=5, shuffle=False, **kwargs)
    model = given.fill(Net()).to(device)
    optimizer = optim.Adadelta(model.parameters(), lr=1.0)
    scheduler = StepLR(optimizer, step_size=1, gamma=0.7)
    for _ in range(2):
        train(model, device, loader, optimizer, given)
        test(model, device, loader, given)
        scheduler.step()
    given.record(lr=optimizer.param_groups[0]["lr"])
    given.finish(model, given.images(2, 1, 14, 14))
