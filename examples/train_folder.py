"""Train a network on your own photographs, and learn how good it is.

    python examples/train_folder.py PHOTOS              images in PHOTOS/cat/, PHOTOS/dog/, ...: a folder for each class
    python examples/train_folder.py PHOTOS --resume     continue the last run; with --epochs 60, for more epochs
    python examples/predict.py NEW.jpg --model runs/folder/model.safetensors

The images are divided at random: 70 % train the network, 15 % choose the best epoch, and 15 % are the test, on which
nothing depends.  If PHOTOS has folders train and val or test, with the classes in each, these are used instead.

The shortest program of this kind, without checks, schedule, test and pictures:

    import minigrad as mg
    import minigrad.nn.functional as F
    from minigrad import data, datasets, models, optim, train

    photos = datasets.ImageFolder("photos", size=64, cache=True)
    learned, held_out = data.random_split(photos, [0.8, 0.2], seed=0, stratify=True)
    normalize = data.mean_and_std(learned)
    loader = data.DataLoader(learned, 32, shuffle=True, normalize=normalize)
    validation = data.DataLoader(held_out, 32, normalize=normalize)
    model = models.resnet8(num_classes=len(photos.classes))
    optimizer = optim.AdamW(model.parameters(), lr=0.003)
    train.fit(model, loader, F.cross_entropy, optimizer, 10, validation=validation)
    mg.save_model(model, "model.safetensors", class_names=photos.classes, input_size=(3, 64, 64), normalize=normalize)

    model = mg.load_model("model.safetensors")
    print(train.predict(model, "new.jpg").names)
"""

import argparse
import contextlib
import math
import tempfile
import zlib
from copy import copy
from pathlib import Path

import numpy as np

import minigrad as mg
import minigrad.nn.functional as F
from minigrad import data, datasets, models, optim, train, transforms, viz
from minigrad.viz import style
from minigrad.viz.formatting import format_name

MODELS = {  # functions of the number of classes and the size of images
    "resnet8": lambda K, size: models.resnet8(num_classes=K),
    "resnet20": lambda K, size: models.resnet20(num_classes=K),
    "resnet18": lambda K, size: models.resnet18(num_classes=K),
    "mobilenet": lambda K, size: models.mobilenet_v2(num_classes=K),
    "lenet": lambda K, size: models.LeNet5(num_classes=K, in_channels=3, image_size=size),
}
PARTS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
SHARE = 0.15  # of the images, for each of validation and test
LEAST = 5  # images of each class, below which they cannot be divided
FEW_TRAINING, FEW_TESTED = 50, 20  # images of a class, below which the report warns
SEARCH_STEPS = 40  # of the search for a learning rate, from SLOWEST to 1
SLOWEST = 1e-4  # learning rate
LISTED, SHOWN = 8, 6  # broken files that an error lists, and mistakes that are drawn


@contextlib.contextmanager
def messages_for_errors():
    """Inside, an error of minigrad or Ctrl-C ends the program with a message, without a traceback."""
    try:
        yield
    except mg.errors.MinigradError as error:
        raise SystemExit(f"train_folder.py: {error}") from None
    except KeyboardInterrupt:
        raise SystemExit("\nstopped at once; --resume continues from the last checkpoint, if there is one") from None


