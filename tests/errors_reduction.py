"""Messages of reductions, sorting and linear algebra; see test_errors.py."""

from math import inf

import minigrad as mg
from minigrad.errors import DtypeError, ShapeError, ValidationError

T, zeros = mg.tensor, mg.zeros
x2, x23, cube = zeros(2), zeros(2, 3), zeros(2, 3, 4)
MESSAGES = [
    (
        lambda: x2.var(unbiased=True, correction=2),
        ValidationError,
        "var: unbiased is True and correction is 2; give one of them",
    ),
    (lambda: x2.topk(3), ValidationError, "topk: k is 3; use a whole number from 0 to 2"),
    (lambda: x2.kthvalue(0), ValidationError, "kthvalue: k is 0; use a whole number from 1 to 2"),
    (lambda: zeros(2, 0).median(1), ShapeError, "median: axis 1 of shape (2, 0) has no elements to choose from"),
    (
        lambda: x23.unique(dim=0),
        ValidationError,
        "unique: dim is 0; only dim=None is supported, for the elements of all axes",
    ),
    (lambda: x2.bincount(), DtypeError, "bincount: expected whole numbers, got float32; convert them with .long()"),
    (lambda: T([[1]]).bincount(), ShapeError, "bincount: numbers of shape (1, 1); give one axis, of the same size"),
    (
        lambda: T([1]).bincount(x2),
        ShapeError,
        "bincount: numbers of shape (1,) and weights of shape (2,); give one axis, of the same size",
    ),
    (lambda: T([2, -1]).bincount(), ValidationError, "bincount: the smallest number is -1; use numbers of 0 or more"),
    (lambda: x2.histc(3, 2, 1), ValidationError, "histc: from 2 to 1; give a finite min below max"),
    (lambda: x2.histc(3, 0, inf), ValidationError, "histc: from 0 to inf; give a finite min below max"),
    (lambda: T([1]).histc(), DtypeError, "histc: expected a float tensor, got int64; convert it with .float()"),
    (lambda: T([1]).nanmean(), DtypeError, "nanmean: expected a float tensor, got int64; convert it with .float()"),
    (
        lambda: x2.mm(x2),
        ShapeError,
        "mm: shapes (2,) and (2,), expected 2 and 2 axes and equal batches; use matmul for other products",
    ),
    (
        lambda: cube.bmm(zeros(3, 4, 2)),
        ShapeError,
        "bmm: shapes (2, 3, 4) and (3, 4, 2), expected 3 and 3 axes and equal batches; use matmul for other products",
    ),
    (lambda: x23.mv([1, 2, 3]), DtypeError, "mv: expected a Tensor, got list; use mg.tensor(...)"),
    (lambda: x23.outer(x2), ShapeError, "outer: shapes (2, 3) and (2,), expected two vectors; reshape them"),
    (lambda: x23.cross(x23, 0), ShapeError, "cross: shapes (2, 3) and (2, 3) along dim 0; both need size 3 there"),
    (lambda: x2.norm("nuc"), ValidationError, "norm: p is 'nuc'; use 'fro' or a number"),
    (lambda: T([1]).norm(), DtypeError, "norm: expected a float tensor, got int64; convert it with .float()"),
    (lambda: x2.tril(), ShapeError, "tril: the tensor has 1 dimensions (2,), expected 2 or more"),
    (lambda: x23.diagonal(0, 1, -1), ShapeError, "diagonal: dim1 1 and dim2 -1 are the same axis; give two axes"),
    (lambda: cube.diag(), ShapeError, "diag: the tensor has 3 dimensions (2, 3, 4), expected 1 or 2; use diagonal"),
    (lambda: x2.trace(), ShapeError, "trace: the tensor has 1 dimensions (2,), expected 2"),
    (lambda: mg.linalg.matrix_norm(x23, 2), ValidationError, "matrix_norm: ord is 2; use 'fro', 1, -1, inf or -inf"),
    (lambda: mg.linalg.matrix_norm(x23, dim=1), ShapeError, "matrix_norm: dim is 1; give two axes"),
    (
        lambda: mg.linalg.matrix_norm(x23, dim=(0, -2)),
        ShapeError,
        "matrix_norm: dim (0, -2) names an axis twice; name each once",
    ),
    (lambda: mg.linalg.norm(cube, 1), ShapeError, "norm: ord 1 over 3 axes; give dim= of one or two axes"),
    (
        lambda: mg.einsum("ij,jk->ik", x23, x23),
        ShapeError,
        "einsum: shapes (2, 1, 3) and (1, 3, 2) do not broadcast: axis -1 has sizes 2 and 3; make them equal, or "
        "one of them 1",
    ),
    (lambda: mg.einsum("ii", x23), ShapeError, "einsum: subscript 'i' has sizes 2 and 3; make them equal"),
    (
        lambda: mg.einsum("i,j", x2),
        ValidationError,
        "einsum: equation 'i,j' for 1 operands; use letters and '...', with a comma between operands, as in "
        "'ij,jk->ik'",
    ),
    (
        lambda: mg.einsum("i", x23),
        ShapeError,
        "einsum: subscripts 'i' for a tensor of 2 dimensions (2, 3); give one for each axis",
    ),
    (
        lambda: mg.einsum("ij->ik", x23),
        ValidationError,
        "einsum: the result of 'ij->ik' has a subscript twice, or one that no operand has",
    ),
    (lambda: mg.tensordot(x23, x23, 1), ShapeError, "tensordot: axes [1] of (2, 3) and [0] of (2, 3) differ in size"),
    (lambda: mg.tensordot(x2, x2, 2), ShapeError, "tensordot: dim -2 is out of range for 1 dimensions; use -1 to 0"),
    (lambda: mg.meshgrid(x2, indexing="yx"), ValidationError, "meshgrid: indexing is 'yx'; use 'ij' or 'xy'"),
    (lambda: mg.meshgrid(x2, x23), ShapeError, "meshgrid: shapes (2,), (2, 3); give vectors"),
    (
        lambda: mg.cdist(x23, zeros(2, 1)),
        ShapeError,
        "cdist: rows of (2, 3) and (2, 1) differ in size; make the last axes equal",
    ),
    (lambda: mg.cdist(x23, x23, -1), ValidationError, "cdist: p is -1; use a number of 0 or more"),
]
