"""Transforms of images: torchvision's results, random parameters that follow from seeds, batches, grids of images."""

import io
import random

import numpy as np
import pytest
import transform_cases
from batches import BATCH_CHAINS, BILINEAR, batch_of_images
from hypothesis import given, settings, strategies as st
from PIL import Image

import minigrad as mg
from minigrad import data, datasets, transforms as T, utils
from minigrad.errors import DtypeError, ShapeError
from minigrad.ops.noise import uniform_noise
from minigrad.ops.warp import warp_images
from minigrad.runtime.device import device
from minigrad.streams import mix, sample_seeds, use_stream
from minigrad.transforms import functional as F, v2
from minigrad.transforms.base import Draws
from minigrad.transforms.batch import NO_FIELD, NO_PROJECTION, plan_batch

CPU, NUMPY = device("cpu"), device("numpy")
VECTORS = np.load(transform_cases.VECTORS)
GREY_LEVEL = 1.01  # one level, and rounding


# ---- functions, against torchvision's stored results


@pytest.mark.parametrize("kind, expression", transform_cases.CASES)
def test_functions_equal_torchvisions(kind, expression):
    """Pillow images are equal; bytes differ by a level where resize rounds, floats by their rounding."""
    parts = transform_cases.evaluate(kind, expression, F, T.InterpolationMode, utils, mg.tensor, mg.uint8)
    for i, part in enumerate(parts):
        expected = VECTORS[f"{kind}|{expression}|{i}"]
        assert (part.shape, part.dtype) == (expected.shape, expected.dtype)
        limit = 1e-5 if part.dtype.kind == "f" else 1 if "resize" in expression else 0
        limit = 0 if isinstance(transform_cases.KINDS[kind](), Image.Image) else limit
        np.testing.assert_allclose(part.astype(float), expected.astype(float), rtol=0, atol=limit)


@pytest.mark.parametrize("kind", ["floats", "bytes"])
def test_functions_keep_arrays_arrays_and_tensors_tensors(kind):
    array = transform_cases.KINDS[kind]()
    for call in (F.hflip, lambda x: F.resize(x, 5), lambda x: F.crop(x, 0, 0, 11, 9), lambda x: F.rotate(x, 20)):
        before = array.copy()
        found, made = call(array), call(mg.tensor(array))
        assert type(found) is np.ndarray and type(made) is mg.Tensor and made.dtype == array.dtype
        np.testing.assert_array_equal(found, made.numpy())
        found[...] = 0
        np.testing.assert_array_equal(array, before)  # the result has memory of its own


def test_functions_return_tensors_on_the_device_of_the_image():
    assert F.hflip(mg.zeros(1, 2, 2, device="numpy")).device == "numpy"


def test_sixteen_bits_a_channel_become_int32():
    picture = Image.fromarray(np.array([[0, 40000, 65535]], np.uint16))
    for convert in (F.to_tensor, F.pil_to_tensor):
        assert convert(picture).dtype == mg.int32 and convert(picture).tolist() == [[[0, 40000, 65535]]]


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "CMYK", "HSV", "YCbCr", "I", "F"])
def test_pictures_of_every_mode_return_from_tensors(mode):
    bands = len(Image.new(mode, (1, 1)).getbands())
    picture = Image.new(mode, (5, 4), 9 if bands == 1 else tuple(range(9, 9 + bands)))
    back = F.to_pil_image(F.pil_to_tensor(picture), mode)
    assert (back.mode, back.size, back.tobytes()) == (mode, picture.size, picture.tobytes())


def test_to_tensor_scales_bytes_and_keeps_other_numbers():
    assert F.to_tensor(np.full((2, 3, 3), 255, np.uint8)).tolist() == np.ones((3, 2, 3)).tolist()
    assert F.to_tensor(np.full((2, 3), 2.5)).dtype == mg.float64
    assert F.to_tensor(Image.new("1", (1, 1), 1)).tolist() == [[[1.0]]]


