"""A release's version and authors are the same wherever they are named."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from spotify_engine import __version__

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def project() -> dict[str, Any]:
    content = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return content["project"]


@pytest.fixture
def citation() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    return content


def test_the_citation_and_the_newest_change_are_of_this_version(citation: dict[str, Any]) -> None:
    assert str(citation["version"]) == __version__
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    heading = re.search(r"^## \[(.+?)\] - (Unreleased|\d{4}-\d\d-\d\d)$", changes, re.MULTILINE)
    assert heading is not None
    assert heading[1] == __version__


def test_the_package_is_described_as_it_is_cited(
    project: dict[str, Any], citation: dict[str, Any]
) -> None:
    assert project["dynamic"] == ["version"]
    assert "version" not in project
    assert project["description"] == citation["abstract"].rstrip(".")
    assert project["license"] == citation["license"]
    assert project["keywords"] == citation["keywords"]
    assert [each["name"] for each in project["authors"]] == [
        each["name"] for each in citation["authors"]
    ]
