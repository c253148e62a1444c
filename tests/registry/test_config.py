# ruff: noqa: E501  (whole messages, in tables)
from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from towerzoo.registry import ACTIVATIONS
from towerzoo.registry.config import find_config, load_config, shipped_configs
from towerzoo.registry.yaml_file import Document, dotted, read_yaml

Write = Callable[..., Path]


def load(write: Write, text: str, *overrides: str) -> Any:
    document = load_config(write(text), overrides)
    assert document.problems == []
    return document.value


def problems(document: Document) -> list[str]:
    return [str(problem) for problem in document.problems]


BASE = """\
seed: 1
optimizer: {name: adam, lr: 0.1, weight_decay: 0.5}
user_tower:
  features:
    name: {encoder: embedding, dim: 4}
    age: {encoder: embedding, dim: 4}
  widths: [3, 2]
score: {name: cosine, scale: 2.0}
"""


AGE, NAME = {"encoder": "embedding", "dim": 4}, {"encoder": "embedding", "dim": 4}


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ("optimizer: {lr: 0.2}", {"optimizer": {"name": "adam", "lr": 0.2, "weight_decay": 0.5}}),
        ("optimizer: {name: adam, lr: 0.2}", {"optimizer": {"name": "adam", "lr": 0.2, "weight_decay": 0.5}}),
        ("optimizer: {name: sgd, lr: 0.2}", {"optimizer": {"name": "sgd", "lr": 0.2}}),
        ("optimizer: sgd", {"optimizer": "sgd"}),
        ("optimizer: {weight_decay: null}", {"optimizer": {"name": "adam", "lr": 0.1}}),
        ("user_tower: {widths: [7]}", {"user_tower": {"features": {"name": NAME, "age": AGE}, "widths": [7]}}),
        ("user_tower: {features: {age: {encoder: bag}}}",
         {"user_tower": {"features": {"name": NAME, "age": {"encoder": "bag"}}, "widths": [3, 2]}}),
        # A feature called `name` is no part's name.
        ("user_tower: {features: {name: {dim: 9}}}",
         {"user_tower": {"features": {"name": NAME | {"dim": 9}, "age": AGE}, "widths": [3, 2]}}),
    ],
)  # fmt: skip
def test_a_config_changes_the_settings_of_its_base_that_it_names(
    write: Write, own: str, expected: dict[str, Any]
) -> None:
    write(BASE, "base.yaml")
    base = read_yaml(BASE, "").value
    assert load(write, f"base: base.yaml\n{own}\n") == base | expected
    assert "optimizer" not in load(write, "base: base.yaml\noptimizer: null\n")


def test_bases_of_bases_and_lists_of_bases_apply_in_order(write: Write) -> None:
    write("a: 1\nb: 1\nc: 1\nd: 1\n", "deep/first.yaml")
    write("base: first.yaml\nb: 2\nc: 2\nd: 2\n", "deep/second.yaml")
    write("c: 3\nd: 3\n", "third.yaml")
    document = load_config(write("base: [deep/second.yaml, third.yaml]\nd: 4\n"))
    assert document.value == {"a": 1, "b": 2, "c": 3, "d": 4}
    assert [document.where((key,)) for key in "abcd"] == [
        "deep/first.yaml:1: a", "deep/second.yaml:2: b", "third.yaml:1: c", "mine.yaml:2: d",
    ]  # fmt: skip


def test_a_base_is_beside_the_config_or_shipped_whatever_the_working_folder(write: Write, tmp_path: Path) -> None:
    write("seed: 5\n", "quickstart.yaml")  # in the working folder, and no base of a config elsewhere
    assert load_config(write("base: quickstart.yaml\n", "sub/a.yaml")).value["seed"] == 42
    assert load_config(write("base: tanh_bn\n", "sub/b.yaml")).value["user_tower"]["widths"] == [256, 256, 256]
    assert load_config(write("base: ../quickstart.yaml\n", "sub/c.yaml")).value == {"seed": 5}
    assert load_config(write(f"base: {tmp_path}/quickstart.yaml\n", "sub/d.yaml")).value == {"seed": 5}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\nbase: no.yaml", "mine.yaml:2: base must be a readable YAML file, got 'no.yaml'.\n    No such file or directory"),
        ("base: [no.yaml, ok.yaml]", "mine.yaml:1: base[0] must be a readable YAML file, got 'no.yaml'."),
        ("base: tanh_bm.yaml", "mine.yaml:1: base must be a readable YAML file, got 'tanh_bm.yaml'.\n    No such file or "
                               "directory. Did you mean 'tanh_bn'? Shipped configs: biased_mf, biases,"),
        ("base: 3", "mine.yaml:1: base must be a path or a list of paths, got 3."),
        ("base:", "mine.yaml:1: base must be a path or a list of paths, got None."),
        ("base: loop.yaml", "back.yaml:2: base must be free of loops, got 'loop.yaml -> back.yaml -> loop.yaml'.\n    Remove"),
        ("base: list.yaml", "list.yaml must be a mapping of settings, got [1].\n    Write `key: value` lines;"),
        ("base: broken.yaml", "broken.yaml:1 must be valid YAML, got '['."),
    ],
)  # fmt: skip
def test_bases_that_cannot_be_read(write: Write, text: str, message: str) -> None:
    write("x: 1\n", "ok.yaml")
    write("\nbase: back.yaml\n", "loop.yaml")
    write("# through\nbase: loop.yaml\n", "back.yaml")
    write("- 1\n", "list.yaml")
    write("[", "broken.yaml")
    document = load_config(write(text + "\nseed: 1\n"))
    assert [problem[: len(message)] for problem in problems(document)] == [message]
    assert document.incomplete
    assert document.value["seed"] == 1


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("configs/quickstrat.yaml", "config must be a readable YAML file, got 'configs/quickstrat.yaml'.\n    No such file or "
                                    "directory. Did you mean 'quickstart'?"),
        ("empty.yaml", "empty.yaml must be a mapping of settings, got nothing.\n    Write `key: value` lines; configs/quickst"),
        ("bytes.yaml", "config must be a readable YAML file, got 'bytes.yaml'.\n    Not a text file in UTF-8."),
    ],
)  # fmt: skip
def test_configs_that_cannot_be_read(write: Write, path: str, message: str) -> None:
    write("# nothing\n", "empty.yaml")
    Path("bytes.yaml").write_bytes(b"\x89PNG\r\n\x1a\n\xff")
    document = load_config(path)
    assert [problem[: len(message)] for problem in problems(document)] == [message]
    assert document.value == {}