def test_grey_pixels_become_three_channels():
    assert F.rgb_to_grayscale(np.zeros((2, 1, 4, 5), np.uint8), 3).shape == (2, 3, 4, 5)


def test_inplace_changes_the_tensor():
    x = mg.ones(1, 2, 2)
    assert F.normalize(x, [0.5], [0.5], inplace=True) is x and x.tolist() == [[[1, 1], [1, 1]]]
    assert F.erase(x, 0, 0, 1, 1, 7.0, inplace=True) is x and x[0, 0, 0].item() == 7
    F.erase(x, 0, 0, 2, 2, 0)
    assert x[0, 0, 0].item() == 7


def test_normalize_records_gradients():
    x = mg.ones(1, 2, 2, requires_grad=True)
    T.Normalize(mg.tensor([0.5]), mg.tensor([0.25]))(x).sum().backward()
    assert x.grad.tolist() == [[[4, 4], [4, 4]]]
    array = np.ones((1, 1, 1))
    assert F.normalize(array, [0.5], [0.25], inplace=True) is array and array.item() == 2


# ---- classes


REPRS = {
    "Compose(\n    Resize(size=3, interpolation=bilinear, max_size=None, antialias=True)\n    ToTensor()\n"
    "    Normalize(mean=(0.5,), std=(0.5,))\n)": lambda: T.Compose(
        [T.Resize(3), T.ToTensor(), T.Normalize((0.5,), (0.5,))]
    ),
    "RandomCrop(size=(3, 3), padding=1)": lambda: T.RandomCrop(3, padding=1),
    "RandomAffine(degrees=[-10.0, 10.0], translate=(0.1, 0.1), scale=(0.5, 1))": lambda: T.RandomAffine(
        10, translate=(0.1, 0.1), scale=(0.5, 1)
    ),
    "RandomAffine(degrees=[-10.0, 10.0], shear=[-3.0, 3.0], interpolation=bilinear, fill=3)": lambda: T.RandomAffine(
        10, interpolation=BILINEAR, fill=3, shear=3
    ),
    "RandomRotation(degrees=[-5.0, 5.0], interpolation=nearest, expand=False, center=(1, 1), fill=1)": lambda: (
        T.RandomRotation(5, fill=1, center=(1, 1))
    ),
    "RandomErasing(p=0.5, scale=(0.02, 0.33), ratio=(0.3, 3.3), value=0, inplace=False)": T.RandomErasing,
    "ColorJitter(brightness=(0.9, 1.1), contrast=(0.8, 1.2), saturation=None, hue=(-0.4, 0.4))": lambda: T.ColorJitter(
        0.1, 0.2, hue=0.4
    ),
    "Pad(padding=3, fill=0, padding_mode=constant)": lambda: T.Pad(3),
    "RandomResizedCrop(size=(3, 3), scale=(0.08, 1.0), ratio=(0.75, 1.3333), interpolation=bilinear, "
    "antialias=True)": lambda: T.RandomResizedCrop(3),
    "GaussianBlur(kernel_size=(3, 3), sigma=(0.1, 2.0))": lambda: T.GaussianBlur(3),
    "ElasticTransform(alpha=[50.0, 50.0], sigma=[5.0, 5.0], interpolation=InterpolationMode.BILINEAR, "
    "fill=[0.0])": T.ElasticTransform,
    "RandomApply(\n    p=0.5\n    Grayscale(num_output_channels=1)\n)": lambda: T.RandomApply([T.Grayscale()]),
    "RandomChoice(\n    Grayscale(num_output_channels=1)\n)(p=None)": lambda: T.RandomChoice([T.Grayscale()]),
    "TrivialAugmentWide(num_magnitude_bins=31, interpolation=InterpolationMode.NEAREST, fill=None)": (
        T.TrivialAugmentWide
    ),
    "ToPILImage()": T.ToPILImage,
    "RandomPerspective(p=0.5)": T.RandomPerspective,
    "TenCrop(size=(3, 3), vertical_flip=False)": lambda: T.TenCrop(3),
}


