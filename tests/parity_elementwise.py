"""Functions of each element, comparison, logic, bits, dtypes and inspection, as PyTorch computes them."""

FLOATS = {  # the arguments of functions
    "x(2, 3)": "sin cos atan arctan sinh cosh asinh arcsinh erf erfc expm1 exp exp2 sigmoid tanh deg2rad "
    "rad2deg square abs absolute neg negative positive reciprocal relu nan_to_num",
    "unit(2, 3)": "asin arcsin acos arccos atanh arctanh tan",
    "positive(4)": "log log1p log2 log10 sqrt rsqrt",
    "(3 * x(2, 3))": "floor ceil trunc fix round frac sign sgn",
    "(positive(4) + 1)": "acosh arccosh",
    "unit(2, 3).abs()": "logit",
}
WHOLE = "sin cos tan atan sinh cosh asinh erf erfc expm1 exp exp2 sigmoid tanh log1p sqrt rsqrt reciprocal deg2rad"
KEPT = "floor ceil trunc round sign sgn abs negative positive square"  # of whole numbers
SPECIAL = "[float('nan'), float('inf'), -float('inf'), 0.0, -0.0, 0.5, 1.5, 2.5, -1.0, -2.5]"
PLACES = (  # functions that write in place
    "abs absolute arctan atan ceil cos cosh deg2rad erf erfc exp exp2 expm1 fix floor frac nan_to_num neg negative "
    "rad2deg reciprocal round sgn sigmoid sign sin sinh square tanh trunc"
)
PAIRS = ["eq", "ne", "gt", "ge", "lt", "le", "not_equal", "greater", "greater_equal", "less", "less_equal"]
BITS = ["bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_left_shift", "bitwise_right_shift"]
TENSOR = "torch.tensor"
NAN = f"{TENSOR}({SPECIAL}, dtype=torch.float64)"
WITH_NAN = f"{NAN}.reshape(2, 5), {TENSOR}([0.0, float('nan'), float('inf'), -1.5, -0.0], dtype=torch.float64)"


def _functions_of_one():
    """As function and method, of whole numbers, and of special values."""
    found = {}
    for argument, names in FLOATS.items():
        for name in names.split():
            found[name] = [f"torch.{name}({argument})", f"{argument}.{name}().sum(0)", f"torch.{name}({NAN})"]
    for name in WHOLE.split():
        found[name] += [f"torch.{name}(ints(5, 2, 3))", f"torch.{name}(bools(3))", f"torch.{name}(ints(5, 2).int())"]
    for name in KEPT.split():
        found[name] += [f"torch.{name}(ints(5, 2, 3) - 2)"]
    for name in ("isnan", "isinf", "isfinite", "isposinf", "isneginf"):
        found[name] = [f"torch.{name}({NAN})", f"{NAN}.{name}()", f"torch.{name}(ints(3, 4) - 1)"]
    for name in PLACES.split():
        found[f"{name}_"] = [f"(x(2, 3) * 1.5).{name}_()", f"[y := x(2, 3) * 2, y[0].{name}_() * 2, y]"]
    for name in ("asin", "acos", "arcsin", "arccos", "tan"):
        found[f"{name}_"] = [f"(unit(2, 3) * 1.0).{name}_()"]
    for name in ("log", "log1p", "log2", "log10", "sqrt", "rsqrt"):
        found[f"{name}_"] = [f"(positive(4) * 1.5).{name}_()"]
    for name in ("acosh", "arccosh", "asinh", "arcsinh", "atanh", "arctanh"):  # PyTorch has no gradient of these
        found[f"{name}_"] = [f"(unit(3) + 1).detach().{name}_()"]
    return found


