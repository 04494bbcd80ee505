"""A generative adversarial network of perceptrons: two optimisers, BCELoss, labels of ones and zeros, detach."""

import numpy as np
import torch
import torch.nn as nn
from torch.autograd import Variable


class Generator(nn.Module):
    def __init__(self, shape, latent=4):
        super(Generator, self).__init__()

        def block(inputs, outputs, normalize=True):
            layers = [nn.Linear(inputs, outputs, bias=not normalize)]
            if normalize:
                layers.append(nn.BatchNorm1d(outputs, 0.8))
            layers.append(nn.LeakyReLU(0.2, inplace=True))
            return layers

        self.shape = shape
        self.model = nn.Sequential(
            *block(latent, 8, normalize=False), *block(8, 12), nn.Linear(12, int(np.prod(shape))), nn.Tanh()
        )

    def forward(self, z):
        img = self.model(z)
        return img.view(img.size(0), *self.shape)


class Discriminator(nn.Module):
    def __init__(self, shape):
        super(Discriminator, self).__init__()
        self.model = nn.Sequential(
            nn.Linear(int(np.prod(shape)), 10), nn.LeakyReLU(0.2, inplace=True), nn.Linear(10, 1), nn.Sigmoid()
        )

    def forward(self, img):
        return self.model(img.view(img.size(0), -1))


def main(given):
    shape = (1, 8, 8)
    generator, discriminator = given.fill(Generator(shape)), given.fill(Discriminator(shape))
    adversarial_loss = nn.BCELoss()
    optimizer_G = torch.optim.Adam(generator.parameters(), lr=0.002, betas=(0.5, 0.999))
    optimizer_D = torch.optim.Adam(discriminator.parameters(), lr=0.002, betas=(0.5, 0.999))
    for _ in range(2):
        imgs = given.images(4, *shape)
        valid = Variable(imgs.new_ones(imgs.size(0), 1), requires_grad=False)
        fake = Variable(torch.full_like(valid, 0.0), requires_grad=False)

        optimizer_G.zero_grad()
        gen_imgs = generator(given.images(4, 4))
        g_loss = adversarial_loss(discriminator(gen_imgs), valid)
        g_loss.backward()
        optimizer_G.step()

        optimizer_D.zero_grad()
        real_loss = adversarial_loss(discriminator(imgs), valid)
        fake_loss = adversarial_loss(discriminator(gen_imgs.detach()), fake)
        d_loss = (real_loss + fake_loss) / 2
        d_loss.backward()
        optimizer_D.step()
        given.record(loss_g=g_loss.item(), loss_d=d_loss.item())
    given.finish(generator, given.images(2, 4), prefix="generator")
    given.finish(discriminator, given.images(2, *shape), prefix="discriminator")
