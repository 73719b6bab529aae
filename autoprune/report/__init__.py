"""What a run leaves for people: the record as JSON, pictures, one self-contained HTML file."""
