"""tests/environments.py knows every extra that users have, and what the oldest packages are."""

import sys

import environments
import pytest
from helpers import run_python

EXTRAS = environments.PROJECT["optional-dependencies"]
OF_DEVELOPERS = {"test", "examples", "lint", "docs", "asv", "browser", "peers", "fuzz"}


def test_every_extra_has_an_environment():
    assert environments.TESTS.keys() - {"core"} == EXTRAS.keys() - OF_DEVELOPERS
    assert environments.MISSES.keys() == EXTRAS.keys() - OF_DEVELOPERS - {"notebook"}  # whose packages are never missed
    for arguments in environments.TESTS.values():
        assert all((environments.ROOT / each).exists() for each in arguments if each.startswith("tests/"))


@pytest.mark.parametrize("extra", environments.TESTS)
def test_the_oldest_packages_are_the_bounds(extra):
    newest, oldest = (environments.requirements(extra, is_oldest) for is_oldest in (False, True))
    assert list(map(environments.named, newest)) == list(map(environments.named, oldest))
    own = len(environments.PROJECT["dependencies"]) + len(EXTRAS.get(extra, ()))
    assert all("==" in each for each in oldest[:own])
    assert oldest[own:] == newest[own:]
    assert "pytest>=8" in oldest


def test_a_requirement_without_a_bound_has_no_oldest():
    assert environments.oldest("sacrebleu>=2.4,<3") == "sacrebleu==2.4"
    with pytest.raises(ValueError, match="'numpy' has no oldest version"):
        environments.oldest("numpy")


@pytest.mark.parametrize("extra", environments.MISSES)
def test_an_extra_that_is_missing_is_one_sentence(extra):
    """As in an environment without it."""
    modules = {"scikit-learn": "sklearn", "tensorboardx": "tensorboardX", "prometheus-client": "prometheus_client"}
    names = [modules.get(name, name) for name in map(environments.named, EXTRAS[extra])]
    code = "\n".join(f"import sys; sys.modules[{name!r}] = None" for name in names)
    code += f"\ntry:\n    {environments.MISSES[extra]}\nexcept ImportError as error:\n    print(error)"
    said = run_python(code, PYTHONPATH=":".join(filter(None, sys.path))).strip()
    assert environments.re.fullmatch(environments.SENTENCE.format(extra), said)
