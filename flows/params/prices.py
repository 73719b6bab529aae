"""Prices of a designer: ``0.1,0.5``, or one a model: ``small=0.1,0.5;large=3,15``."""

Price = tuple[float, float]

_PRICE = r"\d*\.?\d+,\d*\.?\d+"
PRICES = rf"^({_PRICE}|[^=;,]+={_PRICE}(;[^=;,]+={_PRICE})*)$"


def prices_by_model(text: str | None) -> dict[str, Price]:
    """Dollars per million tokens of questions and of answers, by model; empty: one for all."""
    if text is None or "=" not in text:
        return {}
    named = (one.rpartition("=") for one in text.split(";"))
    return {name.strip(): _price(pair) for name, _, pair in named}


def dearest(text: str | None) -> Price | None:
    """The price, of several the dearest of each kind: limits are kept by it."""
    if text is None:
        return None
    known = list(prices_by_model(text).values()) or [_price(text)]
    return max(asking for asking, _ in known), max(answering for _, answering in known)


def _price(text: str) -> Price:
    asking, answering = text.split(",")
    return float(asking), float(answering)
