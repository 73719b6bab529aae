"""The only place where designed code runs: a locked container, and the client that talks to it."""
