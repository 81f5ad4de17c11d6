"""Building models. Needs the [train] extra; nothing in serving imports this package."""
