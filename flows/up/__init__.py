"""The servers, the worker and the deployments, started and stopped."""
