"""Elements by position or mask, as PyTorch selects them."""

EXPRESSIONS = {
    "index_select": ["x(2, 3).index_select(1, const([2, 0, 0]))", "torch.index_select(x(3), 0, const(1))"],
    "index_add": [
        "x(2, 3).index_add(1, const([2, 2]), x(2, 2), alpha=3)",
        "torch.index_add(x(3), 0, const(1), x(1))",
        "(x(2, 3) * 1).index_add_(0, const([1, 1, 0]), x(3, 3)) ** 2",
        "ints(5, 3).index_add(0, const([0, 0]), ints(5, 2))",
    ],
    "index_copy": [
        "x(2, 3).index_copy(1, const([2, 0]), x(2, 2)) ** 2",
        "(x(2, 3) * 1).index_copy_(0, const([1]), x(1, 3)) ** 2",
    ],
    "index_fill": [
        "x(2, 3).index_fill(1, const([-1, 0]), 9) ** 2",
        "(x(2, 3) * 1).index_fill_(0, const(1), 2.5) ** 2",
        "ints(5, 3).index_fill(0, const([0]), 1.5)",
    ],
    "scatter": [
        "x(2, 3).scatter(1, const([[0, 2], [1, 0]]), x(2, 2)) ** 2",
        "torch.scatter(x(3, 2), 0, const([[2, 1]]), 5.0) ** 2",
        "x(3, 2).scatter(0, const([[2, 1], [2, 0]]), x(3, 2).detach()) ** 2",
        "(x(2, 3) * 1).scatter_(-1, const([[1]]), value=2.0)",
        "x(2, 3).scatter(1, const([[0, 0]]), x(1, 2), reduce='add').detach()",
        "ints(9, 4).scatter(0, const([1, 3]), 7.9)",
        "x(3).scatter(0, const([], dtype=torch.int64), 1.0)",
    ],
    "scatter_add": [
        "x(2, 3).scatter_add(1, const([[0, 0], [1, 0]]), x(2, 2)) ** 2",
        "torch.scatter_add(x(3), 0, const([2, 2, 2, 0]), x(4))",
        "(x(3) * 1).scatter_add_(0, const([2, 2]), x(2))",
    ],
    "take": ["x(2, 3).take(const([[5, 0], [-1, 0]]))", "torch.take(x(4), const([1]))"],
    "take_along_dim": [
        "torch.take_along_dim(x(2, 3), const([[2]]), dim=1)",
        "x(2, 3).take_along_dim(const([[1, 0, 0]]), 0)",
        "x(2, 3).take_along_dim(const([5, 0]))",
    ],
    "masked_select": ["x(2, 3).masked_select(bools(2, 3))", "torch.masked_select(x(2, 1), bools(3))"],
    "masked_fill": [
        "x(2, 3).masked_fill(bools(3), 7) ** 2",
        "torch.masked_fill(x(1), bools(2, 3), -2.5)",
        "(x(2, 3) * 1).masked_fill_(bools(2, 1), 0.5) ** 2",
        "x(2, 3).masked_fill(bools(2, 3), x()) ** 2",
        "ints(5, 3).masked_fill(bools(3), 1.5)",
        "x(2, 2).masked_fill(bools(2, 2), float('-inf')).detach()",
    ],
    "nonzero": [
        "ints(2, 3, 4).nonzero()",
        "torch.nonzero(ints(2, 3, 4), as_tuple=True)",
        "torch.argwhere(bools(3))",
        "const(1.0).nonzero()",
        "const(0.0).nonzero(as_tuple=True)",
        "torch.where(bools(2, 3))",
    ],
    "where": [
        "torch.where(condition=bools(2, 3), input=x(3), other=x(2, 1))",
        "x(2, 3).where(bools(2, 3), 0.0)",
        "torch.where(bools(3), 1, 0)",
        "torch.where(bools(3), 1.5, 0)",
    ],
    "one_hot": ["F.one_hot(ints(4, 5), 4)", "F.one_hot(const([[2, 0]]))", "F.one_hot(const(1), 3)"],
    "fill_": ["(x(2, 3) * 1).fill_(2)", "(x(2, 3) * 2)[0].zero_()"],
}
