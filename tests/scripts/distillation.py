"""Distillation: a small network learns from the softened predictions of a large one and from labels."""

import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from torch.utils.data import DataLoader, Subset, TensorDataset


def make_net(width, classes=6):
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1),
        nn.Mish(),
        nn.MaxPool2d(2),
        nn.Conv2d(width, width, 3),
        nn.SELU(inplace=True),
        nn.Flatten(start_dim=1),
        nn.Linear(width * 2 * 2, classes),
    )


def loss_kd(outputs, teacher_outputs, labels, alpha=0.9, T=4.0):
    soft = nn.KLDivLoss(reduction="batchmean")(F.log_softmax(outputs / T, dim=1), F.softmax(teacher_outputs / T, dim=1))
    return soft * (alpha * T * T) + F.cross_entropy(outputs, labels) * (1.0 - alpha)


@torch.no_grad()
def evaluate(model, loader):
    model.eval()
    scores = [model(x).argmax(1).eq(y) for x, y in loader]
    return torch.cat(scores).double().mean().item()


def main(given):
    data = TensorDataset(given.images(10, 3, 8, 8), given.labels(6, 10))
    train_loader = DataLoader(Subset(data, range(6)), batch_size=3)
    test_loader = DataLoader(Subset(data, [6, 7, 8, 9]), batch_size=4)
    teacher, student = given.fill(make_net(8)), given.fill(make_net(3))
    teacher.eval()
    optimizer = optim.SGD(student.parameters(), lr=0.01, momentum=0.9)
    for _ in range(2):
        student.train()
        for images, labels in train_loader:
            with torch.no_grad():
                teacher_outputs = teacher(images)
            student_outputs = student(images)
            loss = loss_kd(student_outputs, teacher_outputs, labels)
            log_target = F.kl_div(
                student_outputs.log_softmax(-1), teacher_outputs.log_softmax(-1), reduction="sum", log_target=True
            )
            (loss + 0.01 * log_target).backward()
            optimizer.step()
            optimizer.zero_grad()
            given.record(loss=loss.item(), log_target=log_target.item())
        given.record(accuracy=evaluate(student, test_loader))
    total = sum(p.nelement() * p.element_size() for p in teacher.parameters())
    given.record(elements=total // next(teacher.parameters()).element_size())
    given.finish(student, given.images(2, 3, 8, 8))
