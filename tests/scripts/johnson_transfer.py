"""A network that transfers a style in one pass: reflection padding, instance normalisation, nearest enlargement."""

from collections import namedtuple

import torch
import torch.nn as nn
from torch.optim import Adam


class ConvLayer(nn.Module):
    def __init__(self, inputs, outputs, kernel_size, stride=1, upsample=None):
        super().__init__()
        self.upsample = upsample
        self.pad = nn.ReflectionPad2d(kernel_size // 2)
        self.conv = nn.Conv2d(inputs, outputs, kernel_size, stride)

    def forward(self, x):
        if self.upsample:
            x = nn.functional.interpolate(x, mode="nearest", scale_factor=self.upsample)
        return self.conv(self.pad(x))


class Residual(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv1, self.in1 = ConvLayer(channels, channels, 3), nn.InstanceNorm2d(channels, affine=True)
        self.conv2, self.in2 = ConvLayer(channels, channels, 3), nn.InstanceNorm2d(channels, affine=True)

    def forward(self, x):
        return self.in2(self.conv2(torch.relu(self.in1(self.conv1(x))))) + x


class TransformerNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down = nn.Sequential(ConvLayer(3, 4, 5), ConvLayer(4, 6, 3, stride=2), nn.InstanceNorm2d(6), nn.ReLU())
        self.res = Residual(6)
        self.up = nn.Sequential(ConvLayer(6, 4, 3, upsample=2), nn.InstanceNorm2d(4, affine=True), nn.ReLU())
        self.last = ConvLayer(4, 3, 5)

    def forward(self, x):
        return self.last(self.up(self.res(self.down(x))))


class Features(nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.slice1, self.slice2 = nn.Sequential(), nn.Sequential()
        for i in range(2):
            self.slice1.add_module(str(i), layers[i])
        for i in range(2, 4):
            self.slice2.add_module(str(i), layers[i])
        for param in self.parameters():
            param.requires_grad = False

    def forward(self, x):
        low = self.slice1(x)
        return namedtuple("Maps", ["low", "high"])(low, self.slice2(low))


def gram(y):
    b, ch, h, w = y.size()
    features = y.view(b, ch, w * h)
    return features.bmm(features.transpose(1, 2)) / (ch * h * w)


def main(given):
    net = given.fill(TransformerNet())
    vgg = given.fill(Features(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3, 2), nn.ReLU())))
    optimizer, mse_loss = Adam(net.parameters(), 1e-3), nn.MSELoss()
    style = given.unit(3, 12, 12).repeat(2, 1, 1, 1)
    gram_style = [gram(y) for y in vgg(style)]
    for _ in range(2):
        x = given.unit(2, 3, 12, 12)
        optimizer.zero_grad()
        y = net(x)
        features_y, features_x = vgg(y), vgg(x)
        content = mse_loss(features_y.high, features_x.high)
        style_loss = 0.0
        for ft_y, gm_s in zip(features_y, gram_style):
            style_loss += mse_loss(gram(ft_y), gm_s[: len(x), :, :])
        loss = content + 5.0 * style_loss
        loss.backward()
        optimizer.step()
        given.record(loss=loss.item(), style_loss=style_loss.item())
    given.finish(net, given.unit(1, 3, 8, 8))