def _comparisons():
    found = {}
    for name in PAIRS:
        found[name] = [f"torch.{name}(ints(3, 2, 4), ints(3, 4))", f"x(3).{name}(0.5)", f"ints(4, 5).{name}(1.5)"]
        found[name] += [f"torch.{name}({WITH_NAN})"]
        found[f"{name}_"] = [f"ints(3, 4).{name}_(1)", f"x(3).detach().{name}_(x(3).detach())"]
    for name in ("logical_and", "logical_or", "logical_xor"):
        found[name] = [f"torch.{name}(ints(2, 2, 4), ints(2, 4))", f"bools(3).{name}({TENSOR}([0.0, float('nan'), 1]))"]
        found[f"{name}_"] = [f"ints(3, 4).{name}_(bools(4))"]
    found["logical_not"] = ["torch.logical_not(ints(2, 4))", f"{NAN}.logical_not()", "bools(3).logical_not()"]
    found["logical_not_"] = ["ints(2, 4).logical_not_()", "x(3).detach().logical_not_()"]
    return found


def _bits():
    found = {}
    for name in BITS:
        found[name] = [f"torch.{name}(ints(9, 2, 3), ints(4, 3))", f"(ints(9, 4) - 4).int().{name}(2)"]
        found[name] += [f"ints(200, 4).to(torch.uint8).{name}(ints(4, 4))"]
        found[f"{name}_"] = [f"ints(9, 3).{name}_(ints(3, 3))", f"ints(9, 3).{name}_(2)"]
    for sign in ("&", "|", "^"):
        name = {"&": "bitwise_and", "|": "bitwise_or", "^": "bitwise_xor"}[sign]
        found[name] += [f"bools(4) {sign} bools(4)", f"bools(2, 2) {sign} True", f"bools(4) {sign} ints(4, 4)"]
        found[name] += [f"6 {sign} ints(9, 4)", f"torch.{name}(bools(4), bools(4))"]
    found["bitwise_left_shift"] += ["3 << ints(3, 4)", "ints(5, 3) << 70", "ints(5, 3).int() << 31", "ints(5, 3) << 0"]
    found["bitwise_right_shift"] += ["300 >> ints(9, 4)", "(ints(5, 3) - 3) >> 70", "(ints(5, 3) - 3) >> 1"]
    found["bitwise_not"] = ["~ints(5, 3)", "~bools(3)", "torch.bitwise_not(ints(5, 3).to(torch.uint8))"]
    return found | {"bitwise_not_": ["ints(5, 3).bitwise_not_()", "bools(3).bitwise_not_()"]}


DIVISION = {
    "remainder": [
        "x(2, 3) % 0.7",
        "torch.remainder(x(2, 3), x(3))",
        "2.5 % x(4).detach()",
        "(ints(9, 5) - 4) % 3",
        "(ints(9, 5) - 4) % -3",
        "(ints(9, 5) - 4).remainder(ints(3, 5) + 1)",
        "ints(5, 3) % x(3)",
        "7 % (ints(5, 3) + 1)",
        f"torch.remainder({WITH_NAN})",
    ],
    "remainder_": ["(2 * x(3)).remainder_(0.3)", "ints(5, 3).remainder_(2)"],
    "floor_divide": [
        "x(2, 3).detach() // 0.7",
        "5 // x(4).detach()",
        "(ints(9, 5) - 4) // 3",
        "torch.floor_divide(ints(9, 5) - 4, -3)",
        "7 // (ints(5, 3) + 1)",
        f"torch.floor_divide({WITH_NAN})",
    ],
    "floor_divide_": ["x(3).detach().floor_divide_(0.3)", "ints(5, 3).floor_divide_(2)"],
    "fmod": [
        "torch.fmod(x(2, 3), 0.7)",
        "x(2, 3).fmod(x(3))",
        "(ints(9, 5) - 4).fmod(3)",
        "(ints(9, 5) - 4).fmod(-3)",
        f"torch.fmod({WITH_NAN})",
    ],
    "fmod_": ["(2 * x(3)).fmod_(0.3)", "ints(5, 3).fmod_(2)"],
    "div": [
        "torch.div(x(2, 3), x(3), rounding_mode=None)",
        "torch.div(x(2, 3), x(3), rounding_mode='floor')",
        "torch.div(x(2, 3), 0.3, rounding_mode='trunc')",
        "torch.div(ints(9, 5) - 4, 3, rounding_mode='trunc')",
        "torch.div(ints(9, 5) - 4, 3, rounding_mode='floor')",
        "torch.div(ints(9, 5), 2.5, rounding_mode='trunc')",
        "torch.div(ints(9, 5), 0)",
    ],
    "div_": ["(2 * x(3)).div_(0.3)", "ints(5, 3).div_(2, rounding_mode='floor')"],
    "divide": ["torch.divide(x(3), 2, rounding_mode='trunc')", "x(3).divide(x(3))"],
    "divide_": ["(2 * x(3)).divide_(x(3))"],
    "true_divide": ["torch.true_divide(ints(5, 3), 2)", "x(3).true_divide(x(3))"],
    "true_divide_": ["(2 * x(3)).true_divide_(x(3))"],
}