@messages_for_errors()
def main():
    args = arguments()

    # 1. Images.  Each is decoded once, reduced to a square of --size pixels, and kept in memory as bytes.
    parts = find_parts(args)
    classes = [format_name(name) for name in parts["train"].dataset.classes]
    print(f"{len(classes)} classes; " + ", ".join(f"{name}: {len(part)} images" for name, part in parts.items()))

    # 2. Batches.  One kernel makes a batch, and flips, turns, moves and scales training images, differently each time.
    normalize = data.mean_and_std(parts["train"])
    size = min(args.batch_size, len(parts["train"]))
    settings = {"num_workers": args.workers, "device": args.device}
    loader = data.DataLoader(
        augmented(parts["train"], normalize, args), size, shuffle=True, seed=args.seed, drop_last=True, **settings
    )
    validation, test = (data.DataLoader(parts[name], size, normalize=normalize, **settings) for name in ("val", "test"))

    # 3. Model, optimiser, and a learning rate that rises for a third of the training and then falls almost to 0.
    mg.manual_seed(args.seed)
    model = MODELS[args.model](len(classes), args.size).to(args.device)
    optimizer = optim.AdamW(model.parameters(), weight_decay=0.01)
    args.lr = choose_rate(args, model, loader, optimizer)
    scheduler = optim.lr_scheduler.OneCycleLR(optimizer, args.lr, total_steps=args.epochs * len(loader))

    # 4. Training.  Ctrl-C ends it with a checkpoint.  The epoch that was best for the validation images is kept.
    run = {name: getattr(args, name) for name in ("model", "size", "lr", "seed", "flip")} | {"files": digest(parts)}
    history = train.fit(
        model, loader, F.cross_entropy, optimizer, args.epochs, validation=validation, scheduler=scheduler,
        monitor=args.monitor, folder=args.out, resume=args.resume, settings=run,
    )  # fmt: skip
    if len(history.loss) < args.epochs * len(loader):
        raise SystemExit(f"\n{history.stopped}; continue with --resume (checkpoint in {args.out})")
    epoch = train.load_best(model, args.out)
    mg.save_model(
        model, args.out / "model.safetensors", class_names=classes, input_size=(3, args.size, args.size),
        normalize=normalize,
    )  # fmt: skip

    # 5. Test, of the best epoch.
    answers = train.predict(model, test)
    report = train.class_report(answers.targets, answers.labels, classes)
    print(f"\nthe test, with the weights of epoch {epoch}, which has the best {args.monitor}:\n\n{report}\n")
    print("\n".join(judge(report, parts)))

    # 6. Pictures.
    viz.save(viz.training_curves(history), args.out / "training.png")
    viz.save(viz.confusion_matrix(answers.targets, answers.labels, classes), args.out / "confusion.png")
    viz.save(draw_mistakes(model, parts["test"], answers), args.out / "mistakes.png")
    print(f"\nmodel, log and pictures are in {args.out}/; python examples/predict.py PHOTO --model "
          f"{args.out / 'model.safetensors'} uses the model")  # fmt: skip


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="PHOTOS", help="a folder with a folder of images for each class")
    parser.add_argument("--size", type=count, default=64, help="pixels of the side to which images are reduced (64)")
    parser.add_argument(
        "--model", choices=MODELS, default="resnet8", help="the network (resnet8); lenet needs --size 28 or 32"
    )
    parser.add_argument("--epochs", type=count, default=30, help="passes over the training images (30)")
    parser.add_argument("--batch-size", type=count, default=32, help="images in a step (32)")
    parser.add_argument("--lr", type=rate, help="highest learning rate (found by a search)")
    parser.add_argument("--monitor", choices=["val_loss", "val_accuracy"], default="val_loss", help="chooses the epoch")
    parser.add_argument("--no-flip", dest="flip", action="store_false", help="for classes that a mirror would change")
    parser.add_argument("--skip", action="store_true", help="leave out files that cannot be read")
    parser.add_argument("--seed", type=int, default=0, help="seed of parts, weights and shuffling (0)")
    parser.add_argument("--device", default="cpu", help="cpu, numpy or cuda (cpu)")
    parser.add_argument("--workers", type=int, default=2, help="threads that make batches (2)")
    parser.add_argument("--out", type=Path, default=Path("runs/folder"), help="folder for model, log and pictures")
    parser.add_argument("--resume", action="store_true", help="continue from the checkpoint in the folder")
    args = parser.parse_args()
    if args.resume:
        parser.set_defaults(**train.saved_settings(args.out))
        args = parser.parse_args()
    if not 0 <= args.seed < 2**64:
        parser.error(f"--seed is {args.seed}; use 0 to 2**64 - 1")
    mg.device(args.device)  # fail now, not after an epoch
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=args.out).close()
    except OSError as error:
        parser.error(f"--out: {args.out} cannot be written ({error.strerror}); choose another folder")
    return args


