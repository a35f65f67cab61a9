"""Offline inference: the models answer about files, without a server."""
