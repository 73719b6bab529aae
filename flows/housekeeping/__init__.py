"""What fills the disk: searches deleted, copies and caches freed."""
