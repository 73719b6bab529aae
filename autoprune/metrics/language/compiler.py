"""Trees to values and to source: the interpreter and the Python printer work the same way.

Both compute each distinct subtree once, with the functions of
:mod:`autoprune.metrics.language.operations`; the printer copies their source, so a sandbox that
knows only torch gets the same bits.
"""

import ast
import functools
import inspect
import time
from collections import Counter
from collections.abc import Mapping

import torch
from torch import Tensor

from autoprune.errors import UsageError
from autoprune.metrics.language import operations
from autoprune.metrics.language.nodes import Call, Constant, Node, Number, Shape, Terminal, walk
from autoprune.metrics.language.printing import to_text
from autoprune.metrics.language.vocabulary import OPERATIONS, TERMINALS, shape_of

# Formulas are evaluated in the container and also here, for `prune`, `reproduce` and without a
# sandbox. These limits keep a formula from exhausting memory or running for hours.
MOST_HELD = 16
LEAST_SECONDS = 120.0
SECONDS_PER_WEIGHT = 5e-6
# Deeper nesting gets a variable: Python's parser and the sandbox's source check limit depth.
MAX_CALL_DEPTH = 12


def evaluate_tree(
    root: Node, weight: Tensor, stats: Mapping[str, Tensor], params: Mapping[str, float]
) -> Tensor:
    """Value of a tree.

    Args:
        root: A tree of shape [out, in].
        weight: Layer weight, [out, in].
        stats: Statistics by name, [in] or [out, in].
        params: Values of tunable constants; missing ones keep the value in the tree.

    Returns:
        float32, [out, in], on the device of ``weight``, never an alias of an input.
    """
    matrix = weight.to(torch.float32)
    shared = _shared(root)
    known: dict[Node, Tensor] = {}
    held = matrices_held(root)
    if held > MOST_HELD:
        raise UsageError(
            f"the formula holds {held} matrices of a layer's size at once, and at most {MOST_HELD} "
            "are allowed; use fewer parts that come up again, or shorter sums of them"
        )
    ends = time.monotonic() + LEAST_SECONDS + SECONDS_PER_WEIGHT * weight.numel()

    def value(node: Node) -> Tensor:
        if node in known:
            return known[node]
        if time.monotonic() > ends:
            raise UsageError(
                f"the formula was not done with a layer of {tuple(weight.shape)} weights in "
                f"{LEAST_SECONDS + SECONDS_PER_WEIGHT * weight.numel():.0f} s; make it simpler"
            )
        match node:
            case Number(number):
                result = matrix.new_tensor(number)
            case Constant(name, default):
                result = matrix.new_tensor(float(params.get(name, default)))
            case Terminal("W"):
                result = matrix
            case Terminal(name):
                result = _statistic(stats, name, weight)
            case Call(name, args):
                result = OPERATIONS[name].apply(*[value(child) for child in args])
        # Keep only what is needed again: layers reach a gigabyte, formulas hundreds of parts.
        if node in shared:
            known[node] = result
        return result

    result = value(root)
    return result.clone() if isinstance(root, Terminal) else result


@functools.lru_cache(maxsize=256)
def matrices_held(root: Node) -> int:
    """Most layer-sized matrices that :func:`evaluate_tree` holds at once, besides the weight.

    Shared subtrees are held to the end, operands until their operation is done.
    """
    shared = _shared(root)
    known: set[Node] = set()
    most = 0

    def walk_through(node: Node, below: int) -> int:
        """Matrices that the value adds to ``below``, while those of ``known`` are held too."""
        nonlocal most
        if node in known or not isinstance(node, Call):
            return 0
        operands = 0
        for child in node.args:
            operands += walk_through(child, below + operands)
        size = 1 if shape_of(node) == Shape.MATRIX else 0
        most = max(most, len(known) + below + operands + size)
        if node in shared:
            if size:
                known.add(node)
            return 0
        return size

    walk_through(root, 0)
    return most


def _shared(root: Node) -> frozenset[Node]:
    """Distinct subtrees that more than one distinct parent, or one parent twice, refers to."""
    calls = {node for _, node in walk(root) if isinstance(node, Call)}
    uses = Counter(child for call in calls for child in call.args)
    return frozenset(node for node, count in uses.items() if count > 1)


