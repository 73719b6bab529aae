"""Replies end where the chat template ends them."""

import torch
from tokenizers import AddedToken

from autoprune.evaluation.generation import greedy_replies
from autoprune.models.loading import LoadedModel
from autoprune.text.conversations import asked
from autoprune.text.ending import behind_answers, ending_ids
from tests.support.tiny_subject import tiny_subject

# Of SmolLM2-135M-Instruct, as its GGUF file has it; that of Qwen2.5-Coder begins and ends alike.
CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
    "<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\n' }}{% endif %}"
)


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
