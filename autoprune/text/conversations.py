"""Conversations as text: a ``messages`` column rendered by the model's chat template."""

from collections.abc import Mapping
from typing import Any

from jinja2 import TemplateError

from autoprune.errors import UsageError, reason_of
from autoprune.text.beginning import beginning_ids


def text_of(value: Any, tokenizer: Any | None, what: str) -> str:
    """The text of one value of a text column."""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return str(value)
    if not _is_conversation(value):
        raise UsageError(
            f"{what} holds {str(value)[:60]!r}, which is neither a text nor a list of messages "
            "with role and content; name another column with #COLUMN"
        )
    if tokenizer is None or not getattr(tokenizer, "chat_template", None):
        raise UsageError(
            f"{what} holds conversations, and the model here has no chat template to render them; "
            "take a model with one, or name a column of plain text with #COLUMN"
        )
    # Fields that a message lacks are None in table rows, but templates test for presence.
    messages = [{key: part for key, part in one.items() if part is not None} for one in value]
    return without_beginning(_rendered(messages, tokenizer, what), tokenizer)


def asked(tokenizer: Any, question: str, **settings: Any) -> str:
    """Render a question by the chat template, up to where the answer begins."""
    message = [{"role": "user", "content": question}]
    what = f"the question {question[:60]!r}"
    return _rendered(message, tokenizer, what, add_generation_prompt=True, **settings)


def without_beginning(text: str, tokenizer: Any) -> str:
    """A rendered template without the beginning tokens that windows add themselves."""
    beginning = "".join(map(str, tokenizer.convert_ids_to_tokens(beginning_ids(tokenizer))))
    return text.removeprefix(beginning)


def _rendered(messages: list[dict[str, Any]], tokenizer: Any, what: str, **settings: Any) -> str:
    try:
        text: str = tokenizer.apply_chat_template(messages, tokenize=False, **settings)
    except (TemplateError, TypeError) as error:
        # Templates refuse roles, and join contents that need not be texts.
        roles = ", ".join(str(message.get("role")) for message in messages[:6])
        raise UsageError(
            f"the model's chat template refuses {what} with the roles {roles} "
            f"({reason_of(error)}); take a model with another template, or text that is not "
            "a conversation"
        ) from error
    return text


def _is_conversation(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(one, Mapping) and {"role", "content"} <= one.keys() for one in value)
    )