@pytest.mark.parametrize("text", REPRS)
def test_representations_are_torchvisions(text):
    assert repr(REPRS[text]()) == text


RANDOM = {
    "RandomCrop": lambda: T.RandomCrop(6, padding=2),
    "RandomResizedCrop": lambda: T.RandomResizedCrop(6),
    "RandomHorizontalFlip": T.RandomHorizontalFlip,
    "RandomVerticalFlip": T.RandomVerticalFlip,
    "RandomRotation": lambda: T.RandomRotation(30),
    "RandomAffine": lambda: T.RandomAffine(30, (0.1, 0.2), (0.5, 1.5), (-3, 3, -9, 9)),
    "RandomPerspective": T.RandomPerspective,
    "ElasticTransform": lambda: T.ElasticTransform(sigma=1.0),
    "RandomErasing": lambda: T.Compose([T.ToTensor(), T.RandomErasing(value="random")]),
    "ColorJitter": lambda: T.ColorJitter(0.4, 0.4, 0.4, 0.2),
    "GaussianBlur": lambda: T.GaussianBlur(3),
    "RandomGrayscale": lambda: T.RandomGrayscale(0.5),
    "RandomInvert": T.RandomInvert,
    "RandomPosterize": lambda: T.RandomPosterize(2),
    "RandomSolarize": lambda: T.RandomSolarize(99),
    "RandomAdjustSharpness": lambda: T.RandomAdjustSharpness(3),
    "RandomAutocontrast": T.RandomAutocontrast,
    "RandomEqualize": T.RandomEqualize,
    "TrivialAugmentWide": T.TrivialAugmentWide,
    "RandomApply": lambda: T.RandomApply([T.RandomRotation(20)]),
    "RandomChoice": lambda: T.RandomChoice([T.RandomRotation(20), T.Grayscale(3), T.RandomVerticalFlip()]),
    "RandomOrder": lambda: T.RandomOrder([T.RandomRotation(90), T.Pad((1, 0, 2, 0))]),
}


def pixels(image):
    return np.asarray(image)


@pytest.mark.parametrize("name", RANDOM)
def test_random_transforms_follow_from_manual_seed_and_from_nothing_else(name):
    """The seed decides, other libraries' generators are neither read nor changed, and calls differ."""
    transform, picture = RANDOM[name](), transform_cases.KINDS["RGB"]().resize((36, 44))
    states = random.getstate(), np.random.get_state()[1].tolist()
    mg.manual_seed(3)
    first = [pixels(transform(picture)) for _ in range(12)]
    random.seed(1)
    mg.manual_seed(3)
    second = [pixels(transform(picture)) for _ in range(12)]
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not all(np.array_equal(first[0], other) for other in first)
    random.setstate(states[0])
    assert np.random.get_state()[1].tolist() == states[1]


@pytest.mark.parametrize("name", ["RandomCrop", "RandomAffine", "RandomErasing"])
def test_random_transforms_of_pixels_and_pictures_draw_the_same(name):
    """The parameters depend on the seed, not on the kind of image."""
    kinds = [lambda: T.RandomCrop(6), lambda: T.RandomAffine(9), lambda: T.RandomErasing(p=1)]
    transform = dict(zip(["RandomCrop", "RandomAffine", "RandomErasing"], kinds, strict=True))[name]()
    drawn = []
    for image in (transform_cases.KINDS["RGB"](), transform_cases.KINDS["bytes"]()):
        mg.manual_seed(5)
        drawn.append(transform._draw_for(image))
    assert all(np.array_equal(drawn[0][key], drawn[1][key]) for key in drawn[0])


