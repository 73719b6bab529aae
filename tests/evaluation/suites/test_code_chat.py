"""Chats as real models write them: their templates, their endings, the code in their replies."""

import ast
from typing import Any

import pytest
import torch
from tokenizers import AddedToken

from autoprune.errors import UsageError
from autoprune.evaluation.generation import greedy_replies
from autoprune.evaluation.suites import build_suite, code
from autoprune.evaluation.suites.cleaning import Resources
from autoprune.evaluation.suites.code import CodeSuite, end_of, verdict_of
from autoprune.evaluation.suites.code_problems import PROBLEMS
from autoprune.evaluation.suites.code_reading import program_of
from autoprune.evaluation.suites.code_running import Returned
from autoprune.models.loading import LoadedModel
from autoprune.text.conversations import asked
from autoprune.text.ending import behind_answers, ending_ids
from tests.evaluation.suites.test_code import Given
from tests.support.tiny_subject import tiny_subject

# Of SmolLM2-135M-Instruct, as its GGUF file has it; that of Qwen2.5-Coder begins and ends alike.
CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
    "<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\n' }}{% endif %}"
)
DIGITS = PROBLEMS.get("digit_sum")
BODY = "    return sum(int(d) for d in str(number))"


def chatty() -> LoadedModel:
    """A model with that template, whose tokenizer and settings name another end."""
    subject = tiny_subject(positions=2048)
    tokens = [AddedToken(text, special=True) for text in ("<|im_start|>", "<|im_end|>")]
    subject.tokenizer.add_tokens(tokens, special_tokens=True)
    subject.tokenizer.chat_template = CHATML
    subject.model.resize_token_embeddings(len(subject.tokenizer))
    return subject


def test_an_answer_ends_where_the_template_ends_it() -> None:
    subject = chatty()
    end = subject.tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert behind_answers(subject.tokenizer) == "<|im_end|>\n"
    assert ending_ids(subject) == [1, end] and ending_ids(tiny_subject()) == [1]
    subject.model.generation_config.eos_token_id = [1, 7]
    assert ending_ids(subject) == [1, 7, end]
    with torch.no_grad():
        # Says nothing but the end of its turn.
        head = torch.zeros_like(subject.model.lm_head.weight)
        subject.model.model.norm.weight.zero_()
        subject.model.lm_head = torch.nn.Linear(head.shape[1], head.shape[0])
        subject.model.lm_head.weight.zero_()
        subject.model.lm_head.bias.zero_()
        subject.model.lm_head.bias[end] = 9.0
    calls: list[int] = []
    subject.model.lm_head.register_forward_hook(lambda *_: calls.append(1))
    prompt = asked(subject.tokenizer, "Hello?")
    assert prompt.endswith("<|im_start|>assistant\n")
    assert greedy_replies(subject, [prompt], new_tokens=20) == [""] and len(calls) == 1
    broken = tiny_subject().tokenizer
    broken.chat_template = "{{ raise_exception('no') }}"
    assert behind_answers(broken) == ""


REPLIES = {
    "prose and a fence": f"Sure! Here it is:\n\n```python\n{DIGITS.prompt}{BODY}\n```\n\nIt sums.",
    "no language, indented": f"1. Code:\n\n   ```\n   def digit_sum(number):\n   {BODY}\n   ```",
    "cut off": f"```python\ndef digit_sum(number):\n{BODY}\n\nassert digit_sum(47",
    "no fence": f"The function:\n\ndef digit_sum(number):\n{BODY}\n\nThis works for all numbers.",
    "another name": f"```python\ndef sum_of_digits(number):\n{BODY}\n```",
    "body alone": f"```python\n{BODY}\n```",
    "body at the margin": f"Add this line:\n```python\n{BODY.strip()}\n```",
    "stub first": f"Given\n```python\n{DIGITS.prompt}```\nwrite\n```python\n"
    f"def digit_sum(number):\n{BODY}\n```",
    "body with a helper": "```python\ndef digits():\n    return map(int, str(number))\n"
    "return sum(digits())\n```",
    "helper before": "```python\ndef digits(n):\n    return map(int, str(n))\n```\nthen\n"
    "```python\ndef digit_sum(number):\n    return sum(digits(number))\n```",
    "usage behind": f"```py\ndef digit_sum(number):\n{BODY}\n\nprint(digit_sum('x'))\n"
    "if __name__ == '__main__':\n    main()\n```\n```python\ndigit_sum(None)\n```",
    "thoughts": f"<think>\n```python\ndef digit_sum(n): return 0\n```\n</think>\n```python\n"
    f"def digit_sum(number):\n{BODY}\n```",
}


@pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES)
def test_the_function_is_read_out_of_a_reply(reply: str) -> None:
    source = program_of(DIGITS, reply)
    assert "print" not in source and "assert" not in source and "main" not in source
    # Fixed texts of this file, so they may run here.
    space: dict[str, Any] = {}
    exec(compile(source, "reply", "exec"), space)
    assert [space["digit_sum"](*call) for call in DIGITS.calls] == DIGITS.expected


FENCED = f"```python\n{DIGITS.prompt}{BODY}"


@pytest.mark.parametrize(
    ("completion", "kept"),
    [
        (f"{BODY}\n\ndef other():\n    pass", f"{BODY}\n"),
        (f"{BODY}\n```\nIt sums.", BODY),
        (f"{FENCED}\n```\nIt sums.\n```python\nprint(1)", FENCED),
        (f"\n\n{FENCED}\n\ndef other():\n    pass\n```", f"\n\n{FENCED}\n\ndef other():\n    pass"),
        ("```python\n```", "```python"),
        # Before the fence is whole, and before its block ends, the model goes on.
        ("\n``", None),
        ("\n```py", None),
        (FENCED, None),
    ],
)
def test_a_completion_ends_with_the_function_or_with_the_block_it_begins(
    completion: str, kept: str | None
) -> None:
    end = end_of(completion)
    assert (None if end is None else completion[:end]) == kept


def test_without_a_chat_a_fenced_completion_is_read_out_of_its_fence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written = {"digit_sum": FENCED, "is_prime": "    return False"}

    def replies(*_: object, stop: Any, **__: object) -> list[str]:
        assert stop is end_of
        return list(written.values())

    monkeypatch.setattr(code, "greedy_replies", replies)
    given = Given({name: Returned("ok", ("0",)) for name in written})
    CodeSuite(tuple(written)).run(tiny_subject(), resources=Resources(code=given))
    fenced, plain = given.sources
    assert "```" not in fenced
    space: dict[str, Any] = {}
    exec(compile(fenced, "completion", "exec"), space)
    assert [space["digit_sum"](*call) for call in DIGITS.calls] == DIGITS.expected
    assert plain == PROBLEMS.get("is_prime").prompt + "    return False\n"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "reply",
    [
        "",
        "I cannot help.",
        "```python\nx = (\n```",
        "```\n'\\d'\n```",
        "```\n" + "(" * 5000,
        "import\n" * 300,
    ],
)
def test_what_holds_no_function_defines_none(reply: str) -> None:
    source = program_of(DIGITS, reply)
    assert source == DIGITS.prompt + reply
    assert "return" not in source.replace(DIGITS.prompt, "")


def test_a_chat_asks_through_the_template_and_runs_what_was_read() -> None:
    results = Returned("ok", tuple(map(str, DIGITS.expected)))
    given, subject = Given({"digit_sum": results}), chatty()
    suite = build_suite("code:problems=digit_sum,chat=true,new_tokens=3")
    (row,) = suite.run(subject, resources=Resources(code=given), report=lambda progress: None)
    assert row.value == 1.0 and row.protocol["chat"] is True and row.protocol["new_tokens"] == 3
    assert CodeSuite(chat=True)._longest == 512 and CodeSuite()._longest == 192
    (prompt,) = CodeSuite(("digit_sum",), chat=True)._prompts(subject)
    assert prompt.count("<|im_start|>user") == 1 and f"```python\n{DIGITS.prompt}```" in prompt
    verdict_of(DIGITS, "", given, 1.0, program_of(DIGITS, REPLIES["another name"]))
    assert ast.parse(given.sources[-1]) and "digit_sum = sum_of_digits" in given.sources[-1]
    with pytest.raises(UsageError, match="no chat template; use chat=false"):
        CodeSuite(chat=True).check(tiny_subject(), resources=Resources(code=given))
