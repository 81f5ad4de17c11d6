"""What serving does without, and how to get it."""


def lacking(module: str | None, extra: str) -> str:
    """A module that is not installed and the extra that has it, to end a sentence with."""
    return f"{module}: pip install '.[{extra}]' in the project's folder"