def test_transform_number_t_draws_from_the_hash_of_the_seed_and_t():
    chain = T.Compose([T.RandomRotation(30), T.ToTensor(), T.RandomErasing(p=1)])
    angles = chain.transforms[0].draw(Draws(mix(np.uint64(77), 0)), (1, 9, 9))
    boxes = chain.transforms[2].draw(Draws(mix(np.uint64(77), 1)), (1, 9, 9))
    with use_stream(77):
        assert chain.transforms[0]._draw_for(np.zeros((1, 9, 9)))["angle"] == angles["angle"][0]
        assert chain.transforms[2]._draw_for(np.zeros((1, 9, 9)))["top"] == boxes["top"][0]


def test_draws_for_many_images_are_those_for_each():
    seeds = sample_seeds(1, 2, np.arange(7))
    many, singles = Draws(seeds), [Draws(seed) for seed in seeds]
    for draw in (
        lambda draws: draws.uniform(2, 5),
        lambda draws: draws.integers(0, 9),
        lambda draws: draws.normal((2, 3)),
        lambda draws: draws.order(4),
        *[lambda draws: draws.happens(0.5)] * 20,
    ):
        np.testing.assert_array_equal(draw(many), np.concatenate([draw(single) for single in singles]))


def test_several_draws_at_once_are_those_of_single_calls():
    seeds, low, high = sample_seeds(1, 2, np.arange(7)), [0, -3, 2, 2, 5], [1, 3, 2, 9, 6]
    many, singles = Draws(seeds), Draws(seeds)
    for _ in range(3):
        found = many.uniforms(low, high)
        expected = [singles.uniform(*pair) for pair in zip(low, high, strict=True)]
        np.testing.assert_allclose(found, expected, rtol=1e-15)


def test_noise_is_equal_on_all_devices_and_uniform():
    seeds = sample_seeds(1, 2, np.arange(50))
    noise, expected = (uniform_noise(on, seeds, 500) for on in (CPU, NUMPY))
    np.testing.assert_array_equal(noise, expected)
    np.testing.assert_array_equal(uniform_noise(CPU, seeds[7:8], 500)[..., 0], noise[..., 7])
    assert noise.min() >= -1 and noise.max() < 1
    counts = np.histogram(noise, 8, (-1, 1))[0]
    assert (abs(counts / noise.size * 8 - 1) < 0.05).all()
    correlations = (
        np.corrcoef(noise.reshape(2, -1))[0, 1],
        np.corrcoef(noise[0, 1:].ravel(), noise[0, :-1].ravel())[0, 1],
    )
    assert max(map(abs, correlations)) < 0.03


def test_elastic_displacements_are_smooth_and_of_their_size():
    """Along x alpha is 0, along y neighbours move nearly equally, by alpha/height times a mean of the noise."""
    transform = T.ElasticTransform([0.0, 40.0], 3.0)
    moved = transform.draw(Draws(sample_seeds(0, 0, np.arange(30))), (1, 40, 30))["displacement"]
    assert moved.shape == (30, 40, 30, 2) and (moved[..., 0] == 0).all()
    along_y = moved[..., 1]
    assert 0.5 < along_y.std() / (0.577 / (2 * np.pi**0.5 * 3)) < 1.5  # 40/40 times noise under a Gaussian window
    assert abs(np.diff(along_y, axis=1)).mean() < 0.4 * abs(along_y).mean()
    plain = T.ElasticTransform(1.0, [0.0, 0.0]).draw(Draws(7), (1, 6, 5))["displacement"]
    np.testing.assert_allclose(plain[0, ..., 0].ravel() * 5, Draws(7).noise(30)[0, :, 0], rtol=1e-6)


def test_draws_have_their_distributions():
    draws = Draws(sample_seeds(0, 0, np.arange(40000)))
    uniform, normal = draws.uniform(-1, 3), draws.normal()
    assert (uniform.min() >= -1) and (uniform.max() < 3) and abs(uniform.mean() - 1) < 0.03
    assert abs(normal.mean()) < 0.02 and abs(normal.std() - 1) < 0.02 and abs((normal**3).mean()) < 0.1
    counts = np.bincount(draws.integers(2, 7))
    assert counts[:2].tolist() == [0, 0] and len(counts) == 7 and (abs(counts[2:] / 8000 - 1) < 0.05).all()
    assert abs(draws.happens(0.3).mean() - 0.3) < 0.01
    orders = draws.order(3) @ [9, 3, 1]
    assert len(set(orders)) == 6 and (abs(np.unique(orders, return_counts=True)[1] / 6667 - 1) < 0.05).all()
    assert abs(np.corrcoef(uniform, normal)[0, 1]) < 0.02


