"""viz.page and viz.live without a browser: what is in the file, what is refused, and who may read and send."""

import base64
import hashlib
import http.client
import json
import re
import subprocess
import sys
import threading
from time import monotonic, sleep

import numpy as np
import pytest
from helpers import process_environment

import minigrad as mg
import minigrad.nn.functional as F
from minigrad import data, nn, optim, train, viz
from minigrad.errors import GraphError, ShapeError, ValidationError
from minigrad.models import LeNet5
from minigrad.ops.op import OPS
from minigrad.viz import page as write_page
from minigrad.viz.page import payload as limits
from minigrad.viz.page.bundle import known_operations, read_scripts
from minigrad.viz.page.encoding import encode_images, to_base64
from minigrad.viz.page.live import live as serve

STRANGE = ["</script><script>alert(1)</script>", "$x^2$ \"quoted\" & 'single'", "שלום <b>עולם</b>", "caf\udce9"]


class Scores(nn.Module):
    """A convolution and three or more scores."""

    def __init__(self, classes=4):
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3)
        self.head = nn.Linear(3, classes)

    def forward(self, x):
        return self.head(F.relu(self.conv(x)).mean((2, 3)))


def images(n=2, shape=(1, 8, 8), seed=0):
    return np.random.default_rng(seed).normal(size=(n, *shape)).astype(np.float32)


def data_of(path):
    """Return what the scripts of a page read."""
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', path.read_text("utf-8"), re.S)
    return json.loads(text)


def floats(text):
    return np.frombuffer(base64.b64decode(text), "<f4")


# ---- the file


def test_page_holds_weights_and_images_exactly(tmp_path):
    model, x = Scores(), images(8)
    data = data_of(write_page(model, x, tmp_path / "lab.html"))
    for name, value in model.state_dict().items():
        assert (floats(data["weights"][name]["float32"]) == value.numpy().ravel()).all()
    assert (floats(data["images"]["float32"]).reshape(x.shape) == x).all()
    assert [step["op"] for step in data["steps"]] == ["conv2d", "relu", "mean", "linear"]
    assert data["shape"] == [1, 8, 8] and data["classes"] == ["0", "1", "2", "3"]


def test_page_stores_images_of_few_values_as_bytes_without_loss():
    mean = np.array([0.4, 0.5, 0.6]).reshape(3, 1, 1)
    x = (np.random.default_rng(0).integers(0, 256, (50, 3, 6, 7)) / 255 - mean).astype(np.float32)
    encoded = encode_images(x)
    numbers = np.frombuffer(base64.b64decode(encoded["bytes"]), np.uint8)
    values = floats(encoded["values"]).reshape(3, 256)
    assert (values[np.arange(3).reshape(3, 1, 1), numbers.reshape(x.shape)] == x).all()


def test_page_of_lenet5_with_200_digits_and_a_full_tape_is_below_1500_kb(tmp_path):
    model = LeNet5()
    tape = viz.FilterTape(model, every=1)
    for _ in range(63):
        tape.step(1.0)
    bytes_of_digits = np.random.default_rng(0).integers(0, 256, (200, 1, 28, 28)).astype(np.float32)
    path = write_page(model, bytes_of_digits, tmp_path / "lab.html", tape=tape, labels=[0] * 200)
    assert path.stat().st_size < 1_500_000
    data = data_of(path)
    assert data["tape"]["frames"] == 64
    assert data["tape"]["steps"][0] == 0 and data["tape"]["steps"][-1] == 63
    last = floats(data["tape"]["weights"]["conv1"]["float32"]).reshape(-1, 6, 1, 5, 5)[-1]
    assert (last == model.conv1.weight.detach().numpy()).all()


def test_page_does_not_change_the_model(tmp_path):
    model = Scores()
    model.train()
    before = {name: value.numpy().copy() for name, value in model.state_dict().items()}
    write_page(model, images(), tmp_path / "lab.html")
    assert model.training
    assert all((value.numpy() == before[name]).all() for name, value in model.state_dict().items())


def test_page_keeps_names_as_text_that_cannot_end_the_data(tmp_path):
    path = write_page(Scores(), images(), tmp_path / "lab.html", classes=STRANGE, title=STRANGE[0])
    text = path.read_text("utf-8")
    assert text.count("<script") == 2 and "alert(1)</script>" not in text
    assert "<title>&lt;/script&gt;" in text
    assert data_of(path)["classes"] == [*STRANGE[:3], "caf\\udce9"]


