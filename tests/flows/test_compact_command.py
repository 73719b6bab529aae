"""A pruned folder becomes a compact one and comes back byte for byte, through the command line."""

from pathlib import Path

from tests.support.command_line import CommandLine


def test_there_and_back(cli: CommandLine, pruned: Path, tmp_path: Path) -> None:
    for encoding in ("bitmask", "csr"):
        compact, back = tmp_path / encoding, tmp_path / f"back-{encoding}"
        record = cli(f"compact {pruned} {compact} --encoding {encoding} --json").record
        assert record["equal"] and record["encoded"] == 14
        written = sum(path.stat().st_size for path in compact.glob("*.safetensors"))
        dense = sum(path.stat().st_size for path in pruned.glob("*.safetensors"))
        assert (record["compact_bytes"], record["dense_bytes"]) == (written, dense)
        cli.refuses(f"evaluate {compact} -q", "is a compact checkpoint")
        cli.refuses(f"compact {compact} {back} --encoding {encoding}", "is one already")
        assert not back.exists()
        assert "equal to the bit" in cli(f"compact {compact} {back}").out
        assert {p.name: p.read_bytes() for p in back.iterdir()} == {
            p.name: p.read_bytes() for p in pruned.iterdir()
        }


def test_a_dense_model_is_refused_as_dense(cli: CommandLine, tmp_path: Path) -> None:
    assert "was this model pruned?" in cli(f"compact MODEL {tmp_path / 'compact'}").out


def test_what_cannot_be_compacted_is_refused(cli: CommandLine, tmp_path: Path) -> None:
    (full := tmp_path / "full").mkdir()
    (full / "thesis.txt").write_text("years of work")
    cli.refuses(f"compact package:x/y.gguf {tmp_path / 'out'}", "is not a folder")
    cli.refuses(f"compact {full} {tmp_path / 'out'}", "no dense safetensors")
    cli.refuses(f"compact MODEL {full}", "not empty and holds no saved model")
    assert [path.name for path in full.iterdir()] == ["thesis.txt"]
