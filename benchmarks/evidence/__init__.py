"""Published figures held against the raw records that they were made from.

``python -m benchmarks.evidence`` checks the documents that quote figures against ``evidence/``;
``evidence/README.md`` says what a record is and how a document names it.
"""
