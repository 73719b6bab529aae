"""What a run leaves for readers: the record as JSON, pictures, one self-contained HTML file."""
