"""What several tests share: tiny models and texts, servers, records, hostile programs."""
