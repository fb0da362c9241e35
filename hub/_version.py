"""The version, in a module that imports nothing, because the build and `hub --version` both read it."""

__version__ = "0.1.0"
