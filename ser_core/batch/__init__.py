"""Judging many recordings into one table, on Ray Data; needs the [batch] extra."""


class BatchError(ValueError):
    """A run that cannot begin, or cannot end well; the message is one clear line."""
