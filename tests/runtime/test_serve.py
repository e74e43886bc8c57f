"""The Serve file and the application built from it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import ray
import ray.util
import yaml
from ray.serve import Application
from ray.serve._private import replica
from ray.serve.schema import ServeDeploySchema

from spotify_engine.errors import InputError
from spotify_engine.runtime.serve import build, replica_port
from spotify_engine.runtime.serve.deployment import Recommenders
from spotify_engine.runtime.serve.running import (
    ServeFile,
    ensure_token,
    require_room,
    require_startable,
    with_flags,
)
from spotify_engine.serving.settings import ServeSettings

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "serve.yaml"


@pytest.fixture
def content() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(CONFIG.read_text())
    return found


def test_serve_takes_the_file_as_it_is(content: dict[str, Any]) -> None:
    schema = ServeDeploySchema.model_validate(content)
    [application] = schema.applications
    assert application.import_path == "spotify_engine.runtime.serve:build"
    assert schema.http_options.host == "127.0.0.1"
    # As Serve itself calls it: with plain values.
    assert isinstance(build(application.args), Application)
    [deployment] = application.deployments
    assert deployment.max_queued_requests > 0
    assert deployment.max_ongoing_requests >= application.args["engine"]["batch"]


def test_an_unknown_setting_is_named(content: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"args: engine\.colour"):
        build(content["applications"][0]["args"] | {"engine": {"colour": 1}})


def test_flags_go_over_the_file(tmp_path: Path) -> None:
    file = ServeFile(CONFIG)
    settings = with_flags(file, tmp_path, "sqlite:///x.db", tmp_path / "t", "0.0.0.0", 81, 3)
    assert (settings.registry, settings.events) == (tmp_path, "sqlite:///x.db")
    assert (file.http["host"], file.http["port"]) == ("0.0.0.0", 81)
    assert file.options["num_replicas"] == 3
    assert settings.engine == file.settings.engine


@pytest.mark.parametrize(
    ("given", "in_file", "prefix"),
    [(None, "", ""), ("/music", "", "/music"), ("/a/b-c.d/", "/x", "/a/b-c.d"), (None, "/x", "/x"),
     ("/", "", "")],
)  # fmt: skip
def test_a_prefix_is_a_path(
    given: str | None, in_file: str, prefix: str, content: dict[str, Any], tmp_path: Path
) -> None:
    content["http_options"]["root_path"] = in_file
    (tmp_path / "serve.yaml").write_text(yaml.safe_dump(content))
    file = ServeFile(tmp_path / "serve.yaml")
    with_flags(file, None, None, tmp_path / "t", None, None, None, given)
    assert file.http["root_path"] == prefix


@pytest.mark.parametrize(
    "given",
    ["music", "//music", "/a//b", "/mü", "/a b", "/a?b", "/..", "/a/../b", "http://x/a",
     "/v1", "/docs/x", "/static"],
)  # fmt: skip
def test_another_prefix_is_refused(given: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="root path"):
        with_flags(ServeFile(CONFIG), None, None, tmp_path / "t", None, None, None, given)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c["applications"].append(c["applications"][0] | {"name": "b"}), "applications"),
        (lambda c: c["applications"][0]["deployments"][0].update(name="X"), "only Recommenders"),
        (lambda c: c["applications"][0]["deployments"][0].update(num_replicas=-1), "num_replicas"),
        (lambda c: c["applications"][0]["args"].update(poll_seconds=0), "poll_seconds"),
    ],
)
def test_a_wrong_file_is_refused(
    content: dict[str, Any], change: Any, said: str, tmp_path: Path
) -> None:
    change(content)
    (tmp_path / "serve.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(InputError, match=said):
        ServeFile(tmp_path / "serve.yaml")


def test_a_token_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "token"
    ensure_token(path)
    first = path.read_text()
    assert len(first.strip()) >= 32
    assert path.stat().st_mode & 0o777 == 0o600
    ensure_token(path)
    assert path.read_text() == first


def test_strangers_and_small_clusters_are_found_before_anything_starts(
    ray_cluster: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, settings = ServeFile(CONFIG), ServeSettings()
    require_room(file, settings)
    file.options["num_replicas"] = 5
    with pytest.raises(InputError, match=r"--replicas 5: 0\.5 CPUs each, and there are 2; give at"):
        require_room(file, settings)
    here, away = ray.nodes(), {"Alive": True, "NodeManagerAddress": "192.0.2.7"}
    monkeypatch.setattr(ray, "nodes", lambda: [*here, away])
    with pytest.raises(InputError, match=r"node 192\.0\.2\.7: .* --trust-network"):
        require_room(file, settings)
    require_room(file, ServeSettings(trust_network=True))  # where nodes may be added


def test_a_replica_where_strangers_reach_it_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "192.0.2.7")
    made = Recommenders.func_or_class
    started = made.__init__(made.__new__(made), ServeSettings().model_dump(mode="json"), "metrics")
    with pytest.raises(InputError, match=r"Ray's node 192\.0\.2\.7: .*trust_network"):
        asyncio.run(started)


def test_a_ray_that_opens_ports_in_another_way_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match="in a way that is unknown here"):
        replica_port.require_opened()
    monkeypatch.delattr(replica, "add_port_to_grpc_server")
    with pytest.raises(RuntimeError, match="in a way that is unknown here"):
        replica_port.open_at_node()


@pytest.mark.parametrize("port", [0, 65536, -1])
def test_a_port_that_is_none_is_refused(content: dict[str, Any], port: int, tmp_path: Path) -> None:
    content["http_options"]["port"] = port
    (tmp_path / "serve.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(InputError, match=rf"serve\.yaml: http_options\.port: .* not {port}$"):
        ServeFile(tmp_path / "serve.yaml")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", ""])
def test_a_host_for_strangers_needs_a_word(
    content: dict[str, Any], host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_USE_TLS", raising=False)
    content["http_options"]["host"] = host
    (tmp_path / "serve.yaml").write_text(yaml.safe_dump(content))
    file = ServeFile(tmp_path / "serve.yaml")
    settings = ServeSettings(registry=tmp_path, events=f"sqlite:///{tmp_path}/e.db")
    with pytest.raises(InputError, match="trust_network" if host else "is not an address"):
        require_startable(file, settings)


def test_a_host_that_is_left_out_is_loopback(content: dict[str, Any], tmp_path: Path) -> None:
    del content["http_options"]["host"]
    (tmp_path / "serve.yaml").write_text(yaml.safe_dump(content))
    assert ServeFile(tmp_path / "serve.yaml").http["host"] == "127.0.0.1"
