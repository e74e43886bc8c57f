"""Requests made from the OpenAPI schema, valid and not: no answer breaks it, none is a 500."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "ignored_auth",
)


def test_every_answer_is_as_documented(shared_url: str, tmp_path: Path) -> None:
    # Without the admin token: nothing may change what other tests use.
    command = [
        str(Path(sys.executable).with_name("schemathesis")), "run", f"{shared_url}/openapi.json",
        "--checks", ",".join(CHECKS), "--max-examples", "25", "--generation-deterministic",
        "--phases", "examples,coverage,fuzzing", "--no-color",
    ]  # fmt: skip
    found = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert found.returncode == 0, found.stdout[-8_000:] + found.stderr[-2_000:]
    assert "Traceback" not in found.stdout
    assert "Unresolvable" not in found.stdout
    assert "Tested: 14" in found.stdout


def test_examples_are_answered(shared_url: str) -> None:
    """What /docs offers to try works as it is."""
    document = httpx.get(f"{shared_url}/openapi.json").json()
    tried = 0
    for path, methods in document["paths"].items():
        body = methods.get("post", {}).get("requestBody")
        if body is None or path == "/v1/versions/rollback":
            continue
        name = body["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        for example in document["components"]["schemas"][name]["examples"]:
            assert httpx.post(f"{shared_url}{path}", json=example).status_code == 200
            tried += 1
    assert tried == 6
