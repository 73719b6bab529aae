"""Names resolve, collide loudly and suggest their neighbours."""

from pathlib import Path

import pytest

from autoprune.errors import AutopruneError, UnknownNameError
from autoprune.registry import Registry
from autoprune.registry import log as registry_log


def registry() -> Registry[object]:
    names: Registry[object] = Registry("metric", "autoprune.no-such-group")
    names.add("wanda", "w")
    names.add("magnitude", "m")
    return names


def test_unknown_name_suggests() -> None:
    with pytest.raises(UnknownNameError, match="'wnda'; did you mean wanda") as found:
        registry().get("wnda")
    assert found.value.exit_code == 2
    assert "magnitude" in str(found.value)


def test_collision_is_an_error() -> None:
    names = registry()
    names.add("wanda", "w")
    with pytest.raises(AutopruneError, match="registered twice"):
        names.add("wanda", "other")


def test_items_are_sorted() -> None:
    assert [name for name, _ in registry().items()] == ["magnitude", "wanda"]
    assert "wanda" in registry()


def test_a_broken_plug_in_is_named_once_and_the_others_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    info = tmp_path / "fancy_prune-2.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fancy-prune\nVersion: 2.1\n")
    points = "bad = no_such_module:it\ngood = math:pi\nwanda = math:e\nzeta = math:tau\n"
    (info / "entry_points.txt").write_text(f"[autoprune.strange]\n{points}")
    monkeypatch.syspath_prepend(str(tmp_path))
    # Heard whatever a command line did to the log in this process before.
    monkeypatch.setattr(registry_log, "propagate", False)
    monkeypatch.setattr(registry_log, "disabled", False)
    monkeypatch.setattr(registry_log, "handlers", [caplog.handler])
    names: Registry[object] = Registry("metric", "autoprune.strange")
    names.add("wanda", "ours")
    assert [name for name, _ in names.items()] == ["good", "wanda", "zeta"]
    assert names.get("wanda") == "ours" and "bad" not in names
    for _ in range(2):
        with pytest.raises(AutopruneError, match=r"'bad' \(metric\) of fancy-prune 2.1 .*no_such"):
            names.get("bad")
    shown = [record.getMessage() for record in caplog.records]
    assert [message.split()[2] for message in shown] == ["'bad'", "'wanda'"]
    assert "registered twice" in shown[1]