OTHERS = {
    "isfinite": ["torch.isfinite(bools(3))"],
    "exp_": ["[y := x(3) * 2, z := y + 1, y.exp_(), y + z][-1]"],
    "sqrt_": ["[y := positive(4) * 2, y[:2].sqrt_(), y * y][-1]"],
    "multiply": ["torch.multiply(x(2, 3), x(3))", "ints(4, 3).multiply(2.5)"],
    "multiply_": ["(x(3) + 1).multiply_(x(3))"],
    "subtract": ["torch.subtract(x(2, 3), x(3), alpha=2)"],
    "subtract_": ["(x(3) + 1).subtract_(x(3), alpha=0.5)"],
    "pow_": ["(positive(3) + 1).pow_(2.5)", "ints(4, 3).pow_(2)", "(positive(3) * 2).pow_(positive(3))"],
    "clamp_": ["(x(4) * 2).clamp_(-1, 1.5)"],
    "clip_": ["(x(4) * 2).clip_(min=-0.5)"],
    "clamp_min": ["torch.clamp_min(x(4), 0.3)", "ints(5, 4).clamp_min(2)"],
    "clamp_max": ["torch.clamp_max(x(4), 0.3)", "ints(5, 4).clamp_max(2.5)", "x(4).clamp_max(x(4))"],
    "clamp_min_": ["(x(4) * 2).clamp_min_(0.3)"],
    "clamp_max_": ["(x(4) * 2).clamp_max_(0.3)"],
    "atan2": ["torch.atan2(x(2, 3), x(3))", "x(3).atan2(x(3))", "torch.atan2(ints(3, 4), ints(3, 4) + 1)"],
    "arctan2": ["torch.arctan2(x(3), x(2, 1))", f"torch.arctan2({WITH_NAN})"],
    "atan2_": ["(2 * x(3)).atan2_(x(3))"],
    "arctan2_": ["(2 * x(3)).arctan2_(x(3))"],
    "hypot": ["torch.hypot(x(2, 3), x(3))", f"torch.hypot({WITH_NAN})"],
    "hypot_": ["(2 * x(3)).hypot_(x(3))"],
    "logaddexp": ["torch.logaddexp(x(2, 3), x(3))", f"torch.logaddexp({WITH_NAN})"],
    "fmax": ["torch.fmax(x(2, 3), x(3))", f"torch.fmax({WITH_NAN})", "torch.fmax(ints(5, 4), ints(5, 4))"],
    "fmin": ["torch.fmin(x(2, 3), x(3))", f"torch.fmin({WITH_NAN})", "ints(5, 4).fmin(ints(5, 4))"],
    "lerp": [
        "torch.lerp(x(2, 3), x(3), 0.3)",
        "x(3).lerp(x(3), 0.8)",
        "torch.lerp(x(2, 3), x(3), unit(2, 1))",
        "x(3).lerp(x(3), unit())",
    ],
    "lerp_": ["(2 * x(3)).lerp_(x(3), 0.1)", "(2 * x(3)).lerp_(x(3), unit(3))"],
    "addcmul": ["torch.addcmul(x(2, 3), x(3), x(2, 1), value=0.5)", "ints(4, 3).addcmul(ints(4, 3), ints(4, 3))"],
    "addcmul_": ["(2 * x(3)).addcmul_(x(3), x(3), value=-1)"],
    "addcdiv": ["torch.addcdiv(x(2, 3), x(3), positive(2, 1), value=0.5)"],
    "addcdiv_": ["(2 * x(3)).addcdiv_(x(3), positive(3), value=-1)"],
    "logit": ["torch.logit(x(5), eps=0.1)", "unit(3).abs().logit(1e-6)"],
    "logit_": ["(positive(4) / 2).logit_()", "(2 * x(3)).logit_(0.1)"],
    "nan_to_num": [f"torch.nan_to_num({NAN}, 1.0, 2.0, 3.0)", "torch.nan_to_num(ints(5, 3))"],
    "round": ["torch.round(x(2, 3), decimals=1)", "(100 * x(3)).round(decimals=-1)", f"{NAN}.float().round()"],
    "round_": ["(2 * x(3)).round_(decimals=1)"],
}

