"""What may import what: serving stays light, the packages point one way, data is never code."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {"tensorflow", "keras", "librosa", "scipy", "sklearn", "pandas", "matplotlib", "numba"}
HEAVY |= {"ray", "pyarrow", "fsspec"}
CODE_IN_DATA = {"pickle", "cPickle", "joblib", "dill", "cloudpickle", "shelve", "marshal"}


def sources(folder: str) -> list[Path]:
    found = sorted((ROOT / folder).rglob("*.py"))
    assert found, f"no sources under {folder}"
    return found


def imported(nodes: Iterator[ast.AST], path: Path) -> Iterator[str]:
    """Absolute dotted names that the import statements among `nodes` bring in."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) + 1 - node.level]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            yield from (f"{module}.{alias.name}" for alias in node.names)


def at_import(tree: ast.Module) -> Iterator[ast.AST]:
    """Nodes that run when the module is imported: all but the bodies of functions."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting.extend(ast.iter_child_nodes(node))


def belongs(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


@pytest.mark.parametrize("package", ["api", "ser_core", "ser_core.cli", "api.gunicorn_config"])
def test_importing_the_service_loads_nothing_heavy(package: str) -> None:
    code = f"import json, sys, {package}; print(json.dumps(list(sys.modules)))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    assert {name.partition(".")[0] for name in json.loads(loaded)} & HEAVY == set()


def test_ser_core_knows_nothing_of_http() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in sources("ser_core")
        for name in imported(ast.walk(ast.parse(path.read_text("utf-8"))), path)
        if any(belongs(name, package) for package in ("api", "flask", "werkzeug", "gunicorn"))
    ]
    assert wrong == []


def test_api_leaves_the_lab_alone() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in sources("api")
        for name in imported(ast.walk(ast.parse(path.read_text("utf-8"))), path)
        if belongs(name, "ser_core.lab")
    ]
    assert wrong == []


def test_serving_modules_import_lab_and_batch_inside_functions_only() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in sources("ser_core")
        if not {"lab", "batch"} & {*path.relative_to(ROOT).parts}
        for name in imported(at_import(ast.parse(path.read_text("utf-8"))), path)
        if any(belongs(name, f"ser_core.{part}") for part in ("lab", "batch"))
        or name.partition(".")[0] in HEAVY
    ]
    assert wrong == []


@pytest.mark.parametrize("folder", ["api", "ser_core", "scripts", "benchmarks"])
def test_nothing_that_is_read_can_run_as_code(folder: str) -> None:
    wrong = []
    for path in sources(folder):
        tree = ast.parse(path.read_text("utf-8"))
        found = {
            name
            for name in imported(ast.walk(tree), path)
            if name.partition(".")[0] in CODE_IN_DATA
        }
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            if isinstance(node.func, ast.Name) and node.func.id in {"eval", "exec"}:
                found.add(f"{node.func.id}()")
            for keyword in node.keywords:
                if isinstance(keyword.value, ast.Constant) and (
                    (keyword.arg, keyword.value.value)
                    in {("allow_pickle", True), ("safe_mode", False)}
                ):
                    found.add(f"{keyword.arg}={keyword.value.value}")
        wrong += [f"{path.relative_to(ROOT)}: {name}" for name in sorted(found)]
    assert wrong == []