def _statistic(stats: Mapping[str, Tensor], name: str, weight: Tensor) -> Tensor:
    if name not in stats:
        raise UsageError(
            f"the formula needs the statistic {name!r}; available: "
            f"{', '.join(sorted(stats)) or 'none'}; collect it first"
        )
    out_features, in_features = weight.shape
    matrix = TERMINALS[name].shape == Shape.MATRIX
    expected = (out_features, in_features) if matrix else (in_features,)
    if tuple(stats[name].shape) != expected:
        raise UsageError(
            f"statistic {name!r} has shape {tuple(stats[name].shape)}; {expected} is needed for a "
            f"weight of shape {tuple(weight.shape)}"
        )
    value = stats[name].to(device=weight.device, dtype=torch.float32)
    return value if matrix else value.reshape(1, -1)


def to_python(root: Node) -> str:
    """Self-contained source of ``score(W, stats, params)``; imports torch and nothing else."""
    shared = _shared(root)
    names: dict[Node, str] = {}
    lines = ["W = W.to(torch.float32)"]
    used: set[str] = set()
    depths: dict[str, int] = {}

    def name_of(node: Node) -> str:
        """Expression for a node: a name where it is used again, otherwise nested calls."""
        if node in names:
            return names[node]
        match node:
            case Terminal("W"):
                return "W"
            case Terminal(name):
                names[node] = name
                tail = "" if TERMINALS[name].shape == Shape.MATRIX else ".reshape(1, -1)"
                lines.append(f'{name} = stats["{name}"].to(torch.float32){tail}')
            case Number(value):
                return f"W.new_tensor({value!r})"
            case Constant(name, value):
                names[node] = f"p_{name}"
                lines.append(f'p_{name} = W.new_tensor(float(params.get("{name}", {value!r})))')
            case Call(name, args):
                operands = [name_of(child) for child in args]
                function = OPERATIONS[name].apply.__name__
                used.add(function)
                source = f"{function}({', '.join(operands)})"
                depths[source] = 1 + max(depths.get(operand, 0) for operand in operands)
                if node not in shared and depths[source] < MAX_CALL_DEPTH:
                    return source
                names[node] = f"v{len(names)}"
                lines.append(f"{names[node]} = {source}")
        return names[node]

    result = name_of(root)
    lines.append(f"return {result}.clone()" if isinstance(root, Terminal) else f"return {result}")
    body = "\n".join(f"    {line}" for line in lines)
    parts = ["import torch", *_definitions(used), f"def score(W, stats, params):\n{body}"]
    return f"# {to_text(root)}\n" + "\n\n".join(parts) + "\n"


@functools.cache
def _sources() -> dict[str, tuple[str, frozenset[str]]]:
    """Source of every function and constant of ``operations``, and the names it refers to.

    Docstrings and annotations are left out, since the sandbox's check accepts plain torch only.
    """
    found: dict[str, tuple[str, frozenset[str]]] = {}
    for statement in ast.parse(inspect.getsource(operations)).body:
        if isinstance(statement, ast.FunctionDef):
            statement.returns = None
            for argument in statement.args.args:
                argument.annotation = None
            statement.body = statement.body[1:]
            name = statement.name
        elif isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            name = statement.targets[0].id
        else:
            continue
        loaded = {part.id for part in ast.walk(statement) if isinstance(part, ast.Name)}
        found[name] = (ast.unparse(statement), frozenset(loaded - {name}))
    return found


def _definitions(used: set[str]) -> list[str]:
    sources = _sources()
    needed: set[str] = set()
    pending = list(used)
    while pending:
        name = pending.pop()
        if name in sources and name not in needed:
            needed.add(name)
            pending.extend(sources[name][1])
    return [source for name, (source, _) in sources.items() if name in needed]


def terminals_of(root: Node) -> frozenset[str]:
    """Names of the statistics a tree reads, ``W`` left out."""
    leaves = {node.name for _, node in walk(root) if isinstance(node, Terminal)}
    return frozenset(leaves - {"W"})


def uses_weight(root: Node) -> bool:
    """Whether ``W`` appears in a tree."""
    return any(node == Terminal("W") for _, node in walk(root))