INSPECTION = {
    "type": [
        "x(3).type() == 'torch.DoubleTensor'",
        "ints(5, 3).type(torch.FloatTensor)",
        "x(3).type('torch.IntTensor')",
        "x(3).type(torch.uint8) if 0 else x(3).abs().type(torch.uint8)",
        "bools(3).type() == 'torch.BoolTensor'",
    ],
    "byte": ["ints(5, 3).byte()"],
    "FloatTensor": [
        "torch.FloatTensor([1, 2])",
        "torch.FloatTensor(2, 3).shape",
        "torch.FloatTensor()",
        "torch.FloatTensor((2, 3))",
        "isinstance(x(2).float(), torch.FloatTensor)",
        "isinstance(ints(3, 2), torch.FloatTensor)",
    ],
    "LongTensor": [
        "torch.LongTensor([1, 2])",
        "isinstance(ints(3, 2), torch.LongTensor)",
        "torch.LongTensor(3).dtype.itemsize",
    ],
    "DoubleTensor": ["torch.DoubleTensor([[1, 2]])"],
    "IntTensor": ["torch.IntTensor([1, 2])"],
    "ByteTensor": ["torch.ByteTensor([1, 2])"],
    "BoolTensor": ["torch.BoolTensor([True, False])"],
    "float, double, int, long": [
        "x(2).to(torch.float)",
        "ints(4, 2).to(torch.double)",
        "x(2).to(torch.int)",
        "x(2).to(torch.long)",
    ],
    "is_floating_point": ["torch.is_floating_point(x(2))", "ints(3, 2).is_floating_point()"],
    "is_complex": ["x(2).is_complex()"],
    "nelement": ["x(2, 3).nelement()", "x(2, 3).ndimension()"],
    "is_cuda": ["x(2).is_cuda"],
    "itemsize": [
        "[x(2).itemsize, x(2).float().element_size(), ints(3, 2).itemsize]",
        "[x(2, 3).nbytes, bools(3).nbytes]",
    ],
    "stride": [
        "x(2, 3).stride()",
        "x(2, 3).stride(1)",
        "x(2, 3, 4).permute(2, 0, 1).stride()",
        "x(2, 3)[:, 1].stride()",
        "x(3, 1).expand(3, 4).stride()",
        "F.max_pool2d(x(2, 3, 4, 4), 2).stride()",
        "x(4, 6)[1:, ::2].stride()",
    ],
    "is_contiguous": ["x(2, 3).is_contiguous()", "x(2, 3).T.is_contiguous()", "x(4, 6)[1:3].is_contiguous()"],
    "data_ptr": ["[y := x(4), y.data_ptr() == y.detach().data_ptr(), y[1:].data_ptr() - y.data_ptr()][1:]"],
    "finfo": [
        "float(torch.finfo(torch.float32).eps)",
        "float(torch.finfo(torch.float64).max)",
        "torch.iinfo(torch.int32).max",
    ],
    "pi": ["[torch.pi, torch.e, torch.inf]", "torch.nan"],
}

EXPRESSIONS: dict[str, list[str]] = {}
for _table in (_functions_of_one(), _comparisons(), _bits(), DIVISION, OTHERS, INSPECTION):
    for _name, _expressions in _table.items():
        EXPRESSIONS.setdefault(_name, []).extend(_expressions)
