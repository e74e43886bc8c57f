"""Hands the conformance suite to the tests of this folder.

Test folders are not packages, so ``conformance.py`` can't be imported by name: it is loaded from
its path once, here, and reaches tests as a fixture.
"""

import importlib.util
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location(
    "scorer_conformance", Path(__file__).with_name("conformance.py")
)
assert _spec is not None
assert _spec.loader is not None
_conformance = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_conformance)


@pytest.fixture(params=_conformance.CHECKS, ids=lambda check: check.__name__)
def conformance_check(request):
    """One check: call it with a function that makes an unfitted scorer."""
    return request.param
