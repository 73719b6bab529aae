"""A model without weights whose blocks are filled from a checkpoint one at a time."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, initialization
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import (
    WeightConverter,
    WeightRenaming,
    dot_natural_key,
    rename_source_key,
    revert_weight_conversion,
)

from autoprune.errors import AutopruneError, UsageError
from autoprune.models.capture import tuple_length
from autoprune.models.loading import needs_own_code, own_code_error
from autoprune.models.quiet import quiet_transformers
from autoprune.models.structure import PrunableLinear, find_blocks, prunable_linears
from autoprune.models.widths import narrow_blocks
from autoprune.streaming.shards import Checkpoint


@dataclass(frozen=True)
class _Group:
    """Checkpoint tensors that form one parameter, or several (a fused one split into parts).

    Args:
        pattern: The converter's pattern matched by each tensor; None if it is the parameter.
    """

    keys: list[str] = field(default_factory=list)
    patterns: list[str | None] = field(default_factory=list)


class Skeleton:
    """The modules of a checkpoint's model, on the meta device until they are filled.

    Buffers (rotary tables) are computed, since no checkpoint holds them. If a family's modules are
    laid out differently from its files (fused experts), the conversions of transformers translate
    in both directions.

    Args:
        checkpoint: The shards.
        dtype: Type to compute in.
        device: Device for filled parameters.

    Attributes:
        model: The model; unfilled parameters are on the meta device.
        linears: Its prunable matrices.

    Raises:
        UsageError: If the checkpoint is quantised.
        AutopruneError: If transformers cannot build the architecture.
    """

    def __init__(self, checkpoint: Checkpoint, dtype: torch.dtype, device: torch.device) -> None:
        self.checkpoint = checkpoint
        self.dtype = dtype
        self.device = device
        self.model = _build(checkpoint.folder, dtype, device)
        self.linears: list[PrunableLinear] = prunable_linears(self.model)
        self.blocks = find_blocks(self.model)
        self._meta = dict(self.model.named_parameters())
        self._prefix = _prefix_of(self.model, self.blocks)
        self._converters: dict[str, WeightConverter] = {}
        self._groups = self._match()
        self._home = {t: g for g, group in self._groups.items() for t in self._targets(g, group)}

    def sources(self, parameters: Collection[str]) -> list[str]:
        """Names of the checkpoint tensors behind some parameters."""
        homes = dict.fromkeys(self._home_of(name) for name in parameters)
        return [key for home in homes for key in self._groups[home].keys]

    def block_parameters(self, index: int) -> list[str]:
        """Names of a block's parameters."""
        return [name for name in self._meta if name.startswith(f"{self._prefix}{index}.")]

    def fill_outside(self, tokens: Tensor) -> None:
        """Fill everything that runs before the first block: embeddings and their norms and maps."""
        for name, in_rows in self._outside():
            if in_rows:
                self._fill_rows(name, torch.unique(tokens).tolist())
            else:
                self.fill([name])
        self._fill_buffers()

    def outside_bytes(self, tokens: Tensor) -> int:
        """Memory that :meth:`fill_outside` takes, without buffers."""
        rows = len(torch.unique(tokens))
        values = [(self._meta[name], in_rows) for name, in_rows in self._outside()]
        return sum(
            (rows * p[0].numel() if in_rows else p.numel()) * p.element_size()
            for p, in_rows in values
        )

    def _outside(self) -> Iterator[tuple[str, bool]]:
        """Names of what runs before the blocks, and whether only the rows of tokens are filled."""
        heads = (self.model.get_output_embeddings(),)
        unused = {id(p) for head in heads if head is not None for p in head.parameters()}
        table = self.model.get_input_embeddings().weight
        for name, parameter in self._meta.items():
            is_table = parameter is table
            if not name.startswith(self._prefix) and (is_table or id(parameter) not in unused):
                yield name, is_table and self.device.type == "cpu"

    def value(self, parameter: str) -> Tensor:
        """One parameter with the checkpoint's values and type."""
        return self._realise(self._home_of(parameter))[parameter]

    def fill(self, parameters: Collection[str]) -> None:
        """Read parameters into their modules, in the compute type."""
        for home in dict.fromkeys(self._home_of(name) for name in parameters):
            for name, value in self._realise(home).items():
                self._place(name, value.to(self.device, self._meta[name].dtype))

    def clear(self, parameters: Collection[str]) -> None:
        """Free parameters from memory again."""
        for parameter in parameters:
            owner, _, attribute = parameter.rpartition(".")
            setattr(self.model.get_submodule(owner), attribute, self._meta[parameter])

    @contextmanager
    def filled_block(self, index: int) -> Iterator[nn.Module]:
        """Fill a block with its weights for the duration of the context; read the next ahead."""
        names = self.block_parameters(index)
        try:
            self.fill(names)
            self.checkpoint.read_ahead(self.sources(self.block_parameters(index + 1)))
            yield self.blocks[index]
        finally:
            self.clear(names)

    def tuple_lengths(self, probe: Tensor) -> list[int]:
        """Result of :func:`autoprune.models.capture.tuple_length` for each class of blocks."""
        known: dict[type[nn.Module], int] = {}
        lengths: list[int] = []
        for index, block in enumerate(self.blocks):
            if type(block) not in known:
                with self.filled_block(index):
                    length = tuple_length(self.model, self.blocks, lengths, probe)
                known[type(block)] = length
            lengths.append(known[type(block)])
        return lengths

    def to_checkpoint(self, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
        """Parameters converted to tensors with the checkpoint's names and layout."""
        homes = {name: self._groups[self._home_of(name)] for name in parameters}
        direct = {name for name, group in homes.items() if group.patterns == [None]}
        stored = {homes[name].keys[0]: parameters[name] for name in direct}
        rest = {name: value for name, value in parameters.items() if name not in direct}
        if rest:
            stored |= revert_weight_conversion(self.model, rest)
        for name, value in stored.items():
            entry = self.checkpoint.entries.get(name)
            if entry is None or entry.shape != tuple(value.shape):
                raise AutopruneError(
                    f"the pruned {name} has no place of its shape {list(value.shape)} in "
                    f"{self.checkpoint.folder}; this family cannot be streamed, prune it in memory"
                )
        return stored

    def _match(self) -> dict[str, _Group]:
        mapping = get_model_conversion_mapping(self.model)
        renamings = [entry for entry in mapping if isinstance(entry, WeightRenaming)]
        converters = [entry for entry in mapping if isinstance(entry, WeightConverter)]
        self._converters = {p: c for c in converters for p in c.source_patterns}
        known: dict[str, Any] = dict(self.model.state_dict(keep_vars=True))
        groups: dict[str, _Group] = {}
        for key in sorted(self.checkpoint.entries, key=dot_natural_key):
            prefix = self.model.base_model_prefix
            target, pattern = rename_source_key(key, renamings, converters, prefix, known)
            if target not in known and key in known:
                target, pattern = key, None
            if target in known:
                group = groups.setdefault(target, _Group())
                group.keys.append(key)
                group.patterns.append(pattern)
        used: Any = [entry for entry in mapping if entry.was_used()]
        self.model._weight_conversions = used
        return groups

    def _home_of(self, parameter: str) -> str:
        if parameter not in self._home:
            raise UsageError(
                f"{self.checkpoint.folder} holds no tensor for {parameter}; streaming needs every "
                "weight of the model in the checkpoint"
            )
        return self._home[parameter]

    def _fill_rows(self, name: str, rows: list[int]) -> None:
        group = self._groups[self._home_of(name)]
        if group.patterns != [None]:
            self.fill([name])
            return
        value = torch.empty(self._meta[name].shape, dtype=self._meta[name].dtype)
        self.checkpoint.read_rows(group.keys[0], rows, value)
        self._place(name, value)

    def _fill_buffers(self) -> None:
        for name, buffer in list(self.model.named_buffers()):
            if name in self._home:
                self._place(name, self.value(name).to(buffer))

    def _targets(self, target: str, group: _Group) -> list[str]:
        pattern = group.patterns[0]
        if pattern is None:
            return [target]
        patterns = self._converters[pattern].target_patterns
        return [target.replace(patterns[0], other) for other in patterns]

    def _realise(self, target: str) -> dict[str, Tensor]:
        group = self._groups[target]
        if group.patterns == [None]:
            return {target: self.checkpoint.read(group.keys[0])}
        converter = deepcopy(self._converters[str(group.patterns[0])])
        for key, pattern in zip(group.keys, group.patterns, strict=True):
            converter.add_tensor(target, key, str(pattern), self.checkpoint.read(key))
        made = converter.convert(target, model=self.model, config=self.model.config)
        return {name: v[0] if isinstance(v, list) else v for name, v in made.items()}

    def _place(self, name: str, value: Tensor) -> None:
        path, _, attribute = name.rpartition(".")
        owner = self.model.get_submodule(path)
        if attribute in owner._buffers:
            owner._buffers[attribute] = value
        else:
            setattr(owner, attribute, nn.Parameter(value, requires_grad=False))


def _build(folder: Path, dtype: torch.dtype, device: torch.device) -> PreTrainedModel:
    with quiet_transformers():
        try:
            config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
            if getattr(config, "quantization_config", None) is not None:
                raise UsageError(
                    f"{folder} is a quantised checkpoint; streaming writes back what it reads, so "
                    "convert it to bfloat16 first"
                )
            with initialization.no_init_weights(), torch.device("meta"):
                model: PreTrainedModel = AutoModelForCausalLM.from_config(
                    config, dtype=dtype, trust_remote_code=False
                )
                narrow_blocks(model)
        except (ValueError, OSError) as error:
            if needs_own_code(error):
                raise own_code_error(folder) from error
            raise AutopruneError(
                f"{folder} is of an architecture that transformers cannot build ({error}); take "
                "another model or a newer transformers"
            ) from error
    for name, buffer in list(model.named_buffers()):
        path, _, attribute = name.rpartition(".")
        owner = model.get_submodule(path)
        owner._buffers[attribute] = torch.empty_like(buffer, device=device)
    # Fills the buffers; it does nothing to the parameters, which have no storage.
    model.initialize_weights()
    model.config.use_cache = False
    return model.eval()


def _prefix_of(model: PreTrainedModel, blocks: nn.ModuleList) -> str:
    name = next(name for name, module in model.named_modules() if module is blocks)
    return f"{name}."
