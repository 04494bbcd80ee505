"""A variational autoencoder with the noise of the reparametrisation given; sum of cross entropies and divergence."""

import torch
from torch import nn, optim
from torch.nn import functional as F


class VAE(nn.Module):
    def __init__(self, noise, pixels=64, hidden=12, latent=3):
        super().__init__()
        self.noise, self.pixels = noise, pixels
        self.fc1 = nn.Linear(pixels, hidden)
        self.mu, self.logvar = nn.Linear(hidden, latent), nn.Linear(hidden, latent)
        self.fc3, self.fc4 = nn.Linear(latent, hidden), nn.Linear(hidden, pixels)

    def encode(self, x):
        h = F.relu(self.fc1(x))
        return self.mu(h), self.logvar(h)

    def reparametrise(self, mu, logvar):
        std = torch.exp(0.5 * logvar)
        eps = self.noise[: mu.size(0)].to(std)
        return eps.mul(std).add_(mu) if self.training else mu

    def decode(self, z):
        return torch.sigmoid(self.fc4(F.relu(self.fc3(z))))

    def forward(self, x):
        mu, logvar = self.encode(x.view(-1, self.pixels))
        return self.decode(self.reparametrise(mu, logvar)), mu, logvar


def loss_function(reconstruction, x, mu, logvar):
    bce = F.binary_cross_entropy(reconstruction, x.view(-1, 64), reduction="sum")
    kld = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
    return bce + kld


def main(given):
    data = given.unit(5, 1, 8, 8)
    model = given.fill(VAE(given.images(5, 3)))
    optimizer = optim.Adam(model.parameters(), lr=1e-3)
    model.train()
    for batch in data.split(3):
        optimizer.zero_grad()
        reconstruction, mu, logvar = model(batch)
        loss = loss_function(reconstruction, batch, mu, logvar)
        loss.backward()
        optimizer.step()
        given.record(loss=loss.item() / len(batch))
    model.eval()
    with torch.no_grad():
        reconstruction, mu, logvar = model(data)
        comparison = torch.cat([data[:2], reconstruction.view(5, 1, 8, 8)[:2]])
        given.record(test=loss_function(reconstruction, data, mu, logvar), comparison=comparison.mean((1, 2, 3)))
        given.record(sample=model.decode(given.images(2, 3)).view(2, 1, 8, 8)[..., ::4, ::4])
    given.finish(model, given.unit(1, 1, 8, 8))
