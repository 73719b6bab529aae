"""What is on record of a search: its report, its log as plain files, its next prompts."""
