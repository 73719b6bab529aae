"""What a search does between its form and its report."""
