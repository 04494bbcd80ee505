"""save_model and load_model, and images prepared as a model wants them."""

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

import minigrad as mg
from minigrad import models, nn, train, viz
from minigrad.datasets.preparation import needs_preparation, prepare_images
from minigrad.errors import DataError, DtypeError, ShapeError, ValidationError

INFO = {"class_names": ["cat", "dog"], "input_size": (3, 4, 6), "normalize": ((0.5, 0.4, 0.3), 0.25)}


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def forward(self, x):
        return self.fc(x.mean((2, 3)))


def test_a_model_file_holds_weights_and_what_one_must_know(tmp_path):
    model, path = Own(), tmp_path / "own.safetensors"
    mg.save_model(model, path, **INFO)
    loaded = mg.load_model(path, classes=[Own])
    expected = {"class_names": ["cat", "dog"], "input_size": [3, 4, 6], "normalize": [[0.5, 0.4, 0.3], [0.25]]}
    assert loaded.model_info == model.model_info == expected
    assert not loaded.training and model.training
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(loaded.state_dict()[name].numpy(), value.numpy())
    mg.save_model(loaded, path, class_names=["a", "b"])  # keeps the rest
    assert mg.load_model(path, classes=[Own]).model_info == expected | {"class_names": ["a", "b"]}
    assert set(mg.load(path, classes=[Own]).state_dict()) == {"fc.weight", "fc.bias"}


@pytest.mark.parametrize("make", [models.LeNet5, models.resnet8, lambda: models.unet.UNet(1, 2, width=2, depth=1)])
def test_models_of_the_library_need_no_classes(make, tmp_path):
    mg.save_model(make(), tmp_path / "model.safetensors")
    assert mg.load_model(tmp_path / "model.safetensors").state_dict().keys() == make().state_dict().keys()


def test_a_model_file_names_what_is_wrong(tmp_path):
    path = tmp_path / "own.safetensors"
    with pytest.raises(
        DtypeError, match="^save_model: model is a dict, expected a Module; save other values with save"
    ):
        mg.save_model({}, path)
    with pytest.raises(ShapeError, match=r"^save_model: input_size is \(4, 6\), expected \(C, H, W\)"):
        mg.save_model(Own(), path, input_size=(4, 6))
    with pytest.raises(ShapeError, match=r"^save_model: input_size \(64, 64, 3\) looks like \(H, W, C\), expected"):
        mg.save_model(Own(), path, input_size=(64, 64, 3))
    with pytest.raises(DtypeError, match="^save_model: class_names is 'cat'; give a list of names"):
        mg.save_model(Own(), path, class_names="cat")
    with pytest.raises(ValidationError, match="^save_model: normalize is 3; give"):
        mg.save_model(Own(), path, normalize=3)
    with pytest.raises(
        ValidationError, match=r"^save_model: normalize is \(0, 0\); use a finite mean and a std above 0"
    ):
        mg.save_model(Own(), path, normalize=(0, 0))
    mg.save({"weight": mg.ones(2)}, path)
    with pytest.raises(DataError, match=r"^load_model: .*own.safetensors holds a dict, no model; load weights by"):
        mg.load_model(path)
    mg.save_model(Own(), path)
    with pytest.raises(DataError, match=r"if you trust its author, load it with classes=\[Own\]"):
        mg.load_model(path)


@pytest.mark.parametrize("wrong", ["Own", ["Own"], 3])
def test_classes_are_classes(wrong, tmp_path):
    mg.save_model(Own(), tmp_path / "own.safetensors")
    with pytest.raises(DtypeError, match="^load: classes has ('Own'|3); give classes and functions themselves"):
        mg.load_model(tmp_path / "own.safetensors", classes=wrong)


def test_a_class_that_is_defined_in_a_function_is_found_by_classes(tmp_path):
    class Inner(Own):
        """Another class."""

    path = tmp_path / "inner.safetensors"
    mg.save_model(Inner(), path)
    assert type(mg.load_model(path, classes=Inner)) is Inner
    with pytest.raises(DataError, match=r"load it with classes=\[Inner\]"):
        mg.load_model(path)


def test_a_model_of_doubles_predicts_images_from_files(tmp_path):
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2)).double()
    mg.save_model(model, tmp_path / "m.safetensors", input_size=(3, 2, 2), normalize=(0.5, 0.25))
    Image.new("RGB", (2, 2)).save(tmp_path / "a.png")
    outputs = mg.train.predict(mg.load_model(tmp_path / "m.safetensors"), tmp_path / "a.png").outputs
    np.testing.assert_allclose(
        outputs.numpy(), model(mg.full((1, 3, 2, 2), -2.0).double()).detach().numpy(), rtol=1e-12
    )


