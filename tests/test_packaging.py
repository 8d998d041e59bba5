"""What is shipped: one import name, both linked folders inside it, the bundled data, and nothing else."""

import importlib
import pkgutil
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import distributions
from pathlib import Path, PurePosixPath

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import lvlmscope

LINKED = ("diagnostics", "interventions")
TRACKED_BYTES = 20e6
DATA = (".safetensors", ".json", ".webp", ".png", ".jinja", ".txt", ".md")


def git(repository: Path, *arguments: str) -> str:
    """The answer of git, or a skip-free empty text where the tree is no checkout (an unpacked sdist)."""
    if not (repository / ".git").exists():
        return ""
    return subprocess.run(["git", *arguments], cwd=repository, check=True, capture_output=True, text=True).stdout


def build(source: Path, target: Path, kind: str) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(target)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (built,) = target.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return built


@pytest.fixture(scope="module")
def sdist(repository, tmp_path_factory) -> Path:
    return build(repository, tmp_path_factory.mktemp("sdist"), "sdist")


@pytest.fixture(scope="module")
def unpacked(sdist, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (top,) = folder.iterdir()
    return top


@pytest.fixture(scope="module")
def wheel(unpacked, tmp_path_factory) -> Path:
    """Built from the sdist, as an installer without a wheel builds it."""
    return build(unpacked, tmp_path_factory.mktemp("wheel"), "wheel")


@pytest.fixture(scope="module")
def wheel_names(wheel) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def source_files(repository: Path, folder: str) -> set[str]:
    """Paths below a source folder that belong in the wheel, without following the links."""
    files = (p for p in (repository / folder).rglob("*") if p.is_file() and not p.is_symlink())
    listed = {p.relative_to(repository).as_posix() for p in files if "__pycache__" not in p.parts}
    through_links = tuple(f"lvlmscope/{name}/" for name in LINKED)
    ignored = git(repository, "ls-files", "--others", "--ignored", "--exclude-standard").splitlines()
    return {name for name in listed if not name.startswith(through_links)} - set(ignored)


def test_links_point_at_the_real_folders(repository):
    for name in LINKED:
        link = repository / "lvlmscope" / name
        assert link.resolve() == (repository / name).resolve()
        entry = git(repository, "ls-files", "--stage", f"lvlmscope/{name}")
        assert not entry or entry.startswith("120000 "), f"{name} is not tracked as a link"


def test_wheel_holds_nothing_but_lvlmscope(wheel_names):
    tops = {PurePosixPath(name).parts[0] for name in wheel_names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"lvlmscope"}
    assert not [name for name in wheel_names if "__pycache__" in name or "/tests/" in name]


def test_wheel_holds_every_source_file(repository, wheel_names):
    expected = source_files(repository, "lvlmscope")
    for name in LINKED:
        expected |= {f"lvlmscope/{path}" for path in source_files(repository, name)}
    assert expected - wheel_names == set()
    assert {"lvlmscope/py.typed", *(f"lvlmscope/{name}/__init__.py" for name in LINKED)} <= wheel_names


def test_wheel_holds_the_bundled_data(repository, wheel_names):
    bundled = source_files(repository, "lvlmscope/tiny")
    data = {name for name in bundled if name.endswith(DATA)}
    assert data, "the bundled model has no data files"
    assert data <= wheel_names


def test_wheel_names_its_command_and_license(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (entry_points,) = [archive.read(n).decode() for n in names if n.endswith("entry_points.txt")]
    assert "lvlmscope = lvlmscope.cli:main" in entry_points
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_sdist_holds_real_folders_in_place_of_links(unpacked):
    for name in LINKED:
        assert (unpacked / name / "__init__.py").is_file()
        assert not (unpacked / "lvlmscope" / name).exists()
    assert not [path for path in unpacked.rglob("*") if path.is_symlink()]


def test_checkout_whose_links_were_lost_still_imports(unpacked, tmp_path):
    """The sdist is such a tree: `lvlmscope.diagnostics` is then found beside the package."""
    tree = shutil.copytree(unpacked, tmp_path / "tree")
    code = "import lvlmscope.diagnostics as d, lvlmscope.interventions as i; print(d.__file__, i.__file__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tree, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(tree / name / "__init__.py") for name in LINKED]


@pytest.mark.parametrize("name", LINKED)
def test_linked_folder_refuses_to_be_a_package_of_its_own(repository, name):
    done = subprocess.run([sys.executable, "-c", f"import {name}"], cwd=repository, capture_output=True, text=True)
    assert done.returncode != 0
    assert f"lvlmscope.{name}" in done.stderr.splitlines()[-1]


def every_module() -> list[str]:
    package = importlib.import_module("lvlmscope")
    found = pkgutil.walk_packages(package.__path__, prefix="lvlmscope.")
    return sorted(module.name for module in found if not module.name.endswith(".__main__"))


def test_every_module_imports():
    names = every_module()
    assert {f"lvlmscope.{name}" for name in LINKED} <= set(names)
    for name in names:
        assert importlib.import_module(name).__doc__, f"{name} has no docstring"


def test_the_front_page_lists_what_it_serves():
    offered = dir(lvlmscope)
    assert {"trace", "plot", "load_trace", "DLEAF", "saliency"} <= set(offered)
    assert [name for name in offered if not hasattr(lvlmscope, name)] == []
    with pytest.raises(AttributeError, match="no attribute 'DLEEF'") as caught:
        lvlmscope.DLEEF  # noqa: B018
    assert (caught.value.name, caught.value.obj) == ("DLEEF", lvlmscope)  # from which Python suggests DLEAF


def test_import_leaves_heavy_libraries_alone(repository):
    heavy = ["captum", "matplotlib", "optuna", "plotly", "pyarrow", "ray", "sklearn", "transformer_lens"]
    code = f"import sys, lvlmscope; print(*(name for name in {heavy!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_no_file_of_the_package_is_long(repository):
    folders = [repository / name for name in ("lvlmscope", *LINKED)]
    lengths = {
        path: len(path.read_text(encoding="utf-8").splitlines()) for top in folders for path in top.rglob("*.py")
    }
    assert len(lengths) > 150
    assert [str(path) for path, length in lengths.items() if length > 320] == []


def test_tracked_files_stay_small(repository):
    tracked = git(repository, "ls-files", "-z").split("\0")
    files = [repository / name for name in tracked if name]
    assert sum(p.stat().st_size for p in files if p.is_file() and not p.is_symlink()) < TRACKED_BYTES


def test_version_is_told_alike(repository, wheel):
    version = importlib.import_module("lvlmscope").__version__
    assert wheel.name.startswith(f"lvlmscope-{version}-")
    citation = (repository / "CITATION.cff").read_text()
    assert f"\nversion: {version}\n" in citation


def test_the_pinned_versions_install_on_every_supported_python(repository):
    """On the first release of the lowest Python too, which distributions still ship."""
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (lowest,) = SpecifierSet(project["requires-python"])
    assert lowest.operator == ">="
    lines = (repository / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = [Requirement(line) for line in lines if line and not line.startswith("#")]
    installed = {canonicalize_name(found.name): found for found in distributions()}
    refused, seen = {}, 0
    for each in pinned:
        found = installed.get(canonicalize_name(each.name))
        if found is None or not each.specifier.contains(found.version, prereleases=True):
            continue
        seen += 1
        needs = found.metadata.get("Requires-Python")
        if needs and not SpecifierSet(needs).contains(f"{lowest.version}.0"):
            refused[each.name] = needs
    assert not refused
    assert len(pinned) > 150
    assert seen > 150
