"""Problems and worked solutions that a model writes through its own chat template.

Reasoning models are calibrated on their own reasoning chains rather than on prose (RAC, arXiv
2509.12464; SSGR, arXiv 2511.18864; arXiv 2601.18091). The model writes a problem about a random
word, then solves it; problem and solution form one conversation.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from autoprune.errors import UsageError
from autoprune.models.loading import LoadedModel
from autoprune.progress import Report
from autoprune.text.beginning import prompt_ids
from autoprune.text.conversations import asked, without_beginning
from autoprune.text.ending import behind_answers
from autoprune.text.sampling import TokenCounter, sample

BATCH = 8
_LEAST, PROBLEM_TOKENS, SOLUTION_TOKENS = 4, 128, 512
STAGE = "self-generated chains"
# Ends the thoughts of models that write them before an answer.
THOUGHT = "</think>"
INVENT = (
    "Write one short mathematics problem that has to do with {word} and has one number as its "
    "answer. Write the problem only."
)
SOLVE = "{problem}\n\nReason step by step, and write the answer in a last line: Answer: the number"


def write_chains(
    loaded: LoadedModel,
    words: Sequence[str],
    *,
    tokens: int,
    seed: int,
    temperature: float,
    report: Report,
) -> Iterator[str]:
    """Write conversations of a problem and its solution until ``tokens`` tokens are written."""
    tokenizer = loaded.tokenizer
    if not getattr(tokenizer, "chat_template", None):
        raise UsageError(
            f"the model {loaded.source.ref!r} has no chat template, which chains are written "
            "through; take an instruct model, or leave prompts=chains out"
        )
    generator = torch.Generator().manual_seed(seed)
    behind, written = behind_answers(tokenizer), 0

    def answers(prompts: Sequence[str], most: int) -> list[tuple[str, bool]]:
        """The model's answers to rendered questions, and whether each was completed."""
        nonlocal written
        ids = [list(prompt_ids(tokenizer, prompt)) for prompt in prompts]
        counter = TokenCounter(report, STAGE, written, tokens, apart=True)
        draw = int(torch.randint(2**31, (1,), generator=generator))
        rows = sample(
            loaded, ids, seed=draw, temperature=temperature, counter=counter, shortest=_LEAST,
            most=most,
        )  # fmt: skip
        written += sum(map(len, rows))
        texts = [tokenizer.decode(row, skip_special_tokens=True).strip() for row in rows]
        return [(text, len(row) < most) for text, row in zip(texts, rows, strict=True)]

    while written < tokens:
        picked = torch.randint(len(words), (BATCH,), generator=generator).tolist()
        wishes = [_thoughtless(tokenizer, INVENT.format(word=words[n])) for n in picked]
        problems = [text.rpartition(THOUGHT)[2] for text, _ in answers(wishes, PROBLEM_TOKENS)]
        questions = [
            asked(tokenizer, SOLVE.format(problem=problem.strip()))
            for problem in problems
            if problem.strip()
        ]
        if not questions:
            continue
        solutions = answers(questions, SOLUTION_TOKENS)
        for question, (solution, ended) in zip(questions, solutions, strict=True):
            if solution:
                # Keep the text as written: many templates drop the thoughts of earlier answers.
                end = behind if ended else ""
                yield without_beginning(question, tokenizer) + solution + end


def _thoughtless(tokenizer: Any, question: str) -> str:
    """Render a question so that the answer of a reasoning model starts after its thoughts."""
    text = asked(tokenizer, question, enable_thinking=False)
    return f"{text}\n{THOUGHT}\n\n" if text.rstrip().endswith("<think>") else text
