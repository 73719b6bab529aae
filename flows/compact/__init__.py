"""A pruned model without its zeros, and back."""