def test_random_crops_take_every_place_and_random_resized_crops_keep_their_ranges():
    corners = T.RandomCrop((3, 4)).draw(Draws(sample_seeds(0, 0, np.arange(2000))), (1, 5, 5))
    assert set(zip(corners["top"].tolist(), corners["left"].tolist(), strict=True)) == {
        (top, left) for top in range(3) for left in range(2)
    }
    part = T.RandomResizedCrop(5, (0.2, 0.5), (0.5, 2)).draw(Draws(sample_seeds(0, 0, np.arange(2000))), (1, 100, 120))
    area, ratio = part["height"] * part["width"] / 12000, part["width"] / part["height"]
    assert (
        0.19 < area.min() < 0.22 and 0.48 < area.max() < 0.51 and 0.48 < ratio.min() < 0.55 < 1.8 < ratio.max() < 2.05
    )
    assert ((part["top"] + part["height"] <= 100) & (part["left"] + part["width"] <= 120)).all()


def test_random_erasing_erases_its_share_and_only_that():
    image = np.ones((1, 40, 50), np.float32)
    mg.manual_seed(0)
    shares = [1 - T.RandomErasing(p=1, scale=(0.1, 0.3))(image).mean() for _ in range(50)]
    assert 0.09 < min(shares) < max(shares) < 0.31 and image.min() == 1


def test_padding_if_needed_and_random_choice_with_weights():
    assert T.RandomCrop(9, pad_if_needed=True)(np.zeros((1, 4, 5))).shape == (1, 9, 9)
    choice = T.RandomChoice([T.Pad(1), T.Pad(2)], p=[1, 0])
    assert {choice(np.zeros((1, 3))).shape for _ in range(20)} == {(3, 5)}


def test_get_params_fit_the_functions():
    image = transform_cases.KINDS["bytes"]()
    assert F.crop(image, *T.RandomCrop.get_params(image, (4, 5))).shape == (3, 4, 5)
    assert F.resized_crop(image, *T.RandomResizedCrop.get_params(image, (0.1, 1), (1, 1)), 3).shape == (3, 3, 3)
    assert F.affine(image, *T.RandomAffine.get_params((0, 9), (0.1, 0.1), None, None, (9, 11))).shape == image.shape
    assert F.perspective(image, *T.RandomPerspective.get_params(9, 11, 0.5)).shape == image.shape
    assert (
        F.elastic_transform(image, T.ElasticTransform.get_params([9.0, 9.0], [1.0, 1.0], (11, 9))).shape == image.shape
    )
    assert 0 <= T.RandomRotation.get_params((0, 9)) < 9 and 1 <= T.GaussianBlur.get_params(1, 2) < 2
    order, *factors = T.ColorJitter.get_params((0.5, 1), None, None, (0, 0.1))
    assert sorted(order) == [0, 1, 2, 3] and 0.5 <= factors[0] < 1 and factors[1:3] == [None, None]


def test_arrays_with_channels_last_are_refused():
    with pytest.raises(ShapeError, match=r"ToTensor|looks like \(H, W, C\), expected \(C, H, W\)"):
        T.RandomCrop(4)(np.zeros((32, 32, 3), np.uint8))
    with pytest.raises(DtypeError, match="Pillow image"):
        T.RandomCrop(4)((np.zeros((3, 32, 32), np.uint8), 1))  # a sample is for v2


# ---- v2