def test_page_allows_only_its_own_script_and_style_and_no_network(tmp_path):
    text = write_page(Scores(), images(), tmp_path / "lab.html").read_text("utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)[1]
    for kind, element in ("script-src", "<script>"), ("style-src", "<style>"):
        content = text.split(element)[1].split("</" + element[1:])[0]
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind} 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy and "connect-src 'none'" in policy
    assert "unsafe" not in policy and "http" not in policy
    assert not re.search(r'(src|href)="(?!data:,)', text.split("<script>")[0])


def test_page_names_a_layer_that_it_does_not_know_and_stores_what_python_computed(tmp_path):
    class Sorted(Scores):
        def forward(self, x):
            return mg.sort(super().forward(x), dim=1)[0]

    x, model = images(3), Sorted()
    data = data_of(write_page(model, x, tmp_path / "lab.html"))
    assert data["notes"] and "cannot compute" in data["notes"][0]
    unknown = [step for step in data["steps"] if step.get("unknown")]
    assert [step["op"] for step in unknown] == ["argsort", "gather"]
    stored = floats(unknown[-1]["stored"]["float32"]).reshape(unknown[-1]["stored"]["shape"])
    assert np.allclose(stored, model(mg.tensor(x)).detach().numpy(), rtol=1e-5)


def test_every_operation_of_the_page_is_one_of_python():
    assert known_operations() <= set(OPS) and "argsort" not in known_operations()
    assert {
        "conv2d",
        "max_pool2d",
        "linear",
        "norm",
        "relu",
        "elu",
        "add",
        "mean",
        "softmax",
        "cat",
    } <= known_operations()


def test_page_says_that_weights_are_nan(tmp_path):
    model = Scores()
    with mg.no_grad():
        model.conv.weight[0, 0, 0, 0] = np.nan
    notes = data_of(write_page(model, images(), tmp_path / "lab.html"))["notes"]
    assert notes == [
        "conv.weight: 1 of 27 numbers are NaN or infinite. The training diverged; lower the learning rate and train "
        "again."
    ]


def test_page_takes_normalisation_from_the_caller_or_from_the_images(tmp_path):
    data = data_of(write_page(Scores(), images(), tmp_path / "lab.html", normalize=(0.5, 0.25)))
    assert data["mean"] == [0.5] and data["std"] == [0.25]
    x = images()
    data = data_of(write_page(Scores(), x, tmp_path / "lab.html"))
    pixels = x * data["std"][0] + data["mean"][0]
    assert np.allclose([pixels.min(), pixels.max()], [0, 1], atol=1e-6)
    data = data_of(write_page(Scores(), np.abs(x).clip(0, 1), tmp_path / "lab.html"))
    assert (data["mean"], data["std"]) == ([0.0], [1.0])


def test_page_is_shown_by_scripts_without_repeated_names():
    """The modules are functions that return their exports; every import finds its module before it."""
    text = read_scripts()
    made = [match.start() for match in re.finditer(r'^modules\["', text, re.M)]
    assert len(made) > 15
    for use in re.finditer(r'= modules\["([^"]+)"\];', text):
        assert text.index(f'modules["{use[1]}"] = (') < use.start()
    assert "import " not in re.sub(r"//.*", "", text)


# ---- what is refused


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"images": np.zeros((0, 1, 8, 8))}, ShapeError, "page: image has shape \\(0, 1, 8, 8\\)"),
        ({"labels": [0]}, ShapeError, "page: 2 images but 1 labels; pass one label for each image"),
        ({"labels": [0, 9]}, ValidationError, "page: labels run from 0 to 9 but the model scores 4 classes"),
        ({"classes": ["a"]}, ShapeError, "page: 1 class names but the model scores 4 classes; name every class"),
        ({"normalize": (0, (1, 2))}, ShapeError, "page: normalize is .* but the images have 1 channel"),
        ({"normalize": (0, 0)}, ValidationError, "page: normalize is \\(0, 0\\); use finite means"),
        ({"model": "lenet"}, ValidationError, "model is a str; pass an nn.Module"),
    ],
)
def test_page_refuses(tmp_path, change, error, message):
    arguments = {"model": Scores(), "images": images(), "path": tmp_path / "lab.html"} | change
    with pytest.raises(error, match=message):
        write_page(**arguments)
    assert not (tmp_path / "lab.html").exists()


