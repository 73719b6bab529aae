"""Names resolve, collide loudly and suggest their neighbours."""

import pytest

from autoprune.errors import AutopruneError, UnknownNameError
from autoprune.registry import Registry


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
