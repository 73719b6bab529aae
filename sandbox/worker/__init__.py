"""What runs inside the container: standard library, torch and safetensors, nothing else of ours.

Three processes (PID 1 broker, zygote, one forked child); ``broker.py`` says why.
Imports are relative, because the folder is mounted alone, without the package around it.
"""
