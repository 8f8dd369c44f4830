"""runspec: Linux containers from a declarative file, and an OCI runtime."""

__version__ = "0.1.0"
