"""A reader of GBNF grammars for the tests: generates texts and recognises them."""

import random
import re
from dataclasses import dataclass

_TOKEN = re.compile(r'\s+|("(?:[^"\\]|\\.)*"|\[[^\]]*\]|[a-z0-9-]+|[()|?])')


@dataclass(frozen=True)
class Choice:
    options: "tuple[Sequence, ...]"


@dataclass(frozen=True)
class Sequence:
    items: "tuple[Item, ...]"


@dataclass(frozen=True)
class Item:
    kind: str  # literal, class, rule or group
    value: "str | Choice"
    optional: bool


class Grammar:
    def __init__(self, text: str) -> None:
        self.rules: dict[str, Choice] = {}
        for line in text.strip().splitlines():
            name, _, body = line.partition(" ::= ")
            assert name not in self.rules, f"rule {name} is defined twice"
            tokens = [m.group(1) for m in _TOKEN.finditer(body) if m.group(1)]
            assert "".join(tokens).replace(" ", "") == body.replace(" ", ""), body
            self.rules[name] = _choice(tokens)
            assert not tokens

    def generate(self, rng: random.Random, *, longest: bool = False) -> str:
        return self._write(self.rules["root"], rng, longest, {})

    def _write(
        self, choice: Choice, rng: random.Random, longest: bool, memo: dict[Choice, str]
    ) -> str:
        if not longest:
            return self._join(rng.choice(choice.options), rng, longest, memo)
        if choice not in memo:
            written = [self._join(option, rng, longest, memo) for option in choice.options]
            memo[choice] = max(written, key=lambda t: (len(re.findall(r"\w+|\S", t)), len(t)))
        return memo[choice]

    def _join(
        self, option: Sequence, rng: random.Random, longest: bool, memo: dict[Choice, str]
    ) -> str:
        parts = []
        for item in option.items:
            if item.optional and not longest and rng.random() < 0.5:
                continue
            if item.kind == "literal":
                parts.append(str(item.value))
            elif item.kind == "class":
                low, high = str(item.value).split("-")
                parts.append(high if longest else chr(rng.randint(ord(low), ord(high))))
            else:
                parts.append(self._write(self._target(item), rng, longest, memo))
        return "".join(parts)

    def _target(self, item: Item) -> Choice:
        return item.value if isinstance(item.value, Choice) else self.rules[item.value]

    def accepts(self, text: str) -> bool:
        memo: dict[tuple[Choice, int], frozenset[int]] = {}

        def ends(choice: Choice, start: int) -> frozenset[int]:
            if (choice, start) not in memo:
                found: set[int] = set()
                for option in choice.options:
                    places = {start}
                    for item in option.items:
                        after = {end for place in places for end in step(item, place)}
                        places = places | after if item.optional else after
                    found |= places
                memo[choice, start] = frozenset(found)
            return memo[choice, start]

        def step(item: Item, place: int) -> frozenset[int]:
            if item.kind == "literal":
                literal = str(item.value)
                return frozenset({place + len(literal)} if text.startswith(literal, place) else ())
            if item.kind == "class":
                low, high = str(item.value).split("-")
                inside = place < len(text) and low <= text[place] <= high
                return frozenset({place + 1} if inside else ())
            return ends(self._target(item), place)

        return len(text) in ends(self.rules["root"], 0)


def _choice(tokens: list[str]) -> Choice:
    options = [_sequence(tokens)]
    while tokens and tokens[0] == "|":
        tokens.pop(0)
        options.append(_sequence(tokens))
    return Choice(tuple(options))


def _sequence(tokens: list[str]) -> Sequence:
    items = []
    while tokens and tokens[0] not in "|)":
        token = tokens.pop(0)
        value: str | Choice = token
        if token == "(":
            kind, value = "group", _choice(tokens)
            assert tokens.pop(0) == ")"
        elif token[0] == '"':
            kind, value = "literal", token[1:-1]
        elif token[0] == "[":
            kind, value = "class", token[1:-1]
        else:
            kind = "rule"
        optional = bool(tokens) and tokens[0] == "?"
        if optional:
            tokens.pop(0)
        items.append(Item(kind, value, optional))
    return Sequence(tuple(items))
