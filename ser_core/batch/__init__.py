"""Judging many recordings into one table, on Ray Data; needs the [batch] extra."""

import os

# Read when pyarrow is imported: its own allocator keeps what each of its threads once needed, some
# 50 MB when the table is put together.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")


class BatchError(ValueError):
    """A run that cannot begin, or cannot end well; the message is one clear line."""