def test_v2_transforms_take_samples():
    picture, mask = transform_cases.KINDS["RGB"](), transform_cases.KINDS["L"]()
    chain = v2.Compose([v2.RandomAffine(90, (0.2, 0.2)), v2.RandomHorizontalFlip()])
    sample = chain({"images": [picture, picture], "label": 3, "mask": mask})
    assert sample["label"] == 3 and sample["mask"].mode == "L" and sample["mask"] is not mask
    assert sample["images"][0].tobytes() == sample["images"][1].tobytes() != picture.tobytes()
    image, label, extra = v2.RandomCrop(4)(np.zeros((3, 9, 9)), np.arange(6), None)
    assert image.shape == (3, 4, 4) and label.shape == (6,) and extra is None


def test_v2_has_the_names_of_the_first_version():
    assert set(T.__all__) <= set(v2.__all__) and set(F.__all__) <= set(v2.functional.__all__)
    assert v2.functional.horizontal_flip is F.hflip and issubclass(v2.Resize, T.Resize)
    made = v2.ToDtype(mg.float32, scale=True)(v2.ToImage()(transform_cases.KINDS["RGB"]()))
    assert made.dtype == mg.float32 and made.max().item() <= 1


# ---- batches


def one_by_one(chain, images, numbers, seeds):
    """The results of the chain for Pillow images, each in the stream of its seed."""
    results = []
    for image, seed in zip(images[numbers], seeds, strict=True):
        with use_stream(int(seed)):
            results.append(chain(Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0))).numpy())
    return np.stack(results)


def worst_levels(chain, C, on):
    """The largest difference to the transforms one by one, in grey levels, and the share of pixels that differ."""
    images, numbers, seeds = batch_of_images(chain, C)
    plan = plan_batch(chain, images.shape)
    found, expected = plan(on, images, numbers, seeds), one_by_one(chain, images, numbers, seeds)
    assert found.shape == expected.shape and found.shape[1:] == plan.shape and found.dtype == np.float32
    assert found.transpose(1, 2, 3, 0).flags.c_contiguous
    scale = next((255 * t.std[0] for t in chain.transforms if isinstance(t, T.Normalize)), 255)
    difference = scale * abs(found - expected)
    return difference.max(), (difference > 0.1).mean()


@pytest.mark.parametrize("on", [CPU, NUMPY], ids=str)
@pytest.mark.parametrize("C", [1, 3])
@pytest.mark.parametrize("name", BATCH_CHAINS)
def test_batches_equal_the_transforms_one_by_one(name, C, on):
    worst, share = worst_levels(BATCH_CHAINS[name](), C, on)
    assert worst < (0.01 if name in ("crop", "affine") else GREY_LEVEL) and share < 0.01


@st.composite
def chains(draw):
    """Crops, flips and pads around one resampling, in a random order."""
    whole = [
        T.Pad(2),
        T.Pad([1, 2, 0, 3]),
        T.RandomCrop((9, 8), padding=2),
        T.RandomCrop(10, pad_if_needed=True),
        T.CenterCrop((15, 10)),
        T.RandomHorizontalFlip(),
        T.RandomVerticalFlip(),
    ]
    mode = draw(st.sampled_from([T.InterpolationMode.NEAREST, BILINEAR]))
    warps = [
        T.RandomAffine(25, (0.1, 0.2), (0.8, 1.2), (5, 10), mode),
        T.RandomAffine(0, (0.1, 0.2), (0.5, 1.7), None, mode),
        T.RandomRotation((0, 360), mode, center=(2, 3)),
        T.RandomPerspective(0.5, 0.7, mode),
        T.ElasticTransform(30.0, 1.0, mode),
    ]
    before, after = (draw(st.lists(st.sampled_from(whole), max_size=2)) for _ in range(2))
    warp = draw(st.lists(st.sampled_from(warps), max_size=1))
    last = draw(st.lists(st.sampled_from(whole), max_size=1))
    return T.Compose([*before, *warp, *after, T.ToTensor(), *last]), bool(warp) and mode is BILINEAR


