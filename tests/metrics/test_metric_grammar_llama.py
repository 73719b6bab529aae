"""llama.cpp's own grammar engine on our grammar, without a model: it agrees with our reading.

The engine's C++ functions are called through their mangled names; where a build of xllamacpp does
not export them, the test is skipped and the reader of ``gbnf_walker`` stands alone.
"""

import ctypes
import random

import pytest

from autoprune.metrics.language import TERMINALS, gbnf
from tests.support.gbnf_walker import Grammar

xllamacpp = pytest.importorskip("xllamacpp")

Vector = ctypes.c_void_p * 3
VECTOR_BYTES = ctypes.sizeof(Vector)


class _Engine:
    def __init__(self) -> None:
        library = ctypes.CDLL(xllamacpp.xllamacpp.__file__)
        try:
            self.init = library._Z23llama_grammar_init_implPK11llama_vocabPKcS3_bPS3_mPKim
            self.accept = library._Z20llama_grammar_acceptP13llama_grammarj
            self.stacks = library._Z24llama_grammar_get_stacksP13llama_grammar
            self.free = library._Z23llama_grammar_free_implP13llama_grammar
        except AttributeError as error:
            pytest.skip(f"this build of xllamacpp hides its grammar engine: {error}")
        text, size, pointer = ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p
        self.init.argtypes = [pointer, text, text, ctypes.c_bool, pointer, size, pointer, size]
        self.init.restype = pointer
        self.accept.argtypes = [pointer, ctypes.c_uint32]
        self.accept.restype = None
        self.stacks.argtypes = [pointer]
        self.stacks.restype = ctypes.POINTER(Vector)
        self.free.argtypes = [pointer]

    def load(self, grammar: str) -> int | None:
        found: int | None = self.init(None, grammar.encode(), b"root", False, None, 0, None, 0)
        return found

    def matches(self, grammar: str, text: str) -> bool:
        state = self.load(grammar)
        assert state is not None
        starts: list[int] = []
        for character in text:
            self.accept(state, ord(character))
            begin, end, _ = self.stacks(state).contents
            starts = list(range(begin or 0, end or 0, VECTOR_BYTES))
            if not starts:
                break
        # An empty stack is a finished derivation; no stack at all is a refusal.
        vectors = [Vector.from_address(start) for start in starts]
        finished = any(vector[0] == vector[1] for vector in vectors)
        self.free(state)
        return finished


@pytest.fixture(scope="module")
def engine() -> _Engine:
    return _Engine()


@pytest.mark.parametrize("levels", [1, 2])
def test_the_engine_loads_the_grammar_and_accepts_what_we_generate(
    engine: _Engine, levels: int
) -> None:
    text = gbnf(TERMINALS, levels=levels)
    grammar, rng = Grammar(text), random.Random(levels)
    assert all(engine.matches(text, grammar.generate(rng)) for _ in range(150))


@pytest.mark.parametrize("text", ["x_norm", "abs(W)*x_norm", "abs(W) *", "foo(W)", "W ** x_norm"])
def test_the_engine_refuses_what_is_no_formula(engine: _Engine, text: str) -> None:
    assert not engine.matches(gbnf(TERMINALS), text)


def test_the_engine_would_notice_a_missing_rule(engine: _Engine) -> None:
    assert engine.load("root ::= nothing\n") is None