def test_shipped_configs_are_found_by_name_from_anywhere(write: Write) -> None:
    names = [file.stem for file in shipped_configs()]
    assert len(names) >= 5
    assert "movielens_1m" not in names
    for file in shipped_configs():
        for way in (file.stem, f"{file.stem}.yaml", f"configs/{file.stem}.yaml", f"configs/{file.stem}", file):
            assert find_config(way) == file
    write("", "tanh/not_a_config.txt")
    assert find_config("tanh").name == "tanh.yaml"  # a folder of that name does not hide it
    own = write("seed: 3\n", "tanh.yaml")
    assert find_config("tanh.yaml") == own


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["seed=7"], {"seed": 7}),
        (["a.b.c=[1, {d: 1e-3}]"], {"a": {"b": {"c": [1, {"d": 0.001}]}}}),
        (["text=a=b"], {"text": "a=b"}),
        (["seed=7", "seed=8"], {"seed": 8}),
        (["optimizer.lr=null"], {"optimizer": {"name": "adam", "weight_decay": 0.5}}),
        (["optimizer.name=sgd"], {"optimizer": {"name": "sgd"}}),
        (["optimizer.name=sgd", "optimizer.lr=0.2"], {"optimizer": {"name": "sgd", "lr": 0.2}}),
        (["optimizer.lr=0.2", "optimizer.name=sgd"], {"optimizer": {"name": "sgd", "lr": 0.2}}),
    ],
)
def test_overrides(write: Write, overrides: list[str], expected: dict[str, Any]) -> None:
    assert load(write, BASE, *overrides) == read_yaml(BASE, "").value | expected


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("foo", "--set must be KEY.PATH=VALUE, got 'foo'.\n    Write it as --set training.max_epochs=2."),
        ("a..b=3", "--set must be KEY.PATH=VALUE, got 'a..b=3'."),
        ("seed=010", "--set: seed must be a number without leading zeros, got '010'."),
        ("seed=[1", "--set: seed must be valid YAML, got '[1'.\n    Expected ',' or ']', but got '<stream end>'."),
        ("a={b: 1, b: 2}", "--set: a.b must be given once, got 'b'."),
    ],
)
def test_overrides_that_cannot_be_read(write: Write, override: str, message: str) -> None:
    assert [problem[: len(message)] for problem in problems(load_config(write(BASE), [override]))] == [message]


def test_a_config_may_be_a_mapping(write: Write, tmp_path: Path) -> None:
    write("seed: 1\nscore: dot\n", "base.yaml")
    write(PART.format(name="mine-0"), "zero.py")
    config = {"base": "base.yaml", "seed": 7, "optimizer": {"name": "adam", "lr": 1e-3}, "data": {"root": Path("x")}}
    document = load_config(config, {"optimizer.lr": 0.5, "score": {"name": "cosine"}, "imports": ["zero.py"]})
    assert document.problems == []
    assert document.value == {
        "seed": 7, "score": {"name": "cosine"}, "optimizer": {"name": "adam", "lr": 0.5}, "data": {"root": "x"},
        "imports": [str(tmp_path / "zero.py")],
    }  # fmt: skip
    assert [document.where(path) for path in (("seed",), ("optimizer", "lr"), ("optimizer", "eps"))] == [
        "config: seed", "overrides: optimizer.lr", "config: optimizer.eps",
    ]  # fmt: skip
    assert config["seed"] == 7
    assert load_config("quickstart", ["seed=7"]).value == load_config("quickstart", {"seed": 7}).value