@settings(max_examples=25)
@given(chains(), st.sampled_from([1, 3]), st.sampled_from([CPU, NUMPY]))
def test_random_chains_of_batches_equal_the_transforms_one_by_one(chain_and_means, C, on):
    chain, has_means = chain_and_means
    worst, share = worst_levels(chain, C, on)
    assert worst < (GREY_LEVEL if has_means else 0.01) and share < 0.01


def test_a_changed_setting_of_a_transform_counts_from_the_next_epoch_on():
    digits = datasets.MNIST(transform=T.Compose([T.RandomAffine(0, translate=(0, 0)), T.ToTensor()]))
    loader = data.DataLoader(data.Subset(digits, range(8)), 8)
    before, _ = next(iter(loader))
    digits.transform.transforms[0].degrees = (90, 90)
    after, _ = next(iter(loader))
    np.testing.assert_array_equal(after.numpy(), np.rot90(before.numpy(), -1, (2, 3)))


def test_batches_do_not_depend_on_their_size_or_order():
    images, numbers, seeds = batch_of_images(None, N=150)
    plan = plan_batch(BATCH_CHAINS["affine"](), images.shape)
    whole = plan(CPU, images, numbers, seeds)
    order = np.random.default_rng(0).permutation(150)
    np.testing.assert_array_equal(plan(CPU, images, numbers[order], seeds[order]), whole[order])
    for part in (slice(0, 0), slice(0, 1), slice(70, 140)):
        np.testing.assert_array_equal(plan(CPU, images, numbers[part], seeds[part]), whole[part])


@pytest.mark.parametrize("sides", [(1, 1), (1, 9), (8, 1), (2, 2)])
@pytest.mark.parametrize("mode", [T.InterpolationMode.NEAREST, BILINEAR])
def test_plans_take_narrow_images(sides, mode):
    images = np.random.default_rng(0).integers(0, 256, (4, 3, *sides)).astype(np.uint8)
    numbers, seeds = np.arange(4), sample_seeds(0, 0, np.arange(4))
    for first in ([], [T.ToTensor()]):
        chain = T.Compose(
            [*first, T.RandomAffine(40, (0.3, 0.3), interpolation=mode), *([] if first else [T.ToTensor()])]
        )
        found, expected = (plan_batch(chain, images.shape)(on, images, numbers, seeds) for on in (CPU, NUMPY))
        assert abs(found - expected).max() < GREY_LEVEL / 255
        if not first:
            assert abs(found - one_by_one(chain, images, numbers, seeds)).max() < GREY_LEVEL / 255


def test_plans_take_doubles_and_colours():
    chain = T.Compose([T.RandomAffine(40, fill=(9, 90, 200)), T.ToTensor()])
    images, numbers, seeds = batch_of_images(None, C=3)
    found = plan_batch(chain, images.shape, np.float64)(CPU, images, numbers, seeds)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, one_by_one(chain, images, numbers, seeds), atol=1e-6)


class OwnCrop(T.RandomCrop):
    """A transform whose results are not those of its base class."""


