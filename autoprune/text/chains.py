"""Problems and worked solutions that a model writes, through its own chat template.

A model that reasons is calibrated on chains of its own rather than on prose (RAC, arXiv 2509.12464;
SSGR, arXiv 2511.18864; arXiv 2601.18091). It writes a problem about a random word, then solves it;
what it was asked and what it answered is one conversation.
"""

from collections.abc import Iterator, Sequence

import torch

from autoprune.errors import UsageError
from autoprune.models.loading import LoadedModel
from autoprune.progress import Report
from autoprune.text.beginning import prompt_ids
from autoprune.text.conversations import text_of
from autoprune.text.sampling import TokenCounter, sample

BATCH = 8
_LEAST, PROBLEM_TOKENS, SOLUTION_TOKENS = 4, 128, 512
STAGE = "self-generated chains"
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
    """Conversations of a problem and its solution, until so many tokens are written.

    Args:
        loaded: The model.
        words: What problems may be about.
        tokens: Of problems and solutions together, at least.
        seed: Of all choices.
        temperature: Of the sampling.
        report: Callback, called at each token.

    Raises:
        UsageError: If the model has no chat template.
    """
    tokenizer = loaded.tokenizer
    if not getattr(tokenizer, "chat_template", None):
        raise UsageError(
            f"the model {loaded.source.ref!r} has no chat template, which chains are written "
            "through; take an instruct model, or leave prompts=chains out"
        )
    generator = torch.Generator().manual_seed(seed)
    written = 0

    def asked(contents: Sequence[str], most: int) -> list[str]:
        """The model's answers to one message each."""
        nonlocal written
        prompts = [_prompt(loaded, content) for content in contents]
        counter = TokenCounter(report, STAGE, written, tokens, apart=sum(map(len, prompts)))
        draw = int(torch.randint(2**31, (1,), generator=generator))
        rows = sample(
            loaded, prompts, seed=draw, temperature=temperature, counter=counter, shortest=_LEAST,
            most=most,
        )  # fmt: skip
        written += sum(map(len, rows))
        return [tokenizer.decode(row, skip_special_tokens=True).strip() for row in rows]

    while written < tokens:
        picked = torch.randint(len(words), (BATCH,), generator=generator).tolist()
        problems = asked([INVENT.format(word=words[n]) for n in picked], PROBLEM_TOKENS)
        questions = [SOLVE.format(problem=problem) for problem in problems if problem]
        if not questions:
            continue
        solutions = asked(questions, SOLUTION_TOKENS)
        for question, solution in zip(questions, solutions, strict=True):
            conversation = [
                {"role": "user", "content": question},
                {"role": "assistant", "content": solution},
            ]
            if solution:
                yield text_of(conversation, tokenizer, STAGE)


def _prompt(loaded: LoadedModel, content: str) -> list[int]:
    text = loaded.tokenizer.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    )
    return list(prompt_ids(loaded.tokenizer, text))
