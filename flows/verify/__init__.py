"""A verifier of reasoning steps, trained or used."""