@pytest.mark.parametrize(
    "transforms",
    [
        [T.RandomCrop(9)],  # no conversion
        [T.ToTensor(), T.Lambda(lambda x: x)],
        [T.RandomApply([T.RandomHorizontalFlip()]), T.ToTensor()],
        [T.RandomRotation(9), T.RandomAffine(9), T.ToTensor()],
        [T.RandomRotation(9, T.InterpolationMode.BICUBIC), T.ToTensor()],
        [T.RandomRotation(9, expand=True), T.ToTensor()],
        [T.ToTensor(), T.RandomPerspective(interpolation=T.InterpolationMode.NEAREST)],
        [T.Pad(1, fill=3), T.RandomRotation(9), T.ToTensor()],
        [T.Pad(1, padding_mode="reflect"), T.ToTensor()],
        [T.RandomCrop(9, 1, padding_mode="edge"), T.ToTensor()],
        [T.ToTensor(), T.Normalize([0.5], [0.5]), T.RandomRotation(9, BILINEAR)],
        [T.Normalize([0.5], [0.5]), T.ToTensor()],
        [T.ToTensor(), T.ToTensor()],
        [T.RandomRotation(9, fill=(1, 2, 3)), T.ToTensor()],
        [T.RandomAffine(0, scale=(1e-6, 1)), T.ToTensor()],
        [T.RandomAffine(0, shear=89), T.ToTensor()],
        [T.Pad(1, fill=300), T.ToTensor()],
        [T.ToTensor(), T.Pad(1, fill=0.3), T.RandomRotation(9, BILINEAR, fill=0.3)],
        [T.ColorJitter(0.5), T.ToTensor()],
        [OwnCrop(9), T.ToTensor()],
    ],
    ids=repr,
)
def test_other_chains_have_no_plan(transforms):
    assert plan_batch(T.Compose(transforms), (20, 1, 13, 14)) is None
    assert plan_batch(T.ToTensor(), (20, 2, 13, 14)) is None and plan_batch(len, (20, 1, 13, 14)) is None


def test_warp_shows_pixels_only_inside_both_windows():
    """An image of ones: the result is 1 where the windows in the result and in the frame agree."""
    images, unit = np.ones((1, 1, 6, 6), np.uint8), np.ones(1, np.float32)
    column = [[number] for number in (2**32, 0, 2**31, 0, 2**32, 2**31, 1, 4, 0, 4, 1, 0, 1, 0, 0, 3, 2, 4)]
    zero = np.zeros(1, np.float32)
    expected = np.zeros((6, 6))
    expected[2:4, 1:3] = 1
    for on in (CPU, NUMPY):
        arguments = np.zeros(1, np.int64), np.array(column), NO_PROJECTION, NO_FIELD, zero, unit, zero
        np.testing.assert_array_equal(warp_images(on, images, *arguments, (6, 6), 0, (6, 6))[0, 0], expected)


# ---- grids


@pytest.mark.parametrize("size", [(480, 640), (13, 5), (481, 333)])
def test_a_quarter_turn_of_a_tensor_exchanges_its_sides(size):
    for angle, expected in ((90, size[::-1]), (-90, size[::-1]), (270, size[::-1]), (180, size)):
        assert F.rotate(mg.zeros(1, *size), angle, expand=True).shape == (1, *expected)


def test_make_grid_scales_each_image_or_all():
    images = mg.tensor(np.arange(24.0).reshape(2, 3, 2, 2))
    grid = utils.make_grid(images, nrow=1, padding=1, normalize=True, pad_value=0.5)
    assert grid.shape == (3, 7, 4) and grid[0, 0].tolist() == [0.5] * 4 and grid[2, 5, 2].item() == 1
    each = utils.make_grid(images, normalize=True, scale_each=True)
    assert each[0, 2, 2].item() == each[0, 2, 6].item() == 0
    limited = utils.make_grid([images[0], images[1]], normalize=True, value_range=(0, 8))
    assert limited[0, 2, 6].item() == 1 and limited[0, 2, 3].item() == 1 / 8


def test_make_grid_makes_grey_images_coloured_and_leaves_one_image_alone():
    assert utils.make_grid(mg.zeros(5, 1, 4, 4), nrow=2, padding=0).shape == (3, 12, 8)
    assert utils.make_grid(mg.zeros(4, 4)).shape == utils.make_grid(mg.zeros(1, 1, 4, 4)).shape == (3, 4, 4)


def test_save_image_rounds_and_takes_files_and_names(tmp_path):
    images = mg.tensor(np.array([[[[0.0, 0.5, 2.0]]]]))
    utils.save_image(images, tmp_path / "grid.png")
    assert np.asarray(Image.open(tmp_path / "grid.png"))[0, :, 1].tolist() == [0, 128, 255]
    file = io.BytesIO()
    utils.save_image(images, file, format="BMP")
    assert file.getvalue()[:2] == b"BM"
