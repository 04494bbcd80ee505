"""VGG built from a list of widths by make_layers, with BatchNorm or without, its initial values set in a loop."""

import torch
import torch.nn as nn
import torch.optim as optim

CONFIGS = {"vgg5": [4, "M", 8, "M", 8, 8, "M"], "vgg4": [4, 4, "M", 8, 8, "M"]}


def make_layers(cfg, batch_norm, channels=3):
    layers = []
    for entry in cfg:
        if entry == "M":
            layers.append(nn.MaxPool2d(2, 2))
            continue
        layers.append(nn.Conv2d(channels, entry, kernel_size=3, padding=1))
        if batch_norm:
            layers.append(nn.BatchNorm2d(entry))
        layers.append(nn.ReLU(True))
        channels = entry
    return nn.Sequential(*layers)


class VGG(nn.Module):
    def __init__(self, name, batch_norm=False, classes=10):
        super(VGG, self).__init__()
        self.body = make_layers(CONFIGS[name], batch_norm)
        self.head = nn.Sequential(nn.Linear(8 * 4, 12), nn.ReLU(True), nn.Dropout(0.0), nn.Linear(12, classes))
        self.reset()

    def reset(self):
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.ones_(module.weight)
            elif isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight, gain=nn.init.calculate_gain("relu"))
            if isinstance(module, (nn.Conv2d, nn.BatchNorm2d, nn.Linear)) and module.bias is not None:
                nn.init.constant_(module.bias, 0)

    def forward(self, x):
        x = nn.functional.adaptive_max_pool2d(self.body(x), 2)
        return self.head(x.view(x.size(0), -1))


def main(given):
    images, labels = given.images(4, 3, 16, 16), given.labels(10, 4)
    criterion = nn.CrossEntropyLoss(reduction="sum")
    for name, batch_norm in (("vgg5", True), ("vgg4", False)):
        model = given.fill(VGG(name, batch_norm=batch_norm))
        optimizer = optim.SGD(model.parameters(), 0.01, momentum=0.9, weight_decay=5e-4)
        for _ in range(2):
            loss = criterion(model(images), labels) / len(labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            given.record(loss=loss.item())
        given.record(parameters=sum(p.numel() for p in model.parameters() if p.requires_grad))
        if batch_norm:
            given.finish(model, given.images(2, 3, 16, 16))
        else:
            model.eval()
            with torch.no_grad():
                given.record(probabilities=torch.softmax(model(images), dim=1))
