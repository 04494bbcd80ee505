"""Softmax regression from scratch: plain tensors, no modules, a data iterator and gradients set to zero by hand."""

import random

import torch


def data_iter(batch_size, features, labels):
    indices = list(range(len(features)))
    random.Random(0).shuffle(indices)
    for i in range(0, len(features), batch_size):
        batch = torch.tensor(indices[i : min(i + batch_size, len(features))])
        yield features[batch], labels[batch]


def softmax(X):
    X_exp = torch.exp(X - X.max(1, keepdim=True).values)
    partition = X_exp.sum(1, keepdim=True)
    return X_exp / partition


def cross_entropy(y_hat, y):
    return -torch.log(y_hat[range(len(y_hat)), y])


def accuracy(y_hat, y):
    if len(y_hat.shape) > 1 and y_hat.shape[1] > 1:
        y_hat = y_hat.argmax(axis=1)
    cmp = y_hat.type(y.dtype) == y
    return float(cmp.type(y.dtype).sum())


def sgd(params, lr, batch_size):
    with torch.no_grad():
        for param in params:
            param -= lr * param.grad / batch_size
            param.grad.zero_()


def main(given):
    features, labels = given.images(10, 1, 5, 5), given.labels(4, 10)
    W = (0.1 * given.images(25, 4)).requires_grad_(True)
    b = torch.zeros(4, dtype=W.dtype, requires_grad=True)

    def net(X):
        return softmax(torch.matmul(X.reshape((-1, W.shape[0])), W) + b)

    for epoch in range(3):
        for X, y in data_iter(4, features, labels):
            loss = cross_entropy(net(X), y)
            loss.sum().backward()
            sgd([W, b], lr=0.3, batch_size=X.shape[0])
        with torch.no_grad():
            train_l = cross_entropy(net(features), labels)
        print(f"epoch {epoch + 1}, loss {float(train_l.mean()):f}")
        given.record(loss=train_l.mean(), accuracy=accuracy(net(features), labels) / len(labels))
    picked = torch.gather(net(features), 1, labels.unsqueeze(1))
    weight_decay = (W**2).sum() / 2 + b.norm().pow(2)
    (-picked.log().mean() + 0.01 * weight_decay).backward()
    given.record(W=W, b=b, W_gradient=W.grad, gradient=b.grad, picked=picked.squeeze())
