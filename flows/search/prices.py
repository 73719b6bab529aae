"""Prices of a designer: ``0.1,0.5``, or one per model: ``small=0.1,0.5;large=3,15``."""

Price = tuple[float, float]

_PRICE = r"\d*\.?\d+,\d*\.?\d+"
PRICES = rf"^({_PRICE}|[^=;,]+={_PRICE}(;[^=;,]+={_PRICE})*)$"


def prices_by_model(text: str | None) -> dict[str, Price]:
    """Return dollars per million question and answer tokens by model; empty: one price for all."""
    if text is None or "=" not in text:
        return {}
    named = (one.rpartition("=") for one in text.split(";"))
    return {name.strip(): _price(pair) for name, _, pair in named}


def dearest(text: str | None) -> Price | None:
    """Return the price, or the highest of each kind among several; limits are kept by it."""
    if text is None:
        return None
    known = list(prices_by_model(text).values()) or [_price(text)]
    return max(asking for asking, _ in known), max(answering for _, answering in known)


def _price(text: str) -> Price:
    asking, answering = text.split(",")
    return float(asking), float(answering)
