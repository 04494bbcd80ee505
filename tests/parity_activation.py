"""Activations, as PyTorch computes them."""

EXPRESSIONS = {
    "relu": ["F.relu(x(3, 4))", "torch.relu(x(5))", "layer(nn.ReLU())(x(2, 3))"],
    "leaky_relu": ["F.leaky_relu(x(3, 4), 0.2)", "layer(nn.LeakyReLU())(x(2, 3))"],
    "sigmoid": ["torch.sigmoid(x(3, 4))", "F.sigmoid(x(4))", "layer(nn.Sigmoid())(x(2, 3))"],
    "tanh": ["torch.tanh(x(3, 4))", "F.tanh(x(4))", "layer(nn.Tanh())(x(2, 3))"],
    "softmax": ["F.softmax(x(3, 4), dim=1)", "torch.softmax(x(3, 4), 0)", "layer(nn.Softmax(dim=-1))(x(2, 3))"],
    "log_softmax": ["F.log_softmax(x(3, 4), dim=1)", "layer(nn.LogSoftmax(dim=1))(x(2, 3, 2))"],
}