def test_images_are_prepared_as_the_model_says(tmp_path):
    model = Own()
    mg.save_model(model, tmp_path / "m.safetensors", pad=1, **INFO)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    mean, std = np.array([0.5, 0.4, 0.3], "f4")[:, None, None], np.float32(0.25)
    expected = (np.pad(pixels.transpose(2, 0, 1) / np.float32(255), ((0, 0), (1, 1), (1, 1))) - mean) / std
    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1))
    for image in (tmp_path / "a.png", str(tmp_path / "a.png"), Image.fromarray(pixels), planes, mg.tensor(planes)):
        assert needs_preparation(image)
        np.testing.assert_allclose(prepare_images("predict", model, image), expected[None], rtol=1e-6)
    both = prepare_images("predict", model, [tmp_path / "a.png", Image.new("L", (60, 40), 255)])
    assert both.shape == (2, 3, 6, 8)
    np.testing.assert_allclose(both[1][:, 1:-1, 1:-1], np.broadcast_to((1 - mean) / std, (3, 4, 6)), rtol=1e-6)
    assert not needs_preparation(expected)
    with pytest.raises(
        ValidationError, match="^predict: the model does not say its input_size and normalize; give num"
    ):
        prepare_images("predict", Own(), planes)
    with pytest.raises(DtypeError, match=r"^predict: an image is float64 \(2, 2\); give a file, a PIL image, or bytes"):
        prepare_images("predict", model, [np.ones((2, 2))])
    model.model_info["input_size"] = [5, 4, 6]
    with pytest.raises(ValidationError, match=r"^predict: the model reads 5 channels; give numbers \(N, 5, 4, 6\)"):
        prepare_images("predict", model, planes)


# ---- train.predict and viz use what the file says


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A model read from a file, an image file, its bytes and the numbers that the model takes."""
    folder = tmp_path_factory.mktemp("small")
    mg.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 4 * 5, 2))
    mg.save_model(model, folder / "model.safetensors", class_names=["cat & co", "dog"], input_size=(3, 4, 5),
                  normalize=(0.5, 0.25), pad=1)  # fmt: skip
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 5), np.uint8)
    Image.fromarray(pixels.transpose(1, 2, 0)).save(folder / "image.png")
    numbers = (np.pad(pixels / np.float32(255), ((0, 0), (1, 1), (1, 1))) - np.float32(0.5)) / np.float32(0.25)
    return mg.load_model(folder / "model.safetensors"), folder / "image.png", pixels, numbers


def test_predict_prepares_images_and_names_classes(small):
    model, path, pixels, numbers = small
    expected = model(mg.tensor(numbers[None])).detach()
    for images in (path, pixels, [path, path], np.stack([pixels, pixels]), Image.open(path)):
        found = train.predict(model, images)
        np.testing.assert_allclose(found.outputs[:1].numpy(), expected.numpy(), rtol=1e-5)
        assert found.names == [["cat & co", "dog"][label] for label in found.labels.tolist()]
    np.testing.assert_allclose(found.probabilities.numpy(), expected.softmax(1).numpy(), rtol=1e-5)
    assert train.predict(Own(), mg.ones(1, 3, 2, 2)).names in (["0"], ["1"])


IMAGE_FUNCTIONS = {
    "saliency_map": lambda model, image: viz.saliency_map(model, image),
    "grad_cam_map": lambda model, image: viz.grad_cam_map(model, image, "0"),
    "occlusion_map": lambda model, image: viz.occlusion_map(model, image, size=2, stride=2),
    "explain_pixel": lambda model, image: str(viz.explain_pixel(model, image, "0", 1, 2, 3)),
    "feature_maps": lambda model, image: [text.get_text() for text in viz.feature_maps(model, image).findobj(Text)],
    "saliency": lambda model, image: viz.saliency(model, image).get_suptitle(),
}


@pytest.mark.parametrize("name", IMAGE_FUNCTIONS)
def test_viz_prepares_images(small, name):
    model, path, pixels, numbers = small
    expected = IMAGE_FUNCTIONS[name](model, numbers)
    for image in (path, pixels):
        np.testing.assert_array_equal(IMAGE_FUNCTIONS[name](model, image), expected)


def test_viz_takes_shape_and_classes_from_the_model(small):
    model, path, _, _ = small
    assert str(viz.summary(model)) == str(viz.summary(model, (3, 6, 7)))
    assert viz.prototype_images(model, steps=1).shape == (2, 3, 6, 7)
    assert viz.draw(model).get_suptitle() == viz.draw(model, (3, 6, 7)).get_suptitle()
    wrong = 1 - train.predict(model, path).labels.item()
    texts = [text.get_text() for text in viz.mistakes(model, [path], [wrong]).findobj(Text)]
    assert any("cat & co" in text for text in texts) and any("dog" in text for text in texts)
    with pytest.raises(ShapeError, match="^summary: input_shape is None, not"):
        viz.summary(Own())
    with pytest.raises(ValidationError, match="^saliency_map: the model does not say its input_size and normalize"):
        viz.saliency_map(Own(), path)
