"""CONTRIBUTING.md is true: its recipes work in a copy of the project, its links and files exist."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
RECIPES = dict(re.findall(r"^### (.*?)\n(.*?)(?=^###? )", TEXT, flags=re.DOTALL | re.MULTILINE))
BLOCK = re.compile(r"^```python\n# (\S+)\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)
USERS_OF_CASES = ["tests/test_backends.py", "tests/test_gradients.py"]
FINISHED = {name: BLOCK.findall(text) for name, text in RECIPES.items() if "TO FINISH" not in text}


def test_there_is_a_recipe_for_everything_that_can_be_added():
    assert len(RECIPES) == 7
    for name, blocks in FINISHED.items():
        assert 1 <= len({path for path, _ in blocks}) <= 3, name


def test_recipes_work(tmp_path):
    """Each block is added to its file; then the examples and tests in it run, and tests that find it by themselves."""
    for folder in ("minigrad", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    names, files = set(), set()
    for path, code in (block for blocks in FINISHED.values() for block in blocks):
        with (tmp_path / path).open("a", encoding="utf-8") as file:
            file.write(f"\n\n{code}")
        names |= {node.name for node in ast.parse(code).body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        files |= set(USERS_OF_CASES if path == "tests/cases.py" else [path])
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-k", " or ".join(names), *sorted(files)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`([\w/.]+(?:/|\.py|\.md|\.css|\.jinja2))`", TEXT))))
def test_files_exist(name):
    made = {"build/reference/", "dist/", "build/"}
    assert name in made or (ROOT / name).exists() or (ROOT / "minigrad" / name).exists()