def count(text):
    """Read a whole number of 1 or more."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text} is no whole number of 1 or more")
    return int(text)


def rate(text):
    """Read a number above 0."""
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no number above 0")
    return value


# ---- images


def find_parts(args):
    """Return the images for training, validation and test, as a Subset of an ImageFolder each."""
    folders = given_parts(args.folder) or {"train": args.folder}
    images = {name: read_images(path, args) for name, path in folders.items()}
    check_classes(images)
    missing = [name for name in ("val", "test") if name not in images]
    shares = [1 - SHARE * len(missing), *[SHARE] * len(missing)]
    split = data.random_split(images["train"], shares, seed=args.seed, stratify=True)
    whole = {name: data.Subset(part, range(len(part))) for name, part in images.items()}
    return whole | dict(zip(["train", *missing], split, strict=True))


def given_parts(folder):
    """Return the folders train, val and test by name; {} if there is not train and another of them."""
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    found = {PARTS[path.name.lower()]: path for path in paths if path.name.lower() in PARTS and path.is_dir()}
    return found if "train" in found and len(found) > 1 else {}


def read_images(folder, args):
    """Decode all images of a folder; refuse or leave out files that cannot be read."""
    images = datasets.ImageFolder(folder, size=args.size, on_error="skip", allow_empty=True, cache=True)
    lines = [reason if path in reason else f"{path}: {reason}" for path, reason in images.skipped]
    found = first(lines, "\n  ")
    if lines and not args.skip:
        raise mg.errors.DataError(
            f"{len(lines)} of {len(images) + len(lines)} files in {folder} cannot be read; remove them, or leave them "
            f"out with --skip:\n  {found}"
        )
    if lines:
        print(f"left out {len(lines)} files:\n  {format_name(found)}")
    return images


def check_classes(images):
    """Refuse parts from which nothing can be learned."""
    classes, root = images["train"].classes, images["train"].root
    if len(classes) < 2:
        raise mg.errors.DataError(
            f"{root} has 1 class, {classes[0]}, expected 2 or more; give the folder that contains a folder for each"
        )
    counts = np.bincount(images["train"].targets, minlength=len(classes))
    few = [f"{name} ({n})" for name, n in zip(classes, counts, strict=True) if n < LEAST]
    if few:
        raise mg.errors.DataError(
            f"{root} has fewer than {LEAST} images of {len(few)} of {len(classes)} classes: {first(few)}; "
            "add images, or remove the folders"
        )
    for part in images.values():
        if part.classes != classes:
            different = sorted(set(part.classes) ^ set(classes))
            raise mg.errors.DataError(
                f"{part.root} has other classes than {root}: {first(different)} is in one of them only; "
                "rename the folders, or add empty ones for classes without images"
            )
        if not len(part):
            raise mg.errors.DataError(f"{part.root} has 0 images, expected 1 or more; add images, or remove it")


def first(names, separator=", "):
    """Return the first names of a list, as text."""
    return separator.join(names[:LISTED] + ["..."] * (len(names) > LISTED))


def augmented(part, normalize, args):
    """Return a part whose images are changed at random each time they are read."""
    mean, std = normalize
    images = copy(part.dataset)  # with the same images in memory
    images.transform = transforms.Compose([
        *[transforms.RandomHorizontalFlip()] * args.flip,
        transforms.RandomAffine(
            10, translate=(0.1, 0.1), scale=(0.9, 1.1), interpolation=transforms.InterpolationMode.BILINEAR,
            fill=[round(255 * level) for level in mean],
        ),
        transforms.ToTensor(),
        transforms.Normalize(mean, std),
    ])  # fmt: skip
    return data.Subset(images, part.indices)


def digest(parts):
    """Return a number that tells whether a run is resumed with the same files."""
    paths = [Path(path_of(part, i)).relative_to(part.dataset.root) for part in parts.values() for i in range(len(part))]
    return zlib.crc32("\n".join(map(str, paths)).encode(errors="backslashreplace"))


def path_of(part, number):
    return part.dataset.paths[part.indices[number]]


def pixels_of(part, number):
    """Return an image as bytes, (3, H, W)."""
    return part.dataset.stored_image(part.indices[number])


def choose_rate(args, model, loader, optimizer):
    """Return the highest learning rate: what was given, or the rate at which the loss falls fastest in a search."""
    if args.lr is not None:
        return args.lr
    search = train.find_lr(model, loader, F.cross_entropy, optimizer, SLOWEST, steps=SEARCH_STEPS)
    viz.save(viz.lr_curve(search), args.out / "lr.png")
    print(f"the highest learning rate is {search.suggestion:.2g}, by train.find_lr; give another with --lr")
    return search.suggestion


# ---- how good it is


def judge(report, parts):
    """Yield lines that say what the test is worth."""
    tested, right = report.confusion.sum(1), np.trace(report.confusion)
    N, (low, high) = tested.sum(), wilson_interval(right, tested.sum())
    trained = np.bincount(labels_of(parts["train"]), minlength=len(tested))
    frequent = trained.argmax()
    share = tested[frequent] / N
    yield f"accuracy: {right / N:.1%}; for images like these it is between {low:.1%} and {high:.1%} (95 % interval)"
    better = "" if low > share else "; THE MODEL IS NOT CLEARLY BETTER THAN THAT"
    yield f"always answering {report.classes[frequent]}, the most frequent class: {share:.1%}{better}"
    for counts, least, use in ((trained, FEW_TRAINING, "learned from"), (tested, FEW_TESTED, "tested on")):
        few = [f"{name} ({n})" for name, n in zip(report.classes, counts, strict=True) if n < least]
        if few:
            yield f"{len(few)} of {len(counts)} classes were {use} fewer than {least} images: {first(few)}"
    copies = count_copies(parts)
    if copies:
        yield f"{copies} of the test images are also training images, so the accuracy is too high; remove the copies"


def wilson_interval(right, n, z=1.96):
    """Return the interval of 95 % for a share of which `right` of n were counted.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference"
    """
    share, spread = right / n, z * z / n
    middle, half = share + spread / 2, z * math.sqrt(share * (1 - share) / n + spread / (4 * n))
    return (middle - half) / (1 + spread), (middle + half) / (1 + spread)


def labels_of(part):
    return part.dataset.labels_of(part.indices)


def count_copies(parts):
    """Return the number of test images with the same pixels as a training image."""
    trained, test = {pixels_of(parts["train"], i).tobytes() for i in range(len(parts["train"]))}, parts["test"]
    return sum(pixels_of(test, i).tobytes() in trained for i in range(len(test)))


# ---- pictures


def draw_mistakes(model, part, answers):
    """Draw the mistakes that the model is most certain of, or without mistakes the least certain answers."""
    probabilities, truth = answers.probabilities.numpy(), answers.targets.numpy()
    certain, is_wrong = probabilities.max(1), probabilities.argmax(1) != truth
    order = np.lexsort([np.where(is_wrong, -certain, certain), ~is_wrong])[: min(SHOWN, is_wrong.sum() or SHOWN)]
    which = "the most certain mistakes" if is_wrong.any() else "the least certain answers"
    title = f"{is_wrong.sum()} of {len(truth)} test images are wrong; {which}, and the pixels that speak for each class"
    figure = style.figure(7.6, 2.6 * len(order) + 0.6, title)
    for row, number in zip(figure.subplots(len(order), 3, squeeze=False), order, strict=True):
        likely = np.argsort(-probabilities[number])
        roles = {"true": truth[number], "answer" if is_wrong[number] else "next": likely[likely != truth[number]][0]}
        pixels = pixels_of(part, number)
        row[0].imshow(pixels.transpose(1, 2, 0))
        row[0].set_title(shorten(Path(path_of(part, number)).name), fontsize=style.SMALL)
        draw_evidence(row[1:], model, pixels, roles)
        for axes, (role, label) in zip(row[1:], roles.items(), strict=True):
            text = f"{shorten(answers.class_names[label])}\n{role}, {probabilities[number, label]:.1%}"
            axes.set_title(text, fontsize=style.SMALL)
        for axes in row:
            style.draw_thin_frame(axes)
    return figure


def draw_evidence(panels, model, pixels, roles):
    """Draw, for each of two classes, the pixels that speak for it, on one scale: the darker brown, the more."""
    heats = [viz.grad_cam_map(model, pixels, target=int(label)) for label in roles.values()]
    most = max(heat.max() for heat in heats) or 1
    for axes, heat in zip(panels, heats, strict=True):
        axes.imshow(pixels.mean(0), cmap="gray", vmin=0, vmax=255)
        axes.imshow(heat, cmap=style.AMOUNT, vmin=0, vmax=most, alpha=0.8 * heat / most)


def shorten(name, most=28):
    """Return a name, with its middle left out if it is long."""
    text = format_name(name)
    return text if len(text) <= most else f"{text[: most // 2]}…{text[-(most // 2 - 1) :]}"


if __name__ == "__main__":
    main()