class Returns(nn.Module):
    """A model that returns what a function of the image returns."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (lambda x: (x, x), ValidationError, "page: the model returns a tuple, not a tensor of scores"),
        (lambda x: x, ShapeError, "page: the model returns shape \\(1, 1, 8, 8\\)"),
        (lambda x: mg.zeros(1, 3), ValidationError, "page: what the model returns does not depend on the image"),
    ],
)
def test_page_refuses_a_model_without_scores(tmp_path, function, error, message):
    with pytest.raises(error, match=message):
        write_page(Returns(function), images(), tmp_path / "lab.html")


def test_page_refuses_a_model_that_is_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "MOST_WEIGHTS", 40)
    with pytest.raises(ValidationError, match="page: Scores has 46 weights, more than the 40 of a page"):
        write_page(Scores(), images(), tmp_path / "lab.html")
    monkeypatch.setattr(limits, "MOST_WEIGHTS", 46)
    monkeypatch.setattr(limits, "MOST_PRODUCTS", 900)
    with pytest.raises(ValidationError, match="page: Scores needs 984 multiplications for an image, more than the 900"):
        write_page(Scores(), images(), tmp_path / "lab.html")


# ---- live


@pytest.fixture
def session():
    model = Scores()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    with serve(model, images(), optimizer=optimizer) as opened:
        opened.model, opened.optimizer = model, optimizer
        yield opened


def ask(session, path, method="GET", body=None, **headers):
    """Return status and text of a request; a header that is None is left out."""
    host, token = session.url.removeprefix("http://").split("/")[:2]
    connection = http.client.HTTPConnection(host, timeout=20)
    connection.putrequest(method, path.replace("TOKEN", token), skip_host=True)
    sent = {"Host": host, "Content-Length": str(len(body or b""))} | headers
    for name, value in sent.items():
        if value is not None:
            connection.putheader(name.replace("_", "-"), value.replace("HOST", host))
    connection.endheaders(body)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def command(session, **fields):
    return ask(session, "/TOKEN/control", "POST", json.dumps(fields).encode(), Origin="http://HOST")


def test_live_serves_the_page_to_who_knows_the_token(session):
    status, text = ask(session, "/TOKEN/")
    assert status == 200 and "connect-src 'self'" in text
    assert session.url.startswith("http://127.0.0.1:") and len(session.url.split("/")[3]) >= 32
    assert repr(session) == f"Live({session.url}, 0 steps)"


@pytest.mark.parametrize(
    ("path", "method", "headers", "status"),
    [
        ("/", "GET", {}, 403),
        ("/wrong/", "GET", {}, 403),
        ("/TOKENx/", "GET", {}, 403),
        ("/TOKEN/", "GET", {"Host": "evil.example"}, 403),
        ("/TOKEN/", "GET", {"Host": None}, 403),
        ("/TOKEN/", "GET", {"Origin": "http://evil.example"}, 403),
        ("/TOKEN/events", "GET", {"Origin": "null"}, 403),
        ("/TOKEN/other", "GET", {}, 404),
        ("/TOKEN/control", "POST", {}, 403),
        ("/TOKEN/control", "POST", {"Origin": "http://evil.example"}, 403),
        ("/wrong/control", "POST", {"Origin": "http://HOST"}, 403),
        ("/TOKEN/other", "POST", {"Origin": "http://HOST"}, 404),
    ],
)
def test_live_refuses_other_hosts_origins_and_tokens(session, path, method, headers, status):
    assert ask(session, path, method, b'{"command":"pause"}' if method == "POST" else None, **headers)[0] == status
    assert not session._paused


def test_live_refuses_commands_that_it_does_not_know(session):
    assert command(session, command="stop") == (400, "there is no command 'stop'; use play, pause, step or rate")
    assert command(session, command="rate", value="fast")[0] == 400
    assert command(session, command="rate", value=-1)[0] == 400
    assert ask(session, "/TOKEN/control", "POST", b"[1]", Origin="http://HOST") == (400, "a command is an object")
    assert ask(session, "/TOKEN/control", "POST", b"{", Origin="http://HOST") == (400, "a command is JSON")
    long = ask(session, "/TOKEN/control", "POST", b" " * 2000, Origin="http://HOST")
    assert long == (400, "a command has at most 1000 bytes")


def wait_until(condition):
    end = monotonic() + 60
    while not condition():
        assert monotonic() < end
        sleep(0.01)


def test_live_pauses_makes_one_step_and_plays(session):
    assert command(session, command="pause")[0] == 200
    training = threading.Thread(target=lambda: [session.step(1.0) for _ in range(3)], daemon=True)
    training.start()
    wait_until(lambda: session._count == 1)
    sleep(0.2)
    assert session._count == 1
    assert command(session, command="step")[0] == 200
    wait_until(lambda: session._count == 2)
    sleep(0.2)
    assert session._count == 2
    assert command(session, command="play")[0] == 200
    training.join(60)
    assert session._count == 3


def test_live_changes_the_learning_rate_at_the_next_step(session):
    assert command(session, command="rate", value=0.5)[0] == 200
    assert session.optimizer.param_groups[0]["lr"] == 0.1
    session.step(1.0)
    assert session.optimizer.param_groups[0]["lr"] == 0.5


def test_live_without_an_optimizer_refuses_a_learning_rate():
    with serve(Scores(), images()) as session:
        assert "got no optimizer" in command(session, command="rate", value=0.5)[1]


def test_live_sends_the_weights_and_their_gradient(session):
    F.cross_entropy(session.model(mg.tensor(images())), mg.tensor([0, 1])).backward()
    session.step(mg.tensor(1.25))
    lines = []

    def read():
        session._server.stream(lines.append)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    wait_until(lambda: lines)
    message = json.loads(lines[0].decode().removeprefix("data: "))
    assert (message["step"], message["loss"], message["whole"]) == (1, 1.25, True)
    for name, value in session.model.state_dict().items():
        assert message["weights"][name] == to_base64(value.numpy())
    assert message["gradients"]["conv.weight"] == to_base64(session.model.conv.weight.grad.numpy())
    session.close()
    reader.join(60)
    assert json.loads(lines[-1].decode().removeprefix("data: "))["finished"]


def test_live_serves_a_finished_training_until_it_is_closed(session):
    session.step(1.0)
    session.finish()
    assert json.loads(session._server._whole)["finished"]
    assert ask(session, "/TOKEN/")[0] == 200
    session.close()
    with pytest.raises(ConnectionRefusedError):
        ask(session, "/TOKEN/")


def test_live_sends_no_loss_that_json_cannot_hold(session):
    session.step(float("nan"))
    assert json.loads(session._server._whole)["loss"] is None


def test_live_step_inside_a_recording_is_refused(session):
    @mg.graph
    def step(x):
        session.step(1.0)
        return x * 2

    with pytest.raises(GraphError, match="Live.step"):
        step(mg.zeros(2))


def test_live_is_a_callback_of_fit(session):
    loader = data.DataLoader(data.TensorDataset(mg.tensor(images(4)), mg.tensor([0, 1, 2, 3])), 2)
    train.fit(session.model, loader, F.cross_entropy, session.optimizer, 2, on_step=session, progress=False)
    assert session._count == 4


def test_live_refuses_a_port_out_of_range():
    with pytest.raises(ValidationError, match="live: port is 70000; use a whole number from 0 to 65535"):
        serve(Scores(), images(), port=70000)


# ---- python -m minigrad.viz


def run_program(*arguments):
    command = [sys.executable, "-m", "minigrad.viz", *map(str, arguments)]
    return subprocess.run(command, env=process_environment(), capture_output=True, text=True, timeout=600)


def test_program_writes_a_page_of_a_saved_model(tmp_path):
    file = tmp_path / "model.safetensors"
    names = {"input_size": (1, 28, 28), "normalize": (0.1307, 0.3081), "class_names": [f"digit {i}" for i in range(10)]}
    mg.save_model(LeNet5(), file, **names)
    run = run_program(file, "--write", tmp_path / "lab.html")
    assert run.returncode == 0, run.stderr
    data = data_of(tmp_path / "lab.html")
    assert data["classes"][3] == "digit 3" and data["mean"] == [0.1307] and len(data["labels"]) == 200


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.safetensors"], "a model needs --write FILE"),
        (["missing.safetensors", "--write", "lab.html"], "missing.safetensors"),
        (["--seed", "-1"], "--seed of 0 or more"),
        (["--lr", "0"], "--lr above 0"),
        (["--port", "99999"], "--port from 0 to 65535"),
    ],
)
def test_program_refuses_with_a_message_and_no_traceback(arguments, message):
    run = run_program(*arguments)
    assert run.returncode in (1, 2) and message in run.stderr and "Traceback" not in run.stderr
