"""The layers, as the imports have them."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import jobwire

ROOT = Path(jobwire.__file__).parent

# What each layer may import of the project, besides itself.
ALLOWED = {
    "exceptions": set(),
    "types": set(),
    "trace": {"exceptions"},
    "otel": {"exceptions", "trace"},
    "protocol": {"exceptions", "types"},
    "transports": {"exceptions"},
    "client": {"exceptions", "types", "trace", "protocol", "transports.base"},
    "sync": {"exceptions", "types", "trace", "protocol", "transports.base", "client"},
    "server": {"exceptions", "types", "protocol"},
    "cli": {"exceptions", "types", "protocol", "client", "sync", "server"},
    "__main__": {"cli"},
}
# Made at the last moment, and only there.
LAZY = {("client.client", "transports.aiohttp")}

# A sans-IO module has no way to the outside.
IMPURE = {
    "asyncio", "concurrent", "ctypes", "http", "io", "logging", "multiprocessing", "os", "pathlib",
    "queue", "random", "secrets", "select", "selectors", "signal", "socket", "ssl", "subprocess",
    "tempfile", "threading", "time", "urllib", "uuid",
}  # fmt: skip
PURE = {"urllib.parse"}

# Who may name a library that is not ours and not Python's.
LIBRARIES = {
    "msgspec": {"protocol", "server"},
    "aiohttp": {"transports.aiohttp"},
    "truststore": {"transports.aiohttp"},
    "opentelemetry": {"otel"},
    "IPython": {"sync.notebook"},
    "huggingface_hub": {"client.spaces"},
    "rich": {"cli"},
    "typer": {"cli"},
    "starlette": {"server"},
    "anyio": {"server.auth", "server.uploads"},
    "uvicorn": {"server.serve"},
    "python_multipart": {"server.uploads"},
    "prometheus_client": {"server.metrics"},
    "tqdm": {"server.context"},
}

MODULES = sorted(ROOT.rglob("*.py"))


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports_of(path: Path) -> Iterator[str]:
    """Every module that a file imports at run time."""
    tree = ast.parse(path.read_text())
    typing_only = {
        node
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        if node in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            yield node.module


def test_the_checker_sees_imports(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text(
        "import a.b\nif TYPE_CHECKING:\n    import c\ndef f():\n    from d.e import g\n"
    )
    assert list(imports_of(path)) == ["a.b", "d.e"]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_go_down_the_layers(path: Path) -> None:
    module = name_of(path)
    layer = module.partition(".")[0]
    for imported in imports_of(path):
        top, _, rest = imported.partition(".")
        if top == "jobwire":
            if not rest or layer in ("jobwire", rest.partition(".")[0]) or module == "__init__":
                continue
            allowed = any(rest == ok or rest.startswith(f"{ok}.") for ok in ALLOWED[layer])
            assert allowed or (module, rest) in LAZY, f"{module} imports {imported}"
        elif layer == "protocol" and top in IMPURE and imported not in PURE:
            pytest.fail(f"{module} does I/O: it imports {imported}")
        elif top not in sys.stdlib_module_names:
            assert any(
                module == ok or module.startswith(f"{ok}.") for ok in LIBRARIES.get(top, ())
            ), f"{module} names {imported}"


def test_every_layer_is_known() -> None:
    layers = {name_of(path).partition(".")[0] for path in MODULES} - {"", "__init__"}
    assert layers == set(ALLOWED)
