"""Placeholder."""


class OnlineEM:
    """Placeholder."""