@pytest.mark.parametrize(
    ("config", "overrides", "message"),
    [
        ({}, {}, None),
        ({"seed": {3: 1}}, {}, "config: seed must be a mapping with text keys, got '3'."),
        ({"base": 3}, {}, "config: base must be a path or a list of paths, got 3."),
        ({"base": "no.yaml"}, {}, "config: base must be a readable YAML file, got 'no.yaml'."),
        ({"seed": object}, {}, "config must be plain values: mappings, lists, text, numbers, true, false or None, got <class 'ob"),
        ({}, {"seed": object}, "overrides: seed must be plain values: mappings, lists, text, numbers, true, false or None, got"),
    ],
)  # fmt: skip
def test_mappings_that_are_no_config(config: Any, overrides: Any, message: str | None) -> None:
    actual = problems(load_config(config, overrides))
    assert [line[: len(message or "")] for line in actual] == ([] if message is None else [message])


PART = """
from towerzoo.registry import ACTIVATIONS

@ACTIVATIONS.register("{name}")
def part():
    "{name}."
"""


@pytest.mark.usefixtures("restored_registries")
class TestImports:
    def test_files_are_relative_to_the_config_that_names_them(self, write: Write, tmp_path: Path) -> None:
        write(PART.format(name="mine-1"), "parts/one.py")
        write("imports: [one.py]\n", "parts/base.yaml")
        assert load(write, "base: parts/base.yaml\n") == {"imports": [str(tmp_path / "parts" / "one.py")]}
        assert ACTIVATIONS.describe("mine-1") == "mine-1."

    def test_an_override_is_relative_to_the_working_folder(self, write: Write, tmp_path: Path) -> None:
        write(PART.format(name="mine-2"), "two.py")
        config = write("seed: 1\n", "elsewhere/mine.yaml")
        assert load_config(config, ["imports=[two.py]"]).value["imports"] == [str(tmp_path / "two.py")]
        assert "mine-2" in ACTIVATIONS

    def test_a_copy_of_a_file_is_not_imported_again_and_a_changed_file_replaces_itself(self, write: Write) -> None:
        for name in ("one.py", "copy.py"):
            write(PART.format(name="mine-3"), name)
        load(write, "imports: [one.py, copy.py]\n")
        load(write, "imports: [one.py]\n")
        write(PART.format(name="mine-3") + "# changed\n", "one.py")
        load(write, "imports: [one.py]\n")
        write(PART.format(name="mine-4"), "one.py")
        load(write, "imports: [one.py]\n")
        assert "mine-3" not in ACTIVATIONS
        assert "mine-4" in ACTIVATIONS

    @pytest.mark.parametrize(
        ("code", "reason"),
        [
            ("1 / 0", "ZeroDivisionError: division by zero (line "),
            ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
            ("import sys; sys.exit(3)", "SystemExit: 3"),
            ("def (", "SyntaxError: "),
            (PART.format(name="relu"), "bad.py:10: activation name must be new, got 'relu'."),
        ],
    )
    def test_a_file_that_fails_leaves_nothing_behind(
        self, write: Write, tmp_path: Path, code: str, reason: str
    ) -> None:
        write(PART.format(name="mine-5") + code, "bad.py")
        modules = set(sys.modules)
        document = load_config(write("\nimports:\n  - bad.py\n"))
        assert problems(document)[0].startswith(
            f"mine.yaml:3: imports[0] must be a Python file that imports without error, got '{tmp_path}/bad.py'."
        )
        assert reason in problems(document)[0]
        assert problems(document)[0].endswith(f"\n    To see the traceback, run python {tmp_path}/bad.py.")
        assert document.incomplete
        assert "mine-5" not in ACTIVATIONS
        assert not {name for name in set(sys.modules) - modules if name.startswith("towerzoo_imports")}

    @pytest.mark.parametrize(
        ("imports", "found"),
        [("[no.py]", "'{}/no.py'"), ("[3]", "3"), ("[mine.yaml]", "'{}/mine.yaml'"), ("['']", "'{}'")],
    )
    def test_imports_that_are_no_python_files(self, write: Write, tmp_path: Path, imports: str, found: str) -> None:
        assert problems(load_config(write(f"imports: {imports}\n"))) == [
            f"mine.yaml:1: imports[0] must be a Python file, got {found.format(tmp_path)}.\n"
            "    Give a path that ends in .py, relative to the config."
        ]

    @pytest.mark.parametrize("imports", ["one.py", "{a: b}", "null"])
    def test_imports_that_are_no_list_are_left_to_the_schema(self, write: Write, imports: str) -> None:
        assert problems(load_config(write(f"imports: {imports}\n"))) == []


def test_replaced_and_removed_values_leave_no_origin(write: Write) -> None:
    write(BASE, "base.yaml")
    document = load_config(write("base: base.yaml\noptimizer: {name: sgd}\nscore: null\n"), ["user_tower.widths=[1]"])
    left = {dotted(path) for path in document.origins if path and path[0] in ("optimizer", "score", "user_tower")}
    assert left & {"optimizer.lr", "score", "score.scale", "user_tower.widths[1]"} == set()
    assert document.where(("optimizer", "lr")) == "mine.yaml:2: optimizer.lr"
    assert document.where(("user_tower", "block")) == "base.yaml:3: user_tower.block"  # --set is no place to add it
