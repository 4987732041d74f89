"""Which server and key are used, and how a key is kept."""

import io
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from gridbroker.app.cli import config
from gridbroker.app.cli.config import BadConfig, ConfigExposed, Profile, resolve, save
from gridbroker.core.errors import Invalid
from tests.unit.app.cli.conftest import KEY, Broker

URL = "https://broker.example"
ME = {
    "organisation": {"id": "o-1", "name": "Acme", "kind": "developer", "home_zone": "DE", "created_at": "2026-03-20T12:00:00Z"},
    "role": "developer",
    "scopes": ["read", "write"],
    "key_id": "k-1",
}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return save("default", Profile(URL, "file-key"), tmp_path / "config.toml")


def test_nothing_given_is_this_machine_without_a_key(tmp_path: Path):
    assert resolve("default", None, {}, path=tmp_path / "none.toml") == Profile(config.DEFAULT_URL, None)


def test_flag_over_environment_over_file(saved: Path):
    environment = {"GRIDBROKER_URL": "http://env", "GRIDBROKER_API_KEY": "env-key"}
    assert resolve("default", None, {}, path=saved) == Profile(URL, "file-key")
    assert resolve("default", None, environment, path=saved) == Profile("http://env", "env-key")
    assert resolve("default", "http://flag/", environment, path=saved) == Profile("http://flag", "env-key")


@pytest.mark.parametrize("environment", [{}, {"GRIDBROKER_URL": "https://evil.example"}])
def test_a_saved_key_goes_to_no_other_server(saved: Path, environment: dict[str, str]):
    assert resolve("default", "https://evil.example", environment, path=saved).key is None


def test_the_file_is_its_owners_alone(saved: Path):
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    save("other", Profile(URL, "second"), saved)
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    assert [path.name for path in saved.parent.iterdir()] == ["config.toml"]
    assert config.read(saved) == {"default": Profile(URL, "file-key"), "other": Profile(URL, "second")}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_file_that_others_may_read_is_refused(saved: Path, mode: int):
    saved.chmod(mode)
    with pytest.raises(ConfigExposed, match="chmod 600"):
        resolve("default", None, {}, path=saved)


@pytest.mark.parametrize("text", ["key = 'secret-in-a-broken-file", "[profiles.default]\nkey = 'x'", "profiles = 5"])
def test_a_broken_file_is_refused_without_quoting_it(tmp_path: Path, text: str):
    path = tmp_path / "config.toml"
    path.touch(0o600)
    path.write_text(text)
    with pytest.raises(BadConfig) as caught:
        config.read(path)
    assert "secret" not in str(caught.value)


def test_profile_names_cannot_break_the_file(tmp_path: Path):
    with pytest.raises(Invalid):
        save('x]\nkey = "y"', Profile(URL, "k"), tmp_path / "config.toml")


def test_a_profile_does_not_show_its_key():
    assert KEY not in repr(Profile(URL, KEY))


def test_login_checks_saves_and_never_shows_the_key(
    offline: Callable, broker: Broker, config_home: Path, monkeypatch: pytest.MonkeyPatch
):
    broker.says("GET", "/api/v1/whoami", ME)
    monkeypatch.setattr("sys.stdin", io.StringIO(KEY + "\n"))
    said = offline("login", "--url", broker.url, "--key-stdin")
    assert said.code == 0 and KEY not in said.out + said.err
    assert config.read(config_home / "config.toml")["default"] == Profile(broker.url, KEY)
    assert stat.S_IMODE((config_home / "config.toml").stat().st_mode) == 0o600
    assert offline("whoami", "--json").json == ME
    assert offline("logout", "--json").json == {"profile": "default", "removed": True}
    assert offline("whoami").code == 4


def test_login_with_a_refused_key_saves_nothing(
    offline: Callable, broker: Broker, config_home: Path, monkeypatch: pytest.MonkeyPatch
):
    broker.refuses(401, "unauthenticated")
    monkeypatch.setattr("sys.stdin", io.StringIO(KEY + "\n"))
    said = offline("login", "--url", broker.url, "--key-stdin")
    assert said.code == 4 and KEY not in said.out + said.err
    assert not (config_home / "config.toml").exists()


def test_login_without_a_terminal_or_key_stdin_says_how(offline: Callable, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    said = offline("login")
    assert said.code == 7 and "--key-stdin" in said.err


def test_an_exposed_file_stops_every_command(offline: Callable, config_home: Path):
    config_home.mkdir(parents=True)
    os.close(os.open(config_home / "config.toml", os.O_CREAT | os.O_WRONLY, 0o666))
    (config_home / "config.toml").chmod(0o644)
    said = offline("whoami")
    assert said.code == 4 and "chmod 600" in said.err
