"""``autoprune export`` writes a checked file, and refuses before it computes."""

from pathlib import Path

import pytest

from tests.support.command_line import CommandLine
from tests.support.exportable import saved


def test_a_file_is_written_once_and_described(
    cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autoprune.models.pushing.get_token", lambda: None)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    folder, out = saved(tmp_path / "model"), tmp_path / "model.gguf"
    line = f"export {folder} --gguf q8_0 --out {out} --no-compute -q"
    cli.refuses(f"{line} --push-to-hub me/small", "no token", code=4)
    assert not out.exists()
    record = cli(f"{line} --json").record
    assert record["bytes"] == out.stat().st_size and record["type"] == "q8_0"
    assert record["agreement"] is None and "asked neither to compute" in record["notes"][-1]
    before = out.read_bytes()
    cli.refuses(line, "--overwrite")
    assert "all read back" in cli(f"{line} --overwrite").out and out.read_bytes() == before
    # Half a wish.
    for words, shown in (("", "nothing to do"), ("--gguf q8_0", "go together")):
        cli.refuses(f"export any {words}", shown)
    cli.refuses("export any --out x", "nothing to do")
    alone = "export any --gguf q8_0 --out x.gguf --no-private"
    cli.refuses(alone, "give --push-to-hub OWNER/NAME, or leave it out")
    for words in ("--overwrite", "--no-compute", "--overwrite and --no-compute"):
        sent = f"export any --push-to-hub me/small {words.replace(' and', '')}"
        cli.refuses(sent, f"without --gguf TYPE --out FILE: add these, or leave out {words}")
    cli.refuses("export --gguf q8_0 --out x.gguf", "the model is missing; write `autoprune export")
    cli.refuses("export any --model any --gguf q8_0 --out x.gguf", "the model is given twice")
    assert "unknown model './none'" in cli("export --model ./none --push-to-hub a/b", code=2).err
